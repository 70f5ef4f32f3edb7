/* The command where there is no daemon, a strange one, or one that hangs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "cli/test-cli.h"

static void test_no_daemon(void **state)
{
	struct test_cli *b = *state;
	char path[256];

	control_free(b->control);
	b->control = NULL;
	assert_int_equal(test_cli_run(b, "-c", b->config, "status", NULL), CLI_UNREACHABLE);
	ASSERT_HOLDS(b->err, b->socket);
	ASSERT_HOLDS(b->err, "systemctl start tlsbatond");
	ASSERT_HOLDS(b->err, "--control");
	assert_int_equal(test_cli_run(b, "-c", b->config, "promote", NULL), CLI_UNREACHABLE);
	assert_int_equal(test_cli_run(b, "-c", b->config, "sessions", NULL), CLI_UNREACHABLE);
	snprintf(path, sizeof(path), "%s/%0200d", b->directory, 0);
	assert_int_equal(test_cli_run(b, "status", "--control", path, NULL), CLI_UNREACHABLE);
	assert_int_equal(test_cli_run(b, "status", "--control", b->config, NULL), CLI_UNREACHABLE);

	assert_int_equal(test_cli_run(b, "-c", "/no/such.conf", "status", NULL), CLI_FAILED);
	ASSERT_HOLDS(b->err, "/no/such.conf: cannot be read");
	snprintf(path, sizeof(path), "%s/bad.conf", b->directory);
	test_cli_put(path, "\nnod = a\n");
	assert_int_equal(test_cli_run(b, "-c", path, "status", NULL), CLI_FAILED);
	ASSERT_HOLDS(b->err, "bad.conf:2: nod: is not an option here; did you mean node?");
}

/* A listener that accepts one client, says `words`, and closes. */
static pid_t liar(const char *path, const char *words)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	memcpy(address.sun_path, path, strlen(path));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 1), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		int client = accept(fd, NULL, NULL);
		char request[256];

		if (client >= 0 && read(client, request, sizeof(request)) > 0 &&
		    write(client, words, strlen(words)) >= 0)
			_exit(0);
		_exit(1);
	}
	close(fd);
	return pid;
}

static void test_strange_daemons(void **state)
{
	static const struct {
		const char *words;
		int exit;
		const char *err;
	} strange[] = {
	    {"", CLI_UNREACHABLE, "closed the connection before its answer"},
	    {"{\"progress\":\"x\"}\n", CLI_UNREACHABLE, "closed the connection"},
	    {"{\"ok\":true", CLI_UNREACHABLE, "closed the connection"},
	    {"HTTP/1.1 400 Bad Request\r\n\r\n", CLI_UNREACHABLE, "no tlsbatond of this version"},
	    {"[]\n", CLI_UNREACHABLE, "no tlsbatond of this version"},
	    {"{}\n", CLI_FAILED, "says no, and not why"},
	    {"{\"ok\":false,\"error\":7}\n", CLI_FAILED, "says no, and not why"},
	    {"{\"ok\":true}\n", CLI_DONE, ""},
	};
	const size_t n_endless = (size_t)1 << 21;
	_cleanup_(freep) char *endless = NULL;
	struct test_cli *b = *state;
	int status;
	pid_t pid;

	control_free(b->control);
	b->control = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(strange); i++) {
		pid = liar(b->socket, strange[i].words);
		assert_int_equal(test_cli_run(b, "-c", b->config, "promote", NULL),
		                 strange[i].exit);
		ASSERT_HOLDS(b->err, strange[i].err);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		unlink(b->socket);
	}
	endless = malloc(n_endless + 1);
	assert_non_null(endless);
	memset(endless, 'x', n_endless);
	endless[n_endless] = '\0';
	pid = liar(b->socket, endless);
	assert_int_equal(test_cli_run(b, "-c", b->config, "promote", NULL), CLI_UNREACHABLE);
	ASSERT_HOLDS(b->err, "says more than 1 MiB");
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	unlink(b->socket);

	pid = liar(b->socket, "{\"ok\":true,\"status\":[]}\n");
	assert_int_equal(test_cli_run(b, "-c", b->config, "status", NULL), CLI_FAILED);
	ASSERT_HOLDS(b->err, "no status in it");
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* A daemon that hangs with a full backlog. */
static void test_hanging_daemon(void **state)
{
	struct test_cli *b = *state;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), fds[4];

	control_free(b->control);
	b->control = NULL;
	memcpy(address.sun_path, b->socket, strlen(b->socket));
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(listener, 0), 0);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		(void)!connect(fds[i], (struct sockaddr *)&address, sizeof(address));
	}
	assert_int_equal(test_cli_run(b, "-c", b->config, "status", NULL), CLI_UNREACHABLE);
	ASSERT_HOLDS(b->err, "does not take connections; see its log");
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	close(listener);
}

