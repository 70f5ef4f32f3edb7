/* What two daemons say to each other when the address moves, and what each records of its role. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "daemon/handover.h"
#include "daemon/role.h"

static void test_handover_malformed(void **state)
{
	struct handover message = {.type = HANDOVER_TAKEN,
	                           .flag = true,
	                           .id = 1,
	                           .value = 2,
	                           .text = "why"},
	                out;
	uint8_t bytes[REPL_CONTROL_MAX + 1] = {0};
	size_t n = handover_encode(&message, bytes);

	(void)state;
	assert_int_equal(handover_decode(bytes, n, &out), 0);
	assert_string_equal(out.text, "why");
	assert_int_equal(out.value, 2);
	for (size_t cut = 0; cut < n - 3; cut++)
		assert_int_equal(handover_decode(bytes, cut, &out), -EPROTO);
	for (size_t i = 0; i < 3; i++) { /* version, type, flag */
		uint8_t was = bytes[i];

		bytes[i] = 0x7f;
		assert_int_equal(handover_decode(bytes, n, &out), -EPROTO);
		bytes[i] = was;
	}
	bytes[n - 1] = 0;
	assert_int_equal(handover_decode(bytes, n, &out), -EPROTO);
	memset(bytes + 19, 'x', sizeof(bytes) - 19);
	assert_int_equal(handover_decode(bytes, 19 + HANDOVER_TEXT_MAX + 1, &out), -EPROTO);
	message = (struct handover){.type = HANDOVER_TAKE, .flag = true, .value = ROLE_TERM_MAX};
	n = handover_encode(&message, bytes);
	assert_int_equal(handover_decode(bytes, n, &out), 0);
	message.value++;
	n = handover_encode(&message, bytes);
	assert_int_equal(handover_decode(bytes, n, &out), -EPROTO);
}

static void test_role_file(void **state)
{
	char directory[] = "/tmp/tlsbaton-role-XXXXXX", path[64];
	struct role role = {.active = true, .term = 41, .latest = 43}, back = {0};
	static const char *const bad[] = {"",
	                                  "active",
	                                  "active 3",
	                                  "active x 3",
	                                  "master 3 3",
	                                  "active 3 4 5",
	                                  "active 3  4",
	                                  "active 4 3",
	                                  "active -3 3",
	                                  "active 3 -3",
	                                  "active 3 9223372036854775808",
	                                  "active 3 18446744073709551616",
	                                  "\xff\xff"};
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(directory));
	assert_int_equal(role_load(directory, &back), ROLE_NONE);
	assert_int_equal(role_save(directory, &role), 0);
	assert_int_equal(role_load(directory, &back), 0);
	assert_true(back.active && back.term == 41 && back.latest == 43);
	snprintf(path, sizeof(path), "%s/role", directory);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		f = fopen(path, "w");
		fputs(bad[i], f);
		fclose(f);
		assert_int_equal(role_load(directory, &back), ROLE_NONE);
	}
	unlink(path);
	rmdir(directory);
	assert_true(role_save(directory, &role) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_handover_malformed),
	    cmocka_unit_test(test_role_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
