#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "daemon/control.h"

struct bench {
	char directory[32];
	char path[64];
	struct event_base *base;
	struct control *control;
	struct control_request *request; /* the last command's, until it is answered or gone */
	char name[32];
	bool force;
	unsigned n_commands, n_gone;
};

static json_t *on_status(void *arg)
{
	(void)arg;
	return json_pack("{s:s}", "node", "a");
}

static void on_command(void *arg, struct control_request *request, const char *name, json_t *args)
{
	struct bench *b = arg;

	assert_null(b->request);
	b->request = request;
	b->n_commands++;
	b->force = json_is_true(json_object_get(args, "force"));
	snprintf(b->name, sizeof(b->name), "%s", name);
}

static void on_gone(void *arg, struct control_request *request)
{
	struct bench *b = arg;

	assert_ptr_equal(b->request, request);
	b->request = NULL;
	b->n_gone++;
}

static const struct control_ops ops = {.status = on_status, .command = on_command, .gone = on_gone};

static int set_up(void **state)
{
	static struct bench b;
	char error[256];

	signal(SIGPIPE, SIG_IGN);
	memset(&b, 0, sizeof(b));
	strcpy(b.directory, "/tmp/tb-control-XXXXXX");
	assert_non_null(mkdtemp(b.directory));
	snprintf(b.path, sizeof(b.path), "%s/control.sock", b.directory);
	b.base = event_base_new();
	assert_non_null(b.base);
	assert_int_equal(control_new(&b.control, b.base, b.path, &ops, &b, error, sizeof(error)),
	                 0);
	*state = &b;
	return 0;
}

static int tear_down(void **state)
{
	struct bench *b = *state;

	control_free(b->control);
	event_base_free(b->base);
	return rmdir(b->directory); /* so control_free() removed its socket */
}

static int dial(const struct bench *b)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path, b->path, strlen(b->path));
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* A test that hangs fails after so many turns of the loop with a pause of 1 ms. Turns, not seconds: on a busy machine
 * those pass while neither side runs. */
#define TURNS_MAX 20000

/* Runs the loop until `fd` has a line (true) or its end (false). */
static bool hear(struct bench *b, int fd, char line[256])
{
	unsigned n_turns = 0;
	size_t n = 0;

	while (n_turns++ < TURNS_MAX) {
		ssize_t got = recv(fd, line + n, 1, MSG_DONTWAIT);

		if (got == 0 || (got < 0 && errno == ECONNRESET))
			return false;
		if (got == 1 && line[n] == '\n') {
			line[n] = '\0';
			return true;
		}
		if (got == 1) {
			n++;
			assert_true(n < 255);
			continue;
		}
		event_base_loop(b->base, EVLOOP_NONBLOCK);
		poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, 1);
	}
	fail_msg("neither a line nor an end in %d turns", TURNS_MAX);
	return false;
}

#define ASSERT_HEARS(b, fd, text)                                                                  \
	do {                                                                                       \
		char heard[256];                                                                   \
		assert_true(hear(b, fd, heard));                                                   \
		assert_string_equal(heard, text);                                                  \
	} while (0)

#define ASSERT_HEARS_END(b, fd)                                                                    \
	do {                                                                                       \
		char heard[256];                                                                   \
		assert_false(hear(b, fd, heard));                                                  \
	} while (0)

/* Runs the loop until `*n` has grown to `wanted`. */
static void await(struct bench *b, const unsigned *n, unsigned wanted)
{
	for (unsigned n_turns = 0; *n < wanted && n_turns < TURNS_MAX; n_turns++) {
		event_base_loop(b->base, EVLOOP_NONBLOCK);
		poll(NULL, 0, 1);
	}
	assert_int_equal(*n, wanted);
}

static void answer(struct bench *b)
{
	struct control_request *request = b->request;

	assert_non_null(request);
	b->request = NULL;
	control_answer(request, json_pack("{s:b}", "ok", 1));
}

static void test_status(void **state)
{
	struct bench *b = *state;
	int fd = dial(b);

	for (int i = 0; i < 3; i++) {
		say(fd, "{\"command\": \"status\"}\n");
		ASSERT_HEARS(b, fd, "{\"ok\":true,\"status\":{\"node\":\"a\"}}");
	}
	close(fd);
}

static void test_command_with_progress(void **state)
{
	struct bench *b = *state;
	int fd = dial(b);

	say(fd, "{\"command\":\"switch");
	event_base_loop(b->base, EVLOOP_NONBLOCK);
	say(fd, "over\",\"args\":{\"force\":true}}\n");
	await(b, &b->n_commands, 1);
	assert_string_equal(b->name, "switchover");
	assert_true(b->force);
	control_progress(b->request, "one");
	ASSERT_HEARS(b, fd, "{\"progress\":\"one\"}");
	control_progress(b->request, "two \"2\"\n");
	answer(b);
	ASSERT_HEARS(b, fd, "{\"progress\":\"two \\\"2\\\"\\n\"}");
	ASSERT_HEARS(b, fd, "{\"ok\":true}");
	close(fd);
}

