/*
 * Who may resume where.
 *
 * A resumed session brings along what its full handshake decided: whether the client has a certificate, and that it
 * was found good. So it must be honoured only where the same would have been decided. OpenSSL compares the session
 * ID context, and that of the listener's first context: it looks for the session before it asks which virtual
 * server the client's name leads to (statem_srvr.c: ssl_get_prev_session() before final_server_name()). A client
 * could so make a session at a server that asks for no certificate and resume at its neighbour that requires one
 * (CVE-2025-23419 of nginx, CVE-2025-23048 of Apache). With sessions shared by nodes, the neighbour may also be a
 * node whose configuration is another.
 *
 * So each session says what it is bound to, in what OpenSSL calls its ticket's application data, which is in the DER
 * of the session and so in the record in the table as in the client's ticket:
 *  - the fingerprint of the policy of the context that served it;
 *  - the server name that the client gave: RFC 6066, 3 wants that, and two servers of one policy may well mean
 *    different things by it;
 *  - the verify mode that the connection had, which a server may have set there and not at its context;
 *  - when it ends. An absolute time that all sessions that come of it inherit: TLS 1.3 makes new sessions at each
 *    resumption, and OpenSSL gives each a whole lifetime. The client's certificate ends it, too.
 * binding.c has its form; bind.c writes it into new sessions and compares it.
 *
 * The fingerprint is SHA-256 over, each with its length: the session ID context; verify mode and depth; the
 * verification's parameters, as far as they can be read, of the context and of its trust store; the names of
 * authorities that are sent to clients; the digests of all certificates and revocation lists in the trust store; and
 * which steps of the verification the program does itself. Sets are sorted, so that the order of files does not count.
 * Revocation lists are part of it: a new one ends sessions that were made under the old, which is what it is for.
 *
 * What is not seen:
 *  - directories of hashed certificates and revocation lists (SSLCACertificatePath), which OpenSSL reads as it needs
 *    them. A store does not say that it has any. Apache names all authorities of its directory to clients, and
 *    those names are seen;
 *  - code. That there is a verify callback counts, but not what it does, as its address is another in each process;
 *    and SSL_CTX_set_cert_verify_callback(3) has no getter;
 *  - purpose, trust and certificate policies among the parameters, which have no getters either;
 *  - what is added to a trust store that is in use (known.c).
 * docs/security.md has these limits for operators.
 *
 * The session ID context has no getter. But OpenSSL puts it into every new session, also a client's, and a client
 * makes its session when it writes its ClientHello. So one is written, into memory, and thrown away. The context is
 * lent to it the way a server name would, SSL_set_SSL_CTX(), which gives the ID context along; all else, and all
 * callbacks of the server, stay out of it.
 */
#include "client/policy.h"

#include <errno.h>
#include <stdbool.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509_vfy.h>

#define DOMAIN "tlsbaton policy 1"

static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;
static SSL_CTX *clients; /* kept: to make one takes six times as long as all else here */

/* ---- Ingredients ---- */

/* Latches the first failure. */
struct hash {
	EVP_MD_CTX *ctx;
	bool failed;
};

static void put(struct hash *hash, const void *bytes, size_t n)
{
	const uint64_t length = n;
	uint8_t header[sizeof(length)];

	for (size_t i = 0; i < sizeof(header); i++)
		header[i] = (uint8_t)(length >> (8 * (sizeof(header) - 1 - i)));
	hash->failed |= !EVP_DigestUpdate(hash->ctx, header, sizeof(header)) ||
	                (n > 0 && !EVP_DigestUpdate(hash->ctx, bytes, n));
}

static void put_number(struct hash *hash, uint64_t number)
{
	uint8_t bytes[sizeof(number)];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(number >> (8 * (sizeof(bytes) - 1 - i)));
	put(hash, bytes, sizeof(bytes));
}

/* The digests of a set's members. */
struct set {
	uint8_t (*members)[POLICY_BYTES];
	size_t n;
};

static int set_init(struct set *set, int n_max)
{
	set->n = 0;
	set->members = calloc((size_t)MAX(n_max, 1), sizeof(*set->members));
	return set->members ? 0 : -ENOMEM;
}

