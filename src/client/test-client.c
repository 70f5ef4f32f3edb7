/* libtlsbaton against the daemon's real workers and a real table: sessions and gates. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "client/handle.h"
#include "client/test-fixture.h"

static void test_put_gate_get_remove(void **state)
{
	struct fixture *f = *state;
	unsigned char id[32];
	uint64_t notice;

	start_both(f);
	assert_int_equal(get(f, 1), TLSBATON_MISS);
	for (uint32_t i = 1; i <= 1000; i++) {
		notice = 0;
		assert_int_equal(put(f, i, &notice), 0);
		assert_int_equal(notice, i);
	}
	assert_int_equal(tlsbaton_gate_wait(f->baton, notice), 0);
	for (uint32_t i = 1; i <= 1000; i++)
		assert_int_equal(get(f, i), 0);
	make_id(id, 500);
	assert_int_equal(tlsbaton_session_remove(f->baton, id, sizeof(id), &notice), 0);
	assert_int_equal(tlsbaton_gate_wait(f->baton, notice), 0);
	assert_int_equal(get(f, 500), TLSBATON_MISS);
	assert_int_equal(get(f, 501), 0);
	assert_int_equal(count(f).puts, 1000);
	assert_int_equal(count(f).removals, 1);
	assert_int_equal(count(f).hits, 1001);
	assert_int_equal(count(f).misses, 2);
	assert_int_equal(count(f).lost, 0);
	assert_int_equal(count(f).gate_timeouts, 0);
	assert_int_equal(f->n_lines, 1);
}

static void test_the_daemon_sums_up_the_counters(void **state)
{
	struct fixture *f = *state;
	struct workers_stats stats;
	uint64_t notice;

	start_both(f);
	assert_int_equal(put(f, 1, &notice), 0);
	assert_int_equal(tlsbaton_gate_wait(f->baton, notice), 0);
	assert_int_equal(get(f, 1), 0);
	for (int i = 0; i < 3; i++)
		tlsbaton_note_stateless(f->baton);
	tlsbaton_note_removal_ignored(f->baton);
	node_stats(&f->node, &stats);
	assert_int_equal(stats.n_connected, 1);
	assert_int_equal(stats.puts, 1);
	assert_int_equal(stats.hits, 1);
	assert_int_equal(stats.stateless, 3);
	assert_int_equal(stats.removals_ignored, 1);
	assert_int_equal(count(f).stateless, 3);
	assert_int_equal(count(f).removals_ignored, 1);
	/* They stay when the worker goes. */
	tlsbaton_free(f->baton);
	f->baton = NULL;
	node_until((node_stats(&f->node, &stats), stats.n_connected == 0));
	assert_int_equal(stats.puts, 1);
	assert_int_equal(stats.hits, 1);
	assert_int_equal(stats.stateless, 3);
	assert_int_equal(stats.removals_ignored, 1);
}

static void test_notices_of_a_worker_that_leaves_at_once(void **state)
{
	struct fixture *f = *state;

	start_both(f);
	for (uint32_t i = 1; i <= 500; i++)
		assert_int_equal(put(f, i, NULL), 0);
	tlsbaton_free(f->baton);
	f->baton = NULL;
	node_until(atomic_load(&f->node.control->n_notices) == 500);
}

static void test_a_gate_waits_for_the_ack(void **state)
{
	struct fixture *f = *state;
	uint64_t notice;

	start_both(f);
	atomic_store(&f->node.control->hold_acks, true);
	assert_int_equal(put(f, 1, &notice), 0);
	node_until(atomic_load(&f->node.control->n_batches) == 1);
	assert_int_equal(tlsbaton_gate_poll(f->baton, notice), TLSBATON_CLOSED);
	assert_int_equal(get(f, 1), 0); /* stored here all the same */
	atomic_store(&f->node.control->hold_acks, false);
	assert_int_equal(tlsbaton_gate_wait(f->baton, notice), 0);
	assert_int_equal(tlsbaton_gate_poll(f->baton, notice), 0);
	assert_int_equal(tlsbaton_gate_wait(f->baton, 0), 0);
}

