/* Two and three nodes that behave: what is put at one is at the others, whatever happens in
 * between. */
#include "repl/testing.h"
#include "table/internal.h"

struct pair {
	struct event_base *base;
	struct node a, b;
};

#define TABLE_BYTES (8 * 1024 * 1024)

static int pair_setup(void **state)
{
	struct pair *pair = calloc(1, sizeof(*pair));

	pair->base = event_base_new();
	node_init(&pair->a, pair->base, "a", TABLE_BYTES);
	node_init(&pair->b, pair->base, "b", TABLE_BYTES);
	node_add_peer(&pair->a, "b", pair->b.port);
	node_add_peer(&pair->b, "a", pair->a.port);
	*state = pair;
	return 0;
}

static int pair_teardown(void **state)
{
	struct pair *pair = *state;

	node_deinit(&pair->a);
	node_deinit(&pair->b);
	event_base_free(pair->base);
	free(pair);
	return 0;
}

static void pair_start(struct pair *pair)
{
	node_start(&pair->a);
	node_start(&pair->b);
	run_until(pair->base, node_state(&pair->a, 0) == REPL_IN_SYNC);
	run_until(pair->base, node_state(&pair->b, 0) == REPL_IN_SYNC);
}

static bool all_acked(const struct node *node)
{
	unsigned waited_for;

	return repl_acked(node->repl, &waited_for) == table_head(node->table) && waited_for > 0;
}

static void test_records_arrive_and_are_acked(void **state)
{
	struct pair *pair = *state;
	unsigned waited_for;
	uint64_t before;

	pair_start(pair);
	before = table_head(pair->a.table);
	assert_int_equal(repl_acked(pair->a.repl, &waited_for), before);
	assert_int_equal(waited_for, 1);
	node_put(&pair->a, 0, 1000);
	/* Not before the other side has said so. */
	assert_int_equal(repl_acked(pair->a.repl, &waited_for), before);
	run_until(pair->base, all_acked(&pair->a));
	assert_int_equal(node_count(&pair->b, 0, 1000), 1000);
	assert_true(pair->a.n_acked > 0);
	assert_int_equal(node_status(&pair->a, 0).n_sent, 1000);
	assert_int_equal(node_status(&pair->a, 0).n_acked, 1000);
	assert_int_equal(node_status(&pair->a, 0).lag_records, 0);
	assert_int_equal(node_status(&pair->b, 0).n_received, 1000);
	assert_true(node_status(&pair->b, 0).from_connected);
	assert_true(node_status(&pair->b, 0).from_in_sync);
}

static void test_received_records_do_not_go_back(void **state)
{
	struct pair *pair = *state;

	pair_start(pair);
	node_put(&pair->a, 0, 100);
	node_put(&pair->b, 1000, 100);
	run_until(pair->base, all_acked(&pair->a) && all_acked(&pair->b));
	assert_int_equal(node_count(&pair->a, 1000, 100), 100);
	assert_int_equal(node_status(&pair->a, 0).n_sent, 100);
	assert_int_equal(node_status(&pair->b, 0).n_sent, 100);
	assert_int_equal(node_status(&pair->a, 0).lag_records, 0);
}

static void test_tombstones_travel(void **state)
{
	struct pair *pair = *state;

	pair_start(pair);
	node_put(&pair->a, 0, 10);
	run_until(pair->base, all_acked(&pair->a));
	node_remove(&pair->a, 3);
	run_until(pair->base, all_acked(&pair->a));
	assert_false(node_has(&pair->b, 3));
	assert_int_equal(node_count(&pair->b, 0, 10), 9);
}

static void test_what_stood_before_is_sent(void **state)
{
	struct pair *pair = *state;

	/* Of either origin: the node that it came from may be gone. */
	node_put(&pair->a, 0, 2000);
	node_put_flags(&pair->a, 2000, 500, 0);
	node_start(&pair->a);
	run_until(pair->base, node_state(&pair->a, 0) == REPL_ABSENT &&
	                          node_status(&pair->a, 0).error[0] != '\0');
	assert_int_equal(node_status(&pair->a, 0).lag_records, 2500);
	node_start(&pair->b);
	run_until(pair->base, node_state(&pair->a, 0) == REPL_IN_SYNC);
	assert_int_equal(node_count(&pair->b, 0, 2500), 2500);
	assert_int_equal(node_status(&pair->a, 0).lag_records, 0);
}

