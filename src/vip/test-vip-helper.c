/* The helper process: what it may do, that it answers in order, and how it ends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <cap-ng.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "util/log.h"
#include "vip/test-net.h"
#include "vip/vip_helper.h"

#define NOBODY 65534
#define PATIENCE_MS 5000

/* How often the helper, another process, has looked whether it holds the address: for tests that must
 * wait until it has, and did nothing. */
static atomic_uint *n_looks;

int __real_vip_held(struct vip *vip);
int __wrap_vip_held(struct vip *vip);
int __wrap_vip_held(struct vip *vip)
{
	int r = __real_vip_held(vip);

	atomic_fetch_add(n_looks, 1);
	return r;
}

static const struct vip_config config = {
    .interface = "eth0", .addresses = {"10.77.0.10/24", "fd77::10/64"}, .n_addresses = 2};
static char error[512];

/* The daemon's side as the tests play it: answers are noted; the loop runs until so many have come. */
struct fixture {
	struct event_base *base;
	struct vip_helper *helper;
	enum vip_op ops[64];
	int results[64];
	char errors[64][256];
	unsigned n;
	bool free_in_done;
};

static void on_done(void *arg, enum vip_op op, int result, const char *text)
{
	struct fixture *f = arg;

	f->ops[f->n] = op;
	f->results[f->n] = result;
	snprintf(f->errors[f->n], sizeof(f->errors[f->n]), "%s", text);
	f->n++;
	if (f->free_in_done) {
		vip_helper_free(f->helper);
		f->helper = NULL;
	}
}

static void on_patience_end(evutil_socket_t fd, short what, void *arg)
{
	bool *is_over = arg;

	(void)fd;
	(void)what;
	*is_over = true;
}

/* Runs the loop until `n` answers have come in all. */
static void run_until(struct fixture *f, unsigned n)
{
	const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
	bool is_over = false;
	struct event *end = evtimer_new(f->base, on_patience_end, &is_over);

	assert_non_null(end);
	event_add(end, &patience);
	while (f->n < n && !is_over && event_base_loop(f->base, EVLOOP_ONCE) == 0)
		;
	event_free(end);
	assert_int_equal(f->n, n);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	atomic_store(n_looks, 0);
	test_net_up();
	test_net_enter(NET_A);
	f->base = event_base_new();
	assert_non_null(f->base);
	if (vip_helper_new(&f->helper, &config, 0, NOBODY, NOBODY, error, sizeof(error)) < 0)
		fail_msg("%s", error);
	assert_int_equal(vip_helper_start(f->helper, f->base, PATIENCE_MS, on_done, f), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	vip_helper_free(f->helper);
	event_base_free(f->base);
	free(f);
	test_net_down();
	return 0;
}

static int ask(struct fixture *f, enum vip_op op)
{
	int r = vip_helper_ask(f->helper, op);

	if (r == 0)
		run_until(f, f->n + 1);
	return r == 0 ? f->results[f->n - 1] : r;
}

static void test_takes_and_releases_without_privileges_of_its_user(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ask(f, VIP_HELD), 0);
	assert_int_equal(ask(f, VIP_TAKE), 0);
	assert_int_equal(ask(f, VIP_HELD), 1);
	assert_int_equal(test_net_who_has("10.77.0.10"), 1U << NET_A);
	assert_int_equal(ask(f, VIP_RELEASE), 0);
	assert_int_equal(ask(f, VIP_HELD), 0);
	assert_int_equal(test_net_who_has("10.77.0.10"), 0);
}

/* The only child of this process. */
static pid_t helper_pid(void)
{
	char line[32] = "";
	FILE *file = fopen("/proc/thread-self/children", "re");

	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	fclose(file);
	return (pid_t)strtol(line, NULL, 10);
}

/* A line of /proc/PID/status, without its name and white space before it. */
static const char *status_of(pid_t pid, const char *name, char line[256])
{
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	assert_non_null(file);
	while (fgets(line, 256, file)) {
		if (strncmp(line, name, strlen(name)) != 0 || line[strlen(name)] != ':')
			continue;
		fclose(file);
		line[strcspn(line, "\n")] = '\0';
		line += strlen(name) + 1;
		return line + strspn(line, "\t ");
	}
	fail_msg("no %s in %s", name, path);
	return NULL;
}

static bool has_descriptors_0_to_4(pid_t pid)
{
	struct dirent *entry;
	char path[64];
	int n_open = 0;
	bool others = false;
	DIR *fds;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	fds = opendir(path);
	assert_non_null(fds);
	while ((entry = readdir(fds)))
		if (entry->d_name[0] != '.') {
			others |= strtol(entry->d_name, NULL, 10) > 4;
			n_open++;
		}
	closedir(fds);
	return n_open == 5 && !others;
}