static void test_one_at_a_time(void **state)
{
	struct bench *b = *state;
	int fd = dial(b);

	say(fd, "{\"command\":\"promote\"}\n{\"command\":\"demote\"}\n{\"command\":\"status\"}\n");
	await(b, &b->n_commands, 1);
	for (int i = 0; i < 10; i++)
		event_base_loop(b->base, EVLOOP_NONBLOCK);
	assert_int_equal(b->n_commands, 1);
	answer(b);
	assert_int_equal(b->n_commands, 1); /* not from within the answer */
	await(b, &b->n_commands, 2);
	assert_string_equal(b->name, "demote");
	assert_false(b->force);
	answer(b);
	ASSERT_HEARS(b, fd, "{\"ok\":true}");
	ASSERT_HEARS(b, fd, "{\"ok\":true}");
	ASSERT_HEARS(b, fd, "{\"ok\":true,\"status\":{\"node\":\"a\"}}");
	close(fd);
}

static void test_client_goes_while_its_command_runs(void **state)
{
	struct bench *b = *state;
	int fd = dial(b);

	say(fd, "{\"command\":\"promote\"}\n");
	await(b, &b->n_commands, 1);
	close(fd);
	for (int i = 0; i < 1000 && b->request; i++) {
		control_progress(b->request, "still there?");
		event_base_loop(b->base, EVLOOP_NONBLOCK);
	}
	assert_int_equal(b->n_gone, 1);
	assert_null(b->request);
}

static void test_client_that_went_is_answered_without_harm(void **state)
{
	struct bench *b = *state;
	int fd = dial(b);

	say(fd, "{\"command\":\"promote\"}\n");
	await(b, &b->n_commands, 1);
	close(fd);
	answer(b);
	event_base_loop(b->base, EVLOOP_NONBLOCK);
	fd = dial(b);
	say(fd, "{\"command\":\"status\"}\n");
	ASSERT_HEARS(b, fd, "{\"ok\":true,\"status\":{\"node\":\"a\"}}");
	close(fd);
	assert_int_equal(b->n_gone, 0);
}

static void test_half_closed_client_gets_its_answer(void **state)
{
	struct bench *b = *state;
	int fd = dial(b);

	say(fd, "{\"command\":\"promote\"}\n");
	shutdown(fd, SHUT_WR);
	await(b, &b->n_commands, 1);
	for (int i = 0; i < 10; i++)
		event_base_loop(b->base, EVLOOP_NONBLOCK);
	answer(b);
	ASSERT_HEARS(b, fd, "{\"ok\":true}");
	ASSERT_HEARS_END(b, fd);
	close(fd);

	fd = dial(b);
	shutdown(fd, SHUT_WR);
	ASSERT_HEARS_END(b, fd);
	close(fd);
}

static void test_what_is_no_request(void **state)
{
	static const char *const bad[] = {
	    "hello",
	    "",
	    "[]",
	    "{}",
	    "null",
	    "{\"command\":1}",
	    "{\"command\":\"x\",\"args\":[]}",
	    "{\"command\":\"x\",\"args\":null}",
	    "{\"command\":\"x\",\"command\":\"y\"}",
	    "{\"command\":\"x\"} {}",
	    "{\"command\":\"\xff\"}",
	    "{\"command\":\"a\\u0000b\"}",
	    "{\"command\":\"x\"",
	};
	struct bench *b = *state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		char line[256];
		int fd = dial(b);

		say(fd, bad[i]);
		say(fd, "\n{\"command\":\"status\"}\n"); /* too late */
		assert_true(hear(b, fd, line));
		assert_non_null(strstr(line, "{\"ok\":false,\"error\":\"a request is "));
		ASSERT_HEARS_END(b, fd);
		close(fd);
	}
	assert_int_equal(b->n_commands, 0);
}

static void test_too_long(void **state)
{
	struct bench *b = *state;
	static char chunk[4096];
	char line[256];
	int fd = dial(b);

	memset(chunk, '[', sizeof(chunk));
	for (size_t sent = 0; sent < 2 * CONTROL_LINE_MAX;) {
		ssize_t n = send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno != EAGAIN)
			break;
		sent += n > 0 ? (size_t)n : 0;
		event_base_loop(b->base, EVLOOP_NONBLOCK);
	}
	assert_true(hear(b, fd, line));
	assert_string_equal(line,
	                    "{\"ok\":false,\"error\":\"the request is longer than 65536 bytes\"}");
	close(fd);

	/* Deep nesting within the limit: the JSON parser's own limit holds. */
	fd = dial(b);
	for (int i = 0; i < 8; i++) {
		say(fd, "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[");
		event_base_loop(b->base, EVLOOP_NONBLOCK);
	}
	say(fd, "\n");
	assert_true(hear(b, fd, line));
	assert_non_null(strstr(line, "one JSON object a line"));
	close(fd);
}