static void test_a_break_resumes_at_the_position(void **state)
{
	struct pair *pair = *state;

	pair_start(pair);
	node_put(&pair->a, 0, 1000);
	run_until(pair->base, all_acked(&pair->a));
	/* The sender restarts; its table and the receiver stay. */
	node_stop(&pair->a);
	node_put(&pair->a, 1000, 50);
	node_start(&pair->a);
	run_until(pair->base, node_state(&pair->a, 0) == REPL_IN_SYNC);
	assert_int_equal(node_count(&pair->b, 0, 1050), 1050);
	assert_int_equal(node_status(&pair->a, 0).n_sent, 50);
}

static void test_an_emptied_node_gets_everything(void **state)
{
	struct pair *pair = *state;

	pair_start(pair);
	node_put(&pair->a, 0, 3000);
	node_put(&pair->b, 5000, 1000);
	run_until(pair->base, all_acked(&pair->a) && all_acked(&pair->b));
	node_stop(&pair->b);
	node_new_table(&pair->b, TABLE_BYTES);
	run_until(pair->base, node_state(&pair->a, 0) == REPL_ABSENT);
	node_start(&pair->b);
	run_until(pair->base, node_state(&pair->a, 0) == REPL_IN_SYNC);
	assert_int_equal(node_count(&pair->b, 0, 3000), 3000);
	assert_int_equal(node_count(&pair->b, 5000, 1000), 1000);
}

static void test_a_new_table_starts_over(void **state)
{
	struct pair *pair = *state;

	pair_start(pair);
	node_put(&pair->a, 0, 100);
	run_until(pair->base, all_acked(&pair->a));
	/* Another epoch: the position that b remembers means nothing any more. */
	node_stop(&pair->a);
	node_new_table(&pair->a, TABLE_BYTES);
	node_put(&pair->a, 200, 100);
	node_start(&pair->a);
	run_until(pair->base, node_state(&pair->a, 0) == REPL_IN_SYNC);
	assert_int_equal(node_count(&pair->b, 0, 300), 200);
}

static void test_without_peers_nothing_is_waited_for(void **state)
{
	struct pair *pair = *state;
	unsigned waited_for = 99;

	node_start(&pair->a);
	node_put(&pair->a, 0, 10);
	assert_int_equal(repl_acked(pair->a.repl, &waited_for), table_head(pair->a.table));
	assert_int_equal(waited_for, 0);
}

static void test_control_messages_arrive(void **state)
{
	struct pair *pair = *state;
	uint8_t payload[REPL_CONTROL_MAX];

	memset(payload, 0xc3, sizeof(payload));
	node_start(&pair->a);
	assert_int_equal(repl_control(pair->a.repl, 0, payload, 1), -ENOTCONN);
	node_stop(&pair->a);
	pair_start(pair);
	assert_int_equal(repl_control(pair->a.repl, 0, payload, sizeof(payload) + 1), -EMSGSIZE);
	assert_int_equal(repl_control(pair->a.repl, 0, payload, 0), -EMSGSIZE);
	assert_int_equal(repl_control(pair->a.repl, 1, payload, 1), -ENOTCONN);
	assert_int_equal(repl_control(pair->a.repl, 0, payload, sizeof(payload)), 0);
	run_until(pair->base, pair->b.n_control > 0);
	assert_int_equal(pair->b.n_control, sizeof(payload));
	assert_memory_equal(pair->b.control, payload, sizeof(payload));
	assert_int_equal(pair->b.control_from, 0);
}

