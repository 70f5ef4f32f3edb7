/* A handle under many threads, while its daemon comes and goes, and while the process forks. Built with
 * ThreadSanitizer this shows races; built without, lost notices. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <sched.h>
#include <sys/wait.h>
#include <time.h>

#include "client/test-node.h"
#include "tlsbaton.h"

#define N_THREADS 4
#define N_SESSIONS 3000 /* a thread */

struct fixture {
	struct node node;
	tlsbaton *baton;
	_Atomic unsigned n_done;
};

struct task {
	struct fixture *f;
	pthread_t thread;
	uint32_t first;
	const char *fault;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	node_init(&f->node);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	tlsbaton_free(f->baton);
	node_deinit(&f->node);
	free(f);
	return 0;
}

static void open_handle(struct fixture *f)
{
	const struct tlsbaton_options options = {
	    .size = sizeof(options), .socket_path = f->node.socket_path, .connect_ms = 5000};

	assert_int_equal(tlsbaton_new(&f->baton, &options), 0);
}

static void make_id(unsigned char id[32], uint32_t i)
{
	memset(id, 0x44, 32);
	memcpy(id, &i, sizeof(i));
}

static int put(tlsbaton *baton, uint32_t i, uint64_t *notice)
{
	unsigned char id[32], der[130];

	make_id(id, i);
	memset(der, (int)(i % 251), sizeof(der));
	return tlsbaton_session_put(baton, id, sizeof(id), der, sizeof(der), time(NULL) + 300,
	                            notice);
}

static int get(tlsbaton *baton, uint32_t i)
{
	unsigned char id[32], der[TLSBATON_DER_MAX];
	size_t n_der = 0;
	int r;

	make_id(id, i);
	r = tlsbaton_session_get(baton, id, sizeof(id), der, sizeof(der), &n_der, NULL, NULL);
	return r == 0 && (n_der != 130 || der[0] != i % 251 || der[129] != i % 251) ? -EBADMSG : r;
}

/* Puts its sessions, and asks for gates and for sessions now and then, as a server would. */
static void *serve(void *arg)
{
	struct task *task = arg;
	struct fixture *f = task->f;
	struct tlsbaton_counters counters;

	for (uint32_t i = task->first; i < task->first + N_SESSIONS; i++) {
		uint64_t notice;

		while (put(f->baton, i, &notice) == TLSBATON_LOST)
			sched_yield(); /* full while the daemon is away: a test wants all of them */
		if (i % 16 == 0)
			(void)tlsbaton_gate_wait(f->baton, notice);
		if (i % 8 == 0)
			(void)tlsbaton_gate_poll(f->baton, notice);
		if (get(f->baton, i - i % 7) < 0)
			task->fault = "a session came back changed";
		if (i % 64 == 0)
			tlsbaton_count(f->baton, &counters);
		atomic_fetch_add(&f->n_done, 1);
	}
	return NULL;
}

static void start_tasks(struct fixture *f, struct task tasks[N_THREADS])
{
	for (unsigned i = 0; i < N_THREADS; i++) {
		tasks[i] = (struct task){.f = f, .first = 1 + i * 1000000};
		assert_int_equal(pthread_create(&tasks[i].thread, NULL, serve, &tasks[i]), 0);
	}
}

static void join_tasks(struct task tasks[N_THREADS])
{
	for (unsigned i = 0; i < N_THREADS; i++) {
		assert_int_equal(pthread_join(tasks[i].thread, NULL), 0);
		assert_null(tasks[i].fault);
	}
}

static void assert_all_stored(struct fixture *f)
{
	for (unsigned t = 0; t < N_THREADS; t++)
		for (uint32_t i = 1 + t * 1000000; i < 1 + t * 1000000 + N_SESSIONS; i++)
			node_until(get(f->baton, i) == 0);
}

static void test_threads_while_the_daemon_comes_and_goes(void **state)
{
	struct fixture *f = *state;
	struct task tasks[N_THREADS];
	struct tlsbaton_counters counters;

	f->node.config.gate_deadline_ms = 20;
	node_start_thread(&f->node);
	open_handle(f);
	start_tasks(f, tasks);
	for (unsigned round = 1; round <= 3; round++) {
		node_until(atomic_load(&f->n_done) >= round * N_THREADS * N_SESSIONS / 5);
		node_stop(&f->node);
		node_start_thread(&f->node);
		node_until((tlsbaton_connected(f->baton), tlsbaton_count(f->baton, &counters),
		            counters.reconnects == round));
	}
	join_tasks(tasks);
	assert_all_stored(f);
	tlsbaton_count(f->baton, &counters);
	assert_int_equal(counters.puts, N_THREADS * N_SESSIONS);
}

static int child(struct fixture *f, uint32_t first)
{
	uint64_t notice = 0;

	for (uint32_t i = first; i < first + 20; i++)
		if (put(f->baton, i, &notice) != 0)
			return 1;
	for (unsigned i = 0; !tlsbaton_connected(f->baton); i++) {
		if (i > 10000)
			return 2;
		usleep(500);
	}
	for (unsigned i = 0; tlsbaton_gate_wait(f->baton, notice) != 0; i++)
		if (i > 1000)
			return 3;
	for (uint32_t i = first; i < first + 20; i++)
		if (get(f->baton, i) != 0)
			return 4;
	tlsbaton_free(f->baton);
	return 0;
}

static void test_fork_while_threads_put(void **state)
{
	struct fixture *f = *state;
	struct task tasks[N_THREADS];
	struct tlsbaton_counters counters;
	struct workers_stats stats;
	int status;

	node_start(&f->node);
	open_handle(f);
	start_tasks(f, tasks);
	for (uint32_t i = 0; i < 10; i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0)
			_exit(child(f, 100000000 + i * 1000));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	join_tasks(tasks);
	assert_all_stored(f);
	for (uint32_t i = 0; i < 10; i++)
		assert_int_equal(get(f->baton, 100000000 + i * 1000 + 19), 0);
	tlsbaton_count(f->baton, &counters);
	assert_int_equal(counters.puts, N_THREADS * N_SESSIONS);
	assert_int_equal(counters.reconnects, 0);
	node_stats(&f->node, &stats);
	assert_int_equal(stats.n_malformed, 0);
	assert_int_equal(stats.puts, N_THREADS * N_SESSIONS + 10 * 20);
}

static void test_a_child_of_a_child(void **state)
{
	struct fixture *f = *state;
	int status;
	pid_t pid;

	node_start(&f->node);
	open_handle(f);
	pid = fork();
	if (pid == 0) {
		pid = fork();
		if (pid == 0)
			_exit(child(f, 500));
		if (waitpid(pid, &status, 0) != pid || status != 0)
			_exit(10);
		_exit(child(f, 1000));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	/* And the parent's own connection is as it was. */
	assert_int_equal(child(f, 2000), 0);
	f->baton = NULL;
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_threads_while_the_daemon_comes_and_goes),
	    T(test_fork_while_threads_put),
	    T(test_a_child_of_a_child),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
