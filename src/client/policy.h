/* What a server's policy towards clients is, in a number; and the part of a session that says under which
 * policy it was made. policy.c has the essay. Nothing here blocks or logs; any thread. */
#ifndef TLSBATON_CLIENT_POLICY_H
#define TLSBATON_CLIENT_POLICY_H

#include <stdbool.h>
#include <stdint.h>
#include <openssl/ssl.h>

#include "util/macro.h"

#define POLICY_BYTES 32       /* of a fingerprint: SHA-256 */
#define POLICY_BOUND_BYTES 16 /* of it, as sessions carry it */
#define POLICY_NAME_MAX 255 /* bytes of a server name (RFC 1035, 2.3.4, and OpenSSL's own limit) */

/*
 * The fingerprint of what decides whom `ctx` lets in. Equal configurations have equal ones, in any process on
 * any node; no secret goes in. Takes some 100 us, and about 1 us for each certificate in the trust store: once
 * a context. `ctx` is not changed. Returns 0 or -ENOMEM.
 */
int policy_fingerprint(SSL_CTX *ctx, uint8_t out[POLICY_BYTES]) MUST_CHECK;

/* What a session is bound to. */
struct binding {
	uint8_t policy
	    [POLICY_BOUND_BYTES]; /* of the context that the client's name led to; all zero: of none */
	uint8_t verify_mode;      /* SSL_get_verify_mode(3) of the connection */
	int64_t expires_s;   /* seconds since 1970: the end of it and of all that comes from it */
	uint8_t n_name;      /* 0: the client gave none */
	const uint8_t *name; /* in lower case; borrowed */
};

/* Out: what `session` is bound to; `name` points into it. False: to nothing. */
bool binding_read(SSL_SESSION *session, struct binding *out) MUST_CHECK;

/* Binds `session`, in place of what it was bound to. What its application keeps in it stays, in front.
 * Returns 0 or -ENOMEM. */
int binding_write(SSL_SESSION *session, const struct binding *binding) MUST_CHECK;

/* When the client's certificate in `session` ends, in seconds since 1970; INT64_MAX without one. */
int64_t binding_certificate_ends(SSL_SESSION *session);

/*
 * The server name in the ClientHello that `ssl` is at, in lower case: of use in the callbacks that OpenSSL calls
 * while it looks for a session. Out: `name`. Returns its length; 0: there is none.
 */
size_t binding_hello_name(SSL *ssl, uint8_t name[POLICY_NAME_MAX]);

/* The same of a handshake that has gone beyond. */
size_t binding_ssl_name(const SSL *ssl, uint8_t name[POLICY_NAME_MAX]);

#endif
