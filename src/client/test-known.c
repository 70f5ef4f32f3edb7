/* Processes with many policies, such as an nginx with a certificate for each of its servers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <stdlib.h>

#include "client/bind.h"
#include "client/test-fixture.h"
#include "client/test-tls.h"

struct many {
	struct fixture *f;
	EVP_PKEY *pkey;
	X509 *certificate;
	SSL_CTX *ctx;
	struct context *contexts;
	unsigned n;
};

static void many_init(struct many *many, struct fixture *f)
{
	open_handle(f);
	*many = (struct many){.f = f, .contexts = calloc(POLICIES_MAX + 2, sizeof(struct context))};
	assert_int_equal(tls_credentials(TLS_KEY_ECDSA, &many->pkey, &many->certificate), 0);
	many->ctx = tls_server_context(TLS1_2_VERSION, many->pkey, many->certificate);
	assert_non_null(many->ctx);
}

/* A policy by its number: all that differs is the session ID context. */
static void add(struct many *many, uint32_t number)
{
	assert_int_equal(
	    SSL_CTX_set_session_id_context(many->ctx, (const uint8_t *)&number, sizeof(number)), 1);
	context_init(&many->contexts[many->n++], many->f->baton, many->ctx);
}

static void remove_last(struct many *many)
{
	context_deinit(&many->contexts[--many->n]);
}

static const uint8_t *policy_of(struct many *many, unsigned i)
{
	return context_policy(&many->contexts[i], many->ctx);
}

static void many_deinit(struct many *many)
{
	while (many->n > 0)
		remove_last(many);
	free(many->contexts);
	SSL_CTX_free(many->ctx);
	EVP_PKEY_free(many->pkey);
	X509_free(many->certificate);
}

/* What the daemon reads: the policies, and how many. */
static size_t told(struct many *many, uint8_t out[RING_POLICIES_MAX][RING_POLICY_BYTES])
{
	uint32_t turn = 0;
	size_t n;

	memset(out, 0, (size_t)RING_POLICIES_MAX * RING_POLICY_BYTES);
	assert_true(ring_look_at_policies(many->f->baton->page, &turn, out, &n));
	return n;
}

static void test_each_counts(void **state)
{
	struct many many;

	many_init(&many, *state);
	for (uint32_t i = 0; i < POLICIES_MAX; i++)
		add(&many, i);
	for (unsigned i = 0; i < POLICIES_MAX; i += 97)
		assert_true(known_policy(many.f->baton, policy_of(&many, i)));
	assert_int_equal(many.f->n_lines, 1); /* that there is no daemon */
	/* One too many, which the log is told of once; one that is known is none. */
	add(&many, 5);
	assert_ptr_equal(policy_of(&many, POLICIES_MAX), policy_of(&many, 5));
	remove_last(&many);
	add(&many, POLICIES_MAX);
	assert_null(policy_of(&many, POLICIES_MAX));
	add(&many, POLICIES_MAX + 1);
	assert_int_equal(many.f->n_lines, 2);
	assert_non_null(strstr(many.f->last_line, "8192"));
	many_deinit(&many);
}

static void test_what_is_left_is_forgotten(void **state)
{
	uint8_t policy[RING_POLICY_BYTES];
	struct many many;

	many_init(&many, *state);
	for (uint32_t i = 0; i < 3; i++)
		add(&many, i);
	memcpy(policy, policy_of(&many, 2), sizeof(policy));
	remove_last(&many);
	assert_false(known_policy(many.f->baton, policy));
	add(&many, 2);
	assert_true(known_policy(many.f->baton, policy));
	many_deinit(&many);
}

static void test_more_than_the_daemon_is_told_of(void **state)
{
	uint8_t forth[RING_POLICIES_MAX][RING_POLICY_BYTES],
	    back[RING_POLICIES_MAX][RING_POLICY_BYTES];
	struct many many;

	many_init(&many, *state);
	for (uint32_t i = 0; i < RING_POLICIES_MAX; i++)
		add(&many, i);
	assert_int_equal(told(&many, forth), RING_POLICIES_MAX);
	add(&many, RING_POLICIES_MAX);
	assert_int_equal(told(&many, forth), 1);
	/* In another order it is the same; another one is not. */
	while (many.n > 0)
		remove_last(&many);
	for (uint32_t i = RING_POLICIES_MAX; i > 0; i--)
		add(&many, i);
	add(&many, 0);
	assert_int_equal(told(&many, back), 1);
	assert_memory_equal(back, forth, sizeof(back));
	add(&many, RING_POLICIES_MAX + 1);
	assert_int_equal(told(&many, back), 1);
	assert_memory_not_equal(back, forth, sizeof(back));
	/* And back to each by itself. */
	remove_last(&many);
	remove_last(&many);
	assert_int_equal(told(&many, back), RING_POLICIES_MAX);
	many_deinit(&many);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_set_up, fixture_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_each_counts),
	    T(test_what_is_left_is_forgotten),
	    T(test_more_than_the_daemon_is_told_of),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