static void test_has_two_capabilities_and_nothing_else(void **state)
{
	static const struct {
		const char *name, *value;
	} expected[] = {
	    {"Name", "tlsbatond-vip"},
	    {"Uid", "65534\t65534\t65534\t65534"},
	    {"Gid", "65534\t65534\t65534\t65534"},
	    {"Groups", ""},
	    {"CapInh", "0000000000000000"},
	    {"CapPrm", "0000000000003000"}, /* CAP_NET_ADMIN, CAP_NET_RAW */
	    {"CapEff", "0000000000003000"},
	    {"CapBnd", "0000000000000000"},
	    {"CapAmb", "0000000000000000"},
	    {"NoNewPrivs", "1"},
	};
	pid_t pid = helper_pid();
	char line[256];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++)
		assert_string_equal(status_of(pid, expected[i].name, line), expected[i].value);
	/* While it announces there is a packet socket, too. */
	while (!has_descriptors_0_to_4(pid))
		poll(NULL, 0, 1);
}

static void test_answers_in_order_as_many_as_fit(void **state)
{
	static const enum vip_op ops[] = {VIP_TAKE, VIP_HELD, VIP_RELEASE, VIP_HELD};
	struct fixture *f = *state;
	unsigned n = 0;
	int r;

	while ((r = vip_helper_ask(f->helper, ops[n % 4])) == 0 && n < ARRAY_SIZE(f->ops))
		n++;
	assert_int_equal(r, -ENOBUFS);
	assert_int_equal(n, 32);
	run_until(f, n);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(f->ops[i], ops[i % 4]);
		assert_int_equal(f->results[i], i % 4 == 1 ? 1 : 0);
	}
	assert_int_equal(ask(f, VIP_HELD), 0);
	assert_int_equal(vip_helper_ask(f->helper, (enum vip_op)0), -EINVAL);
	assert_int_equal(vip_helper_ask(f->helper, (enum vip_op)4), -EINVAL);
}

static void test_failures_come_with_their_words(void **state)
{
	struct fixture *f = *state;

	test_net_run(NET_A, "ip link del eth0");
	assert_int_equal(ask(f, VIP_TAKE), -ENODEV);
	assert_non_null(strstr(f->errors[0], "interface \"eth0\" does not exist"));
	assert_int_equal(ask(f, VIP_RELEASE), -ENODEV);
	assert_int_equal(ask(f, VIP_HELD), -ENODEV);
	assert_non_null(strstr(f->errors[2], "cannot tell who holds the address"));
}

static void test_outlives_signals_to_the_group(void **state)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGPIPE};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		assert_int_equal(kill(helper_pid(), signals[i]), 0);
	assert_int_equal(ask(f, VIP_TAKE), 0);
}

static void test_death_fails_what_waits_and_what_comes(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(kill(helper_pid(), SIGSTOP), 0);
	assert_int_equal(vip_helper_ask(f->helper, VIP_TAKE), 0);
	assert_int_equal(vip_helper_ask(f->helper, VIP_HELD), 0);
	assert_int_equal(vip_helper_ask(f->helper, VIP_RELEASE), 0);
	assert_int_equal(kill(helper_pid(), SIGKILL), 0);
	run_until(f, 3);
	assert_int_equal(f->ops[0], VIP_TAKE);
	assert_int_equal(f->ops[1], VIP_HELD);
	assert_int_equal(f->ops[2], VIP_RELEASE);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(f->results[i], -EPIPE);
		assert_non_null(strstr(f->errors[i], "restart tlsbatond"));
	}
	assert_int_equal(vip_helper_ask(f->helper, VIP_HELD), -EPIPE);
}

static void test_death_between_requests(void **state)
{
	struct fixture *f = *state;
	int r;

	assert_true(vip_helper_is_alive(f->helper));
	assert_int_equal(kill(helper_pid(), SIGKILL), 0);
	/* Whichever comes first: the news, or that the request cannot be sent, or is not answered. */
	r = ask(f, VIP_HELD);
	assert_int_equal(r, -EPIPE);
	assert_false(vip_helper_is_alive(f->helper));
	assert_int_equal(vip_helper_ask(f->helper, VIP_HELD), -EPIPE);
}

