/*
 * Two ways to prove membership, never both:
 *
 *  - A group key: an external PSK (RFC 8446, 2.2) with (EC)DHE, so that a key that leaks later
 *    opens no recorded connection. No certificate is configured on either side, the dialling side
 *    trusts no authority and checks that the PSK was in fact used; so a side without the key has
 *    nothing that it could offer. The identity on the wire is the group's name, which is not
 *    secret.
 *  - Certificates: both sides verify against the one authority that the file names, and the node
 *    name that is said in hello must stand in the certificate.
 *
 * TLS 1.3 only, no tickets, no early data, no session cache: each connection is a handshake of
 * its own, and recorded bytes replayed to us fail in the handshake.
 *
 * The one cipher suite is TLS_AES_256_GCM_SHA384: what it carries are keys of sessions that may
 * themselves be AES-256, and it costs nothing to speak of. At 16 KiB records AES-256-GCM and
 * AES-128-GCM were measured within 3 % of each other (3.1-3.2 GB/s a core, `openssl speed`), and
 * a million records are 0.17 GB. The PSK's hash is the suite's.
 */
#include "repl/tls.h"

#include <errno.h>
#include <stdio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>

#define TLS_SUITE "TLS_AES_256_GCM_SHA384"
#define TLS_IDENTITY_PREFIX "tlsbaton/"

static const unsigned char tls_suite_id[2] = {0x13, 0x02};

struct tls {
	SSL_CTX *client, *server;
	bool psk;
	uint8_t key[REPL_KEY_BYTES];
	char identity[sizeof(TLS_IDENTITY_PREFIX) + REPL_NAME_MAX];
};

bool tls_is_refusal(void)
{
	unsigned long code = ERR_peek_last_error();

	return code && ERR_GET_LIB(code) == ERR_LIB_SSL &&
	       ERR_GET_REASON(code) != SSL_R_UNEXPECTED_EOF_WHILE_READING;
}

void tls_take_error(char *text, size_t text_size)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = code ? ERR_reason_error_string(code) : NULL;

	/* OpenSSL names alerts after the version that brought them: misleading, for all speak 1.3. */
	if (reason &&
	    (strncmp(reason, "sslv3 alert ", 12) == 0 || strncmp(reason, "tlsv1 alert ", 12) == 0))
		reason += 6;
	snprintf(text, text_size, "%s", reason ? reason : "connection closed");
	ERR_clear_error();
}

/* The group key in the shape that OpenSSL takes an external PSK in; NULL: no memory. */
static SSL_SESSION *tls_psk_session(const struct tls *tls, SSL *ssl)
{
	const SSL_CIPHER *suite = SSL_CIPHER_find(ssl, tls_suite_id);
	SSL_SESSION *session = SSL_SESSION_new();

	if (!suite || !session ||
	    !SSL_SESSION_set1_master_key(session, tls->key, sizeof(tls->key)) ||
	    !SSL_SESSION_set_cipher(session, suite) ||
	    !SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION)) {
		SSL_SESSION_free(session);
		return NULL;
	}
	return session;
}

static int tls_use_psk(SSL *ssl, const EVP_MD *md, const unsigned char **id, size_t *n_id,
                       SSL_SESSION **out)
{
	struct tls *tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	SSL_SESSION *session = tls_psk_session(tls, ssl);

	if (!session)
		return 0;
	/* `md` is set once the server has chosen a suite: ours is the only one, so no other hash
	 * can be meant. */
	if (md && SSL_CIPHER_get_handshake_digest(SSL_SESSION_get0_cipher(session)) != md) {
		SSL_SESSION_free(session);
		return 0;
	}
	*id = (const unsigned char *)tls->identity;
	*n_id = strlen(tls->identity);
	*out = session;
	return 1;
}

static int tls_find_psk(SSL *ssl, const unsigned char *id, size_t n_id, SSL_SESSION **out)
{
	struct tls *tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	/* An unknown identity: the handshake goes on, and fails for want of a certificate. */
	*out = NULL;
	if (n_id == strlen(tls->identity) && memcmp(id, tls->identity, n_id) == 0) {
		*out = tls_psk_session(tls, ssl);
		return *out != NULL;
	}
	return 1;
}

