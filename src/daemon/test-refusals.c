#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "daemon/refusals.h"

static void test_who_and_when(void **state)
{
	struct refusals refusals = {0};
	struct refusal out[REFUSALS_USERS];

	(void)state;
	assert_int_equal(refusals_list(&refusals, 1000, out), 0);
	refusals_note(&refusals, 33, 1000);
	refusals_note(&refusals, 99, 2000);
	refusals_note(&refusals, 33, 4000);
	assert_int_equal(refusals_list(&refusals, 7000, out), 2);
	assert_int_equal(out[0].uid, 33);
	assert_int_equal(out[0].n, 2);
	assert_int_equal(out[0].last_s, 3);
	assert_int_equal(out[1].uid, 99);
	assert_int_equal(out[1].n, 1);
	assert_int_equal(out[1].last_s, 5);
}

static void test_old_ones_are_forgotten(void **state)
{
	struct refusals refusals = {0};
	struct refusal out[REFUSALS_USERS];

	(void)state;
	refusals_note(&refusals, 33, 1000);
	refusals_note(&refusals, 99, 2000);
	assert_int_equal(refusals_list(&refusals, 1000 + REFUSALS_KEPT_MS - 1, out), 2);
	assert_int_equal(refusals_list(&refusals, 1000 + REFUSALS_KEPT_MS, out), 1);
	assert_int_equal(out[0].uid, 99);
	/* Counting starts over. */
	refusals_note(&refusals, 33, 1000 + REFUSALS_KEPT_MS);
	assert_int_equal(refusals_list(&refusals, 1000 + REFUSALS_KEPT_MS, out), 2);
	assert_int_equal(out[0].uid, 33);
	assert_int_equal(out[0].n, 1);
}

static void test_more_users_than_room(void **state)
{
	struct refusals refusals = {0};
	struct refusal out[REFUSALS_USERS];

	(void)state;
	for (uid_t uid = 0; uid < REFUSALS_USERS; uid++)
		refusals_note(&refusals, 100 + uid, 1000 + uid);
	refusals_note(&refusals, 100, 5000);
	refusals_note(&refusals, 200, 6000); /* in the place of 101 */
	assert_int_equal(refusals_list(&refusals, 6000, out), REFUSALS_USERS);
	for (size_t i = 0; i < REFUSALS_USERS; i++)
		assert_int_not_equal(out[i].uid, 101);
	assert_int_equal(out[0].uid, 100);
	assert_int_equal(out[0].n, 2);
	assert_int_equal(out[1].uid, 200);
	assert_int_equal(out[1].n, 1);
}

static void test_names(void **state)
{
	char name[REFUSALS_NAME_MAX];

	(void)state;
	assert_string_equal(refusals_user(0, name), "root");
	assert_string_equal(refusals_user(3999999999U, name), "ID 3999999999");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_who_and_when),
	    cmocka_unit_test(test_old_ones_are_forgotten),
	    cmocka_unit_test(test_more_users_than_room),
	    cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
