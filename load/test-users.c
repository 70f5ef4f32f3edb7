/* What a user keeps: a copy of its session that resumes, without the certificate; and its comings and goings. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <errno.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "users.h"

static struct user *newest; /* who is given the sessions of the handshakes below */

static int keep(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	assert_int_equal(user_keep_session(newest, session), 0);
	return 0;
}

static SSL_CTX *make_server(int version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();

	X509_set_pubkey(certificate, key);
	X509_gmtime_adj(X509_getm_notBefore(certificate), 0);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
	assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
	assert_int_equal(SSL_CTX_use_certificate(ctx, certificate), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(ctx, key), 1);
	SSL_CTX_set_max_proto_version(ctx, version);
	X509_free(certificate);
	EVP_PKEY_free(key);
	return ctx;
}

static SSL_CTX *make_client(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, keep);
	return ctx;
}

/* A handshake in memory; the client offers `session`. Returns whether it was resumed. */
static bool shake_hands(SSL_CTX *of_client, SSL_CTX *of_server, SSL_SESSION *session)
{
	SSL *client = SSL_new(of_client), *server = SSL_new(of_server);
	BIO *near, *far;
	char byte;
	bool resumed;

	assert_int_equal(BIO_new_bio_pair(&near, 0, &far, 0), 1);
	SSL_set_bio(client, near, near);
	SSL_set_bio(server, far, far);
	if (session)
		assert_int_equal(SSL_set_session(client, session), 1);
	for (int i = 0; i < 8; i++) {
		(void)SSL_connect(client);
		(void)SSL_accept(server);
	}
	assert_true(SSL_is_init_finished(client) && SSL_is_init_finished(server));
	(void)SSL_read(client, &byte, 1); /* the tickets of TLS 1.3 */
	resumed = SSL_session_reused(client);
	SSL_free(client);
	SSL_free(server);
	return resumed;
}

static void check_kept_session(int version)
{
	SSL_CTX *server = make_server(version), *client = make_client();
	struct user user = {0};
	SSL_SESSION *session;

	newest = &user;
	assert_false(shake_hands(client, server, NULL));
	assert_non_null(user.session);
	assert_in_range(user.n_session, 50, 500);
	for (int i = 0; i < 2; i++) {
		session = user_get_session(&user);
		assert_non_null(session);
		assert_null(SSL_SESSION_get0_peer(session));
		assert_true(shake_hands(client, server, session));
		SSL_SESSION_free(session);
	}
	user_drop_session(&user);
	assert_null(user_get_session(&user));
	SSL_CTX_free(server);
	SSL_CTX_free(client);
}

static void test_kept_sessions_resume(void **state)
{
	(void)state;
	check_kept_session(TLS1_2_VERSION);
	check_kept_session(TLS1_3_VERSION);
}

/* A session that cannot be encoded leaves the user what it had. */
static void test_unusable_session(void **state)
{
	struct user user = {0};
	SSL_SESSION *empty = SSL_SESSION_new();

	(void)state;
	user.session = OPENSSL_memdup("old", 3);
	user.n_session = 3;
	assert_int_equal(user_keep_session(&user, empty), -EINVAL);
	assert_int_equal(user.n_session, 3);
	assert_null(user_get_session(&user)); /* it is no DER */
	SSL_SESSION_free(empty);
	user_drop_session(&user);
}

static void test_generation(void **state)
{
	struct user user = {0};
	uint8_t before = user.generation;

	(void)state;
	user_drop_session(&user);
	assert_int_not_equal(user.generation, before);
}

static void test_waiting(void **state)
{
	struct users *users;

	(void)state;
	assert_int_equal(users_new(&users, 3000, 2), 0);
	for (uint32_t i = 0; i < 3000; i++) {
		assert_non_null(users_get(users, i));
		users_visit_begin(users, i);
		assert_int_equal(users_n_waiting(users), i);
		users_visit_end(users, i);
		assert_int_equal(users_n_waiting(users), i + 1);
	}
	/* A user's second visit may begin before its first has ended: it is waiting when neither is under way. */
	users_visit_begin(users, 0);
	assert_int_equal(users_n_waiting(users), 2999);
	users_visit_end(users, 0);
	assert_int_equal(users_n_waiting(users), 2999);
	assert_null(users_get(users, 0));
	for (uint32_t i = 1; i < 2000; i++) {
		users_visit_begin(users, i);
		users_visit_end(users, i);
	}
	assert_int_equal(users_n_waiting(users), 1000);
	users_free(users);
	users_free(NULL);
}

static void test_overlapping_visits(void **state)
{
	struct users *users;

	(void)state;
	assert_int_equal(users_new(&users, 1, 2), 0);
	assert_non_null(users_get(users, 0));
	users_visit_begin(users, 0);
	users_visit_begin(users, 0);
	users_visit_end(users, 0);
	assert_int_equal(users_n_waiting(users), 0);
	users_visit_end(users, 0);
	assert_int_equal(users_n_waiting(users), 0);
	users_free(users);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_kept_sessions_resume), cmocka_unit_test(test_unusable_session),
	    cmocka_unit_test(test_generation),           cmocka_unit_test(test_waiting),
	    cmocka_unit_test(test_overlapping_visits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
