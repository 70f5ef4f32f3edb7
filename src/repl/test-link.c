/* One connection, by itself. */
#include "repl/testing.h"

#include <errno.h>

/* A link that always has more to do, and another socket of the loop, which becomes readable meanwhile. */
struct hungry {
	struct link link;
	int other[2];
	unsigned n_turns, n_turns_before_other;
};

#define HUNGRY_TURNS 1000

static void hungry_turn(void *arg)
{
	struct hungry *hungry = arg;

	if (hungry->n_turns++ == 0)
		assert_int_equal(send(hungry->other[0], "", 1, 0), 1);
	if (hungry->n_turns < HUNGRY_TURNS)
		link_again(&hungry->link);
}

static void hungry_closed(void *arg, const char *why)
{
	(void)arg;
	fail_msg("%s", why);
}

static void on_other(evutil_socket_t fd, short what, void *arg)
{
	struct hungry *hungry = arg;

	(void)fd, (void)what;
	hungry->n_turns_before_other = hungry->n_turns;
}

static void test_one_link_leaves_the_others_their_turns(void **state)
{
	static const struct link_ops ops = {.turn = hungry_turn, .closed = hungry_closed};
	const struct repl_config config = {.node = "a", .group = "g", .group_key = testing_key};
	struct event_base *base = event_base_new();
	uint64_t n_bytes = 0;
	struct hungry hungry = {.link = {.ops = &ops,
	                                 .arg = &hungry,
	                                 .clock = &repl_clock_system,
	                                 .bytes_sent = &n_bytes,
	                                 .bytes_received = &n_bytes}};
	struct event *event;
	struct tls *tls;
	char error[256];
	int fds[2];

	(void)state;
	assert_int_equal(tls_new(&tls, &config, error, sizeof(error)), 0);
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), errno);
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM, 0, hungry.other), errno);
	assert_int_equal(link_init(&hungry.link, base, fds[0], tls_dial(tls, fds[0]), false), 0);
	hungry.link.phase = LINK_OPEN;
	event = event_new(base, hungry.other[1], EV_READ, on_other, &hungry);
	assert_int_equal(event_add(event, NULL), 0);
	link_again(&hungry.link);
	while (hungry.n_turns < HUNGRY_TURNS)
		event_base_loop(base, EVLOOP_ONCE);
	assert_in_range(hungry.n_turns_before_other, 1, 3);
	event_free(event);
	link_deinit(&hungry.link);
	tls_free(tls);
	close(fds[1]);
	close(hungry.other[0]);
	close(hungry.other[1]);
	event_base_free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_one_link_leaves_the_others_their_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