/* It is killed, and does nothing any more. */
static void test_hang_is_death(void **state)
{
	struct fixture *f = *state;
	pid_t pid;

	vip_helper_free(f->helper);
	f->helper = NULL;
	assert_int_equal(
	    vip_helper_new(&f->helper, &config, 0, NOBODY, NOBODY, error, sizeof(error)), 0);
	assert_int_equal(vip_helper_start(f->helper, f->base, 10, on_done, f), 0);
	pid = helper_pid();
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_int_equal(vip_helper_ask(f->helper, VIP_TAKE), 0);
	assert_int_equal(vip_helper_ask(f->helper, VIP_HELD), 0);
	run_until(f, 2);
	assert_int_equal(f->results[0], -EPIPE);
	assert_int_equal(f->results[1], -EPIPE);
	assert_int_equal(vip_helper_ask(f->helper, VIP_HELD), -EPIPE);
	assert_int_equal(waitid(P_PID, (id_t)pid, &(siginfo_t){0}, WEXITED | WNOWAIT), 0);
	assert_int_equal(test_net_who_has("10.77.0.10"), 0);
}

static void test_can_be_freed_from_its_answer(void **state)
{
	struct fixture *f = *state;

	f->free_in_done = true;
	assert_int_equal(vip_helper_ask(f->helper, VIP_HELD), 0);
	assert_int_equal(vip_helper_ask(f->helper, VIP_HELD), 0);
	run_until(f, 1);
	assert_null(f->helper);
}

static void test_can_be_freed_from_the_news_of_its_death(void **state)
{
	struct fixture *f = *state;

	f->free_in_done = true;
	assert_int_equal(kill(helper_pid(), SIGSTOP), 0);
	assert_int_equal(vip_helper_ask(f->helper, VIP_HELD), 0);
	assert_int_equal(vip_helper_ask(f->helper, VIP_HELD), 0);
	assert_int_equal(kill(helper_pid(), SIGKILL), 0);
	run_until(f, 1);
	assert_int_equal(f->results[0], -EPIPE);
	assert_null(f->helper);
}

/* The next gratuitous ARP request that reaches the client. */
static void wait_for_announcement(int capture)
{
	uint8_t frame[1600];

	do
		assert_true(test_net_next(capture, frame, sizeof(frame)) > 0);
	while (frame[12] != 0x08 || frame[13] != 0x06 || frame[21] != 1 || frame[11] != MAC_A ||
	       memcmp(frame + 28, frame + 38, 4) != 0);
}

static void test_repeats_the_announcement(void **state)
{
	struct fixture *f = *state;
	int capture = test_net_capture();

	assert_int_equal(ask(f, VIP_TAKE), 0);
	for (int i = 0; i < 1 + 5; i++)
		wait_for_announcement(capture);
	close(capture);
}

/* The cable is pulled and plugged in again: there is no period, so nothing else would announce. */
static void test_announces_when_the_carrier_returns(void **state)
{
	struct fixture *f = *state;
	int capture;

	assert_int_equal(ask(f, VIP_TAKE), 0);
	test_net_run(NET_SWITCH, "ip link set port%d down", NET_A);
	for (int i = 0; i < PATIENCE_MS && test_net_has_flag(NET_A, "LOWER_UP"); i++)
		poll(NULL, 0, 1);
	/* Until the burst of the take is over; its frames do not get through. */
	for (int i = 0; i < PATIENCE_MS && atomic_load(n_looks) < 5; i++)
		poll(NULL, 0, 1);
	assert_int_equal(atomic_load(n_looks), 5);
	capture = test_net_capture();
	test_net_run(NET_SWITCH, "ip link set port%d up", NET_A);
	wait_for_announcement(capture);
	close(capture);
}

static void test_does_not_announce_what_another_has_released(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[1600];
	unsigned n_before;
	int capture;

	assert_int_equal(ask(f, VIP_TAKE), 0);
	test_net_run(NET_A, "ip link set eth0 arp off");
	/* It may be between its look and its announcement: the next look is after the change. */
	n_before = atomic_load(n_looks);
	for (int i = 0; i < PATIENCE_MS && atomic_load(n_looks) < n_before + 1; i++)
		poll(NULL, 0, 1);
	capture = test_net_capture();
	for (int i = 0; i < PATIENCE_MS && atomic_load(n_looks) < n_before + 3; i++)
		poll(NULL, 0, 1);
	assert_true(atomic_load(n_looks) >= n_before + 3);
	test_net_fence(NET_A);
	while (test_net_next(capture, frame, sizeof(frame)) > 0)
		assert_false(frame[12] == 0x08 && frame[13] == 0x06);
	close(capture);
}