static SSL_CTX *tls_context(struct tls *tls, const SSL_METHOD *method)
{
	int groups[] = {NID_X25519, NID_X9_62_prime256v1};
	SSL_CTX *ctx = SSL_CTX_new(method);

	if (!ctx)
		return NULL;
	if (!SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) ||
	    !SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) ||
	    !SSL_CTX_set_ciphersuites(ctx, TLS_SUITE) ||
	    !SSL_CTX_set1_groups(ctx, groups, ARRAY_SIZE(groups)) ||
	    !SSL_CTX_set_num_tickets(ctx, 0)) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_set_app_data(ctx, tls);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	/* Plaintext does not stay in OpenSSL's read buffer once it has been handed to us. */
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION |
	                             SSL_OP_CLEANSE_PLAINTEXT | SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	/* One system call takes in as many TLS records as have arrived, not two for each. */
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_default_read_buffer_len(ctx, 64 * 1024);
	/* A connection ends with its socket: frames say their length and acks are explicit. */
	SSL_CTX_set_quiet_shutdown(ctx, 1);
	return ctx;
}

/* A key under a passphrase is one that cannot be read: nobody is there to ask for it. */
static int tls_no_passphrase(char *out, int n, int for_writing, void *arg)
{
	(void)out, (void)n, (void)for_writing, (void)arg;
	return -1;
}

static int tls_load_certificates(SSL_CTX *ctx, const struct repl_config *config, char *error,
                                 size_t error_size)
{
	char reason[128];
	const char *step, *file, *remedy;

	ERR_clear_error();
	SSL_CTX_set_default_passwd_cb(ctx, tls_no_passphrase);
	if (SSL_CTX_use_certificate_chain_file(ctx, config->certificate_file) != 1) {
		step = "certificate", file = config->certificate_file;
		remedy = "a PEM file that begins with this node's certificate";
	} else if (SSL_CTX_use_PrivateKey_file(ctx, config->private_key_file, SSL_FILETYPE_PEM) !=
	               1 ||
	           SSL_CTX_check_private_key(ctx) != 1) {
		step = "private key", file = config->private_key_file;
		remedy = "the PEM file with the certificate's key, without a passphrase";
	} else if (SSL_CTX_load_verify_file(ctx, config->ca_file) != 1) {
		step = "authority's certificate", file = config->ca_file;
		remedy = "a PEM file with the certificate that peers' are signed by";
	} else {
		return 0;
	}
	tls_take_error(reason, sizeof(reason));
	snprintf(error, error_size, "cannot use the %s in %s: %s; name %s", step, file, reason,
	         remedy);
	return -EINVAL;
}

