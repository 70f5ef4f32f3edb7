/* libtlsbaton against the daemon's real workers and a real table: sessions, gates, and a daemon that
 * dies, hangs, refuses and comes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "client/test-node.h"
#include "ring/hello.h"
#include "ring/ring.h"
#include "tlsbaton.h"
#include "util/clock.h"

struct fixture {
	struct node node;
	struct tlsbaton_options options;
	tlsbaton *baton;
	unsigned n_lines;
	char last_line[256];
};

static void keep_line(void *arg, int level, const char *message)
{
	struct fixture *f = arg;

	(void)level;
	f->n_lines++;
	snprintf(f->last_line, sizeof(f->last_line), "%s", message);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	node_init(&f->node);
	f->options = (struct tlsbaton_options){
	    .size = sizeof(f->options),
	    .socket_path = f->node.socket_path,
	    .log = keep_line,
	    .log_arg = f,
	    .connect_ms = 5000,
	};
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
	assert_int_equal(tlsbaton_new(&f->baton, &f->options), 0);
}

static void start_both(struct fixture *f)
{
	node_start(&f->node);
	open_handle(f);
	/* The hello has come. A daemon that gets no processor for a second hangs, until it does. */
	node_until(tlsbaton_connected(f->baton));
}

static void make_id(unsigned char id[32], uint32_t i)
{
	memset(id, 0x33, 32);
	memcpy(id, &i, sizeof(i));
}

static int put(struct fixture *f, uint32_t i, uint64_t *notice)
{
	unsigned char id[32], der[140];

	make_id(id, i);
	memset(der, (int)(i % 251), sizeof(der));
	return tlsbaton_session_put(f->baton, id, sizeof(id), der, sizeof(der), time(NULL) + 300,
	                            notice);
}

/* Out: `*notice`, may be NULL. */
static int get_noticed(struct fixture *f, uint32_t i, uint64_t *notice)
{
	unsigned char id[32], der[TLSBATON_DER_MAX];
	int64_t expires_s = 0;
	size_t n_der = 0;
	int r;

	make_id(id, i);
	r = tlsbaton_session_get(f->baton, id, sizeof(id), der, sizeof(der), &n_der, &expires_s,
	                         notice);
	if (r == 0) {
		assert_int_equal(n_der, 140);
		assert_int_equal(der[139], i % 251);
		assert_true(expires_s > time(NULL));
	}
	return r;
}

static int get(struct fixture *f, uint32_t i)
{
	return get_noticed(f, i, NULL);
}

static struct tlsbaton_counters count(struct fixture *f)
{
	struct tlsbaton_counters counters;

	tlsbaton_count(f->baton, &counters);
	return counters;
}

/* ---- With a daemon ---- */

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

/* ---- A daemon that is not there ---- */

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

static void test_a_hung_daemon_closes_no_gate(void **state)
{
	struct fixture *f = *state;
	struct workers_stats stats;
	uint64_t notice;
	int status;

	f->node.config.gate_deadline_ms = 60000;
	start_both(f);
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

/* ---- A daemon that does not want us, or is none ---- */

static void test_credentials(void **state)
{
	struct fixture *f = *state;
	const uid_t allowed[] = {12345};
	struct workers_stats stats;
	int status;

	if (geteuid() != 0)
		skip();
	f->node.config.uids = allowed;
	f->node.config.n_uids = 1;
	node_start(&f->node);
	for (unsigned i = 0; i < 2; i++) {
		pid_t pid = fork();

		assert_true(pid >= 0);
		if (pid == 0) {
			tlsbaton *baton;
			bool ok = setgid(54321) == 0 && setuid(i ? 54321 : 12345) == 0 &&
			          tlsbaton_new(&baton, &f->options) == 0;

			ok = ok && tlsbaton_connected(baton) == (i == 0);
			ok = ok && (strstr(f->last_line, "54321") != NULL) == (i == 1);
			_exit(ok ? 0 : 1);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	node_stats(&f->node, &stats);
	assert_int_equal(stats.n_refused, 1);
}

static void test_the_limit_of_workers(void **state)
{
	struct fixture *f = *state;
	struct workers_stats stats;
	tlsbaton *second;

	f->node.config.n_max = 1;
	start_both(f);
	assert_int_equal(tlsbaton_new(&second, &f->options), 0);
	assert_false(tlsbaton_connected(second));
	assert_non_null(strstr(f->last_line, "workers-max"));
	node_stats(&f->node, &stats);
	assert_int_equal(stats.n_connected, 1);
	assert_true(stats.n_refused >= 1);
	/* When the first goes, its place is the second's, by itself. */
	tlsbaton_free(f->baton);
	f->baton = second;
	node_until(tlsbaton_connected(second));
	assert_int_equal(put(f, 1, NULL), 0);
	node_until(get(f, 1) == 0);
}

/* Listens where the daemon should be, and says `bytes` to the first who comes. */
static void with_impostor(struct fixture *f, const void *bytes, size_t n_bytes, int fd_sent)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	alignas(struct cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))] = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n_bytes};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	pid_t pid;
	int status;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->node.socket_path);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 8), 0);
	if (fd_sent >= 0) {
		struct cmsghdr *cmsg = (struct cmsghdr *)control;
		int fds[2] = {fd_sent, fd_sent};

		message.msg_control = control;
		message.msg_controllen = sizeof(control);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(fds));
		memcpy(CMSG_DATA(cmsg), fds, sizeof(fds));
	}
	pid = fork();
	if (pid == 0) {
		int fd = accept(listener, NULL, NULL);

		_exit(sendmsg(fd, &message, MSG_NOSIGNAL) < 0);
	}
	open_handle(f);
	assert_false(tlsbaton_connected(f->baton));
	assert_int_equal(put(f, 1, NULL), 0);
	assert_int_equal(get(f, 1), TLSBATON_MISS);
	assert_int_equal(f->n_lines, 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	close(listener);
	assert_int_equal(unlink(f->node.socket_path), 0);
	/* The real one is found afterwards. */
	node_start(&f->node);
	node_until(get(f, 1) == 0);
}

