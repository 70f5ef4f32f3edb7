/*
 * The command as its user meets it: the program is run, against a control socket that the test serves, and
 * what it prints and returns is looked at.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "cli/cli.h"
#include "daemon/control.h"
#include "table/table.h"

struct bench {
	char directory[32];
	char config[64], socket[64];
	struct event_base *base;
	struct control *control;
	char name[32];  /* the last command's */
	char args[256]; /* its arguments, as JSON */
	const char *refusal;
	char out[16384], err[4096]; /* of the last run */
};

static json_t *on_status(void *arg)
{
	(void)arg;
	return json_load_file(FIXTURES "/status.json", 0, NULL);
}

static void on_command(void *arg, struct control_request *request, const char *name, json_t *args)
{
	struct bench *b = arg;
	_cleanup_(freep) char *text = json_dumps(args, JSON_COMPACT | JSON_SORT_KEYS);

	snprintf(b->name, sizeof(b->name), "%s", name);
	snprintf(b->args, sizeof(b->args), "%s", text);
	control_progress(request, "one");
	control_progress(request, "two\033[2J");
	if (b->refusal)
		control_answer(request, json_pack("{s:b, s:s}", "ok", 0, "error", b->refusal));
	else
		control_answer(request, json_pack("{s:b}", "ok", 1));
}

static void on_gone(void *arg, struct control_request *request)
{
	(void)arg, (void)request;
}

static const struct control_ops ops = {.status = on_status, .command = on_command, .gone = on_gone};