static void test_roles_are_told(void **state)
{
	struct pair *pair = *state;

	node_start(&pair->a);
	repl_set_role(pair->a.repl,
	              &(struct wire_role){.term = 7, .active = true, .has_service = true});
	node_start(&pair->b);
	run_until(pair->base, node_status(&pair->b, 0).active);
	assert_int_equal(node_status(&pair->b, 0).term, 7);
	run_until(pair->base, node_state(&pair->a, 0) == REPL_IN_SYNC);
	repl_set_role(pair->a.repl,
	              &(struct wire_role){.term = 8, .has_workers = true, .refuses_workers = true});
	repl_set_role(pair->b.repl,
	              &(struct wire_role){.term = 9, .active = true, .has_service = true});
	run_until(pair->base,
	          node_status(&pair->b, 0).term == 8 && node_status(&pair->a, 0).active);
	assert_false(node_status(&pair->b, 0).active);
	assert_false(node_status(&pair->b, 0).has_service);
	assert_true(node_status(&pair->b, 0).has_workers);
	assert_true(node_status(&pair->b, 0).refuses_workers);
	assert_false(node_status(&pair->a, 0).has_workers);
	assert_int_equal(node_status(&pair->a, 0).term, 9);
}

static bool hears(const struct node *node, const struct node *speaker)
{
	const struct keyring *heard = &node->heard.ring, *says = &speaker->says.ring;

	return heard->generation == says->generation && heard->n == says->n &&
	       memcmp(heard->keys, says->keys, sizeof(says->keys)) == 0;
}

static void test_ticket_keys_are_told(void **state)
{
	const struct keyring_time now = {.wall_ms = 1700000000000};
	struct pair *pair = *state;
	struct keyring *ring = &pair->a.says.ring;

	/* On connect … */
	assert_int_equal(keyring_make(ring, &now, TICKET_ROTATION_MS_MIN), 0);
	pair_start(pair);
	run_until(pair->base, hears(&pair->b, &pair->a) && pair->a.n_heard > 0);
	assert_int_equal(pair->b.heard.resumption, TICKET_STATEFUL);
	assert_int_equal(pair->b.n_heard, 1);
	/* … on change, however often it changes … */
	while (ring->n < KEYRING_KEYS_MAX) {
		assert_int_equal(keyring_make(ring, &now, TICKET_ROTATION_MS_MIN), 0);
		repl_tell_tickets(pair->a.repl, 0);
	}
	run_until(pair->base, hears(&pair->b, &pair->a));
	/* … and to one that was away. */
	node_stop(&pair->b);
	assert_int_equal(keyring_rekey(ring, &now, TICKET_ROTATION_MS_MIN), 0);
	run_until(pair->base, node_state(&pair->a, 0) == REPL_ABSENT);
	repl_tell_tickets(pair->a.repl, 0);
	node_start(&pair->b);
	run_until(pair->base, hears(&pair->b, &pair->a));
}

/* The table's positions run out while peers are in sync: nothing counts as acked by the old ones. */
static void test_policies_are_told(void **state)
{
	static const uint8_t both[2][32] = {{1}, {2}};
	struct pair *pair = *state;

	/* In the hello, and when they change. */
	node_start(&pair->a);
	repl_set_policies(pair->a.repl, both, 1);
	node_start(&pair->b);
	assert_int_equal(node_status(&pair->b, 0).policies, REPL_POLICIES_UNKNOWN);
	repl_set_policies(pair->b.repl, both, 1);
	run_until(pair->base, node_status(&pair->a, 0).policies == REPL_POLICIES_SAME &&
	                          node_status(&pair->b, 0).policies == REPL_POLICIES_SAME);
	run_until(pair->base, node_state(&pair->a, 0) == REPL_IN_SYNC);
	repl_set_policies(pair->a.repl, both, 2);
	run_until(pair->base, node_status(&pair->b, 0).policies == REPL_POLICIES_DIFFER);
	assert_int_equal(node_status(&pair->a, 0).policies, REPL_POLICIES_DIFFER);
	repl_set_policies(pair->b.repl, both + 1, 1);
	run_until(pair->base, node_state(&pair->b, 0) == REPL_IN_SYNC);
	assert_int_equal(node_status(&pair->a, 0).policies, REPL_POLICIES_DIFFER);
	repl_set_policies(pair->b.repl, both, 2);
	run_until(pair->base, node_status(&pair->a, 0).policies == REPL_POLICIES_SAME);
	/* A node whose servers are gone says nothing of the other. */
	repl_set_policies(pair->a.repl, both, 0);
	run_until(pair->base, node_status(&pair->b, 0).policies == REPL_POLICIES_UNKNOWN);
}

