/*
 * What sessions carry, behind whatever their application keeps in the same place:
 *
 *     application's bytes | name | policy 16 | verify mode 1 | expiry 8 | length of name 1 | magic 4
 */
#include "client/binding.h"

#include <errno.h>
#include <time.h>

#define MAGIC "tbp1"
#define MAGIC_BYTES 4
#define FIXED_BYTES (POLICY_BOUND_BYTES + 1 + 8 + 1 + MAGIC_BYTES)
#define EXTENSION_HEADER_BYTES 5

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