static void test_too_many(void **state)
{
	struct bench *b = *state;
	int fds[CONTROL_CLIENTS_MAX], one_more;
	char line[256];

	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		fds[i] = dial(b);
		say(fds[i], "{\"command\":\"status\"}\n");
		assert_true(hear(b, fds[i], line));
	}
	one_more = dial(b);
	assert_true(hear(b, one_more, line));
	assert_non_null(strstr(line, "too many tlsbaton commands"));
	ASSERT_HEARS_END(b, one_more);
	close(one_more);
	close(fds[7]);
	event_base_loop(b->base, EVLOOP_NONBLOCK);
	fds[7] = dial(b);
	say(fds[7], "{\"command\":\"status\"}\n");
	ASSERT_HEARS(b, fds[7], "{\"ok\":true,\"status\":{\"node\":\"a\"}}");
	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
		close(fds[i]);
}

static void test_stop_with_a_command_under_way(void **state)
{
	struct bench *b = *state;
	int fd = dial(b);

	say(fd, "{\"command\":\"promote\"}\n");
	await(b, &b->n_commands, 1);
	control_free(b->control);
	b->control = NULL;
	assert_int_equal(b->n_gone, 1);
	ASSERT_HEARS_END(b, fd);
	close(fd);
}

static void test_who_may(void **state)
{
	struct bench *b = *state;
	struct stat st;
	char line[256];
	int pair[2], status;
	pid_t pid;

	assert_int_equal(stat(b->path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	if (geteuid() != 0)
		skip();
	/* The mode keeps others out; credentials do, should the mode be opened. */
	assert_int_equal(chmod(b->path, 0666), 0);
	assert_int_equal(chmod(b->directory, 0755), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		ssize_t n = 0;

		if (setuid(65534) == 0) {
			int fd = dial(b);

			fcntl(fd, F_SETFL, 0);
			n = recv(fd, line, sizeof(line), MSG_WAITALL); /* up to its end */
		}
		if (n > 0)
			n = write(pair[1], line, (size_t)n);
		_exit(n > 0 ? 0 : 1);
	}
	close(pair[1]);
	assert_true(hear(b, pair[0], line));
	assert_non_null(strstr(line, "only root and the daemon's own user"));
	close(pair[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void test_socket_in_the_way(void **state)
{
	struct bench *b = *state;
	struct control *second = NULL;
	char error[256], path[200];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	assert_int_equal(control_new(&second, b->base, b->path, &ops, b, error, sizeof(error)),
	                 -EADDRINUSE);
	assert_non_null(strstr(error, "another tlsbatond listens here"));
	control_free(b->control);
	b->control = NULL;
	assert_int_equal(access(b->path, F_OK), -1);

	/* A dead daemon's: bound, and nobody listens. */
	memcpy(address.sun_path, b->path, strlen(b->path));
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	assert_int_equal(access(b->path, F_OK), 0);
	assert_int_equal(control_new(&b->control, b->base, b->path, &ops, b, error, sizeof(error)),
	                 0);

	snprintf(path, sizeof(path), "%s/file", b->directory);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(control_new(&second, b->base, path, &ops, b, error, sizeof(error)),
	                 -EEXIST);
	assert_non_null(strstr(error, "not a socket; move it"));
	assert_int_equal(unlink(path), 0); /* it was left alone */

	snprintf(path, sizeof(path), "%s/%0120d", b->directory, 0);
	assert_int_equal(control_new(&second, b->base, path, &ops, b, error, sizeof(error)),
	                 -ENAMETOOLONG);
	assert_int_equal(
	    control_new(&second, b->base, "/no/such/directory", &ops, b, error, sizeof(error)),
	    -ENOENT);
	assert_non_null(strstr(error, "/no/such/directory: No such file"));
	assert_null(second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_status, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_command_with_progress, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_one_at_a_time, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_client_goes_while_its_command_runs, set_up,
	                                    tear_down),
	    cmocka_unit_test_setup_teardown(test_client_that_went_is_answered_without_harm, set_up,
	                                    tear_down),
	    cmocka_unit_test_setup_teardown(test_half_closed_client_gets_its_answer, set_up,
	                                    tear_down),
	    cmocka_unit_test_setup_teardown(test_what_is_no_request, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_too_long, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_too_many, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_stop_with_a_command_under_way, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_who_may, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_socket_in_the_way, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
