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
 * bind.c writes that into new sessions and compares it.
 *
 * The fingerprint is SHA-256 over, each with its length: the session ID context; verify mode and depth; flags, depth
 * and level of the verification's parameters, of the context and of its trust store; the names of authorities that
 * are sent to clients; and the digests of all certificates and revocation lists in the trust store. Sets are
 * sorted, so that the order of files does not count. Revocation lists are part of it: a new one ends sessions that
 * were made under the old, which is what it is for.
 *
 * What is not seen: directories of hashed certificates (SSLCACertificatePath), which OpenSSL reads as it needs them;
 * and code, such as a verify callback.
 *
 * The session ID context has no getter. But OpenSSL puts it into every new session, also a client's, and a client
 * makes its session when it writes its ClientHello. So one is written, into memory, and thrown away. The context is
 * lent to it the way a server name would, SSL_set_SSL_CTX(), which gives the ID context along; all else, and all
 * callbacks of the server, stay out of it.
 *
 *     application's bytes | name | policy 16 | verify mode 1 | expiry 8 | length of name 1 | magic 4
 */
#include "client/policy.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509_vfy.h>
#include <time.h>

#define DOMAIN "tlsbaton policy 1"
#define MAGIC "tbp1"
#define MAGIC_BYTES 4
#define FIXED_BYTES (POLICY_BOUND_BYTES + 1 + 8 + 1 + MAGIC_BYTES)
#define EXTENSION_HEADER_BYTES 5

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

