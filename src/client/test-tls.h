/* TLS handshakes in memory, for tests and the benchmark: a server's and a client's SSL joined by a BIO pair. */
#ifndef TLSBATON_CLIENT_TEST_TLS_H
#define TLSBATON_CLIENT_TEST_TLS_H

#include <stdbool.h>
#include <stdint.h>
#include <openssl/ssl.h>

#include "util/macro.h"

enum tls_key { TLS_KEY_RSA, TLS_KEY_ECDSA };

/* A key, RSA-2048 or P-256, and a certificate it signed itself. Returns 0 or -EIO. */
int tls_credentials(enum tls_key key, EVP_PKEY **pkey, X509 **certificate) MUST_CHECK;

/* A context for one TLS version, without tickets. NULL on failure. `pkey` and `certificate` are borrowed. */
SSL_CTX *tls_server_context(int version, EVP_PKEY *pkey, X509 *certificate);

/* A client that trusts anybody, and keeps the newest session of each connection. */
SSL_CTX *tls_client_context(int version);

/* The server name that its connections ask for from now on; NULL: none. Borrowed. */
void tls_client_name(SSL_CTX *client, const char *name);

struct tls_outcome {
	bool reused;
	uint64_t notice;      /* tlsbaton_ssl_notice() after the handshake */
	int64_t expires_s;    /* tlsbaton_ssl_expires() after it */
	uint64_t server_ns;   /* wall clock in the server's calls, from SSL_new() to SSL_free() */
	SSL_SESSION *session; /* the newest that the client was given; the caller's to free */
};

/*
 * Connects, resuming `resume` (may be NULL), and closes: with close_notify unless `unclean`.
 * Returns 0 or -EPROTO. The server's calls are in functions named tls_server_*, for profilers.
 */
int tls_connect(SSL_CTX *server, SSL_CTX *client, SSL_SESSION *resume, bool unclean,
                struct tls_outcome *out) MUST_CHECK;

#endif