static void put(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static int set_up(void **state)
{
	static struct bench b;
	char text[128], error[256];

	memset(&b, 0, sizeof(b));
	strcpy(b.directory, "/tmp/tb-cli-XXXXXX");
	assert_non_null(mkdtemp(b.directory));
	snprintf(b.config, sizeof(b.config), "%s/t.conf", b.directory);
	snprintf(b.socket, sizeof(b.socket), "%s/control.sock", b.directory);
	snprintf(text, sizeof(text), "run-directory = %s\n", b.directory);
	put(b.config, text);
	b.base = event_base_new();
	assert_int_equal(control_new(&b.control, b.base, b.socket, &ops, &b, error, sizeof(error)),
	                 0);
	*state = &b;
	return 0;
}

static int tear_down(void **state)
{
	static const char *const files[] = {"t.conf", "key",      "key2",
	                                    "table",  "bad.conf", "control.sock"};
	struct bench *b = *state;
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

/* Runs tlsbaton with these arguments (ended by NULL) while the test's daemon serves it; its exit status. */
static int run(struct bench *b, ...)
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

#define ASSERT_HOLDS(text, part)                                                                   \
	do {                                                                                       \
		if (!strstr(text, part))                                                           \
			fail_msg("no \"%s\" in:\n%s", part, text);                                 \
	} while (0)

static void test_status(void **state)
{
	struct bench *b = *state;
	json_auto_t *expected = on_status(b), *shown = NULL;

	assert_int_equal(run(b, "--config", b->config, "status", NULL), CLI_DONE);
	ASSERT_HOLDS(b->out, "Role      active, term 3\n");
	assert_string_equal(b->err, "");
	assert_int_equal(run(b, "status", "--control", b->socket, "--json", NULL), CLI_DONE);
	shown = json_loads(b->out, 0, NULL);
	assert_true(json_equal(shown, expected));
}

static void test_commands(void **state)
{
	struct bench *b = *state;

	assert_int_equal(run(b, "-c", b->config, "switchover", NULL), CLI_DONE);
	assert_string_equal(b->name, "switchover");
	assert_string_equal(b->args, "{\"force\":false,\"timeout_ms\":0}");
	assert_string_equal(b->out, "one\ntwo?[2J\n");
	assert_string_equal(b->err, "");
	assert_int_equal(
	    run(b, "switchover", "-c", b->config, "--force", "--timeout", "1.5", "--to", "b", NULL),
	    CLI_DONE);
	assert_string_equal(b->args, "{\"force\":true,\"timeout_ms\":1500,\"to\":\"b\"}");
	assert_int_equal(run(b, "-c", b->config, "promote", NULL), CLI_DONE);
	assert_string_equal(b->name, "promote");
	assert_string_equal(b->args, "{}");
	assert_int_equal(run(b, "-c", b->config, "demote", NULL), CLI_DONE);
	assert_string_equal(b->name, "demote");

	b->refusal = "b is not in sync; wait, or use --force\n\033[2J";
	assert_int_equal(run(b, "-c", b->config, "switchover", NULL), CLI_FAILED);
	assert_string_equal(b->out, "one\ntwo?[2J\n");
	assert_string_equal(b->err, "tlsbaton: b is not in sync; wait, or use --force??[2J\n");
}

static void test_usage(void **state)
{
	static const struct {
		const char *args[4];
		const char *err;
	} wrong[] = {
	    {{NULL}, "Usage: tlsbaton"},
	    {{"frobnicate"}, "unknown command \"frobnicate\"\nTry tlsbaton --help.\n"},
	    {{"swichover"}, "unknown command \"swichover\"; did you mean switchover?\n"},
	    {{"hlep"}, "did you mean help?\n"},
	    {{"help", "frobnicate"}, "unknown command \"frobnicate\"\n"},
	    {{"help", "chek"}, "did you mean check?\n"},
	    {{"help", "check", "status"}, "unexpected argument \"status\""},
	    {{"--frobnicate"}, "tlsbaton: unrecognized option '--frobnicate'\nTry tlsbaton --help"},
	    {{"status", "--frobnicate"}, "tlsbaton status: unrecognized option '--frobnicate'"},
	    {{"status", "--force"}, "unrecognized option"},
	    {{"status", "b"}, "unexpected argument \"b\""},
	    {{"sessions", "b"}, "unexpected argument \"b\""},
	    {{"switchover", "b"}, "unexpected argument \"b\""},
	    {{"promote", "b"}, "unexpected argument \"b\""},
	    {{"demote", "--force"}, "unrecognized option"},
	    {{"check", "a", "b"}, "unexpected argument \"b\""},
	    {{"keygen", "a", "b"}, "unexpected argument \"b\""},
	    {{"switchover", "--timeout", "0"}, "--timeout: \"0\""},
	    {{"switchover", "--timeout", "-1"}, "--timeout: \"-1\""},
	    {{"switchover", "--timeout", "nan"}, "--timeout: \"nan\""},
	    {{"switchover", "--timeout", "3601"}, "--timeout: \"3601\""},
	    {{"switchover", "--timeout", "10s"}, "--timeout: \"10s\""},
	    {{"switchover", "--timeout", ""}, "--timeout: \"\""},
	};
	static const char *const commands[] = {"status", "sessions", "switchover", "promote",
	                                       "demote", "keygen",   "check"};
	struct bench *b = *state;
	static char help[sizeof(b->out)];

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		assert_int_equal(run(b, wrong[i].args[0], wrong[i].args[1], wrong[i].args[2], NULL),
		                 CLI_USAGE);
		ASSERT_HOLDS(b->err, wrong[i].err);
		assert_string_equal(b->out, "");
	}
	assert_int_equal(run(b, "--version", NULL), CLI_DONE);
	assert_string_equal(b->out, "tlsbaton " TLSBATON_VERSION "\n");
	assert_int_equal(run(b, "--help", NULL), CLI_DONE);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		ASSERT_HOLDS(b->out, commands[i]);
	strcpy(help, b->out);
	assert_int_equal(run(b, "help", NULL), CLI_DONE);
	assert_string_equal(b->out, help);
	assert_int_equal(run(b, "help", "help", NULL), CLI_DONE);
	assert_string_equal(b->out, help);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		assert_int_equal(run(b, "help", commands[i], NULL), CLI_DONE);
		strcpy(help, b->out);
		assert_int_equal(run(b, commands[i], "--help", NULL), CLI_DONE);
		assert_string_equal(b->out, help);
		ASSERT_HOLDS(b->out, commands[i]);
		assert_string_equal(b->err, "");
	}
}

