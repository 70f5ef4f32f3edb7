#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "daemon/resumptions.h"

static const struct repl_peer_config b_and_c[] = {{.name = "b"}, {.name = "c"}},
                                     c_and_d[] = {{.name = "c"}, {.name = "d"}};

static void test_each_difference_is_news_once(void **state)
{
	struct resumptions r = {0};

	(void)state;
	assert_false(resumptions_is_news(&r, 0, TICKET_BOTH));
	resumptions_configure(&r, b_and_c, 2);
	assert_int_equal(resumptions_of(&r, 0), RESUMPTION_UNHEARD);
	assert_false(resumptions_is_news(&r, 0, TICKET_BOTH));
	resumptions_hear(&r, 0, TICKET_BOTH);
	assert_false(resumptions_is_news(&r, 0, TICKET_BOTH));
	resumptions_hear(&r, 0, TICKET_TICKETS);
	assert_true(resumptions_is_news(&r, 0, TICKET_BOTH));
	assert_false(resumptions_is_news(&r, 0, TICKET_BOTH));
	/* Another one right after it. */
	resumptions_hear(&r, 0, TICKET_STATEFUL);
	assert_true(resumptions_is_news(&r, 0, TICKET_BOTH));
	assert_false(resumptions_is_news(&r, 0, TICKET_BOTH));
	/* A reload here. */
	assert_true(resumptions_is_news(&r, 0, TICKET_TICKETS));
	assert_false(resumptions_is_news(&r, 0, TICKET_STATEFUL));
	/* The same as before the two agreed. */
	assert_true(resumptions_is_news(&r, 0, TICKET_TICKETS));
	assert_false(resumptions_is_news(&r, 1, TICKET_TICKETS));
	assert_int_equal(resumptions_of(&r, 0), TICKET_STATEFUL);
}

static void test_a_reload_keeps_what_was_heard(void **state)
{
	struct resumptions r = {0};

	(void)state;
	resumptions_configure(&r, b_and_c, 2);
	resumptions_hear(&r, 0, TICKET_STATEFUL);
	resumptions_hear(&r, 1, TICKET_TICKETS);
	assert_true(resumptions_is_news(&r, 1, TICKET_BOTH));
	resumptions_configure(&r, c_and_d, 2);
	assert_int_equal(resumptions_of(&r, 0), TICKET_TICKETS);
	assert_false(resumptions_is_news(&r, 0, TICKET_BOTH));
	assert_int_equal(resumptions_of(&r, 1), RESUMPTION_UNHEARD);
	resumptions_configure(&r, b_and_c, 1);
	assert_int_equal(resumptions_of(&r, 0), RESUMPTION_UNHEARD);
	/* Beyond the list: nothing is heard. */
	resumptions_hear(&r, 1, TICKET_TICKETS);
	assert_int_equal(resumptions_of(&r, 1), RESUMPTION_UNHEARD);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_each_difference_is_news_once),
	    cmocka_unit_test(test_a_reload_keeps_what_was_heard),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
