/* What the user's log is told of the daemon, and that processes which share a log tell it the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/test-fixture.h"

/* The first line has come. */
static void start_and_tell(struct fixture *f)
{
	start_both(f);
	assert_int_equal(f->n_lines, 1);
	assert_non_null(strstr(f->lines[0], "sessions are shared"));
}

/* Looks after the connection until the n-th line is there. */
static const char *line(struct fixture *f, unsigned n)
{
	node_until((tlsbaton_connected(f->baton), f->n_lines >= n));
	assert_int_equal(f->n_lines, n);
	return f->lines[n - 1];
}

/* Listens where the daemon should be. */
static int listen_in_its_place(struct fixture *f)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->node.socket_path);
	(void)unlink(f->node.socket_path);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 8), 0);
	return listener;
}

static void test_a_process_forked_without_a_daemon_says_what_the_others_say(void **state)
{
	struct fixture *f = *state;
	int status;
	pid_t pid;

	start_and_tell(f);
	node_kill(&f->node);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		while (f->n_lines == 1)
			(void)tlsbaton_connected(f->baton);
		_exit(strstr(f->lines[1], "tlsbatond is gone") ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_non_null(strstr(line(f, 2), "tlsbatond is gone"));
}

/* As a daemon does that ends while workers connect. */
static void test_a_daemon_that_ends_during_the_hello_is_gone(void **state)
{
	struct fixture *f = *state;
	int listener, status;
	pid_t pid;

	start_and_tell(f);
	node_kill(&f->node);
	listener = listen_in_its_place(f);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		/* Each attempt but the first says that the one before has been judged. */
		for (unsigned i = 0; i < 3; i++)
			close(accept(listener, NULL, NULL));
		_exit(0);
	}
	node_until((tlsbaton_connected(f->baton), waitpid(pid, &status, WNOHANG) == pid));
	assert_int_equal(status, 0);
	close(listener);
	assert_non_null(strstr(line(f, 2), "tlsbatond is gone"));
}

/* A process that connects to a daemon which hangs says what those say whose daemon began to hang. */
static void test_a_daemon_that_accepts_and_says_nothing_hangs(void **state)
{
	struct fixture *f = *state;
	int listener = listen_in_its_place(f);

	f->options.connect_ms = 1;
	open_handle(f);
	assert_non_null(strstr(line(f, 1), "tlsbatond hangs"));
	close(listener);
}

/* So many wait for it that the next is turned away. */
static void test_a_daemon_that_accepts_nobody_hangs(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = listen_in_its_place(f), waiting[16];
	size_t n = 0;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", f->node.socket_path);
	assert_int_equal(listen(listener, 1), 0);
	for (int r = 0; r == 0; n++) {
		assert_true(n < ARRAY_SIZE(waiting));
		waiting[n] = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		r = connect(waiting[n], (struct sockaddr *)&address, sizeof(address));
	}
	assert_int_equal(errno, EAGAIN);
	open_handle(f);
	assert_non_null(strstr(line(f, 1), "tlsbatond hangs"));
	while (n > 0)
		close(waiting[--n]);
	close(listener);
}

static void test_a_daemon_that_begins_to_hang_hangs(void **state)
{
	struct fixture *f = *state;
	int status;

	start_and_tell(f);
	end_patience(f);
	assert_int_equal(kill(f->node.pid, SIGSTOP), 0);
	assert_int_equal(waitpid(f->node.pid, &status, WUNTRACED), f->node.pid);
	assert_non_null(strstr(line(f, 2), "tlsbatond hangs"));
	assert_int_equal(kill(f->node.pid, SIGCONT), 0);
	assert_non_null(strstr(line(f, 3), "answers again"));
}

static void test_a_daemon_that_was_never_there_is_named_with_its_place(void **state)
{
	struct fixture *f = *state;

	open_handle(f);
	assert_non_null(strstr(line(f, 1), f->node.socket_path));
	node_start(&f->node);
	assert_non_null(strstr(line(f, 2), "sessions are shared"));
}

#define T(f) cmocka_unit_test_setup_teardown(f, fixture_set_up, fixture_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_a_process_forked_without_a_daemon_says_what_the_others_say),
	    T(test_a_daemon_that_ends_during_the_hello_is_gone),
	    T(test_a_daemon_that_accepts_and_says_nothing_hangs),
	    T(test_a_daemon_that_accepts_nobody_hangs),
	    T(test_a_daemon_that_begins_to_hang_hangs),
	    T(test_a_daemon_that_was_never_there_is_named_with_its_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
