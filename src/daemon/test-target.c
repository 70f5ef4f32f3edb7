/* Which peer a planned switchover goes to. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "daemon/target.h"

static char reason[HANDOVER_TEXT_MAX + 1];

static struct repl_peer_status peer(const char *name, enum repl_peer_state state, bool has_service,
                                    bool has_workers)
{
	struct repl_peer_status out = {
	    .state = state, .has_service = has_service, .has_workers = has_workers};

	snprintf(out.name, sizeof(out.name), "%s", name);
	return out;
}

static int choose(const struct repl_peer_status *peers, const char *to, bool force)
{
	reason[0] = '\0';
	return target_choose(peers, 3, to, force, reason);
}

static void test_the_fittest(void **state)
{
	struct repl_peer_status peers[] = {
	    peer("witness", REPL_IN_SYNC, false, false),
	    peer("late", REPL_LAGGING, true, true),
	    peer("bare", REPL_IN_SYNC, true, false),
	};

	(void)state;
	assert_int_equal(choose(peers, NULL, false), 2);
	peers[0] = peer("good", REPL_IN_SYNC, true, true);
	assert_int_equal(choose(peers, NULL, false), 0);
	peers[2] = peers[0]; /* of equals the first */
	assert_int_equal(choose(peers, NULL, false), 0);
	peers[0].state = REPL_ABSENT; /* it said that it has all, when it was there */
	assert_int_equal(choose(peers, NULL, false), 2);
}

static void test_the_one_named(void **state)
{
	const struct repl_peer_status peers[] = {
	    peer("good", REPL_IN_SYNC, true, true),
	    peer("witness", REPL_IN_SYNC, false, true),
	    peer("late", REPL_CATCHING_UP, true, true),
	};

	(void)state;
	assert_int_equal(choose(peers, "good", false), 0);
	assert_int_equal(choose(peers, "witness", true), -EHOSTUNREACH);
	assert_non_null(strstr(reason, "`service` section"));
	assert_int_equal(choose(peers, "late", false), -EHOSTUNREACH);
	assert_non_null(strstr(reason, "late is not in sync (catching up"));
	assert_int_equal(choose(peers, "late", true), 2);
	assert_int_equal(choose(peers, "nobody", true), -EHOSTUNREACH);
	assert_non_null(strstr(reason, "no peer named nobody"));
}

static void test_none(void **state)
{
	const struct repl_peer_status peers[] = {
	    peer("gone", REPL_ABSENT, true, true),
	    peer("stranger", REPL_REFUSED, false, false),
	    peer("gone-too", REPL_ABSENT, true, true),
	};

	(void)state;
	assert_int_equal(choose(peers, NULL, true), -EHOSTUNREACH);
	assert_non_null(strstr(reason, "gone is absent"));
	assert_int_equal(target_choose(NULL, 0, NULL, true, reason), -EHOSTUNREACH);
	assert_non_null(strstr(reason, "there is no peer to hand over to"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_the_fittest),
	    cmocka_unit_test(test_the_one_named),
	    cmocka_unit_test(test_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
