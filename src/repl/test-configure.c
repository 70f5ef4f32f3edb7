/* A reload: what may change under connections that stay, and what ends which of them. */
#include "repl/fake.h"

#include <arpa/inet.h>

struct group {
	struct event_base *base;
	struct node a, b, c; /* a is reconfigured */
};

static const uint8_t other_key[REPL_KEY_BYTES] = "another key, of the same length";

static int setup(void **state)
{
	struct group *group = calloc(1, sizeof(*group));

	group->base = event_base_new();
	node_init(&group->a, group->base, "a", 4 << 20);
	node_init(&group->b, group->base, "b", 4 << 20);
	node_init(&group->c, group->base, "c", 4 << 20);
	node_add_peer(&group->a, "b", group->b.port);
	node_add_peer(&group->b, "a", group->a.port);
	node_add_peer(&group->c, "a", group->a.port);
	/* None of these passes while the tests run. */
	group->a.config.gate_deadline_ms = group->b.config.gate_deadline_ms = 60000;
	group->a.config.heartbeat_ms = group->b.config.heartbeat_ms = 60000;
	node_start(&group->a);
	node_start(&group->b);
	run_until(group->base, node_state(&group->a, 0) == REPL_IN_SYNC);
	run_until(group->base, node_state(&group->b, 0) == REPL_IN_SYNC);
	*state = group;
	return 0;
}

static int teardown(void **state)
{
	struct group *group = *state;

	node_deinit(&group->a);
	node_deinit(&group->b);
	node_deinit(&group->c);
	event_base_free(group->base);
	free(group);
	return 0;
}

/* Nobody is told before they ask: numbers of peers mean something else from here on. */
static int configure(struct group *group)
{
	unsigned n_acked = group->a.n_acked, n_changed = group->a.n_changed;
	char error[256] = "";
	int r = repl_configure(group->a.repl, &group->a.config, error, sizeof(error));

	assert_true(r == 0 || error[0] != '\0');
	assert_int_equal(group->a.n_acked, n_acked);
	assert_int_equal(group->a.n_changed, n_changed);
	if (r == 0) {
		repl_report(group->a.repl);
		assert_int_not_equal(group->a.n_acked, n_acked);
	}
	return r;
}

static unsigned waited_for(const struct node *node)
{
	unsigned n;

	(void)repl_acked(node->repl, &n);
	return n;
}

/* Both connections with b are those of the start, and work. */
static void assert_b_is_untouched(struct group *group, unsigned first)
{
	assert_true(waited_for(&group->a) >= 1);
	node_put(&group->a, first, 10);
	node_put(&group->b, first + 10, 10);
	run_until(group->base, node_count(&group->b, first, 10) == 10 &&
	                           node_count(&group->a, first + 10, 10) == 10);
	assert_int_equal(node_status(&group->a, 0).n_connects, 1);
	assert_int_equal(node_status(&group->b, 0).n_connects, 1);
}

static void test_times_are_set_on_what_runs(void **state)
{
	struct group *group = *state;
	uint64_t before = repl_acked(group->a.repl, &(unsigned){0});

	/* A gate that waits goes on waiting. */
	node_put(&group->a, 0, 1);
	group->a.config.gate_deadline_ms = 30000;
	group->a.config.heartbeat_ms = 30000;
	assert_int_equal(configure(group), 0);
	assert_int_equal(repl_acked(group->a.repl, &(unsigned){0}), before);
	assert_b_is_untouched(group, 100);
	assert_int_equal(group->a.repl->gate_deadline_us, 30000000);
}

/* A peer measures silence by the heartbeat that hello said. */
static void test_a_longer_heartbeat_waits_for_the_next_connection(void **state)
{
	struct group *group = *state;
	struct push *push = &group->a.repl->peers[0]->push;

	repl_set_times(group->a.repl, 60000, 120000);
	assert_int_equal(push_heartbeat_us(push), 60000000);
	repl_set_times(group->a.repl, 60000, 100);
	assert_int_equal(push_heartbeat_us(push), 100000);
	repl_set_times(group->a.repl, 60000, 120000);
	push_redial(push, "a test");
	run_until(group->base, node_state(&group->a, 0) == REPL_IN_SYNC);
	assert_int_equal(push_heartbeat_us(push), 120000000);
}

static void test_a_new_peer_does_not_disturb_the_others(void **state)
{
	struct group *group = *state;

	node_start(&group->c);
	run_until(group->base, node_state(&group->c, 0) == REPL_REFUSED);
	node_add_peer(&group->a, "c", group->c.port);
	assert_int_equal(configure(group), 0);
	assert_int_equal(repl_n_peers(group->a.repl), 2);
	assert_b_is_untouched(group, 0);
	run_until(group->base, node_state(&group->a, 1) == REPL_IN_SYNC);
	run_until(group->base, node_state(&group->c, 0) == REPL_IN_SYNC);
	assert_b_is_untouched(group, 100);
	/* In another order; then without b. */
	group->a.config.peers = (struct repl_peer_config[]){group->a.peers[1], group->a.peers[0]};
	assert_int_equal(configure(group), 0);
	assert_string_equal(node_status(&group->a, 0).name, "c");
	assert_int_equal(node_status(&group->a, 0).state, REPL_IN_SYNC);
	assert_int_equal(node_status(&group->a, 1).state, REPL_IN_SYNC);
	group->a.config.n_peers = 1;
	assert_int_equal(configure(group), 0);
	assert_int_equal(repl_n_peers(group->a.repl), 1);
	assert_int_equal(waited_for(&group->a), 1);
	run_until(group->base, node_state(&group->b, 0) == REPL_REFUSED);
	node_put(&group->a, 500, 10);
	run_until(group->base, node_count(&group->c, 500, 10) == 10);
	assert_int_equal(node_status(&group->a, 0).n_connects, 1);
}