/* What was to come after it did not: a notice that was sent without waking the daemon. */
static void test_a_gate_wakes_the_daemon(void **state)
{
	struct fixture *f = *state;
	unsigned char id[32];
	struct ring_notice put = {
	    .kind = RING_PUT, .expires_s = INT32_MAX, .id = id, .n_id = 32, .der = id, .n_der = 32};
	uint64_t notice;

	f->node.config.gate_deadline_ms = 60000;
	start_both(f);
	for (uint32_t i = 1; i <= 20; i++) {
		make_id(id, i);
		node_until(atomic_load(&f->baton->page->sleeping));
		assert_int_equal(handle_send(f->baton, &put, WAKE_LATER, &notice), 0);
		assert_int_equal(atomic_load(&f->baton->page->sleeping), 1);
		if (i % 2)
			assert_int_equal(tlsbaton_gate_wait(f->baton, notice), 0);
		else
			node_until(tlsbaton_gate_poll(f->baton, notice) == 0);
	}
	assert_int_equal(count(f).gate_timeouts, 0);
	assert_int_equal(atomic_load(&f->node.control->n_batches), 20);
}

static void test_who_finds_a_session_before_its_ack_waits_too(void **state)
{
	struct fixture *f = *state;
	tlsbaton *maker;
	uint64_t made, found = 0, later = 1;

	start_both(f);
	maker = f->baton;
	atomic_store(&f->node.control->hold_acks, true);
	assert_int_equal(put(f, 1, &made), 0);
	open_handle(f); /* another worker */
	node_until(tlsbaton_connected(f->baton));
	node_until(get_noticed(f, 1, &found) == 0);
	assert_int_equal(found, 1);
	assert_int_equal(tlsbaton_gate_poll(f->baton, found), TLSBATON_CLOSED);
	node_until(atomic_load(&f->node.control->n_batches) == 2);
	assert_int_equal(tlsbaton_gate_poll(f->baton, found), TLSBATON_CLOSED);
	atomic_store(&f->node.control->hold_acks, false);
	assert_int_equal(tlsbaton_gate_wait(f->baton, found), 0);
	assert_int_equal(get_noticed(f, 1, &later), 0);
	assert_int_equal(later, 0);
	assert_int_equal(count(f).puts, 0);
	assert_int_equal(count(f).hits_early, 1);
	assert_int_equal(atomic_load(&f->node.control->n_notices), 1);
	tlsbaton_free(maker);
}

static void test_without_a_daemon_who_finds_a_session_does_not_wait(void **state)
{
	struct fixture *f = *state;
	uint64_t notice = 1;

	f->node.config.gate_deadline_ms = 50;
	start_both(f);
	atomic_store(&f->node.control->hold_acks, true);
	assert_int_equal(put(f, 1, NULL), 0);
	node_until(get(f, 1) == 0);
	node_kill(&f->node);
	node_until((get_noticed(f, 1, &notice), notice == 0));
}

static void test_a_mark_without_room_is_no_loss(void **state)
{
	struct fixture *f = *state;
	uint64_t notice = 0;
	uint32_t n = 1;
	int status;

	start_both(f);
	atomic_store(&f->node.control->hold_acks, true);
	assert_int_equal(put(f, 1, NULL), 0);
	node_until(get(f, 1) == 0);
	assert_int_equal(kill(f->node.pid, SIGSTOP), 0);
	assert_int_equal(waitpid(f->node.pid, &status, WUNTRACED), f->node.pid);
	while (put(f, ++n, NULL) == 0)
		;
	assert_int_equal(count(f).lost, 1);
	/* Some are shorter than what was left. */
	do
		assert_int_equal(get_noticed(f, 1, &notice), 0);
	while (notice != 0);
	assert_int_equal(count(f).lost, 1);
	assert_int_equal(kill(f->node.pid, SIGCONT), 0);
}

static void test_a_polled_gate_makes_its_descriptor_readable(void **state)
{
	struct fixture *f = *state;
	struct pollfd readable;
	uint64_t notice;

	start_both(f);
	for (uint32_t i = 1; i <= 20; i++) {
		atomic_store(&f->node.control->hold_acks, true);
		assert_int_equal(put(f, i, &notice), 0);
		assert_int_equal(tlsbaton_gate_poll(f->baton, notice), TLSBATON_CLOSED);
		readable = (struct pollfd){.fd = tlsbaton_gate_fd(f->baton), .events = POLLIN};
		assert_int_equal(poll(&readable, 1, 0), 0);
		atomic_store(&f->node.control->hold_acks, false);
		assert_int_equal(poll(&readable, 1, 10000), 1);
		assert_int_equal(tlsbaton_gate_poll(f->baton, notice), 0);
		/* And quiet again, or an event loop would spin. */
		assert_int_equal(poll(&readable, 1, 0), 0);
	}
	assert_int_equal(count(f).gate_waits, 20);
}