static void test_positions_start_over(void **state)
{
	const uint64_t near = LAYOUT_POSITION_END - UINT64_C(3) * RECORD_BYTES_MAX;
	struct pair *pair = *state;
	struct layout_header *header = pair->a.table->header;
	uint64_t epoch = table_epoch(pair->a.table);
	unsigned n = 0, waited_for;

	word_store(&header->tail, near);
	word_store(&header->head, near);
	pair_start(pair);
	while (table_epoch(pair->a.table) == epoch) {
		struct repl *repl = pair->a.repl;

		assert_true(n < 100000);
		pair->a.repl = NULL; /* put without a push */
		node_put(&pair->a, n++, 1);
		pair->a.repl = repl;
	}
	/* The one that made it start over is not acked: not before replication has noticed … */
	assert_true(repl_acked(pair->a.repl, &waited_for) < table_head(pair->a.table));
	assert_int_equal(waited_for, 1);
	repl_push(pair->a.repl);
	/* … and then nobody is waited for, until a new connection has caught up. */
	(void)repl_acked(pair->a.repl, &waited_for);
	assert_int_equal(waited_for, 0);
	run_until(pair->base, node_state(&pair->a, 0) == REPL_IN_SYNC);
	assert_true(node_has(&pair->b, n - 1));
	node_put(&pair->a, n, 100);
	run_until(pair->base, all_acked(&pair->a));
	assert_int_equal(node_count(&pair->b, n, 100), 100);
	assert_int_equal(node_status(&pair->a, 0).n_connects, 2);
	assert_int_equal(node_stats(&pair->a).n_malformed + node_stats(&pair->b).n_malformed, 0);
}

static void test_flush_waits_for_the_acks(void **state)
{
	struct pair *pair = *state;
	unsigned waited_for;

	pair_start(pair);
	node_put(&pair->a, 0, 5000);
	repl_flush(pair->a.repl, 5000);
	assert_int_equal(repl_acked(pair->a.repl, &waited_for), table_head(pair->a.table));
	assert_int_equal(node_count(&pair->b, 0, 5000), 5000);
}

/* Three nodes, each with records of its own: all hold all. */
static void test_three_nodes_share(void **state)
{
	struct pair *pair = *state;
	struct node c;

	node_init(&c, pair->base, "c", TABLE_BYTES);
	node_add_peer(&c, "a", pair->a.port);
	node_add_peer(&c, "b", pair->b.port);
	node_add_peer(&pair->a, "c", c.port);
	node_add_peer(&pair->b, "c", c.port);
	node_put(&pair->a, 0, 100);
	pair_start(pair);
	node_put(&pair->b, 100, 100);
	node_start(&c);
	run_until(pair->base, node_state(&pair->a, 1) == REPL_IN_SYNC &&
	                          node_state(&pair->b, 1) == REPL_IN_SYNC &&
	                          node_state(&c, 0) == REPL_IN_SYNC &&
	                          node_state(&c, 1) == REPL_IN_SYNC);
	node_put(&c, 200, 100);
	node_put(&pair->a, 300, 100);
	run_until(pair->base, all_acked(&pair->a) && all_acked(&pair->b) && all_acked(&c));
	assert_int_equal(node_count(&pair->a, 0, 400), 400);
	assert_int_equal(node_count(&pair->b, 0, 400), 400);
	assert_int_equal(node_count(&c, 0, 400), 400);
	node_deinit(&c);
}

#define pair_test(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    pair_test(test_records_arrive_and_are_acked),
	    pair_test(test_received_records_do_not_go_back),
	    pair_test(test_tombstones_travel),
	    pair_test(test_what_stood_before_is_sent),
	    pair_test(test_a_break_resumes_at_the_position),
	    pair_test(test_an_emptied_node_gets_everything),
	    pair_test(test_a_new_table_starts_over),
	    pair_test(test_without_peers_nothing_is_waited_for),
	    pair_test(test_control_messages_arrive),
	    pair_test(test_roles_are_told),
	    pair_test(test_ticket_keys_are_told),
	    pair_test(test_policies_are_told),
	    pair_test(test_positions_start_over),
	    pair_test(test_flush_waits_for_the_acks),
	    pair_test(test_three_nodes_share),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
