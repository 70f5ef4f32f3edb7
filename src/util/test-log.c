#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "util/log.h"

static void test_limit_holds_within_a_minute(void **state)
{
	struct log_limit limit = {0};
	unsigned held = 99;

	(void)state;
	assert_true(log_limit_pass(&limit, "10.0.0.1 garbage", 1000, &held));
	assert_int_equal(held, 0);
	assert_false(log_limit_pass(&limit, "10.0.0.1 garbage", 1001, &held));
	assert_false(log_limit_pass(&limit, "10.0.0.1 garbage", 60999, &held));
	assert_true(log_limit_pass(&limit, "10.0.0.2 garbage", 1002, &held));
	assert_true(log_limit_pass(&limit, "10.0.0.1 garbage", 61000, &held));
	assert_int_equal(held, 2);
}

static void test_limit_survives_a_flood_of_sources(void **state)
{
	struct log_limit limit = {0};
	unsigned held;
	char source[32];

	(void)state;
	for (int i = 0; i < 10000; i++) {
		snprintf(source, sizeof(source), "source %d", i);
		assert_true(log_limit_pass(&limit, source, i, &held));
		assert_false(log_limit_pass(&limit, source, i, &held));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_limit_holds_within_a_minute),
	    cmocka_unit_test(test_limit_survives_a_flood_of_sources),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