static void test_a_peer_that_moves_is_dialled_anew(void **state)
{
	struct group *group = *state;
	int listener;
	uint16_t port = reserve_port();
	unsigned n_changed;
	struct fake *fake;

	listener = testing_listen(port);
	snprintf(group->a.addresses[0], sizeof(group->a.addresses[0]), "127.0.0.1:%u", port);
	n_changed = group->a.n_changed;
	assert_int_equal(configure(group), 0);
	assert_int_equal(group->a.n_changed, n_changed + 1);
	assert_int_equal(waited_for(&group->a), 0);
	assert_true(node_status(&group->a, 0).from_in_sync); /* it did not move for us */
	fake = fake_accept(group->base, &group->b.config, listener);
	assert_non_null(fake_expect(fake, WIRE_HELLO, &(size_t){0}));
	fake_free(fake);
	close(listener);
}

static void test_keys(void **state)
{
	struct group *group = *state;
	uint8_t same_key[REPL_KEY_BYTES];

	memcpy(same_key, testing_key, sizeof(same_key));
	group->a.config.group_key = same_key;
	assert_int_equal(configure(group), 0);
	assert_b_is_untouched(group, 0);
	group->a.config.group_key = other_key;
	assert_int_equal(configure(group), 0);
	assert_int_equal(waited_for(&group->a), 0);
	run_until(group->base, !node_status(&group->a, 0).from_connected);
	run_until(group->base, node_state(&group->a, 0) == REPL_REFUSED);
	run_until(group->base, node_state(&group->b, 0) == REPL_REFUSED);
	group->b.config.group_key = other_key;
	assert_int_equal(repl_configure(group->b.repl, &group->b.config, (char[256]){0}, 256), 0);
	run_until(group->base, node_state(&group->a, 0) == REPL_IN_SYNC);
	run_until(group->base, node_state(&group->b, 0) == REPL_IN_SYNC);
}

static void test_another_listening_address(void **state)
{
	struct group *group = *state;
	uint16_t port = reserve_port();

	snprintf(group->a.listen, sizeof(group->a.listen), "127.0.0.1:%u", port);
	assert_int_equal(configure(group), 0);
	close(testing_connect(port));
	assert_b_is_untouched(group, 0);
	/* One that takes in the old one. */
	snprintf(group->a.listen, sizeof(group->a.listen), "0.0.0.0:%u", port);
	assert_int_equal(configure(group), 0);
	close(testing_connect(port));
	assert_b_is_untouched(group, 100);
}

static void test_a_failure_changes_nothing(void **state)
{
	struct group *group = *state;
	struct repl_config good = group->a.config;
	int taken = testing_listen(0);
	struct sockaddr_in address;
	socklen_t n = sizeof(address);
	char listen[32];

	assert_return_code(getsockname(taken, (struct sockaddr *)&address, &n), errno);
	snprintf(listen, sizeof(listen), "127.0.0.1:%u", ntohs(address.sin_port));
	group->a.config.gate_deadline_ms = 1;
	node_add_peer(&group->a, "c", group->c.port);
	for (int i = 0; i < 5; i++) {
		struct repl_config *config = &group->a.config;
		struct repl_peer_config twice[] = {group->a.peers[0], group->a.peers[0]};

		config->listen = i == 0 ? listen : i == 1 ? "nowhere" : good.listen;
		config->group_key = i == 2 ? NULL : good.group_key;
		config->peers = i == 3 ? twice : good.peers;
		group->a.peers[1].address = i == 4 ? "nonsense" : group->a.addresses[1];
		assert_true(configure(group) < 0);
		assert_int_equal(repl_n_peers(group->a.repl), 1);
		assert_int_equal(group->a.repl->gate_deadline_us, 60000000);
		assert_b_is_untouched(group, (unsigned)i * 100);
	}
	close(testing_connect(group->a.port)); /* it listens where it did */
	close(taken);
}

#define configure_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    configure_test(test_times_are_set_on_what_runs),
	    configure_test(test_a_longer_heartbeat_waits_for_the_next_connection),
	    configure_test(test_a_new_peer_does_not_disturb_the_others),
	    configure_test(test_a_peer_that_moves_is_dialled_anew),
	    configure_test(test_keys),
	    configure_test(test_another_listening_address),
	    configure_test(test_a_failure_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
