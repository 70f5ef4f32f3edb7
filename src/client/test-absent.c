/* libtlsbaton without its daemon: one that is not there yet, dies, hangs, stops and comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "client/test-fixture.h"
#include "util/clock.h"

static void test_without_a_daemon(void **state)
{
	struct fixture *f = *state;
	uint64_t notice = 0;
	uint32_t n = 0;

	open_handle(f);
	assert_false(tlsbaton_connected(f->baton));
	assert_int_equal(tlsbaton_gate_fd(f->baton), -1);
	assert_int_equal(f->n_lines, 1);
	assert_int_equal(get(f, 1), TLSBATON_MISS);
	while (put(f, n + 1, &notice) == 0) {
		n++;
		assert_int_equal(notice, n);
		assert_int_equal(tlsbaton_gate_wait(f->baton, notice), 0);
		assert_int_equal(tlsbaton_gate_poll(f->baton, notice), 0);
	}
	assert_true(n > 4000);
	assert_int_equal(put(f, n + 2, &notice), TLSBATON_LOST);
	assert_int_equal(notice, n);
	assert_int_equal(count(f).lost, 2);
	assert_int_equal(count(f).gate_waits, 0);
	assert_int_equal(count(f).gate_no_daemon, 2 * n);
	assert_int_equal(f->n_lines, 1);
}

static void test_a_daemon_that_comes_later(void **state)
{
	struct fixture *f = *state;
	struct workers_stats stats;

	open_handle(f);
	for (uint32_t i = 1; i <= 100; i++)
		assert_int_equal(put(f, i, NULL), 0);
	node_start(&f->node);
	node_until(tlsbaton_connected(f->baton));
	node_until(get(f, 100) == 0);
	for (uint32_t i = 1; i <= 100; i++)
		assert_int_equal(get(f, i), 0);
	assert_int_equal(count(f).puts, 100);
	assert_int_equal(count(f).reconnects, 0);
	node_stats(&f->node, &stats);
	assert_int_equal(stats.puts, 100);
	assert_int_equal(f->n_lines, 2);
}

static void test_expired_notices_do_not_wait_for_it(void **state)
{
	struct fixture *f = *state;
	unsigned char id[32] = {9}, der[200] = {1};
	uint32_t n = 0;

	open_handle(f);
	while (tlsbaton_session_put(f->baton, id, 32, der, sizeof(der), time(NULL) - 1, NULL) == 0)
		n++;
	assert_true(n > 3000);
	/* At its next attempt to connect it makes room. */
	node_until(put(f, 1, NULL) == 0);
	node_start(&f->node);
	node_until(get(f, 1) == 0);
	assert_int_equal(atomic_load(&f->node.control->n_notices), 1);
}

static void test_nothing_is_lost_when_the_daemon_is_killed(void **state)
{
	struct fixture *f = *state;
	struct workers_stats stats;
	uint64_t notice;
	uint32_t i = 0;

	start_both(f);
	for (unsigned round = 1; round <= 3; round++) {
		for (unsigned k = 0; k < 300; k++)
			assert_int_equal(put(f, ++i, &notice), 0);
		node_kill(&f->node);
		for (unsigned k = 0; k < 300; k++)
			assert_int_equal(put(f, ++i, &notice), 0);
		node_start(&f->node);
		node_until((tlsbaton_connected(f->baton), count(f).reconnects == round));
		assert_int_equal(tlsbaton_gate_wait(f->baton, notice), 0);
		for (uint32_t k = 1; k <= i; k++)
			assert_int_equal(get(f, k), 0);
	}
	assert_int_equal(count(f).lost, 0);
	assert_int_equal(count(f).puts, i);
	node_stats(&f->node, &stats);
	assert_true(stats.puts <= 300);
	assert_in_range(f->n_lines, 3, 7);
}

