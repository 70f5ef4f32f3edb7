#include "cli/test-cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>

json_t *test_cli_status(void *arg)
{
	(void)arg;
	return json_load_file(FIXTURES "/status.json", 0, NULL);
}

static void on_command(void *arg, struct control_request *request, const char *name, json_t *args)
{
	struct test_cli *b = arg;
	_cleanup_(freep) char *text = json_dumps(args, JSON_COMPACT | JSON_SORT_KEYS);

	snprintf(b->name, sizeof(b->name), "%s", name);
	snprintf(b->args, sizeof(b->args), "%s", text);
	control_progress(request, "one");
	control_progress(request, "two\033[2J");
	if (b->n_busy) {
		b->n_busy--;
		control_answer(
		    request, json_pack("{s:b, s:b, s:s}", "ok", 0, "busy", 1, "error", "not now"));
	} else if (b->refusal) {
		control_answer(request, json_pack("{s:b, s:s}", "ok", 0, "error", b->refusal));
	} else {
		control_answer(request, b->answer ? json_loads(b->answer, 0, NULL)
		                                  : json_pack("{s:b}", "ok", 1));
	}
}

static void on_gone(void *arg, struct control_request *request)
{
	(void)arg, (void)request;
}

static const struct control_ops ops = {
    .status = test_cli_status, .command = on_command, .gone = on_gone};

void test_cli_put(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

int test_cli_up(void **state)
{
	static struct test_cli b;
	char text[128], error[256];

	memset(&b, 0, sizeof(b));
	strcpy(b.directory, "/tmp/tb-cli-XXXXXX");
	assert_non_null(mkdtemp(b.directory));
	snprintf(b.config, sizeof(b.config), "%s/t.conf", b.directory);
	snprintf(b.socket, sizeof(b.socket), "%s/control.sock", b.directory);
	snprintf(text, sizeof(text), "run-directory = %s\n", b.directory);
	test_cli_put(b.config, text);
	b.base = event_base_new();
	assert_int_equal(control_new(&b.control, b.base, b.socket, &ops, &b, error, sizeof(error)),
	                 0);
	*state = &b;
	return 0;
}

int test_cli_down(void **state)
{
	static const char *const files[] = {"t.conf", "key",      "key2",
	                                    "table",  "bad.conf", "control.sock"};
	struct test_cli *b = *state;
	char path[96];

	control_free(b->control);
	event_base_free(b->base);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		snprintf(path, sizeof(path), "%s/%s", b->directory, files[i]);
		unlink(path);
	}
	return rmdir(b->directory);
}

static void drain(int fd, char *into, size_t size, size_t *n, bool *open)
{
	ssize_t got = *open ? read(fd, into + *n, size - 1 - *n) : -1;

	if (got > 0)
		*n += (size_t)got;
	else if (got == 0)
		*open = false;
	into[*n] = '\0';
}

int test_cli_run(struct test_cli *b, ...)
{
	char *argv[16] = {(char[]){TLSBATON}}; /* with its path, as a script may call it */
	int out[2], err[2], status, n_args = 1;
	size_t n_out = 0, n_err = 0;
	bool out_open = true, err_open = true;
	posix_spawn_file_actions_t actions;
	va_list args;
	pid_t pid;

	va_start(args, b);
	while ((argv[n_args] = va_arg(args, char *)) != NULL)
		n_args++;
	va_end(args);
	assert_int_equal(pipe2(out, O_NONBLOCK | O_CLOEXEC), 0);
	assert_int_equal(pipe2(err, O_NONBLOCK | O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	posix_spawn_file_actions_adddup2(&actions, err[1], 2);
	assert_int_equal(posix_spawn(&pid, TLSBATON, &actions, NULL, argv, (char *[]){NULL}), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(out[1]);
	close(err[1]);
	while (out_open || err_open) {
		drain(out[0], b->out, sizeof(b->out), &n_out, &out_open);
		drain(err[0], b->err, sizeof(b->err), &n_err, &err_open);
		event_base_loop(b->base, EVLOOP_NONBLOCK);
		poll((struct pollfd[]){{.fd = out[0], .events = POLLIN}}, 1, 1);
	}
	close(out[0]);
	close(err[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}
