/*
 * Two processes, one of which dies by SIGKILL again and again while records stream into it, and comes back on
 * the table as it left it. What was acked is there; in the end everything is.
 */
#include "repl/testing.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define ROUNDS 6
#define BATCH 500

/* Opens the table that a killed process left. */
static void reopen_table(struct node *node)
{
	char why[128];

	assert_int_equal(table_open(&node->table, node->path, 8 << 20, false,
	                            repl_clock_system.wall_ms(NULL) / 1000, why, sizeof(why)),
	                 0);
}

static pid_t spawn(struct node *b)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nothing behind */
		b->base = event_base_new();
		reopen_table(b);
		node_start(b);
		for (;;)
			event_base_loop(b->base, EVLOOP_ONCE);
	}
	return pid;
}

static void stop(pid_t pid)
{
	assert_return_code(kill(pid, SIGKILL), errno);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* How many of the first `n` records end at or before what the gate may rely on. */
static unsigned acked_records(const struct node *a, const uint64_t *ends, unsigned n)
{
	unsigned waited_for, i = 0;
	uint64_t acked = repl_acked(a->repl, &waited_for);

	if (waited_for == 0)
		return 0;
	while (i < n && ends[i] <= acked)
		i++;
	return i;
}

static void test_a_peer_that_is_killed(void **state)
{
	static uint64_t ends[ROUNDS * BATCH];
	struct event_base *base = event_base_new();
	struct node a, b;
	unsigned n = 0;
	pid_t pid;

	(void)state;
	node_init(&a, base, "a", 8 << 20);
	node_init(&b, NULL, "b", 8 << 20);
	table_free(b.table);
	b.table = NULL;
	node_add_peer(&a, "b", b.port);
	node_add_peer(&b, "a", a.port);
	node_start(&a);
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned n_acked = 0, n_before = n;

		pid = spawn(&b);
		run_until(base, node_state(&a, 0) == REPL_IN_SYNC);
		/* It dies somewhere amid the batch, later in each round. */
		for (unsigned i = 0; i < BATCH; i++, n++) {
			node_put(&a, n, 1);
			ends[n] = table_head(a.table);
			if (i % 16 == 0)
				event_base_loop(base, EVLOOP_NONBLOCK);
			if (i == (round + 1) * BATCH / (ROUNDS + 1)) {
				run_until(base, acked_records(&a, ends, n) > n_before);
				n_acked = acked_records(&a, ends, n);
				stop(pid);
			}
		}
		reopen_table(&b);
		assert_int_equal(node_count(&b, 0, n_acked), n_acked);
		table_free(b.table);
		b.table = NULL;
		run_until(base, node_state(&a, 0) != REPL_IN_SYNC);
	}
	pid = spawn(&b);
	run_until(base, node_state(&a, 0) == REPL_IN_SYNC);
	stop(pid);
	reopen_table(&b);
	assert_int_equal(node_count(&b, 0, n), n);
	node_deinit(&a);
	node_deinit(&b);
	event_base_free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_peer_that_is_killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
