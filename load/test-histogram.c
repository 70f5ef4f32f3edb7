/* The histogram: its error bound over its whole range, merging, and what is in it when nothing is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "histogram.h"

static void check_one_value(int64_t value)
{
	struct histogram histogram = {0};
	int64_t shown;

	histogram_record(&histogram, value);
	shown = histogram_permille(&histogram, 500);
	assert_true(shown >= value);
	assert_true((shown - value) * 128 <= value);
	assert_int_equal(histogram_permille(&histogram, 1), shown);
	assert_int_equal(histogram_permille(&histogram, 1000), shown);
}

static void test_error_bound(void **state)
{
	(void)state;
	for (int64_t value = 0; value < 5000; value++)
		check_one_value(value);
	for (int64_t power = 1; power <= HISTOGRAM_MAX_US; power *= 2) {
		check_one_value(power - 1);
		check_one_value(power);
		check_one_value(power + power / 3);
	}
	check_one_value(HISTOGRAM_MAX_US);
}

static void test_small_values_are_exact(void **state)
{
	(void)state;
	for (int64_t value = 0; value < 256; value++) {
		struct histogram histogram = {0};

		histogram_record(&histogram, value);
		assert_int_equal(histogram_permille(&histogram, 500), value);
	}
}

static void test_out_of_range(void **state)
{
	struct histogram histogram = {0};

	(void)state;
	histogram_record(&histogram, -5);
	assert_int_equal(histogram_permille(&histogram, 1000), 0);
	histogram_record(&histogram, INT64_MAX);
	assert_int_equal(histogram_permille(&histogram, 1000), HISTOGRAM_MAX_US);
	assert_int_equal(histogram.n, 2);
}

static void test_percentiles(void **state)
{
	struct histogram histogram = {0};

	(void)state;
	for (int64_t value = 1; value <= 200; value++)
		histogram_record(&histogram, value);
	assert_int_equal(histogram_permille(&histogram, 0), 1);
	assert_int_equal(histogram_permille(&histogram, 500), 100);
	assert_int_equal(histogram_permille(&histogram, 505), 101);
	assert_int_equal(histogram_permille(&histogram, 900), 180);
	assert_int_equal(histogram_permille(&histogram, 990), 198);
	assert_int_equal(histogram_permille(&histogram, 999), 200);
}

static void test_merge_is_exact(void **state)
{
	struct histogram parts[3] = {0}, merged = {0}, whole = {0};

	(void)state;
	for (int64_t i = 0; i < 3000; i++) {
		int64_t value = i * i * 37;

		histogram_record(&parts[i % 3], value);
		histogram_record(&whole, value);
	}
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		histogram_merge(&merged, &parts[i]);
	assert_memory_equal(&merged, &whole, sizeof(whole));
}

static void test_empty(void **state)
{
	struct histogram histogram = {0}, other = {0};

	(void)state;
	assert_int_equal(histogram_permille(&histogram, 500), -1);
	histogram_merge(&histogram, &other);
	assert_int_equal(histogram_permille(&histogram, 999), -1);
	histogram_record(&histogram, 7);
	histogram_clear(&histogram);
	assert_int_equal(histogram_permille(&histogram, 500), -1);
	assert_memory_equal(&histogram, &other, sizeof(other));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_error_bound),    cmocka_unit_test(test_small_values_are_exact),
	    cmocka_unit_test(test_out_of_range),   cmocka_unit_test(test_percentiles),
	    cmocka_unit_test(test_merge_is_exact), cmocka_unit_test(test_empty),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
