#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "daemon/advice.h"

static const char nobody[] =
    "no node holds the service address: use `tlsbaton promote` on the node that is to serve";
static const char not_connected[] =
    "no connected node holds the service address: if those that are not connected are down, or do "
    "not "
    "hold it either, use `tlsbaton promote` on the node that is to serve";

static struct repl_peer_status peer(const char *name, enum repl_peer_state state, bool active,
                                    uint64_t term)
{
	struct repl_peer_status out = {.state = state, .active = active, .term = term};

	snprintf(out.name, sizeof(out.name), "%s", name);
	return out;
}

static const char *advice(bool active, uint64_t term, struct repl_peer_status one,
                          struct repl_peer_status two)
{
	static char text[ADVICE_MAX];

	advice_on_roles(text, "a", &(struct role){.active = active, .term = term},
	                (struct repl_peer_status[]){one, two}, 2);
	return text;
}

static void test_one_is_active(void **state)
{
	struct repl_peer_status standby = peer("b", REPL_IN_SYNC, false, 3);

	(void)state;
	assert_string_equal(advice(true, 3, standby, standby), "");
	assert_string_equal(advice(false, 3, standby, peer("c", REPL_LAGGING, true, 3)), "");
	/* One that is gone may be anything: not contested. */
	assert_string_equal(advice(true, 3, standby, peer("c", REPL_ABSENT, true, 4)), "");
}

static void test_nobody_is_active(void **state)
{
	struct repl_peer_status standby = peer("b", REPL_IN_SYNC, false, 3);

	(void)state;
	assert_string_equal(advice(false, 3, standby, standby), nobody);
	assert_string_equal(advice(false, 3, standby, peer("c", REPL_ABSENT, true, 3)),
	                    not_connected);
	/* With another key it runs, and may hold the address. */
	assert_string_equal(advice(false, 3, standby, peer("c", REPL_REFUSED, true, 3)),
	                    not_connected);
}

static void test_two_are_active(void **state)
{
	struct repl_peer_status standby = peer("c", REPL_IN_SYNC, false, 3);

	(void)state;
	/* The later take-over stays, whichever of the two is asked. */
	assert_string_equal(advice(true, 3, standby, peer("b", REPL_IN_SYNC, true, 4)),
	                    "a and b both hold the service address: use `tlsbaton demote` on a");
	assert_string_equal(advice(true, 5, standby, peer("b", REPL_CATCHING_UP, true, 4)),
	                    "a and b both hold the service address: use `tlsbaton demote` on b");
}

static void test_the_longest_names_fit(void **state)
{
	char name[REPL_NAME_MAX + 1];

	(void)state;
	memset(name, 'n', REPL_NAME_MAX);
	name[REPL_NAME_MAX] = '\0';
	assert_non_null(strstr(
	    advice(true, 5, peer(name, REPL_IN_SYNC, true, 4), peer("c", REPL_ABSENT, false, 0)),
	    "demote` on nnn"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_one_is_active),
	    cmocka_unit_test(test_nobody_is_active),
	    cmocka_unit_test(test_two_are_active),
	    cmocka_unit_test(test_the_longest_names_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
