/*
 * What a handshake costs the client is to be what TLS demands of it and no more. A chain is therefore verified once for
 * each certificate that the server shows in a row, and with --insecure never (OpenSSL itself verifies it even
 * with SSL_VERIFY_NONE, and ignores the result). The server's signature is checked in every full handshake.
 *
 * One read takes in several records, and a connection's buffers are freed as soon as they are empty.
 */
#include "tls.h"

#include <errno.h>
#include <stdio.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>

#define READ_BUFFER_BYTES 65536

static int accept_any(X509_STORE_CTX *store, void *arg)
{
	(void)store;
	(void)arg;
	return 1;
}

static int verify_once(X509_STORE_CTX *store, void *arg)
{
	struct tls *tls = arg;
	unsigned char *der = NULL;
	int n = i2d_X509(X509_STORE_CTX_get0_cert(store), &der);
	int result;

	if (n > 0 && n == tls->n_verified && memcmp(der, tls->verified, (size_t)n) == 0) {
		OPENSSL_free(der);
		return 1;
	}
	result = X509_verify_cert(store);
	if (result > 0 && n > 0) {
		OPENSSL_free(tls->verified);
		tls->verified = der;
		tls->n_verified = n;
	} else {
		OPENSSL_free(der);
	}
	return result;
}

const char *tls_server_name(const struct options *options, const struct target *target)
{
	if (options->sni)
		return options->sni;
	return target->host_is_address ? NULL : target->host;
}

static int fail(char *error, size_t n_error, const char *option, const char *value)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = ERR_GET_LIB(code) == ERR_LIB_SYS ? strerror(ERR_GET_REASON(code))
	                                                      : ERR_reason_error_string(code);

	snprintf(error, n_error, "%s \"%s\": %s", option, value ? value : "",
	         reason ? reason : "OpenSSL refuses it");
	ERR_clear_error();
	return -EINVAL;
}

static int set_trust(struct tls *tls, const struct options *options, const struct target *target,
                     char *error, size_t n_error)
{
	X509_VERIFY_PARAM *param = SSL_CTX_get0_param(tls->ctx);
	const char *name = tls_server_name(options, target);

	if (options->insecure) {
		SSL_CTX_set_cert_verify_callback(tls->ctx, accept_any, NULL);
		return 0;
	}
	SSL_CTX_set_verify(tls->ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(tls->ctx, verify_once, tls);
	if (options->ca ? SSL_CTX_load_verify_file(tls->ctx, options->ca) != 1
	                : SSL_CTX_set_default_verify_paths(tls->ctx) != 1)
		return fail(error, n_error, "--ca", options->ca);
	if (name ? X509_VERIFY_PARAM_set1_host(param, name, 0) != 1
	         : X509_VERIFY_PARAM_set1_ip_asc(param, target->host) != 1)
		return fail(error, n_error, "--sni", name ? name : target->host);
	return 0;
}

static int set_suites(SSL_CTX *ctx, const struct options *options, char *error, size_t n_error)
{
	if (options->ciphers && SSL_CTX_set_cipher_list(ctx, options->ciphers) != 1)
		return fail(error, n_error, "--ciphers", options->ciphers);
	if (options->ciphersuites && SSL_CTX_set_ciphersuites(ctx, options->ciphersuites) != 1)
		return fail(error, n_error, "--ciphersuites", options->ciphersuites);
	if (options->groups && SSL_CTX_set1_groups_list(ctx, options->groups) != 1)
		return fail(error, n_error, "--groups", options->groups);
	return 0;
}

static int set_certificate(SSL_CTX *ctx, const struct options *options, char *error, size_t n_error)
{
	const char *key = options->key ? options->key : options->cert;

	if (!options->cert)
		return 0;
	if (SSL_CTX_use_certificate_chain_file(ctx, options->cert) != 1)
		return fail(error, n_error, "--cert", options->cert);
	if (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) != 1 ||
	    SSL_CTX_check_private_key(ctx) != 1)
		return fail(error, n_error, "--key", key);
	return 0;
}

int tls_init(struct tls *tls, const struct options *options, const struct target *target,
             int (*on_session)(SSL *, SSL_SESSION *), char *error, size_t n_error)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	int r;

	*tls = (struct tls){.ctx = ctx};
	if (!ctx) {
		snprintf(error, n_error, "%s", strerror(ENOMEM));
		return -ENOMEM;
	}
	SSL_CTX_set_min_proto_version(ctx, options->tls);
	SSL_CTX_set_max_proto_version(ctx, options->tls);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, on_session);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_default_read_buffer_len(ctx, READ_BUFFER_BYTES);
	if (options->no_tickets && options->tls == TLS1_2_VERSION)
		SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	r = set_trust(tls, options, target, error, n_error);
	if (r == 0)
		r = set_suites(ctx, options, error, n_error);
	if (r == 0)
		r = set_certificate(ctx, options, error, n_error);
	if (r < 0)
		tls_deinit(tls);
	return r;
}

void tls_deinit(struct tls *tls)
{
	SSL_CTX_free(tls->ctx);
	OPENSSL_free(tls->verified);
	*tls = (struct tls){0};
}
