/* What sessions carry of the policy that they were made under. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <string.h>

#include "client/binding.h"

static const struct binding bound = {
    .policy = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
    .verify_mode = 3,
    .expires_s = 1893456000,
    .n_name = 11,
    .name = (const uint8_t *)"www.example",
};

static void assert_bound(SSL_SESSION *session, const struct binding *expected)
{
	struct binding binding;

	assert_true(binding_read(session, &binding));
	assert_memory_equal(binding.policy, expected->policy, POLICY_BOUND_BYTES);
	assert_int_equal(binding.verify_mode, expected->verify_mode);
	assert_int_equal(binding.expires_s, expected->expires_s);
	assert_int_equal(binding.n_name, expected->n_name);
	if (binding.n_name > 0)
		assert_memory_equal(binding.name, expected->name, binding.n_name);
}

static void test_bindings_are_read_as_written(void **state)
{
	SSL_SESSION *session = SSL_SESSION_new();
	struct binding binding = bound;
	uint8_t name[POLICY_NAME_MAX];
	void *own;
	size_t n;

	(void)state;
	assert_false(binding_read(session, &binding));
	assert_int_equal(binding_write(session, &binding), 0);
	assert_bound(session, &bound);
	/* In the place of the last. */
	memset(name, 'n', sizeof(name));
	binding.n_name = POLICY_NAME_MAX;
	binding.name = name;
	assert_int_equal(binding_write(session, &binding), 0);
	assert_bound(session, &binding);
	binding.n_name = 0;
	binding.expires_s = 0;
	assert_int_equal(binding_write(session, &binding), 0);
	assert_bound(session, &binding);
	/* Behind what the application keeps there. */
	assert_int_equal(SSL_SESSION_set1_ticket_appdata(session, "application", 11), 1);
	assert_false(binding_read(session, &binding));
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(binding_write(session, &bound), 0);
		assert_bound(session, &bound);
		assert_int_equal(SSL_SESSION_get0_ticket_appdata(session, &own, &n), 1);
		assert_int_equal(n, 11 + 11 + 30);
		assert_memory_equal(own, "application", 11);
	}
	SSL_SESSION_free(session);
}

static void test_what_is_no_binding(void **state)
{
	SSL_SESSION *session = SSL_SESSION_new();
	struct binding binding;
	uint8_t whole[64];
	void *bytes;
	size_t n;

	(void)state;
	assert_int_equal(binding_write(session, &bound), 0);
	assert_int_equal(SSL_SESSION_get0_ticket_appdata(session, &bytes, &n), 1);
	assert_true(n <= sizeof(whole));
	memcpy(whole, bytes, n);
	/* Cut short at the front: its name is longer than what is left. At the end: there is no magic. */
	for (size_t i = 1; i < n; i++) {
		assert_int_equal(SSL_SESSION_set1_ticket_appdata(session, whole + i, n - i), 1);
		assert_false(binding_read(session, &binding));
		assert_int_equal(SSL_SESSION_set1_ticket_appdata(session, whole, n - i), 1);
		assert_false(binding_read(session, &binding));
	}
	SSL_SESSION_free(session);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_bindings_are_read_as_written),
	    cmocka_unit_test(test_what_is_no_binding),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