static void test_a_stopped_daemon_has_taken_all(void **state)
{
	struct fixture *f = *state;

	start_both(f);
	for (uint32_t i = 1; i <= 1000; i++)
		assert_int_equal(put(f, i, NULL), 0);
	node_stop(&f->node);
	for (uint32_t i = 1; i <= 1000; i++)
		assert_int_equal(get(f, i), 0);
	node_until(!tlsbaton_connected(f->baton));
	assert_non_null(strstr(f->last_line, "gone"));
}

static void test_a_gate_after_the_daemon_was_killed(void **state)
{
	struct fixture *f = *state;
	uint64_t notice;

	f->node.config.gate_deadline_ms = 50;
	start_both(f);
	atomic_store(&f->node.control->hold_acks, true);
	assert_int_equal(put(f, 1, &notice), 0);
	node_kill(&f->node);
	/* Perhaps the whole node is dying: one deadline, then it is open at once. */
	(void)tlsbaton_gate_wait(f->baton, notice);
	node_until(!tlsbaton_connected(f->baton));
	node_until(tlsbaton_gate_poll(f->baton, notice) == 0);
	assert_int_equal(put(f, 2, &notice), 0);
	assert_int_equal(tlsbaton_gate_wait(f->baton, notice), 0);
}

/* Whoever waits finds out that the daemon is another, and is acked by that. */
static void test_a_gate_after_the_daemon_was_restarted(void **state)
{
	struct fixture *f = *state;
	uint64_t notice;

	f->node.config.gate_deadline_ms = 60000;
	start_both(f);
	for (uint32_t i = 1; i <= 5; i++) {
		node_kill(&f->node);
		node_start(&f->node);
		assert_int_equal(put(f, i, &notice), 0);
		assert_int_equal(tlsbaton_gate_wait(f->baton, notice), 0);
		assert_int_equal(get(f, i), 0);
	}
	assert_int_equal(count(f).gate_no_daemon, 0);
	assert_int_equal(count(f).reconnects, 5);
}

static void test_a_hung_daemon_closes_no_gate(void **state)
{
	struct fixture *f = *state;
	struct workers_stats stats;
	uint64_t notice;
	int status;

	f->node.config.gate_deadline_ms = 60000;
	start_both(f);
	end_patience(f);
	assert_int_equal(kill(f->node.pid, SIGSTOP), 0);
	assert_int_equal(waitpid(f->node.pid, &status, WUNTRACED), f->node.pid);
	assert_int_equal(put(f, 1, &notice), 0);
	/* It is asked before the heartbeat is old: this one waits, until it is. */
	assert_int_equal(tlsbaton_gate_wait(f->baton, notice), 0);
	assert_int_equal(count(f).gate_no_daemon, 1);
	assert_false(tlsbaton_connected(f->baton));
	assert_int_equal(tlsbaton_gate_poll(f->baton, notice), 0);
	assert_int_equal(count(f).gate_no_daemon, 2);
	node_until((tlsbaton_connected(f->baton), strstr(f->last_line, "hangs") != NULL));
	assert_int_equal(kill(f->node.pid, SIGCONT), 0);
	node_until(get(f, 1) == 0);
	node_until((tlsbaton_connected(f->baton), strstr(f->last_line, "again") != NULL));
	assert_int_equal(count(f).gate_timeouts, 0);
	assert_int_equal(count(f).reconnects, 0);
	node_stats(&f->node, &stats);
	assert_int_equal(stats.gate_no_daemon, 2);
}

static void test_a_table_that_is_another(void **state)
{
	struct fixture *f = *state;

	start_both(f);
	assert_int_equal(put(f, 1, NULL), 0);
	node_until(get(f, 1) == 0);
	node_stop(&f->node);
	assert_int_equal(unlink(f->node.table_path), 0);
	assert_int_equal(get(f, 1), 0); /* as it was last mapped */
	node_start(&f->node);
	node_until((get(f, 2), count(f).reconnects == 1));
	assert_int_equal(get(f, 1), TLSBATON_MISS);
	assert_int_equal(put(f, 2, NULL), 0);
	node_until(get(f, 2) == 0);
}