static int tls_set_up(struct tls *tls, const struct repl_config *config, char *error,
                      size_t error_size)
{
	int r;

	tls->client = tls_context(tls, TLS_client_method());
	tls->server = tls_context(tls, TLS_server_method());
	if (!tls->client || !tls->server) {
		tls_take_error(error, error_size);
		return -ENOMEM;
	}
	SSL_CTX_set_verify(tls->client, SSL_VERIFY_PEER, NULL);
	if (tls->psk) {
		SSL_CTX_set_psk_use_session_callback(tls->client, tls_use_psk);
		SSL_CTX_set_psk_find_session_callback(tls->server, tls_find_psk);
		return 0;
	}
	SSL_CTX_set_verify(tls->server, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	r = tls_load_certificates(tls->client, config, error, error_size);
	return r ? r : tls_load_certificates(tls->server, config, error, error_size);
}

int tls_new(struct tls **out, const struct repl_config *config, char *error, size_t error_size)
{
	struct tls *tls;
	int r;

	if (!config->group_key &&
	    !(config->certificate_file && config->private_key_file && config->ca_file)) {
		snprintf(error, error_size,
		         "neither a group key nor certificate, private key and authority are "
		         "configured");
		return -EINVAL;
	}
	tls = calloc(1, sizeof(*tls));
	if (!tls)
		return -ENOMEM;
	snprintf(tls->identity, sizeof(tls->identity), TLS_IDENTITY_PREFIX "%s", config->group);
	tls->psk = config->group_key != NULL;
	if (tls->psk)
		memcpy(tls->key, config->group_key, sizeof(tls->key));
	r = tls_set_up(tls, config, error, error_size);
	if (r < 0) {
		tls_free(tls);
		return r;
	}
	*out = tls;
	return 0;
}

void tls_free(struct tls *tls)
{
	if (!tls)
		return;
	SSL_CTX_free(tls->client);
	SSL_CTX_free(tls->server);
	explicit_bzero(tls->key, sizeof(tls->key));
	free(tls);
}

/* The error of our certificate's verification for `purpose`, as a peer makes it; X509_V_OK. */
static int tls_verify_own(const struct tls *tls, const char *purpose)
{
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();
	int result = X509_V_ERR_OUT_OF_MEM;
	STACK_OF(X509) *chain = NULL;

	if (ctx && SSL_CTX_get0_chain_certs(tls->server, &chain) == 1 &&
	    X509_STORE_CTX_init(ctx, SSL_CTX_get_cert_store(tls->server),
	                        SSL_CTX_get0_certificate(tls->server), chain) == 1 &&
	    X509_STORE_CTX_set_default(ctx, purpose) == 1) {
		X509_VERIFY_PARAM_set_auth_level(X509_STORE_CTX_get0_param(ctx),
		                                 SSL_CTX_get_security_level(tls->server));
		(void)X509_verify_cert(ctx);
		result = X509_STORE_CTX_get_error(ctx);
	}
	X509_STORE_CTX_free(ctx);
	ERR_clear_error();
	return result;
}

int tls_check(const struct tls *tls, const char *node, char *text, size_t text_size)
{
	/* Each node dials and is dialled. */
	static const char *const purposes[] = {"ssl_server", "ssl_client"};

	if (tls->psk)
		return 0;
	if (X509_check_host(SSL_CTX_get0_certificate(tls->server), node, 0,
	                    X509_CHECK_FLAG_NO_WILDCARDS, NULL) != 1) {
		snprintf(text, text_size,
		         "it does not name this node, and peers would refuse it; have one issued "
		         "for \"%s\" (as a DNS name, or as the CN)",
		         node);
		return -EINVAL;
	}
	for (size_t i = 0; i < ARRAY_SIZE(purposes); i++) {
		int result = tls_verify_own(tls, purposes[i]);

		if (result == X509_V_OK)
			continue;
		snprintf(text, text_size,
		         "peers with the same ca would refuse it: %s; have one issued by an "
		         "authority that stands in ca, for servers and clients",
		         X509_verify_cert_error_string(result));
		return result == X509_V_ERR_CERT_HAS_EXPIRED ||
		               result == X509_V_ERR_CERT_NOT_YET_VALID
		           ? TLS_OUT_OF_DATE
		           : -EINVAL;
	}
	return 0;
}

bool tls_has_key(const struct tls *tls)
{
	return tls->psk;
}

static bool tls_has_authority(const STACK_OF(X509_OBJECT) * authorities, const X509_OBJECT *wanted)
{
	for (int i = 0; i < sk_X509_OBJECT_num(authorities); i++) {
		const X509_OBJECT *object = sk_X509_OBJECT_value(authorities, i);

		if (X509_OBJECT_get_type(object) == X509_LU_X509 &&
		    X509_cmp(X509_OBJECT_get0_X509(object), X509_OBJECT_get0_X509(wanted)) == 0)
			return true;
	}
	return false;
}

bool tls_same_trust(const struct tls *a, const struct tls *b)
{
	const STACK_OF(X509_OBJECT) * ours, *theirs;

	if (a->psk || b->psk)
		return a->psk && b->psk && strcmp(a->identity, b->identity) == 0 &&
		       CRYPTO_memcmp(a->key, b->key, sizeof(a->key)) == 0;
	ours = X509_STORE_get0_objects(SSL_CTX_get_cert_store(a->server));
	theirs = X509_STORE_get0_objects(SSL_CTX_get_cert_store(b->server));
	if (sk_X509_OBJECT_num(ours) != sk_X509_OBJECT_num(theirs))
		return false;
	for (int i = 0; i < sk_X509_OBJECT_num(ours); i++) {
		const X509_OBJECT *object = sk_X509_OBJECT_value(ours, i);

		/* A revocation list counts as another authority. */
		if (X509_OBJECT_get_type(object) != X509_LU_X509 ||
		    !tls_has_authority(theirs, object))
			return false;
	}
	return true;
}

static SSL *tls_ssl(SSL_CTX *ctx, int fd)
{
	SSL *ssl = SSL_new(ctx);

	if (ssl && !SSL_set_fd(ssl, fd)) {
		SSL_free(ssl);
		ssl = NULL;
	}
	if (!ssl)
		ERR_clear_error();
	return ssl;
}

SSL *tls_dial(struct tls *tls, int fd)
{
	SSL *ssl = tls_ssl(tls->client, fd);

	if (ssl)
		SSL_set_connect_state(ssl);
	return ssl;
}

SSL *tls_accept(struct tls *tls, int fd)
{
	SSL *ssl = tls_ssl(tls->server, fd);

	if (ssl)
		SSL_set_accept_state(ssl);
	return ssl;
}

bool tls_proved(const struct tls *tls, SSL *ssl)
{
	if (tls->psk)
		return SSL_session_reused(ssl);
	return SSL_get0_peer_certificate(ssl) && SSL_get_verify_result(ssl) == X509_V_OK;
}

bool tls_may_be(const struct tls *tls, SSL *ssl, const char *node)
{
	X509 *certificate;

	if (tls->psk)
		return true;
	certificate = SSL_get0_peer_certificate(ssl);
	return certificate &&
	       X509_check_host(certificate, node, 0, X509_CHECK_FLAG_NO_WILDCARDS, NULL) == 1;
}
