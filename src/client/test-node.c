#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "client/test-node.h"

struct node_run {
	struct node *node;
	struct event_base *base;
	struct table *table;
	struct tickets *tickets;
	struct workers *workers;
	unsigned n_rekeys;
};

static int run_table_fd(void *arg)
{
	struct node_run *run = arg;

	return table_fd(run->table);
}

static int run_tickets_fd(void *arg)
{
	struct node_run *run = arg;

	return tickets_fd(run->tickets);
}

static void run_tickets_tell(void *arg, uint32_t peers)
{
	(void)arg, (void)peers;
}

static void run_notice(void *arg, const struct table_record *record, uint64_t *position)
{
	struct node_run *run = arg;

	if (table_put(run->table, record, time(NULL), position) != 0)
		*position = 0;
	atomic_fetch_add(&run->node->control->n_notices, 1);
}

static uint64_t run_stored(void *arg)
{
	const struct node_run *run = arg;

	return table_head(run->table);
}

static void run_acked(struct node_run *run)
{
	table_set_acked(run->table, table_head(run->table));
	workers_acked(run->workers, table_head(run->table));
}

static void run_batch(void *arg)
{
	struct node_run *run = arg;

	atomic_fetch_add(&run->node->control->n_batches, 1);
	if (!atomic_load(&run->node->control->hold_acks))
		run_acked(run);
}

static void run_turn(evutil_socket_t fd, short what, void *arg)
{
	struct node_run *run = arg;
	struct node_control *control = run->node->control;

	(void)fd;
	(void)what;
	if (!atomic_load(&control->hold_acks))
		run_acked(run);
	if (run->n_rekeys != atomic_load(&control->n_rekeys)) {
		run->n_rekeys++;
		if (tickets_rekey(run->tickets) < 0)
			abort();
	}
	workers_stats(run->workers, &control->stats);
	atomic_fetch_add(&control->n_turns, 1);
	if (atomic_load(&control->stop))
		event_base_loopbreak(run->base);
}

static int node_run(struct node *node)
{
	static const struct workers_ops ops = {
	    .table_fd = run_table_fd,
	    .tickets_fd = run_tickets_fd,
	    .notice = run_notice,
	    .stored = run_stored,
	    .batch = run_batch,
	};
	static const struct tickets_ops tickets_ops = {.tell = run_tickets_tell};
	struct node_run run = {.node = node, .n_rekeys = atomic_load(&node->control->n_rekeys)};
	struct event *turn;
	char why[128];
	int r;

	run.base = event_base_new();
	r = table_open(&run.table, node->table_path, 4 << 20, false, time(NULL), why, sizeof(why));
	if (r < 0)
		return r;
	r = tickets_new(&run.tickets, run.base, node->tickets_path, &node->tickets, &tickets_ops,
	                &run, why, sizeof(why));
	if (r < 0)
		return r;
	r = workers_new(&run.workers, run.base, &node->config, &ops, &run);
	if (r < 0)
		return r;
	turn = event_new(run.base, -1, EV_PERSIST, run_turn, &run);
	event_add(turn, &(struct timeval){.tv_usec = 1000});
	atomic_store(&node->control->ready, true);
	event_base_dispatch(run.base);
	event_free(turn);
	workers_free(run.workers);
	tickets_free(run.tickets);
	table_free(run.table);
	event_base_free(run.base);
	return 0;
}

void node_init(struct node *node)
{
	*node = (struct node){
	    .config = {.ring_bytes = 256 * 1024, .n_max = 16, .gate_deadline_ms = 60000},
	    .tickets = {.resumption = TICKET_STATEFUL, .rotation_ms = 3600 * 1000}};
	strcpy(node->directory, "/tmp/tlsbaton-test-XXXXXX");
	assert_non_null(mkdtemp(node->directory));
	assert_int_equal(chmod(node->directory, 0755), 0);
	snprintf(node->socket_path, sizeof(node->socket_path), "%s/worker.sock", node->directory);
	snprintf(node->table_path, sizeof(node->table_path), "%s/table", node->directory);
	snprintf(node->tickets_path, sizeof(node->tickets_path), "%s/ticket-keys", node->directory);
	node->control = mmap(NULL, sizeof(*node->control), PROT_READ | PROT_WRITE,
	                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(node->control != MAP_FAILED);
}

void node_deinit(struct node *node)
{
	if (node->pid)
		node_kill(node);
	if (node->in_thread)
		node_stop(node);
	munmap(node->control, sizeof(*node->control));
	unlink(node->socket_path);
	unlink(node->table_path);
	unlink(node->tickets_path);
	rmdir(node->directory);
}

static void node_reset(struct node *node)
{
	node->config.socket_path = node->socket_path;
	atomic_store(&node->control->ready, false);
	atomic_store(&node->control->stop, false);
	atomic_store(&node->control->n_notices, 0);
	atomic_store(&node->control->n_batches, 0);
}

void node_start(struct node *node)
{
	node_reset(node);
	node->pid = fork();
	assert_true(node->pid >= 0);
	if (node->pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(node_run(node) == 0 ? 0 : 1);
	}
	node_until(atomic_load(&node->control->ready) || waitpid(node->pid, NULL, WNOHANG) != 0);
	assert_true(atomic_load(&node->control->ready));
}

static void *node_thread(void *arg)
{
	struct node *node = arg;

	atomic_store(&node->control->error, node_run(node));
	return NULL;
}

void node_start_thread(struct node *node)
{
	node_reset(node);
	assert_int_equal(pthread_create(&node->thread, NULL, node_thread, node), 0);
	node->in_thread = true;
	node_until(atomic_load(&node->control->ready) || atomic_load(&node->control->error));
	assert_int_equal(atomic_load(&node->control->error), 0);
}

void node_stop(struct node *node)
{
	int status = 0;

	atomic_store(&node->control->stop, true);
	if (node->in_thread) {
		assert_int_equal(pthread_join(node->thread, NULL), 0);
		node->in_thread = false;
	} else {
		assert_int_equal(waitpid(node->pid, &status, 0), node->pid);
		node->pid = 0;
	}
	assert_int_equal(status, 0);
}

void node_kill(struct node *node)
{
	kill(node->pid, SIGKILL);
	assert_int_equal(waitpid(node->pid, NULL, 0), node->pid);
	node->pid = 0;
}

void node_stats(struct node *node, struct workers_stats *out)
{
	uint64_t turn = atomic_load(&node->control->n_turns);

	node_until(atomic_load(&node->control->n_turns) > turn + 1);
	*out = node->control->stats;
}