/* The daemon comes back with another table while this process sleeps. Out: lookups that missed until one hit. */
static uint64_t misses_after_a_return(struct fixture *f, uint32_t number)
{
	const uint64_t n_misses = count(f).misses;
	struct tlsbaton *busy = NULL, *idle = f->baton;
	int64_t slept_from;

	node_stop(&f->node);
	assert_int_equal(unlink(f->node.table_path), 0);
	node_start(&f->node);
	assert_int_equal(tlsbaton_new(&busy, &f->options), 0);
	f->baton = busy;
	assert_int_equal(put(f, number, NULL), 0);
	node_until(get(f, number) == 0);
	f->baton = idle;
	tlsbaton_free(busy);
	slept_from = clock_coarse_ms();
	node_until(clock_coarse_ms() - slept_from > 300); /* its next look is due */
	node_until(get(f, number) == 0);
	return count(f).misses - n_misses;
}

static void test_an_idle_process_finds_the_table_that_is_another(void **state)
{
	struct fixture *f = *state;
	unsigned tries = 0;

	start_both(f);
	/* On a busy machine the daemon's hello may be late, so not at each try: but without a second look never. */
	while (misses_after_a_return(f, ++tries) > 0)
		assert_true(tries < 10);
}

/* What happens while a miss waits for a hello, which it does in poll(2): another thread's put, and a fork. */
static struct {
	struct fixture *f;
	bool looked_at;
	int socket_in_child; /* an exit status: 1 if the child has it, too */
} waited;

static void *put_in_thread(void *arg)
{
	return put(arg, 2, NULL) == 0 ? arg : NULL;
}

/* Stands before the C library's. */
int poll(struct pollfd *fds, nfds_t n_fds, int wait_ms)
{
	const struct timespec wait = {.tv_sec = wait_ms / 1000,
	                              .tv_nsec = wait_ms % 1000 * 1000000L};

	if (waited.f && n_fds == 1 && wait_ms > 0) {
		struct fixture *f = waited.f;
		pthread_t thread;
		void *result;
		pid_t pid;

		waited.f = NULL;
		/* If it needed what the waiting thread holds, it would never end. */
		assert_int_equal(pthread_create(&thread, NULL, put_in_thread, f), 0);
		assert_int_equal(pthread_join(thread, &result), 0);
		assert_ptr_equal(result, f);
		pid = fork();
		if (pid == 0)
			_exit(fcntl(fds->fd, F_GETFD) >= 0);
		assert_int_equal(waitpid(pid, &waited.socket_in_child, 0), pid);
		waited.looked_at = true;
	}
	return ppoll(fds, n_fds, wait_ms < 0 ? NULL : &wait, NULL);
}

static void test_others_do_not_wait_with_a_miss(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	open_handle(f);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->node.socket_path);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	/* It takes connections, and says nothing. */
	assert_int_equal(listen(listener, 8), 0);
	waited.f = f;
	node_until((assert_int_equal(get(f, 1), TLSBATON_MISS), waited.looked_at));
	assert_int_equal(waited.socket_in_child, 0);
	assert_int_equal(count(f).puts, 1);
	close(listener);
	assert_int_equal(unlink(f->node.socket_path), 0);
	node_start(&f->node);
	node_until(get(f, 2) == 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_set_up, fixture_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_without_a_daemon),
	    T(test_a_daemon_that_comes_later),
	    T(test_expired_notices_do_not_wait_for_it),
	    T(test_nothing_is_lost_when_the_daemon_is_killed),
	    T(test_a_stopped_daemon_has_taken_all),
	    T(test_a_gate_after_the_daemon_was_killed),
	    T(test_a_gate_after_the_daemon_was_restarted),
	    T(test_a_hung_daemon_closes_no_gate),
	    T(test_a_table_that_is_another),
	    T(test_an_idle_process_finds_the_table_that_is_another),
	    T(test_others_do_not_wait_with_a_miss),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
