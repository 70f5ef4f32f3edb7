/* Lines that a server's processes say once for all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "said.h"

#define GONE "gone: 3 sessions wait"
#define SHARED "shared again"

static void test_once(void **state)
{
	(void)state;
	assert_true(said_may(LOG_WARNING, GONE));
	assert_false(said_may(LOG_WARNING, GONE));
	/* What differs in a figure only is the same. */
	assert_false(said_may(LOG_WARNING, "gone: 17 sessions wait"));
	assert_true(said_may(LOG_WARNING, "refused"));
}

static void test_what_came_last_is_said(void **state)
{
	(void)state;
	assert_true(said_may(LOG_NOTICE, SHARED));
	assert_false(said_may(LOG_NOTICE, SHARED));
	assert_true(said_may(LOG_WARNING, "hangs"));
	assert_true(said_may(LOG_NOTICE, SHARED));
	assert_false(said_may(LOG_NOTICE, SHARED));
	/* The next process that finds out says neither. */
	assert_false(said_may(LOG_WARNING, "hangs"));
	assert_false(said_may(LOG_NOTICE, SHARED));
}

static void test_by_one_process_of_many(void **state)
{
	unsigned n_said = 0;
	int status;

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		if (fork() == 0)
			_exit(said_may(LOG_WARNING, "from many"));
	while (wait(&status) > 0)
		n_said += WEXITSTATUS(status);
	assert_int_equal(n_said, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_once),
	    cmocka_unit_test(test_what_came_last_is_said),
	    cmocka_unit_test(test_by_one_process_of_many),
	};

	said_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