static int compare(const void *a, const void *b)
{
	return memcmp(a, b, POLICY_BYTES);
}

/* A member that stands twice counts once. */
static void put_set(struct hash *hash, struct set *set)
{
	size_t n_kept = 0;

	qsort(set->members, set->n, sizeof(*set->members), compare);
	for (size_t i = 0; i < set->n; i++)
		if (i == 0 || compare(set->members[i], set->members[n_kept - 1]) != 0)
			memcpy(set->members[n_kept++], set->members[i], POLICY_BYTES);
	put(hash, set->members, n_kept * POLICY_BYTES);
	free(set->members);
}

static void put_names(struct hash *hash, const STACK_OF(X509_NAME) * names)
{
	const int n = names ? sk_X509_NAME_num(names) : 0;
	struct set set;

	if (set_init(&set, n) < 0) {
		hash->failed = true;
		return;
	}
	for (int i = 0; i < n; i++)
		if (X509_NAME_digest(sk_X509_NAME_value(names, i), EVP_sha256(), set.members[set.n],
		                     NULL))
			set.n++;
		else
			hash->failed = true;
	put_set(hash, &set);
}

static bool digest_object(const X509_OBJECT *object, uint8_t out[POLICY_BYTES])
{
	switch (X509_OBJECT_get_type(object)) {
	case X509_LU_X509:
		return X509_digest(X509_OBJECT_get0_X509(object), EVP_sha256(), out, NULL);
	case X509_LU_CRL:
		return X509_CRL_digest(X509_OBJECT_get0_X509_CRL(object), EVP_sha256(), out, NULL);
	default:
		return false;
	}
}

static void put_text(struct hash *hash, const char *text)
{
	put(hash, text, text ? strlen(text) : 0);
}

static void put_param(struct hash *hash, X509_VERIFY_PARAM *param)
{
	const uint64_t flags = X509_VERIFY_PARAM_get_flags(param);
	const char *host;
	char *ip;

	put_text(hash, X509_VERIFY_PARAM_get0_name(param));
	put_number(hash, flags);
	put_number(hash, X509_VERIFY_PARAM_get_inh_flags(param));
	put_number(hash, (uint64_t)X509_VERIFY_PARAM_get_depth(param));
	put_number(hash, (uint64_t)X509_VERIFY_PARAM_get_auth_level(param));
	/* Without the flag it may be anything. */
	if (flags & X509_V_FLAG_USE_CHECK_TIME)
		put_number(hash, (uint64_t)X509_VERIFY_PARAM_get_time(param));
	/* Which names a certificate must have. */
	put_number(hash, X509_VERIFY_PARAM_get_hostflags(param));
	for (int i = 0; (host = X509_VERIFY_PARAM_get0_host(param, i)) != NULL; i++)
		put_text(hash, host);
	put_text(hash, X509_VERIFY_PARAM_get0_email(param));
	ip = X509_VERIFY_PARAM_get1_ip_asc(param);
	put_text(hash, ip);
	OPENSSL_free(ip);
}

/* Which steps are the program's own. */
static void put_hooks(struct hash *hash, const SSL_CTX *ctx, const X509_STORE *store)
{
	const bool own[] = {
	    SSL_CTX_get_verify_callback(ctx) != NULL,
	    X509_STORE_get_verify(store) != NULL,
	    X509_STORE_get_verify_cb(store) != NULL,
	    X509_STORE_get_get_issuer(store) != NULL,
	    X509_STORE_get_check_issued(store) != NULL,
	    X509_STORE_get_check_revocation(store) != NULL,
	    X509_STORE_get_get_crl(store) != NULL,
	    X509_STORE_get_check_crl(store) != NULL,
	    X509_STORE_get_cert_crl(store) != NULL,
	    X509_STORE_get_check_policy(store) != NULL,
	    X509_STORE_get_lookup_certs(store) != NULL,
	    X509_STORE_get_lookup_crls(store) != NULL,
	};

	put(hash, own, sizeof(own));
}