/* The part of a daemon that takes the address, tells so, and is then killed. */
static void run_daemon(int ready)
{
	struct fixture f = {.base = event_base_new()};

	if (vip_helper_new(&f.helper, &config, 0, NOBODY, NOBODY, error, sizeof(error)) < 0 ||
	    vip_helper_start(f.helper, f.base, PATIENCE_MS, on_done, &f) < 0 ||
	    ask(&f, VIP_TAKE) != 0 || write(ready, "", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static void test_ends_with_the_daemon_and_leaves_the_address(void **state)
{
	struct fixture *f = *state;
	pid_t daemon, orphan;
	int ready[2], status;
	char byte;

	vip_helper_free(f->helper); /* this process has one child only */
	f->helper = NULL;
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	assert_int_equal(pipe(ready), 0);
	daemon = fork();
	assert_true(daemon >= 0);
	if (daemon == 0)
		run_daemon(ready[1]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	assert_int_equal(kill(daemon, SIGKILL), 0);
	assert_int_equal(waitpid(daemon, &status, 0), daemon);
	/* The helper is this process' child now, until it ends. */
	orphan = waitpid(-1, &status, 0);
	assert_true(orphan > 0);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	assert_int_equal(test_net_who_has("10.77.0.10"), 1U << NET_A);
	assert_true(test_net_has_address(NET_A, "fd77::10/64"));
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0), 0);
}

/* In a child that has only `capabilities` (0, or both), as `uid`: vip_helper_new()'s result, or 99 when
 * the helper then did not take the address. */
static int start_with(bool both, uid_t uid, uid_t helper_uid)
{
	struct fixture f = {.base = event_base_new()};
	int status, r;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid > 0) {
		event_base_free(f.base);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		return -WEXITSTATUS(status);
	}
	event_reinit(f.base);
	capng_clear(CAPNG_SELECT_ALL);
	if (both)
		capng_updatev(CAPNG_ADD, (capng_type_t)(CAPNG_EFFECTIVE | CAPNG_PERMITTED),
		              CAP_NET_ADMIN, CAP_NET_RAW, -1);
	if (capng_change_id((int)uid, (int)uid, CAPNG_DROP_SUPP_GRP) != 0)
		_exit(98);
	r = vip_helper_new(&f.helper, &config, 0, helper_uid, helper_uid, error, sizeof(error));
	if (r == 0 && (vip_helper_start(f.helper, f.base, PATIENCE_MS, on_done, &f) < 0 ||
	               ask(&f, VIP_TAKE) != 0))
		r = -99;
	if (r < 0 && !error[0])
		r = -97;
	if (r == -EPERM && !strstr(error, "start"))
		r = -96;
	_exit(-r);
}

static void test_needs_the_capabilities_and_not_root(void **state)
{
	struct fixture *f = *state;

	vip_helper_free(f->helper);
	f->helper = NULL;
	assert_int_equal(start_with(false, NOBODY, NOBODY), -EPERM);
	assert_int_equal(start_with(true, NOBODY, 1), -EPERM);
	assert_int_equal(start_with(true, NOBODY, NOBODY), 0);
	assert_int_equal(test_net_who_has("10.77.0.10"), 1U << NET_A);
}

static void test_wrong_configuration_starts_nothing(void **state)
{
	struct vip_config wrong = config;
	struct fixture *f = *state;
	struct vip_helper *helper = NULL;

	vip_helper_free(f->helper);
	f->helper = NULL;
	wrong.interface = "eth7";
	assert_int_equal(vip_helper_new(&helper, &wrong, 0, NOBODY, NOBODY, error, sizeof(error)),
	                 -ENODEV);
	assert_null(helper);
	assert_non_null(strstr(error, "interface \"eth7\" does not exist"));
	assert_int_equal(waitpid(-1, NULL, 0), -1);
	assert_int_equal(errno, ECHILD);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_takes_and_releases_without_privileges_of_its_user),
	    TEST(test_has_two_capabilities_and_nothing_else),
	    TEST(test_answers_in_order_as_many_as_fit),
	    TEST(test_failures_come_with_their_words),
	    TEST(test_outlives_signals_to_the_group),
	    TEST(test_death_fails_what_waits_and_what_comes),
	    TEST(test_death_between_requests),
	    TEST(test_hang_is_death),
	    TEST(test_can_be_freed_from_its_answer),
	    TEST(test_can_be_freed_from_the_news_of_its_death),
	    TEST(test_repeats_the_announcement),
	    TEST(test_announces_when_the_carrier_returns),
	    TEST(test_does_not_announce_what_another_has_released),
	    TEST(test_ends_with_the_daemon_and_leaves_the_address),
	    TEST(test_needs_the_capabilities_and_not_root),
	    TEST(test_wrong_configuration_starts_nothing),
	};

	test_net_or_skip();
	n_looks =
	    mmap(NULL, sizeof(*n_looks), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(n_looks != MAP_FAILED);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
