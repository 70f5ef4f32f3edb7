/* Fingerprints of policies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "client/policy.h"
#include "client/test-tls.h"

struct fixture {
	EVP_PKEY *pkeys[2];
	X509 *certificates[2];
	X509_CRL *revocations; /* of the first */
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	for (size_t i = 0; i < 2; i++)
		assert_int_equal(tls_credentials(TLS_KEY_ECDSA, &f->pkeys[i], &f->certificates[i]),
		                 0);
	f->revocations = X509_CRL_new();
	X509_CRL_set_issuer_name(f->revocations, X509_get_subject_name(f->certificates[0]));
	X509_CRL_set1_lastUpdate(f->revocations, X509_get0_notBefore(f->certificates[0]));
	assert_true(X509_CRL_sign(f->revocations, f->pkeys[0], EVP_sha256()) > 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	for (size_t i = 0; i < 2; i++) {
		EVP_PKEY_free(f->pkeys[i]);
		X509_free(f->certificates[i]);
	}
	X509_CRL_free(f->revocations);
	free(f);
	return 0;
}

static void trust(SSL_CTX *ctx, X509 *certificate)
{
	assert_int_equal(X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), certificate), 1);
}

static void ask_for(SSL_CTX *ctx, X509 *certificate)
{
	assert_int_equal(SSL_CTX_add_client_CA(ctx, certificate), 1);
}

/* A server that asks its clients for certificates of the first authority. */
static SSL_CTX *make(struct fixture *f)
{
	SSL_CTX *ctx = tls_server_context(TLS1_2_VERSION, f->pkeys[0], f->certificates[0]);

	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_verify_depth(ctx, 3);
	trust(ctx, f->certificates[0]);
	return ctx;
}

/* Consumes both. */
static bool are_equal(SSL_CTX *a, SSL_CTX *b)
{
	uint8_t of_a[POLICY_BYTES], of_b[POLICY_BYTES], again[POLICY_BYTES];

	assert_int_equal(policy_fingerprint(a, of_a), 0);
	assert_int_equal(policy_fingerprint(b, of_b), 0);
	assert_int_equal(policy_fingerprint(a, again), 0);
	assert_memory_equal(of_a, again, POLICY_BYTES);
	SSL_CTX_free(a);
	SSL_CTX_free(b);
	return memcmp(of_a, of_b, POLICY_BYTES) == 0;
}

static void test_equal_configurations(void **state)
{
	struct fixture *f = *state;

	assert_true(are_equal(make(f), make(f)));
}

/* What a client cannot tell by, and what has nothing to do with clients. */
static void test_what_does_not_count(void **state)
{
	struct fixture *f = *state;
	SSL_CTX *a = make(f), *b = make(f);

	trust(a, f->certificates[1]);
	SSL_CTX_free(b);
	b = tls_server_context(TLS1_3_VERSION, f->pkeys[1], f->certificates[1]);
	SSL_CTX_set_verify(b, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_verify_depth(b, 3);
	SSL_CTX_set_timeout(b, 7);
	SSL_CTX_clear_options(b, SSL_OP_NO_TICKET);
	trust(b, f->certificates[1]);
	trust(b, f->certificates[0]);
	ask_for(a, f->certificates[0]);
	ask_for(a, f->certificates[1]);
	ask_for(b, f->certificates[1]);
	ask_for(b, f->certificates[0]);
	assert_true(are_equal(a, b));
}

static void change_id_context(struct fixture *f, SSL_CTX *ctx)
{
	(void)f;
	assert_int_equal(SSL_CTX_set_session_id_context(ctx, (const uint8_t *)"Test", 4), 1);
}

static void change_id_context_length(struct fixture *f, SSL_CTX *ctx)
{
	(void)f;
	assert_int_equal(SSL_CTX_set_session_id_context(ctx, (const uint8_t *)"test\0", 5), 1);
}

static void change_mode(struct fixture *f, SSL_CTX *ctx)
{
	(void)f;
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
}

static void change_depth(struct fixture *f, SSL_CTX *ctx)
{
	(void)f;
	SSL_CTX_set_verify_depth(ctx, 4);
}

static void change_level(struct fixture *f, SSL_CTX *ctx)
{
	(void)f;
	SSL_CTX_set_security_level(ctx, SSL_CTX_get_security_level(ctx) + 1);
}

static void change_flags(struct fixture *f, SSL_CTX *ctx)
{
	(void)f;
	X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_CRL_CHECK);
}

static void change_store_flags(struct fixture *f, SSL_CTX *ctx)
{
	(void)f;
	X509_STORE_set_flags(SSL_CTX_get_cert_store(ctx), X509_V_FLAG_CRL_CHECK);
}

static void add_name(struct fixture *f, SSL_CTX *ctx)
{
	ask_for(ctx, f->certificates[0]);
}

static void add_certificate(struct fixture *f, SSL_CTX *ctx)
{
	trust(ctx, f->certificates[1]);
}

static void change_store(struct fixture *f, SSL_CTX *ctx)
{
	SSL_CTX_set_cert_store(ctx, X509_STORE_new());
	trust(ctx, f->certificates[1]);
}

static void add_revocations(struct fixture *f, SSL_CTX *ctx)
{
	assert_int_equal(X509_STORE_add_crl(SSL_CTX_get_cert_store(ctx), f->revocations), 1);
}