static void put_store(struct hash *hash, X509_STORE *store)
{
	const STACK_OF(X509_OBJECT) * objects;
	struct set set;
	int n;

	put_param(hash, X509_STORE_get0_param(store));
	if (!X509_STORE_lock(store)) {
		hash->failed = true;
		return;
	}
	objects = X509_STORE_get0_objects(store);
	n = sk_X509_OBJECT_num(objects);
	if (set_init(&set, n) < 0) {
		X509_STORE_unlock(store);
		hash->failed = true;
		return;
	}
	for (int i = 0; i < n; i++)
		if (digest_object(sk_X509_OBJECT_value(objects, i), set.members[set.n]))
			set.n++;
	X509_STORE_unlock(store);
	put_set(hash, &set);
}

static void ignore_info(const SSL *ssl, int where, int value)
{
	(void)ssl;
	(void)where;
	(void)value;
}

static void make_once(void)
{
	clients = SSL_CTX_new(TLS_client_method());
}

/* A client that has written its hello to nobody, with the session ID context of `ctx`. */
static SSL *make_client(SSL_CTX *ctx)
{
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	SSL *ssl = NULL;

	if (CRYPTO_THREAD_run_once(&once, make_once) && clients)
		ssl = SSL_new(clients);
	if (!ssl || !in || !out || !SSL_set_SSL_CTX(ssl, ctx)) {
		BIO_free(in);
		BIO_free(out);
		SSL_free(ssl);
		return NULL;
	}
	SSL_set_bio(ssl, in, out);
	SSL_set_info_callback(ssl, ignore_info);              /* in the place of the server's */
	(void)SSL_set_max_proto_version(ssl, TLS1_2_VERSION); /* no key share is to be made */
	(void)SSL_connect(ssl);
	return ssl;
}

static void put_id_context(struct hash *hash, SSL_CTX *ctx)
{
	SSL *client = make_client(ctx);
	SSL_SESSION *session = client ? SSL_get0_session(client) : NULL;
	const uint8_t *id_context;
	unsigned n;

	if (session) {
		id_context = SSL_SESSION_get0_id_context(session, &n);
		put(hash, id_context, n);
	} else {
		hash->failed = true;
	}
	SSL_free(client);
}

X509_STORE *policy_store(SSL_CTX *ctx)
{
	X509_STORE *store = NULL;

	(void)SSL_CTX_get0_verify_cert_store(ctx, &store);
	return store ? store : SSL_CTX_get_cert_store(ctx); /* each context has one */
}

int policy_fingerprint(SSL_CTX *ctx, uint8_t out[POLICY_BYTES])
{
	struct hash hash = {.ctx = EVP_MD_CTX_new()};
	X509_STORE *store = policy_store(ctx);
	uint8_t digest[EVP_MAX_MD_SIZE];

	if (!hash.ctx)
		return -ENOMEM;
	/* What fails in here must not be taken for an error of the server's. */
	ERR_set_mark();
	hash.failed = !EVP_DigestInit_ex(hash.ctx, EVP_sha256(), NULL);
	put(&hash, DOMAIN, sizeof(DOMAIN) - 1);
	put_id_context(&hash, ctx);
	put_number(&hash, (uint64_t)SSL_CTX_get_verify_mode(ctx));
	put_number(&hash, (uint64_t)SSL_CTX_get_verify_depth(ctx));
	put_number(&hash, (uint64_t)SSL_CTX_get_security_level(ctx));
	put_param(&hash, SSL_CTX_get0_param(ctx));
	put_names(&hash, SSL_CTX_get_client_CA_list(ctx));
	put_names(&hash, SSL_CTX_get0_CA_list(ctx));
	put_store(&hash, store);
	put_hooks(&hash, ctx, store);
	hash.failed |= !EVP_DigestFinal_ex(hash.ctx, digest, NULL);
	EVP_MD_CTX_free(hash.ctx);
	ERR_pop_to_mark();
	if (hash.failed)
		return -ENOMEM;
	memcpy(out, digest, POLICY_BYTES);
	return 0;
}
