/* Between worker and daemon: who is refused, and what a daemon that is none, or a worker that does not behave, can do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "client/test-fixture.h"
#include "ring/hello.h"
#include "ring/ring.h"

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
			bool ok = setgid(54321) == 0 && setuid(i ? 54321 : 12345) == 0;

			open_handle(f);
			ok = ok && tlsbaton_connected(f->baton) == (i == 0);
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

/* Listens where the daemon should be, and says `bytes` to the first who comes, with `n_fds` times the descriptor. */
#define IMPOSTOR_FDS_MAX (HELLO_N_FDS + 2)
static void with_impostor(struct fixture *f, const void *bytes, size_t n_bytes, int fd_sent,
                          size_t n_fds)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	alignas(struct cmsghdr) char control[CMSG_SPACE(IMPOSTOR_FDS_MAX * sizeof(int))] = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n_bytes};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	pid_t pid;
	int status;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->node.socket_path);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 8), 0);
	if (n_fds > 0) {
		struct cmsghdr *cmsg = (struct cmsghdr *)control;

		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		for (size_t i = 0; i < n_fds; i++)
			memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &fd_sent, sizeof(int));
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
	return (struct hello){
	    .magic = HELLO_MAGIC, .version = HELLO_VERSION, .size = sizeof(struct hello)};
}

static void test_a_hello_of_another_version(void **state)
{
	struct hello hello = good_hello();

	hello.version++;
	with_impostor(*state, &hello, sizeof(hello), -1, 0);
	assert_non_null(strstr(((struct fixture *)*state)->last_line, "shared"));
}

static void test_a_hello_without_descriptors(void **state)
{
	struct hello hello = good_hello();

	with_impostor(*state, &hello, sizeof(hello), -1, 0);
}

/* How many descriptors this process has of the file that `fd` is. */
static unsigned count_descriptors(int fd)
{
	struct stat wanted, st;
	unsigned n = 0;

	assert_int_equal(fstat(fd, &wanted), 0);
	for (int i = 0; i < 1024; i++)
		n += fstat(i, &st) == 0 && st.st_dev == wanted.st_dev && st.st_ino == wanted.st_ino;
	return n;
}

static void with_descriptors(struct fixture *f, const struct hello *hello, size_t n_fds)
{
	int fd = memfd_create("foreign", MFD_CLOEXEC);

	with_impostor(f, hello, sizeof(*hello), fd, n_fds);
	assert_int_equal(count_descriptors(fd), 1);
	close(fd);
}

static void test_a_hello_with_foreign_descriptors(void **state)
{
	struct hello hello = good_hello();

	with_descriptors(*state, &hello, HELLO_N_FDS);
}

/* As a later version may send them. */
static void test_a_hello_with_more_descriptors(void **state)
{
	struct hello hello = good_hello();

	with_descriptors(*state, &hello, HELLO_N_FDS + 1);
}

static void test_a_later_hello_with_many_more_descriptors(void **state)
{
	struct hello hello = good_hello();

	hello.version++;
	with_descriptors(*state, &hello, IMPOSTOR_FDS_MAX);
}

static void test_a_short_hello(void **state)
{
	struct hello hello = good_hello();

	with_impostor(*state, &hello, 7, -1, 0);
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

static void raw_hello(int fd, int fds[HELLO_N_FDS])
{
	alignas(struct cmsghdr) char control[CMSG_SPACE(HELLO_N_FDS * sizeof(int))];
	struct hello hello;
	struct iovec iov = {.iov_base = &hello, .iov_len = sizeof(hello)};
	struct msghdr message = {.msg_iov = &iov,
	                         .msg_iovlen = 1,
	                         .msg_control = control,
	                         .msg_controllen = sizeof(control)};

	assert_int_equal(recvmsg(fd, &message, MSG_CMSG_CLOEXEC), sizeof(hello));
	assert_int_equal(hello.status, HELLO_WELCOME);
	memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&message)), HELLO_N_FDS * sizeof(int));
}

static void test_garbage_in_the_ring_disconnects_its_worker_only(void **state)
{
	struct fixture *f = *state;
	struct workers_stats stats;
	struct ring_page *page;
	uint8_t *data;
	int fd, fds[HELLO_N_FDS];
	const uint64_t one = 1;
	char byte;

	start_both(f);
	fd = raw_connect(f);
	raw_hello(fd, fds);
	assert_int_equal(ring_map(fds[0], &page, &data), 0);
	/* What it was given cannot be turned against the daemon. */
	assert_int_equal(ftruncate(fds[0], 0), -1);
	assert_int_equal(write(fds[1], "x", 1), -1);
	assert_int_equal(write(fds[3], "x", 1), -1);
	memset(data, 0xff, 4096);
	atomic_store(&page->head, 4096);
	/* Nor can it be held by what it is woken by, be that a blocking one. */
	assert_int_equal(fcntl(fds[2], F_SETFL, 0), 0);
	assert_int_equal(write(fds[2], &one, sizeof(one)), sizeof(one));
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
	for (size_t i = 0; i < HELLO_N_FDS; i++)
		close(fds[i]);
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

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_set_up, fixture_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_credentials),
	    T(test_the_limit_of_workers),
	    T(test_a_hello_of_another_version),
	    T(test_a_hello_without_descriptors),
	    T(test_a_hello_with_foreign_descriptors),
	    T(test_a_hello_with_more_descriptors),
	    T(test_a_later_hello_with_many_more_descriptors),
	    T(test_a_short_hello),
	    T(test_garbage_in_the_ring_disconnects_its_worker_only),
	    T(test_a_worker_killed_while_it_writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