static void test_no_daemon(void **state)
{
	struct bench *b = *state;
	char path[256];

	control_free(b->control);
	b->control = NULL;
	assert_int_equal(run(b, "-c", b->config, "status", NULL), CLI_UNREACHABLE);
	ASSERT_HOLDS(b->err, b->socket);
	ASSERT_HOLDS(b->err, "systemctl start tlsbatond");
	ASSERT_HOLDS(b->err, "--control");
	assert_int_equal(run(b, "-c", b->config, "promote", NULL), CLI_UNREACHABLE);
	assert_int_equal(run(b, "-c", b->config, "sessions", NULL), CLI_UNREACHABLE);
	snprintf(path, sizeof(path), "%s/%0200d", b->directory, 0);
	assert_int_equal(run(b, "status", "--control", path, NULL), CLI_UNREACHABLE);
	assert_int_equal(run(b, "status", "--control", b->config, NULL), CLI_UNREACHABLE);

	assert_int_equal(run(b, "-c", "/no/such.conf", "status", NULL), CLI_FAILED);
	ASSERT_HOLDS(b->err, "/no/such.conf: cannot be read");
	snprintf(path, sizeof(path), "%s/bad.conf", b->directory);
	put(path, "\nnod = a\n");
	assert_int_equal(run(b, "-c", path, "status", NULL), CLI_FAILED);
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
	struct bench *b = *state;
	int status;
	pid_t pid;

	control_free(b->control);
	b->control = NULL;
	for (size_t i = 0; i < ARRAY_SIZE(strange); i++) {
		pid = liar(b->socket, strange[i].words);
		assert_int_equal(run(b, "-c", b->config, "promote", NULL), strange[i].exit);
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
	assert_int_equal(run(b, "-c", b->config, "promote", NULL), CLI_UNREACHABLE);
	ASSERT_HOLDS(b->err, "says more than 1 MiB");
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	unlink(b->socket);

	pid = liar(b->socket, "{\"ok\":true,\"status\":[]}\n");
	assert_int_equal(run(b, "-c", b->config, "status", NULL), CLI_FAILED);
	ASSERT_HOLDS(b->err, "no status in it");
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* A daemon that hangs with a full backlog. */
static void test_hanging_daemon(void **state)
{
	struct bench *b = *state;
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
	assert_int_equal(run(b, "-c", b->config, "status", NULL), CLI_UNREACHABLE);
	ASSERT_HOLDS(b->err, "does not take connections; see its log");
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	close(listener);
}

static void test_keygen(void **state)
{
	struct bench *b = *state;
	char first[64], second[64], line[128] = "", before[128];
	struct stat st;
	FILE *file;

	snprintf(first, sizeof(first), "%s/key", b->directory);
	snprintf(second, sizeof(second), "%s/key2", b->directory);
	umask(0);
	assert_int_equal(run(b, "keygen", first, NULL), CLI_DONE);
	assert_string_equal(b->out, "");
	assert_string_equal(b->err, "");
	assert_int_equal(stat(first, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	file = fopen(first, "re");
	assert_non_null(fgets(line, sizeof(line), file));
	assert_int_equal(fgetc(file), EOF);
	fclose(file);
	assert_int_equal(strlen(line), 21 + 64 + 1);
	assert_memory_equal(line, "tlsbaton-group-key-1:", 21);

	/* Never the same, never over an old one, also not through a link. */
	assert_int_equal(run(b, "keygen", NULL), CLI_DONE);
	assert_int_equal(strlen(b->out), strlen(line));
	assert_string_not_equal(b->out, line);
	strcpy(before, b->out);
	assert_int_equal(run(b, "keygen", "-", NULL), CLI_DONE);
	assert_string_not_equal(b->out, before);
	assert_int_equal(run(b, "keygen", first, NULL), CLI_FAILED);
	ASSERT_HOLDS(b->err, "a key is not overwritten");
	assert_int_equal(symlink("/tmp/tb-cli-no-such-file", second), 0);
	assert_int_equal(run(b, "keygen", second, NULL), CLI_FAILED);
	assert_int_equal(run(b, "keygen", "/no/such/key", NULL), CLI_FAILED);
	ASSERT_HOLDS(b->err, "its directory does not exist");
	file = fopen(first, "re");
	assert_non_null(fgets(before, sizeof(before), file));
	fclose(file);
	assert_string_equal(before, line);
}

static void test_check(void **state)
{
	struct bench *b = *state;
	char text[512], key[64];

	snprintf(key, sizeof(key), "%s/key", b->directory);
	assert_int_equal(run(b, "check", b->config, NULL), CLI_FAILED);
	ASSERT_HOLDS(b->err, "t.conf: "); /* something is missing, which has no line */
	assert_string_equal(b->out, "");
	put(b->config, "\nlog = nowhere\n");
	assert_int_equal(run(b, "check", b->config, NULL), CLI_FAILED);
	ASSERT_HOLDS(b->err, "t.conf:2: log: 'nowhere' is not known; write stderr or syslog");
	assert_int_equal(run(b, "keygen", key, NULL), CLI_DONE);
	snprintf(
	    text, sizeof(text),
	    "node = a\nuser = root\nkey-file = %s\nservice tb-none { addresses = {10.0.0.1/24} }\n",
	    key);
	put(b->config, text);
	assert_int_equal(run(b, "-c", b->config, "check", NULL), CLI_DONE);
	ASSERT_HOLDS(b->out, "t.conf: correct\n");
	ASSERT_HOLDS(b->err, "this node has no interface tb-none");
	ASSERT_HOLDS(b->err, "there is no peer");
}

static void put_session(struct table *table, uint8_t name, size_t n_der, int64_t lifetime_s,
                        unsigned flags)
{
	static const uint8_t der[TABLE_DER_MAX];
	const struct table_record record = {
	    .id = &name,
	    .n_id = 1,
	    .der = der,
	    .n_der = n_der,
	    .expires_s = time(NULL) + lifetime_s,
	    .flags = flags,
	};

	assert_int_equal(table_put(table, &record, time(NULL), NULL), 0);
}

static void test_sessions(void **state)
{
	struct bench *b = *state;
	struct table *table = NULL;
	json_auto_t *json = NULL;
	const json_t *by_length;
	char path[64], why[128];

	snprintf(path, sizeof(path), "%s/table", b->directory);
	assert_int_equal(
	    table_open(&table, path, TABLE_SIZE_MIN, false, time(NULL), why, sizeof(why)),
	    TABLE_CREATED);
	assert_int_equal(run(b, "-c", b->config, "sessions", NULL), CLI_DONE);
	assert_string_equal(b->out,
	                    "0 live sessions: 0 made on this node, 0 received from peers\n");

	/* Lifetimes far from the buckets' edges, as seconds pass while this runs. */
	put_session(table, 1, 127, 200, TABLE_LOCAL);
	put_session(table, 2, 128, 1000, TABLE_LOCAL);
	put_session(table, 3, 5000, 50000, 0);
	assert_int_equal(run(b, "-c", b->config, "sessions", NULL), CLI_DONE);
	ASSERT_HOLDS(b->out, "3 live sessions: 2 made on this node, 1 received from peers\n");
	ASSERT_HOLDS(b->out, "Size (127 to 5000 bytes, mean 1751)");
	ASSERT_HOLDS(b->out, "  2 to 24 h                     1   33.3 %\n");
	ASSERT_HOLDS(b->out, "  under 1 min                   0    0.0 %\n");
	assert_int_equal(run(b, "-c", b->config, "sessions", "--json", NULL), CLI_DONE);
	json = json_loads(b->out, 0, NULL);
	assert_int_equal(json_integer_value(json_object_get(json, "live")), 3);
	assert_int_equal(json_integer_value(json_object_get(json, "local")), 2);
	assert_int_equal(json_integer_value(json_object_get(json, "der_bytes")), 127 + 128 + 5000);
	by_length = json_object_get(json, "by_der_bytes");
	assert_int_equal(json_integer_value(json_object_get(json_array_get(by_length, 0), "n")), 1);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(by_length, 1), "n")), 1);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(by_length, 4), "n")), 1);
	assert_true(json_is_null(json_object_get(json_array_get(by_length, 4), "below")));
	table_free(table);

	put(path, "this is no table");
	assert_int_equal(run(b, "-c", b->config, "sessions", NULL), CLI_FAILED);
	ASSERT_HOLDS(b->err, "is no session table");
}

static void test_full_disk(void **state)
{
	struct bench *b = *state;
	char command[256];
	int status;

	snprintf(command, sizeof(command), "%s keygen >/dev/full 2>/dev/null", TLSBATON);
	status = system(command);
	assert_int_equal(WEXITSTATUS(status), CLI_FAILED);
	snprintf(command, sizeof(command), "%s -c %s --help >/dev/full 2>/dev/null", TLSBATON,
	         b->config);
	status = system(command);
	assert_int_equal(WEXITSTATUS(status), CLI_FAILED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_status, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_commands, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_usage, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_no_daemon, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_strange_daemons, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_hanging_daemon, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_keygen, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_check, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_sessions, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_full_disk, set_up, tear_down),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
