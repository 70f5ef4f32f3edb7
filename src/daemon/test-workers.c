/* The daemon's side of its workers, in one process with a handle of the library: what a reload changes, and acks when
 * there are many batches, and when the table's positions start over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "daemon/tickets.h"
#include "daemon/worker.h"
#include "ring/hello.h"
#include "tlsbaton.h"

struct fixture {
	char directory[64], socket_path[96], table_path[96], tickets_path[96];
	struct workers_config config;
	struct event_base *base;
	struct table *table;
	struct tickets *tickets;
	bool no_keys; /* there is no descriptor of them */
	struct workers *workers;
	uint64_t position; /* what the next notices are given */
	unsigned n_notices;
	tlsbaton *baton;
};

static int on_table_fd(void *arg)
{
	struct fixture *f = arg;

	return table_fd(f->table);
}

static int on_tickets_fd(void *arg)
{
	struct fixture *f = arg;

	return f->no_keys ? -EMFILE : tickets_fd(f->tickets);
}

static void on_tickets_tell(void *arg, uint32_t peers)
{
	(void)arg, (void)peers;
}

static void on_notice(void *arg, const struct table_record *record, uint64_t *position)
{
	struct fixture *f = arg;

	(void)record;
	*position = f->position;
	f->n_notices++;
}

static uint64_t on_stored(void *arg)
{
	const struct fixture *f = arg;

	return f->position;
}

static void on_batch(void *arg)
{
	(void)arg;
}

/* Turns of the loop until `condition` holds. */
#define run_until(f, condition)                                                                    \
	do {                                                                                       \
		unsigned turns_ = 0;                                                               \
		while (!(condition)) {                                                             \
			assert_true(turns_++ < 100000);                                            \
			event_base_loop((f)->base, EVLOOP_NONBLOCK);                               \
			usleep(100);                                                               \
		}                                                                                  \
	} while (0)

static void connect_worker(struct fixture *f)
{
	const struct tlsbaton_options options = {
	    .size = sizeof(options), .connect_ms = 1, .socket_path = f->socket_path};

	assert_int_equal(tlsbaton_new(&f->baton, &options), 0);
	run_until(f, tlsbaton_connected(f->baton));
}