/* ---- --wait ---- */

static void bind_listener(int fd, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	memcpy(address.sun_path, path, strlen(path));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0)
		_exit(1);
}

/* A daemon that goes, and comes back: closes the first connection without a word, and answers the second. In between it
 * calls `meanwhile`, if that is not NULL. */
static pid_t restarts(const char *path, void (*meanwhile)(void))
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), client;
	static const char yes[] = "{\"ok\":true}\n";
	char request[256];
	pid_t pid;

	bind_listener(fd, path);
	pid = fork();
	assert_true(pid >= 0);
	if (pid != 0) {
		close(fd);
		return pid;
	}
	client = accept(fd, NULL, NULL);
	if (meanwhile)
		meanwhile();
	unlink(path);
	close(fd);
	close(client);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bind_listener(fd, path);
	client = accept(fd, NULL, NULL);
	_exit(read(client, request, sizeof(request)) <= 0 ||
	      write(client, yes, strlen(yes)) != (ssize_t)strlen(yes));
}

static void test_wait_for_a_daemon_that_restarts(void **state)
{
	struct test_cli *b = *state;
	char turn[64];
	int status;
	pid_t pid;

	control_free(b->control);
	b->control = NULL;
	pid = restarts(b->socket, NULL);
	assert_int_equal(test_cli_run(b, "-c", b->config, "promote", "--wait", "60", NULL),
	                 CLI_DONE);
	assert_string_equal(b->err, "");
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	snprintf(turn, sizeof(turn), "%s.waiting", b->directory);
	assert_int_equal(access(turn, F_OK), -1);
}

static void test_wait_in_vain(void **state)
{
	struct test_cli *b = *state;
	const char *said;

	control_free(b->control);
	b->control = NULL;
	assert_int_equal(test_cli_run(b, "-c", b->config, "demote", "--wait", "0.3", NULL),
	                 CLI_UNREACHABLE);
	said = strstr(b->err, "no tlsbatond listens here");
	assert_non_null(said);
	assert_null(strstr(said + 1, "no tlsbatond listens here"));
}

static void test_wait_while_it_is_busy(void **state)
{
	struct test_cli *b = *state;

	b->n_busy = 2;
	assert_int_equal(test_cli_run(b, "-c", b->config, "promote", NULL), CLI_FAILED);
	ASSERT_HOLDS(b->err, "not now");
	assert_int_equal(test_cli_run(b, "-c", b->config, "promote", "--wait", "60", NULL),
	                 CLI_DONE);
	assert_string_equal(b->err, "");
	assert_int_equal(b->n_busy, 0);
	/* A plain no is one. */
	b->refusal = "no";
	assert_int_equal(test_cli_run(b, "-c", b->config, "promote", "--wait", "60", NULL),
	                 CLI_FAILED);
	ASSERT_HOLDS(b->err, "tlsbaton: no\n");
}

static char turn_path[64];

static void take_the_turn(void)
{
	test_cli_put(turn_path, "another\n");
}

/* A promote that waits while keepalived says demote. */
static void test_a_later_command_takes_the_place(void **state)
{
	struct test_cli *b = *state;
	char line[16] = "";
	FILE *file;
	pid_t pid;

	control_free(b->control);
	b->control = NULL;
	snprintf(turn_path, sizeof(turn_path), "%s.waiting", b->directory);
	pid = restarts(b->socket, take_the_turn);
	assert_int_equal(test_cli_run(b, "-c", b->config, "promote", "--wait", "60", NULL),
	                 CLI_FAILED);
	ASSERT_HOLDS(b->err, "a later promote or demote has taken this one's place");
	file = fopen(turn_path, "re");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	fclose(file);
	assert_string_equal(line, "another\n");
	unlink(turn_path);
	kill(pid, SIGKILL); /* nobody has come the second time */
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_no_daemon, test_cli_up, test_cli_down),
	    cmocka_unit_test_setup_teardown(test_strange_daemons, test_cli_up, test_cli_down),
	    cmocka_unit_test_setup_teardown(test_hanging_daemon, test_cli_up, test_cli_down),
	    cmocka_unit_test_setup_teardown(test_wait_for_a_daemon_that_restarts, test_cli_up,
	                                    test_cli_down),
	    cmocka_unit_test_setup_teardown(test_wait_in_vain, test_cli_up, test_cli_down),
	    cmocka_unit_test_setup_teardown(test_wait_while_it_is_busy, test_cli_up, test_cli_down),
	    cmocka_unit_test_setup_teardown(test_a_later_command_takes_the_place, test_cli_up,
	                                    test_cli_down),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
