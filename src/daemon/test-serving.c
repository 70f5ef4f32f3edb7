#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "daemon/serving.h"

static void test_doubts(void **state)
{
	struct repl_peer_status peer = {.name = "b", .has_workers = true};
	char text[HANDOVER_TEXT_MAX + 1] = "";

	(void)state;
	assert_false(serving_doubt(&peer, text));
	assert_string_equal(text, "");
	peer.has_workers = false;
	assert_true(serving_doubt(&peer, text));
	assert_non_null(strstr(text, "warning: no server is connected to the tlsbatond of b"));
	/* A server's root parent is connected, and its workers are not. */
	peer.has_workers = peer.refuses_workers = true;
	assert_true(serving_doubt(&peer, text));
	assert_non_null(strstr(text, "warning: the tlsbatond of b has refused workers"));
	memset(peer.name, 'n', sizeof(peer.name) - 1);
	assert_true(serving_doubt(&peer, text));
	assert_non_null(strstr(text, "see `tlsbaton status` there"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_doubts)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