static struct hello good_hello(void)
{
	return (struct hello){.magic = HELLO_MAGIC,
	                      .version = HELLO_VERSION,
	                      .size = sizeof(struct hello),
	                      .gate_deadline_ms = 20,
	                      .ring_bytes = 1 << 20};
}

static void test_a_hello_of_another_version(void **state)
{
	struct hello hello = good_hello();

	hello.version++;
	with_impostor(*state, &hello, sizeof(hello), -1);
	assert_non_null(strstr(((struct fixture *)*state)->last_line, "shared"));
}

static void test_a_hello_without_descriptors(void **state)
{
	struct hello hello = good_hello();

	with_impostor(*state, &hello, sizeof(hello), -1);
}

static void test_a_hello_with_foreign_descriptors(void **state)
{
	struct hello hello = good_hello();
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	with_impostor(*state, &hello, sizeof(hello), fd);
	close(fd);
}

static void test_a_short_hello(void **state)
{
	struct hello hello = good_hello();

	with_impostor(*state, &hello, 7, -1);
}

/* ---- A worker that does not behave ---- */

static int raw_connect(struct fixture *f)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->node.socket_path);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void raw_hello(int fd, int fds[2])
{
	alignas(struct cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))];
	struct hello hello;
	struct iovec iov = {.iov_base = &hello, .iov_len = sizeof(hello)};
	struct msghdr message = {.msg_iov = &iov,
	                         .msg_iovlen = 1,
	                         .msg_control = control,
	                         .msg_controllen = sizeof(control)};

	assert_int_equal(recvmsg(fd, &message, MSG_CMSG_CLOEXEC), sizeof(hello));
	assert_int_equal(hello.status, HELLO_WELCOME);
	memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&message)), 2 * sizeof(int));
}

static void test_garbage_in_the_ring_disconnects_its_worker_only(void **state)
{
	struct fixture *f = *state;
	struct workers_stats stats;
	struct ring_page *page;
	uint8_t *data;
	int fd, fds[2];
	char byte;

	start_both(f);
	fd = raw_connect(f);
	raw_hello(fd, fds);
	assert_int_equal(ring_map(fds[0], &page, &data), 0);
	/* What it was given cannot be turned against the daemon. */
	assert_int_equal(ftruncate(fds[0], 0), -1);
	assert_int_equal(write(fds[1], "x", 1), -1);
	memset(data, 0xff, 4096);
	atomic_store(&page->head, 4096);
	assert_int_equal(send(fd, "", 1, MSG_NOSIGNAL), 1);
	assert_true(recv(fd, &byte, 1, 0) <= 0); /* a reset if it was not even read */
	/* The memory is ours, too, and lives on: what stood in it does not. */
	for (size_t i = 0; i < page->data_bytes; i++)
		assert_int_equal(data[i], 0);
	node_stats(&f->node, &stats);
	assert_int_equal(stats.n_malformed, 1);
	assert_int_equal(stats.n_connected, 1);
	assert_int_equal(put(f, 1, NULL), 0);
	node_until(get(f, 1) == 0);
	ring_unmap_data(data, page->data_bytes, false);
	ring_unmap_page(page);
	close(fds[0]);
	close(fds[1]);
	close(fd);
}

static void test_a_worker_killed_while_it_writes(void **state)
{
	struct fixture *f = *state;
	struct workers_stats stats;

	start_both(f);
	for (unsigned round = 0; round < 10; round++) {
		uint64_t before = atomic_load(&f->node.control->n_notices);
		pid_t pid = fork();

		if (pid == 0)
			for (uint32_t i = 1000;; i = 1000 + (i + 1) % 500)
				(void)!put(f, i, NULL);
		node_until(atomic_load(&f->node.control->n_notices) > before + 100);
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
	}
	node_until((node_stats(&f->node, &stats), stats.n_connected == 1));
	assert_int_equal(stats.n_malformed, 0);
	assert_int_equal(put(f, 1, NULL), 0);
	node_until(get(f, 1) == 0);
	assert_int_equal(get(f, 1010), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_put_gate_get_remove),
	    T(test_the_daemon_sums_up_the_counters),
	    T(test_notices_of_a_worker_that_leaves_at_once),
	    T(test_a_gate_waits_for_the_ack),
	    T(test_who_finds_a_session_before_its_ack_waits_too),
	    T(test_without_a_daemon_who_finds_a_session_does_not_wait),
	    T(test_a_polled_gate_makes_its_descriptor_readable),
	    T(test_a_gate_opens_at_its_deadline),
	    T(test_bad_arguments),
	    T(test_without_a_daemon),
	    T(test_a_daemon_that_comes_later),
	    T(test_expired_notices_do_not_wait_for_it),
	    T(test_nothing_is_lost_when_the_daemon_is_killed),
	    T(test_a_stopped_daemon_has_taken_all),
	    T(test_a_gate_after_the_daemon_was_killed),
	    T(test_a_hung_daemon_closes_no_gate),
	    T(test_a_table_that_is_another),
	    T(test_an_idle_process_finds_the_table_that_is_another),
	    T(test_credentials),
	    T(test_the_limit_of_workers),
	    T(test_a_hello_of_another_version),
	    T(test_a_hello_without_descriptors),
	    T(test_a_hello_with_foreign_descriptors),
	    T(test_a_short_hello),
	    T(test_garbage_in_the_ring_disconnects_its_worker_only),
	    T(test_a_worker_killed_while_it_writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