/* For OpenSSL, in the place of the store above. */
static void set_verify_store(struct fixture *f, SSL_CTX *ctx)
{
	X509_STORE *store = X509_STORE_new();

	assert_int_equal(X509_STORE_add_cert(store, f->certificates[1]), 1);
	assert_int_equal(SSL_CTX_set0_verify_cert_store(ctx, store), 1);
}

static void add_second_name(struct fixture *f, SSL_CTX *ctx)
{
	assert_int_equal(SSL_CTX_add1_to_CA_list(ctx, f->certificates[0]), 1);
}

static void set_time(struct fixture *f, SSL_CTX *ctx)
{
	(void)f;
	X509_VERIFY_PARAM_set_time(SSL_CTX_get0_param(ctx), 1);
}

static void set_host(struct fixture *f, SSL_CTX *ctx)
{
	(void)f;
	assert_int_equal(X509_VERIFY_PARAM_set1_host(SSL_CTX_get0_param(ctx), "client", 0), 1);
}

static void set_host_flags(struct fixture *f, SSL_CTX *ctx)
{
	(void)f;
	X509_VERIFY_PARAM_set_hostflags(SSL_CTX_get0_param(ctx), X509_CHECK_FLAG_NO_WILDCARDS);
}

static void set_email(struct fixture *f, SSL_CTX *ctx)
{
	(void)f;
	assert_int_equal(X509_VERIFY_PARAM_set1_email(SSL_CTX_get0_param(ctx), "a@client", 0), 1);
}

static void set_ip(struct fixture *f, SSL_CTX *ctx)
{
	(void)f;
	assert_int_equal(X509_VERIFY_PARAM_set1_ip_asc(SSL_CTX_get0_param(ctx), "::1"), 1);
}

static int verify(int ok, X509_STORE_CTX *store)
{
	(void)store;
	return ok;
}

static void set_callback(struct fixture *f, SSL_CTX *ctx)
{
	(void)f;
	SSL_CTX_set_verify(ctx, SSL_CTX_get_verify_mode(ctx), verify);
}

static void set_store_callback(struct fixture *f, SSL_CTX *ctx)
{
	(void)f;
	X509_STORE_set_verify_cb(SSL_CTX_get_cert_store(ctx), verify);
}

static int check_revocation(X509_STORE_CTX *store)
{
	(void)store;
	return 1;
}

static void set_store_hook(struct fixture *f, SSL_CTX *ctx)
{
	(void)f;
	X509_STORE_set_check_revocation(SSL_CTX_get_cert_store(ctx), check_revocation);
}

static void test_what_counts(void **state)
{
	static void (*const changes[])(struct fixture * f, SSL_CTX * ctx) = {
	    change_id_context, change_id_context_length,
	    change_mode,       change_depth,
	    change_level,      change_flags,
	    add_name,          change_store_flags,
	    add_certificate,   change_store,
	    add_revocations,   set_verify_store,
	    add_second_name,   set_time,
	    set_host,          set_host_flags,
	    set_email,         set_ip,
	    set_callback,      set_store_callback,
	    set_store_hook,
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		SSL_CTX *changed = make(f), *same = make(f);

		changes[i](f, changed);
		if (are_equal(changed, same))
			fail_msg("change %zu does not count", i);
		changed = make(f);
		same = make(f);
		changes[i](f, changed);
		changes[i](f, same);
		if (!are_equal(changed, same))
			fail_msg("change %zu is not the same twice", i);
	}
}

/* The limits that docs/security.md names: when one falls, it is to say so. */
static void test_what_is_not_seen(void **state)
{
	struct fixture *f = *state;
	SSL_CTX *a = make(f), *b = make(f);

	assert_int_equal(SSL_CTX_load_verify_dir(a, "/nonexistent"), 1);
	assert_int_equal(SSL_CTX_load_verify_dir(b, "/nonexistent/either"), 1);
	assert_int_equal(SSL_CTX_set_purpose(b, X509_PURPOSE_SSL_CLIENT), 1);
	assert_int_equal(SSL_CTX_set_trust(b, X509_TRUST_SSL_CLIENT), 1);
	assert_true(are_equal(a, b));
}

/* A server's callbacks want connections of its own. */
static void never_info(const SSL *ssl, int where, int value)
{
	(void)ssl;
	(void)where;
	(void)value;
	fail();
}

static int never_hello(SSL *ssl, int *alert, void *arg)
{
	(void)ssl;
	(void)alert;
	(void)arg;
	fail();
	return 0;
}

static void never_message(int is_write, int version, int type, const void *bytes, size_t n,
                          SSL *ssl, void *arg)
{
	(void)is_write;
	(void)version;
	(void)type;
	(void)bytes;
	(void)n;
	(void)ssl;
	(void)arg;
	fail();
}

static void test_no_callback_is_called(void **state)
{
	struct fixture *f = *state;
	SSL_CTX *ctx = make(f);

	SSL_CTX_set_info_callback(ctx, never_info);
	SSL_CTX_set_client_hello_cb(ctx, never_hello, NULL);
	SSL_CTX_set_msg_callback(ctx, never_message);
	assert_true(are_equal(ctx, make(f)));
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_equal_configurations), T(test_what_does_not_count),   T(test_what_counts),
	    T(test_what_is_not_seen),     T(test_no_callback_is_called),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