static void test_a_gate_opens_at_its_deadline(void **state)
{
	struct fixture *f = *state;
	struct workers_stats stats;
	uint64_t notice, n_waits = 0;

	f->node.config.gate_deadline_ms = 30;
	start_both(f);
	assert_int_equal(tlsbaton_gate_deadline_ms(f->baton), 30);
	atomic_store(&f->node.control->hold_acks, true);
	assert_int_equal(put(f, 1, &notice), 0);
	assert_int_equal(tlsbaton_gate_wait(f->baton, notice), TLSBATON_TIMEOUT);
	assert_int_equal(count(f).gate_waits, 1);
	assert_int_equal(count(f).gate_timeouts, 1);
	node_stats(&f->node, &stats);
	assert_int_equal(stats.gate_timeouts, 1);
	for (size_t i = 15; i < ARRAY_SIZE(stats.gate_wait_us); i++)
		n_waits += stats.gate_wait_us[i];
	assert_int_equal(n_waits, 1);
	tlsbaton_gate_expired(f->baton);
	assert_int_equal(count(f).gate_timeouts, 2);
}

static void test_bad_arguments(void **state)
{
	struct fixture *f = *state;
	unsigned char id[33] = {1}, der[TLSBATON_DER_MAX + 1] = {1};
	char path[200];
	size_t n_der = 77;
	int64_t expires_s;

	start_both(f);
	assert_int_equal(tlsbaton_session_put(f->baton, id, 0, der, 1, 1, NULL), -EINVAL);
	assert_int_equal(tlsbaton_session_put(f->baton, id, 33, der, 1, 1, NULL), -EINVAL);
	assert_int_equal(tlsbaton_session_put(f->baton, id, 32, der, 0, 1, NULL), -EINVAL);
	assert_int_equal(tlsbaton_session_put(f->baton, id, 32, der, sizeof(der), 1, NULL),
	                 -EINVAL);
	assert_int_equal(tlsbaton_session_remove(f->baton, id, 0, NULL), -EINVAL);
	assert_int_equal(tlsbaton_session_get(f->baton, id, 0, der, 1, &n_der, NULL, NULL),
	                 -EINVAL);
	assert_int_equal(tlsbaton_session_get(f->baton, id, 33, der, 1, &n_der, NULL, NULL),
	                 -EINVAL);
	assert_int_equal(put(f, 1, NULL), 0);
	node_until(get(f, 1) == 0);
	make_id(id, 1);
	assert_int_equal(tlsbaton_session_get(f->baton, id, 32, der, 139, &n_der, &expires_s, NULL),
	                 -ENOBUFS);
	assert_int_equal(n_der, 77);
	memset(path, 'x', sizeof(path));
	path[sizeof(path) - 1] = '\0';
	f->options.socket_path = path;
	tlsbaton_free(f->baton);
	assert_int_equal(tlsbaton_new(&f->baton, &f->options), -EINVAL);
	f->baton = NULL;
	f->options.size = 1;
	assert_int_equal(tlsbaton_new(&f->baton, &f->options), -EINVAL);
	tlsbaton_free(NULL);
}

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_set_up, fixture_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_put_gate_get_remove),
	    T(test_the_daemon_sums_up_the_counters),
	    T(test_notices_of_a_worker_that_leaves_at_once),
	    T(test_a_gate_waits_for_the_ack),
	    T(test_a_gate_wakes_the_daemon),
	    T(test_who_finds_a_session_before_its_ack_waits_too),
	    T(test_without_a_daemon_who_finds_a_session_does_not_wait),
	    T(test_a_mark_without_room_is_no_loss),
	    T(test_a_polled_gate_makes_its_descriptor_readable),
	    T(test_a_gate_opens_at_its_deadline),
	    T(test_bad_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