static int set_up(void **state)
{
	static const struct workers_ops ops = {
	    .table_fd = on_table_fd,
	    .tickets_fd = on_tickets_fd,
	    .notice = on_notice,
	    .stored = on_stored,
	    .batch = on_batch,
	};
	static const struct tickets_ops tickets_ops = {.tell = on_tickets_tell};
	static const struct tickets_config tickets = {
	    .resumption = TICKET_STATEFUL,
	    .rotation_ms = TICKET_ROTATION_MS_MAX,
	};
	struct fixture *f = calloc(1, sizeof(*f));
	char why[128];

	strcpy(f->directory, "/tmp/tlsbaton-test-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	snprintf(f->socket_path, sizeof(f->socket_path), "%s/worker.sock", f->directory);
	snprintf(f->table_path, sizeof(f->table_path), "%s/table", f->directory);
	snprintf(f->tickets_path, sizeof(f->tickets_path), "%s/ticket-keys", f->directory);
	f->config = (struct workers_config){.socket_path = f->socket_path,
	                                    .ring_bytes = RING_BYTES_MIN,
	                                    .n_max = 2,
	                                    .gate_deadline_ms = 60000};
	f->base = event_base_new();
	assert_true(table_open(&f->table, f->table_path, TABLE_SIZE_MIN, false, time(NULL), why,
	                       sizeof(why)) >= 0);
	assert_int_equal(tickets_new(&f->tickets, f->base, f->tickets_path, &tickets, &tickets_ops,
	                             f, why, sizeof(why)),
	                 0);
	assert_int_equal(workers_new(&f->workers, f->base, &f->config, &ops, f), 0);
	connect_worker(f);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	tlsbaton_free(f->baton);
	workers_free(f->workers);
	tickets_free(f->tickets);
	table_free(f->table);
	event_base_free(f->base);
	unlink(f->table_path);
	unlink(f->tickets_path);
	rmdir(f->directory);
	free(f);
	return 0;
}

/* Sends a notice, which is taken in a batch of its own, and whose record ends at `position`. Returns its number. */
static uint64_t send_at(struct fixture *f, uint64_t position)
{
	const unsigned char id[32] = {1}, der[100] = {2};
	const unsigned n_before = f->n_notices;
	uint64_t notice = 0;

	f->position = position;
	assert_int_equal(tlsbaton_session_put(f->baton, id, sizeof(id), der, sizeof(der),
	                                      time(NULL) + 60, &notice),
	                 0);
	run_until(f, f->n_notices > n_before);
	return notice;
}

static bool is_open(struct fixture *f, uint64_t notice)
{
	return tlsbaton_gate_poll(f->baton, notice) == 0;
}

/* Connects as another user, and leaves. */
static void knock_as(struct fixture *f, uid_t uid)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	pid_t pid = fork();
	int status = -1;

	assert_true(pid >= 0);
	if (pid == 0) {
		int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

		strcpy(address.sun_path, f->socket_path);
		_exit(setuid(uid) < 0 ||
		      connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_a_user_that_is_refused_is_named_until_a_reload(void **state)
{
	struct refusal out[REFUSALS_USERS];
	struct fixture *f = *state;
	uid_t allowed = 12346;

	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(f->directory, 0755), 0);
	f->config.uids = &allowed;
	f->config.n_uids = 1;
	workers_configure(f->workers, &f->config);
	assert_int_equal(workers_refused(f->workers, out), 0);
	knock_as(f, 12345);
	knock_as(f, 12345);
	knock_as(f, allowed);
	run_until(f, f->workers->stats.n_refused >= 2);
	run_until(f, workers_refused(f->workers, out) == 1 && out[0].n == 2);
	assert_int_equal(out[0].uid, 12345);
	workers_configure(f->workers, &f->config);
	assert_int_equal(workers_refused(f->workers, out), 0);
}

static void test_a_reload_reaches_who_is_connected(void **state)
{
	struct fixture *f = *state;
	struct workers_stats stats;

	assert_int_equal(tlsbaton_gate_deadline_ms(f->baton), 60000);
	f->config.gate_deadline_ms = 7;
	workers_configure(f->workers, &f->config);
	assert_int_equal(tlsbaton_gate_deadline_ms(f->baton), 7);
	workers_stats(f->workers, &stats);
	assert_int_equal(stats.n_connected, 1);
	assert_int_equal(workers_n_connected(f->workers), 1);
}

static void test_gates_open_in_the_order_of_positions(void **state)
{
	struct fixture *f = *state;
	uint64_t first = send_at(f, 100), second = send_at(f, 200);

	assert_false(is_open(f, first));
	workers_acked(f->workers, 199);
	assert_true(is_open(f, first));
	assert_false(is_open(f, second));
	workers_acked(f->workers, 150); /* a late one changes nothing */
	assert_false(is_open(f, second));
	workers_acked(f->workers, 200);
	assert_true(is_open(f, second));
}

/* More than there is room for: none may open before its time. */
static void test_more_batches_than_there_is_room_for(void **state)
{
	enum { N = 2 * WORKER_BATCHES };
	struct fixture *f = *state;
	uint64_t notices[N];

	for (unsigned i = 0; i < N; i++)
		notices[i] = send_at(f, 100 * (i + 1));
	for (unsigned i = 0; i < N; i++) {
		workers_acked(f->workers, 100 * (i + 1) - 1);
		assert_false(is_open(f, notices[i]));
		workers_acked(f->workers, 100 * (i + 1));
		if (i < WORKER_BATCHES - 1)
			assert_true(is_open(f, notices[i]));
	}
	assert_true(is_open(f, notices[N - 1]));
}

static void test_positions_that_start_over_hold_no_gate(void **state)
{
	struct fixture *f = *state;
	uint64_t old = send_at(f, 1000000), young;

	workers_acked(f->workers, 999999);
	assert_false(is_open(f, old));
	workers_restarted(f->workers);
	young = send_at(f, 100);
	assert_false(is_open(f, young));
	/* The record of the old one is gone: there is nothing to wait for. */
	workers_acked(f->workers, 50);
	assert_true(is_open(f, old));
	assert_false(is_open(f, young));
	workers_acked(f->workers, 100);
	assert_true(is_open(f, young));
}

static void test_a_worker_without_ticket_keys_shares_its_sessions(void **state)
{
	struct fixture *f = *state;

	tlsbaton_free(f->baton);
	f->no_keys = true;
	connect_worker(f);
	assert_int_equal(tlsbaton_resumption(f->baton), TLSBATON_UNKNOWN);
	(void)send_at(f, 100);
	assert_int_equal(f->n_notices, 1);
}

/* Gives what a call of workers_warn() writes to the log. */
static const char *said_of_a_refusal(struct fixture *f)
{
	static char said[256];
	int log = memfd_create("log", MFD_CLOEXEC), before = dup(STDERR_FILENO);
	ssize_t n;

	assert_true(log >= 0 && before >= 0);
	dup2(log, STDERR_FILENO);
	workers_warn(f->workers, "refused", "its user");
	dup2(before, STDERR_FILENO);
	close(before);
	n = pread(log, said, sizeof(said) - 1, 0);
	close(log);
	assert_true(n >= 0);
	said[n] = '\0';
	return said;
}

static void test_a_warning_says_how_many_it_stands_for_if_any(void **state)
{
	struct fixture *f = *state;

	assert_non_null(strstr(said_of_a_refusal(f), "refused: its user\n"));
	assert_string_equal(said_of_a_refusal(f), "");
	assert_string_equal(said_of_a_refusal(f), "");
	for (size_t i = 0; i < LOG_LIMIT_SOURCES; i++)
		f->workers->limit.slots[i].passed_ms -= LOG_LIMIT_PERIOD_MS;
	assert_non_null(strstr(said_of_a_refusal(f), "refused: its user (2 more were)\n"));
}

static int knock(const struct fixture *f)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path, f->socket_path, strlen(f->socket_path));
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Whether the daemon said why, before it closed. */
static bool was_told(int fd)
{
	struct hello hello;
	ssize_t n = recv(fd, &hello, sizeof(hello), 0);

	close(fd);
	assert_true(n == 0 || (n == sizeof(hello) && hello.status == HELLO_TOO_MANY));
	return n > 0;
}

/* Who knocks again and again costs little: only some are told why, until the next heartbeat. */
static void test_a_flood_of_who_is_refused(void **state)
{
	struct fixture *f = *state;
	struct workers_stats stats;
	unsigned n_told = 0;
	int fds[60];

	f->config.n_max = 1;
	workers_configure(f->workers, &f->config);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = knock(f);
	run_until(f, (workers_stats(f->workers, &stats), stats.n_refused > 0));
	/* All in one turn of the loop, so no heartbeat came between. */
	assert_int_equal(stats.n_refused, ARRAY_SIZE(fds));
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		n_told += was_told(fds[i]);
	assert_int_equal(n_told, 16);
	do {
		const uint64_t n_before = stats.n_refused;

		fds[0] = knock(f);
		run_until(f, (workers_stats(f->workers, &stats), stats.n_refused > n_before));
	} while (!was_told(fds[0]));
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_a_user_that_is_refused_is_named_until_a_reload),
	    T(test_a_reload_reaches_who_is_connected),
	    T(test_gates_open_in_the_order_of_positions),
	    T(test_more_batches_than_there_is_room_for),
	    T(test_positions_that_start_over_hold_no_gate),
	    T(test_a_worker_without_ticket_keys_shares_its_sessions),
	    T(test_a_warning_says_how_many_it_stands_for_if_any),
	    T(test_a_flood_of_who_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
