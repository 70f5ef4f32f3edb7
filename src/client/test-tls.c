#include "client/test-tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <time.h>

#include "tlsbaton.h"

#define PAIR_BYTES (64 * 1024)
#define STEPS_MAX 20

int tls_credentials(enum tls_key key, EVP_PKEY **pkey_out, X509 **certificate_out)
{
	EVP_PKEY *pkey = key == TLS_KEY_RSA ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
	X509 *certificate = X509_new();
	X509_NAME *name;

	if (!pkey || !certificate)
		goto failed;
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 24 * 3600);
	X509_set_version(certificate, X509_VERSION_3);
	X509_set_pubkey(certificate, pkey);
	name = X509_get_subject_name(certificate);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1,
	                           0);
	X509_set_issuer_name(certificate, name);
	if (!X509_sign(certificate, pkey, EVP_sha256()))
		goto failed;
	*pkey_out = pkey;
	*certificate_out = certificate;
	return 0;
failed:
	EVP_PKEY_free(pkey);
	X509_free(certificate);
	return -EIO;
}

SSL_CTX *tls_server_context(int version, EVP_PKEY *pkey, X509 *certificate)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (!ctx)
		return NULL;
	if (!SSL_CTX_use_certificate(ctx, certificate) || !SSL_CTX_use_PrivateKey(ctx, pkey) ||
	    !SSL_CTX_set_min_proto_version(ctx, version) ||
	    !SSL_CTX_set_max_proto_version(ctx, version) ||
	    !SSL_CTX_set_session_id_context(ctx, (const unsigned char *)"test", 4)) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	SSL_CTX_set_timeout(ctx, 300);
	return ctx;
}

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	SSL_SESSION **newest = SSL_get_app_data(ssl);

	SSL_SESSION_free(*newest);
	/* A copy: OpenSSL makes a session unusable whose connection ends badly. */
	*newest = SSL_SESSION_dup(session);
	return 0;
}

SSL_CTX *tls_client_context(int version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	if (!ctx)
		return NULL;
	SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, keep_session);
	if (!SSL_CTX_set_min_proto_version(ctx, version) ||
	    !SSL_CTX_set_max_proto_version(ctx, version)) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	return ctx;
}

void tls_client_name(SSL_CTX *client, const char *name)
{
	/* Only read; OpenSSL's application data is not const. */
	SSL_CTX_set_app_data(client, (void *)(uintptr_t)name);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Not inlined and not static, or a profiler could not tell them apart. */
SSL *tls_server_open(SSL_CTX *ctx, BIO *bio);
int tls_server_step(SSL *ssl);
void tls_server_close(SSL *ssl, bool unclean);

__attribute__((noinline)) SSL *tls_server_open(SSL_CTX *ctx, BIO *bio)
{
	SSL *ssl = SSL_new(ctx);

	if (!ssl) {
		BIO_free(bio);
		return NULL;
	}
	SSL_set_bio(ssl, bio, bio);
	SSL_set_accept_state(ssl);
	return ssl;
}

__attribute__((noinline)) int tls_server_step(SSL *ssl)
{
	return SSL_do_handshake(ssl);
}

__attribute__((noinline)) void tls_server_close(SSL *ssl, bool unclean)
{
	if (!unclean)
		SSL_shutdown(ssl);
	SSL_free(ssl);
}

static int step_both(SSL *server, SSL *client, uint64_t *server_ns)
{
	uint64_t start;
	char byte;

	/* SSL_read() does the client's handshake, and takes the tickets that come after it. */
	for (unsigned i = 0; i < STEPS_MAX; i++) {
		int from_client = SSL_read(client, &byte, 1);

		if (SSL_get_error(client, from_client) != SSL_ERROR_WANT_READ)
			return -EPROTO;
		if (SSL_is_init_finished(server)) {
			if (SSL_is_init_finished(client) && !BIO_pending(SSL_get_rbio(client)))
				return 0;
			continue;
		}
		start = now_ns();
		from_client = tls_server_step(server);
		*server_ns += now_ns() - start;
		if (from_client != 1 && SSL_get_error(server, from_client) != SSL_ERROR_WANT_READ)
			return -EPROTO;
	}
	return -EPROTO;
}

int tls_connect(SSL_CTX *server_ctx, SSL_CTX *client_ctx, SSL_SESSION *resume, bool unclean,
                struct tls_outcome *out)
{
	struct tls_outcome outcome = {0};
	BIO *server_bio, *client_bio;
	SSL *server, *client;
	uint64_t start;
	int r = -EPROTO;

	ERR_clear_error();
	if (!BIO_new_bio_pair(&server_bio, PAIR_BYTES, &client_bio, PAIR_BYTES))
		return -ENOMEM;
	client = SSL_new(client_ctx);
	if (!client) {
		BIO_free(server_bio);
		BIO_free(client_bio);
		return -ENOMEM;
	}
	SSL_set_bio(client, client_bio, client_bio);
	SSL_set_connect_state(client);
	SSL_set_app_data(client, &outcome.session);
	if (SSL_CTX_get_app_data(client_ctx))
		(void)SSL_set_tlsext_host_name(client, SSL_CTX_get_app_data(client_ctx));
	start = now_ns();
	server = tls_server_open(server_ctx, server_bio);
	outcome.server_ns = now_ns() - start;
	if (server && (!resume || SSL_set_session(client, resume)))
		r = step_both(server, client, &outcome.server_ns);
	/* A ticket that TLS 1.2 renews does not come through the callback. */
	if (r == 0 && !outcome.session && SSL_version(client) == TLS1_2_VERSION)
		outcome.session = SSL_SESSION_dup(SSL_get0_session(client));
	if (server) {
		outcome.reused = SSL_session_reused(server);
		outcome.notice = tlsbaton_ssl_notice(server);
		outcome.expires_s = tlsbaton_ssl_expires(server);
		start = now_ns();
		tls_server_close(server, unclean || r < 0);
		outcome.server_ns += now_ns() - start;
	}
	SSL_set_shutdown(client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(client);
	if (r < 0)
		SSL_SESSION_free(outcome.session);
	else
		*out = outcome;
	return r;
}
