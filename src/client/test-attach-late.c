/* Contexts that are attached when their first connection begins: what the preload library asks, and when it is told what. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <dlfcn.h>

#include "client/handle.h"
#include "client/test-tls.h"

struct fixture {
	tlsbaton *baton;
	EVP_PKEY *pkey;
	X509 *certificate;
	SSL_CTX *server;
};

/* What happens within tlsbaton_attach(), before its last callback is set. */
static void (*in_between)(SSL_CTX *ctx);

/* Stands before libssl's in this program. */
void SSL_CTX_sess_set_remove_cb(SSL_CTX *ctx, void (*remove)(SSL_CTX *ctx, SSL_SESSION *session))
{
	void (*real)(SSL_CTX *, void (*)(SSL_CTX *, SSL_SESSION *));

	*(void **)&real = dlsym(RTLD_NEXT, "SSL_CTX_sess_set_remove_cb");
	assert_non_null(real);
	if (in_between)
		in_between(ctx);
	real(ctx, remove);
}

static int set_up(void **state)
{
	/* No daemon. */
	const struct tlsbaton_options options = {.size = sizeof(options),
	                                         .socket_path = "/nowhere/worker.sock"};
	struct fixture *f = calloc(1, sizeof(*f));

	assert_int_equal(tls_credentials(TLS_KEY_ECDSA, &f->pkey, &f->certificate), 0);
	f->server = tls_server_context(TLS1_3_VERSION, f->pkey, f->certificate);
	assert_non_null(f->server);
	assert_int_equal(tlsbaton_new(&f->baton, &options), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	in_between = NULL;
	SSL_CTX_free(f->server);
	tlsbaton_free(f->baton);
	EVP_PKEY_free(f->pkey);
	X509_free(f->certificate);
	free(f);
	return 0;
}

static int ignore_new(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	(void)session;
	return 0;
}

static int state_of_a_new_one(SSL_CTX *ctx)
{
	SSL *ssl = SSL_new(ctx);
	int r;

	assert_non_null(ssl);
	r = attach_state(ssl);
	SSL_free(ssl);
	return r;
}

static void test_states(void **state)
{
	struct fixture *f = *state;
	SSL *ssl;

	assert_int_equal(attach_prepare(f->server), 0);
	ssl = SSL_new(f->server);
	assert_non_null(ssl);
	assert_int_equal(attach_state(ssl), ATTACH_NOT);
	assert_int_equal(attach_ssl(f->baton, ssl), 0);
	assert_int_equal(attach_state(ssl), 0);
	assert_int_equal(attach_ssl(f->baton, ssl), 0);
	assert_int_equal(state_of_a_new_one(f->server), 0);
	SSL_CTX_sess_set_new_cb(f->server, ignore_new);
	assert_int_equal(attach_state(ssl), ATTACH_REPLACED);
	assert_int_equal(state_of_a_new_one(f->server), ATTACH_REPLACED);
	SSL_free(ssl);
}

static void expect_not_attached(SSL_CTX *ctx)
{
	assert_int_equal(state_of_a_new_one(ctx), ATTACH_NOT);
}

static void test_a_context_that_is_being_attached_is_not_attached(void **state)
{
	struct fixture *f = *state;

	in_between = expect_not_attached;
	assert_int_equal(tlsbaton_attach(f->baton, f->server), 0);
	assert_int_equal(state_of_a_new_one(f->server), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_states),
	    T(test_a_context_that_is_being_attached_is_not_attached),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