static void put_param(struct hash *hash, X509_VERIFY_PARAM *param)
{
	put_number(hash, X509_VERIFY_PARAM_get_flags(param));
	put_number(hash, (uint64_t)X509_VERIFY_PARAM_get_depth(param));
	put_number(hash, (uint64_t)X509_VERIFY_PARAM_get_auth_level(param));
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

/* A client that has written its hello to nobody, with the session ID context of `ctx`. */
static SSL *make_client(SSL_CTX *ctx)
{
	SSL_CTX *own = SSL_CTX_new(TLS_client_method());
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	SSL *ssl = own ? SSL_new(own) : NULL;

	SSL_CTX_free(own); /* `ssl` holds it */
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

int policy_fingerprint(SSL_CTX *ctx, uint8_t out[POLICY_BYTES])
{
	struct hash hash = {.ctx = EVP_MD_CTX_new()};
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
	put_store(&hash, SSL_CTX_get_cert_store(ctx)); /* each context has one */
	hash.failed |= !EVP_DigestFinal_ex(hash.ctx, digest, NULL);
	EVP_MD_CTX_free(hash.ctx);
	ERR_pop_to_mark();
	if (hash.failed)
		return -ENOMEM;
	memcpy(out, digest, POLICY_BYTES);
	return 0;
}

/* ---- What a session is bound to ---- */

/* Out: the application data in front of the binding. False: there is no binding behind it. */
static bool split(SSL_SESSION *session, const uint8_t **data, size_t *n_own, struct binding *out)
{
	const uint8_t *fixed;
	void *bytes = NULL;
	size_t n = 0;

	if (!SSL_SESSION_get0_ticket_appdata(session, &bytes, &n) || !bytes)
		n = 0;
	*data = bytes;
	*n_own = n;
	if (n < FIXED_BYTES)
		return false;
	fixed = *data + n - FIXED_BYTES;
	out->n_name = fixed[POLICY_BOUND_BYTES + 1 + 8];
	if (memcmp(fixed + FIXED_BYTES - MAGIC_BYTES, MAGIC, MAGIC_BYTES) != 0 ||
	    out->n_name > n - FIXED_BYTES)
		return false;
	memcpy(out->policy, fixed, POLICY_BOUND_BYTES);
	out->verify_mode = fixed[POLICY_BOUND_BYTES];
	out->expires_s = 0;
	for (size_t i = 0; i < 8; i++)
		out->expires_s =
		    (int64_t)((uint64_t)out->expires_s << 8 | fixed[POLICY_BOUND_BYTES + 1 + i]);
	out->name = fixed - out->n_name;
	*n_own = n - FIXED_BYTES - out->n_name;
	return true;
}

bool binding_read(SSL_SESSION *session, struct binding *out)
{
	struct binding binding;
	const uint8_t *data;
	size_t n_own;

	if (!split(session, &data, &n_own, &binding))
		return false;
	*out = binding;
	return true;
}

static int write_behind(SSL_SESSION *session, const uint8_t *data, size_t n_own,
                        const struct binding *binding, uint8_t *bytes)
{
	uint8_t *at = bytes;

	if (n_own > 0)
		memcpy(at, data, n_own);
	at += n_own;
	if (binding->n_name > 0)
		memcpy(at, binding->name, binding->n_name);
	at += binding->n_name;
	memcpy(at, binding->policy, POLICY_BOUND_BYTES);
	at += POLICY_BOUND_BYTES;
	*at++ = binding->verify_mode;
	for (int i = 7; i >= 0; i--)
		*at++ = (uint8_t)((uint64_t)binding->expires_s >> (8 * i));
	*at++ = binding->n_name;
	memcpy(at, MAGIC, MAGIC_BYTES); /* NOLINT(bugprone-not-null-terminated-result) */
	at += MAGIC_BYTES;
	return SSL_SESSION_set1_ticket_appdata(session, bytes, (size_t)(at - bytes)) ? 0 : -ENOMEM;
}

int binding_write(SSL_SESSION *session, const struct binding *binding)
{
	uint8_t on_stack[FIXED_BYTES + POLICY_NAME_MAX], *bytes;
	struct binding old;
	const uint8_t *data;
	size_t n_own;
	int r;

	(void)split(session, &data, &n_own, &old);
	if (n_own == 0)
		return write_behind(session, NULL, 0, binding, on_stack);
	bytes = malloc(n_own + sizeof(on_stack));
	if (!bytes)
		return -ENOMEM;
	r = write_behind(session, data, n_own, binding, bytes);
	free(bytes);
	return r;
}

int64_t binding_certificate_ends(SSL_SESSION *session)
{
	const X509 *certificate = SSL_SESSION_get0_peer(session);
	struct tm ends;

	if (!certificate)
		return INT64_MAX;
	/* One that cannot be read has been found good by somebody; what comes of it is not to last. */
	if (!ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &ends))
		return 0;
	return timegm(&ends);
}

/* ---- Names ---- */

static size_t lower(const uint8_t *name, size_t n, uint8_t out[POLICY_NAME_MAX])
{
	/* A longer one OpenSSL refuses, if it takes names at all. */
	n = MIN(n, POLICY_NAME_MAX);
	for (size_t i = 0; i < n; i++)
		out[i] = name[i] >= 'A' && name[i] <= 'Z' ? name[i] | 0x20 : name[i];
	return n;
}

size_t binding_hello_name(SSL *ssl, uint8_t name[POLICY_NAME_MAX])
{
	const unsigned char *extension;
	size_t n, n_name;

	/* A list of one: length 2, type 1, length 2, name (RFC 6066, 3). OpenSSL has not checked it yet, and will
	 * end the handshake if it is malformed; until then it is as good as none. */
	if (!SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &extension, &n) ||
	    n <= EXTENSION_HEADER_BYTES || extension[2] != TLSEXT_NAMETYPE_host_name)
		return 0;
	n_name = (size_t)extension[3] << 8 | extension[4];
	if (n_name != n - EXTENSION_HEADER_BYTES)
		return 0;
	return lower(extension + EXTENSION_HEADER_BYTES, n_name, name);
}

size_t binding_ssl_name(const SSL *ssl, uint8_t name[POLICY_NAME_MAX])
{
	const char *given = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

	return given ? lower((const uint8_t *)given, strlen(given), name) : 0;
}
