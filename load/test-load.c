/*
 * The program against real servers: OpenSSL's s_server for those that work, and sockets that accept, reset or
 * stay silent for those that do not. A server's port is its own choice, read from what it says.
 *
 * Where a test changes its server during a run, it waits for the row of the CSV that shows the visits before that.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include "util/macro.h"

#define LINE_BYTES 512
#define COMMAND_BYTES (2 * LINE_BYTES)
#define DEADLINE_S 30

static char directory[] = "/tmp/test-load-XXXXXX";

/* A program that a test started, with its standard output (and error) in a pipe. */
struct process {
	pid_t pid;
	FILE *out;
};

struct server {
	struct process process;
	int port;
};

static struct process spawn(const char *line, rlim_t n_files)
{
	struct process process;
	int pipes[2];

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	process.pid = fork();
	assert_true(process.pid >= 0);
	if (process.pid == 0) {
		const struct rlimit limit = {.rlim_cur = n_files, .rlim_max = n_files};
		char *words[64], *copy = strdup(line);
		size_t n = 0;

		while (n < ARRAY_SIZE(words) - 1 && (words[n] = strsep(&copy, " ")))
			n++;
		words[n] = NULL;
		dup2(pipes[1], STDOUT_FILENO);
		dup2(pipes[1], STDERR_FILENO);
		if (chdir(directory) == 0 &&
		    (n_files == 0 || setrlimit(RLIMIT_NOFILE, &limit) == 0))
			execvp(words[0], words);
		_exit(127);
	}
	close(pipes[1]);
	process.out = fdopen(pipes[0], "r");
	assert_non_null(process.out);
	return process;
}

/* Waits for the end and returns the exit status, with all that the program said in `said`. */
static int finish(struct process *process, char *said, size_t n_said)
{
	size_t n = fread(said, 1, n_said - 1, process->out);
	int status;

	said[n] = '\0';
	assert_int_equal(waitpid(process->pid, &status, 0), process->pid);
	fclose(process->out);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void end_server(struct server *server)
{
	kill(server->process.pid, SIGKILL);
	assert_int_equal(waitpid(server->process.pid, NULL, 0), server->process.pid);
	fclose(server->process.out);
}

/* openssl s_server with these options, on `port` or, for 0, any. */
static struct server start_server(const char *options, int port)
{
	struct server server = {.port = 0};
	char line[LINE_BYTES], said[LINE_BYTES];

	snprintf(line, sizeof(line),
	         "openssl s_server -accept 127.0.0.1:%d -cert cert.pem -key key.pem -HTTP %s", port,
	         options);
	server.process = spawn(line, 0);
	while (server.port == 0) {
		char *colon;

		if (!fgets(said, sizeof(said), server.process.out))
			fail_msg("s_server %s does not start", options);
		/* It names the port only when it has chosen it. */
		colon = strncmp(said, "ACCEPT ", 7) == 0 ? strrchr(said, ':') : NULL;
		if (colon)
			server.port = atoi(colon + 1);
		else if (strcmp(said, "ACCEPT\n") == 0)
			server.port = port;
	}
	return server;
}

static struct process start_load(const char *options, int port, const char *path, rlim_t n_files)
{
	char line[COMMAND_BYTES];

	snprintf(line, sizeof(line), TLSBATON_LOAD " %s https://localhost:%d/%s", options, port,
	         path);
	return spawn(line, n_files);
}

/* The totals, which are the last thing that the program says. */
static json_t *finish_load(struct process *load, int *status)
{
	char said[16384], *json;
	json_error_t error;
	json_t *totals;

	*status = finish(load, said, sizeof(said));
	json = strstr(said, "{\n");
	totals = json ? json_loads(json, JSON_REJECT_DUPLICATES, &error) : NULL;
	if (!totals)
		fail_msg("no totals: %s", said);
	return totals;
}

static void check(const json_t *totals, const char *name, json_int_t expected)
{
	const json_t *value = json_object_get(totals, name);

	if (!value)
		value = json_object_get(json_object_get(totals, "errors_by_kind"), name);
	if (json_integer_value(value) != expected) {
		char *text = json_dumps(totals, JSON_COMPACT);

		fail_msg("%s is not %lld: %s", name, (long long)expected, text);
	}
}

struct expected {
	int full, resumed, missed, no_session, errors;
	const char *kind; /* of all errors; NULL: there are none */
};

static void check_totals(json_t *totals, const struct expected *expected)
{
	check(totals, "full", expected->full);
	check(totals, "resumed", expected->resumed);
	check(totals, "missed", expected->missed);
	check(totals, "no_session", expected->no_session);
	check(totals, "errors", expected->errors);
	if (expected->kind)
		check(totals, expected->kind, expected->errors);
	json_decref(totals);
}

/* A run of few users, with all that is not expected to matter at its quickest. Exit status 3 is no surprise: a machine that
 * builds and tests makes everybody late. */
static void run_load(const char *options, int port, const char *path,
                     const struct expected *expected)
{
	char all[LINE_BYTES];
	struct process load;
	int status;

	snprintf(all, sizeof(all), "--json --rate 10 --duration 0.4 --think 1 %s", options);
	load = start_load(all, port, path, 0);
	check_totals(finish_load(&load, &status), expected);
	if (status != 0 && status != 3 && status != 4)
		fail_msg("exit status %d", status);
	if ((status == 4) != (expected->errors == expected->full + expected->resumed ||
	                      (expected->full == 0 && expected->resumed == 0)))
		fail_msg("exit status %d", status);
}

static void test_resumption(void **state)
{
	static const struct {
		const char *server, *load;
	} cases[] = {
	    {"-tls1_2", "--insecure --tls 1.2"},
	    {"-tls1_2 -no_ticket", "--insecure --tls 1.2"},
	    {"-tls1_2", "--insecure --tls 1.2 --no-tickets"},
	    {"-tls1_3", "--ca cert.pem"},
	    {"-tls1_3 -no_ticket", "--insecure --tls 1.3"},
	};
	const struct expected expected = {.full = 4, .resumed = 8};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct server server = start_server(cases[i].server, 0);

		run_load(cases[i].load, server.port, "ok", &expected);
		end_server(&server);
	}
}

/* How often a load of twelve visits slept. The server's rests are not counted: it is still there. */
static long count_rests(const char *options, int port)
{
	const struct expected expected = {.full = 4, .resumed = 8};
	struct rusage before, after;

	assert_int_equal(getrusage(RUSAGE_CHILDREN, &before), 0);
	run_load(options, port, "ok", &expected);
	assert_int_equal(getrusage(RUSAGE_CHILDREN, &after), 0);
	return after.ru_nvcsw - before.ru_nvcsw;
}

static void test_busy_poll(void **state)
{
	struct server server = start_server("-tls1_3", 0);
	long asleep = count_rests("--insecure", server.port);
	long busy = count_rests("--insecure --busy-poll", server.port);

	(void)state;
	if (asleep < 12 || busy >= 12)
		fail_msg("it slept %ld times, and %ld with --busy-poll", asleep, busy);
	end_server(&server);
}

static void test_no_session_is_no_miss(void **state)
{
	const struct expected expected = {.full = 8, .no_session = 4};
	struct server server = start_server("-tls1_3 -num_tickets 0", 0);

	(void)state;
	run_load("--insecure --visits 2", server.port, "ok", &expected);
	end_server(&server);
}

static void test_bad_answers(void **state)
{
	static const char *const cases[][2] = {
	    {"missing", "http_404"}, {"short", "short_body"}, {"ssh", "http_malformed"}};
	struct server server = start_server("-tls1_3", 0);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct expected expected = {.full = 4, .errors = 4, .kind = cases[i][1]};

		run_load("--insecure --visits 1", server.port, cases[i][0], &expected);
	}
	end_server(&server);
}

/* More than one turn's worth of reading; and a body whose end is the connection's. */
static void test_other_bodies(void **state)
{
	const struct expected expected = {.full = 4};
	struct server server = start_server("-tls1_2", 0);

	(void)state;
	run_load("--insecure --visits 1 --tls 1.2", server.port, "large", &expected);
	run_load("--insecure --visits 1 --tls 1.2", server.port, "endless", &expected);
	end_server(&server);
}

static void test_certificates(void **state)
{
	const struct expected refused = {.errors = 4, .kind = "certificate"};
	const struct expected accepted = {.full = 4};
	const struct expected alert = {
	    .full = 4, .errors = 4, .kind = "alert_certificate_required"};
	const struct expected alert12 = {.errors = 4, .kind = "alert_handshake_failure"};
	struct server server = start_server("-tls1_3", 0);

	(void)state;
	run_load("--visits 1", server.port, "ok", &refused);
	run_load("--visits 1 --ca other.pem", server.port, "ok", &refused);
	run_load("--visits 1 --ca cert.pem --sni elsewhere.test", server.port, "ok", &refused);
	run_load("--visits 1 --ca cert.pem", server.port, "ok", &accepted);
	end_server(&server);
	server = start_server("-tls1_3 -Verify 1", 0);
	run_load("--insecure --visits 1", server.port, "ok", &alert);
	run_load("--insecure --visits 1 --cert cert.pem --key key.pem", server.port, "ok",
	         &accepted);
	end_server(&server);
	server = start_server("-tls1_2 -Verify 1", 0);
	run_load("--insecure --visits 1 --tls 1.2", server.port, "ok", &alert12);
	end_server(&server);
}

/* Once, with the option that helps. */
static void test_what_helps_with_a_certificate(void **state)
{
	static const struct {
		const char *load, *helps, *helps_not;
	} cases[] = {
	    {"--tls 1.3", "--ca FILE", "--sni"},
	    {"--ca cert.pem --sni elsewhere.test", "--sni NAME", "--ca"},
	};
	struct server server = start_server("-tls1_3", 0);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char options[LINE_BYTES], said[16384], *line;
		struct process load;

		snprintf(options, sizeof(options), "--rate 10 --duration 0.4 --visits 1 %s",
		         cases[i].load);
		load = start_load(options, server.port, "ok", 0);
		assert_int_equal(finish(&load, said, sizeof(said)), 4);
		line = strstr(said, "not to be trusted (");
		assert_non_null(line);
		assert_null(strstr(line + 1, "not to be trusted"));
		assert_non_null(strstr(line, cases[i].helps));
		assert_null(strstr(line, cases[i].helps_not));
		assert_non_null(strstr(line, "--insecure"));
	}
	end_server(&server);
}

static int open_listener(int *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t n = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, n), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &n), 0);
	*port = ntohs(address.sin_port);
	return fd;
}

static void test_server_hangs(void **state)
{
	const struct expected expected = {.errors = 8, .kind = "handshake_timeout"};
	int port, listener = open_listener(&port);

	(void)state;
	run_load("--insecure --visits 2 --timeout 0.5", port, "ok", &expected);
	close(listener);
}

static void test_nobody_listens(void **state)
{
	const struct expected expected = {.errors = 8, .kind = "connect_refused"};
	int port, listener = open_listener(&port);

	(void)state;
	close(listener);
	run_load("--insecure --visits 2", port, "ok", &expected);
}

/* Accepts `n` connections, and resets each; each comes from the next of two addresses. */
static void reset_connections(int listener, int n)
{
	const struct linger reset = {.l_onoff = 1, .l_linger = 0};

	for (int i = 0; i < n; i++) {
		struct pollfd pollfd = {.events = POLLIN};
		struct sockaddr_in peer;
		socklen_t n_peer = sizeof(peer);

		pollfd.fd = accept(listener, (struct sockaddr *)&peer, &n_peer);
		assert_true(pollfd.fd >= 0);
		assert_int_equal(ntohl(peer.sin_addr.s_addr), 0x7f000005 + i % 2);
		assert_int_equal(poll(&pollfd, 1, DEADLINE_S * 1000), 1);
		assert_int_equal(
		    setsockopt(pollfd.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
		close(pollfd.fd);
	}
}

static void test_server_resets(void **state)
{
	const struct expected expected = {.errors = 4, .kind = "handshake_reset"};
	int port, listener = open_listener(&port), status;
	struct process load = start_load("--json --insecure --rate 10 --duration 0.4 --visits 1 "
	                                 "--source 127.0.0.5,127.0.0.6 --connect 127.0.0.1",
	                                 port, "ok", 0);

	(void)state;
	reset_connections(listener, 4);
	check_totals(finish_load(&load, &status), &expected);
	assert_true(status == 4);
	close(listener);
}

static void test_no_descriptors(void **state)
{
	int port, listener = open_listener(&port), status;
	struct process load = start_load("--json --insecure --rate 40 --duration 0.5 --visits 1 "
	                                 "--timeout 0.5",
	                                 port, "ok", 12);
	json_t *totals = finish_load(&load, &status);
	const json_t *kinds = json_object_get(totals, "errors_by_kind");

	(void)state;
	check(totals, "errors", 20);
	assert_true(json_integer_value(json_object_get(kinds, "no_descriptor")) > 0);
	json_decref(totals);
	close(listener);
}

/* Waits until the CSV of a run has the row of this second, and returns it: borrowed until the next call. */
static const char *await_row(const char *name, int second)
{
	static char row[LINE_BYTES];
	char path[LINE_BYTES];
	time_t until = time(NULL) + DEADLINE_S;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	while (time(NULL) < until) {
		FILE *file = fopen(path, "r");
		int line = -1;

		while (file && fgets(row, sizeof(row), file))
			if (strchr(row, '\n') && line++ == second) {
				fclose(file);
				return row;
			}
		if (file)
			fclose(file);
		(void)poll(NULL, 0, 20);
	}
	fail_msg("%s never has the row of second %d", name, second);
	return NULL;
}

/* A server dies between visits and comes back without its sessions: refused, then missed, and the users' sessions
 * have outlived the server's death. */
static void test_server_dies_and_comes_back(void **state)
{
	const struct expected expected = {
	    .full = 8, .missed = 4, .errors = 4, .kind = "connect_refused"};
	struct server server = start_server("-tls1_2 -no_ticket", 0);
	struct process load = start_load(
	    "--json --insecure --tls 1.2 --rate 10 --duration 0.4 --think 3 --csv dies.csv",
	    server.port, "ok", 0);
	int port = server.port, status;

	(void)state;
	assert_non_null(strstr(await_row("dies.csv", 0), ",4,4,4,0,0,0,0,"));
	end_server(&server);
	assert_non_null(strstr(await_row("dies.csv", 3), ",4,4,0,0,0,4,0,"));
	server = start_server("-tls1_2 -no_ticket", port);
	check_totals(finish_load(&load, &status), &expected);
	assert_true(status == 0 || status == 3);
	assert_non_null(strstr(await_row("dies.csv", 6), ",4,4,4,0,4,0,0,"));
	end_server(&server);
}

static void interrupt(int number, int expected_status)
{
	struct server server = start_server("-tls1_3", 0);
	struct process load = start_load(
	    "--json --insecure --rate 20 --duration 600 --csv signal.csv", server.port, "ok", 0);
	json_t *totals;
	int status;

	await_row("signal.csv", 0);
	kill(load.pid, number);
	totals = finish_load(&load, &status);
	assert_int_equal(status, expected_status);
	assert_true(json_is_true(json_object_get(totals, "interrupted")));
	check(totals, "visits_planned", 36000);
	assert_in_range(json_integer_value(json_object_get(totals, "started")), 20, 2000);
	json_decref(totals);
	end_server(&server);
}

static void remove_file(const char *name)
{
	char path[LINE_BYTES];

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	(void)unlink(path);
}

static void test_signals(void **state)
{
	(void)state;
	interrupt(SIGINT, 130);
	remove_file("signal.csv");
	interrupt(SIGTERM, 143);
}

/* A generator that does not get to run says so, and nothing of its schedule is lost. The pause below is the fault itself, not a
 * wait for anything. */
static void test_behind(void **state)
{
	struct server server = start_server("-tls1_3", 0);
	struct process load =
	    start_load("--json --insecure --rate 20 --duration 2 --visits 1 --csv behind.csv",
	               server.port, "ok", 0);
	json_t *totals;
	int status;

	(void)state;
	await_row("behind.csv", 0);
	kill(load.pid, SIGSTOP);
	(void)poll(NULL, 0, 400);
	kill(load.pid, SIGCONT);
	totals = finish_load(&load, &status);
	assert_int_equal(status, 3);
	assert_true(json_is_true(json_object_get(totals, "behind_schedule")));
	assert_true(json_integer_value(json_object_get(totals, "behind_us")) >= 300000);
	/* The visits that waited for the generator show it in their latency. */
	assert_true(json_integer_value(json_object_get(totals, "total_p99_us")) >= 300000);
	check(totals, "started", 40);
	check(totals, "full", 40);
	json_decref(totals);
	end_server(&server);
}

static void check_says(const char *line, int expected_status, const char *says)
{
	struct process process = spawn(line, 0);
	char said[16384];
	int status = finish(&process, said, sizeof(said));

	if (status != expected_status || !strstr(said, says))
		fail_msg("%s: status %d: %s", line, status, said);
}

static void test_refusals(void **state)
{
	(void)state;
	check_says(TLSBATON_LOAD " --help", 0, "Exit status:");
	check_says(TLSBATON_LOAD " --version", 0, "tlsbaton-load ");
	check_says(TLSBATON_LOAD, 2, "no URL");
	check_says(TLSBATON_LOAD " https://192.0.2.1/", 2, "--i-own-this-server");
	check_says(TLSBATON_LOAD " --ca nowhere.pem https://127.0.0.1/", 1, "--ca \"nowhere.pem\"");
	check_says(TLSBATON_LOAD " --cert nowhere.pem https://127.0.0.1/", 1, "--cert");
	check_says(TLSBATON_LOAD " --cert cert.pem --key other.key https://127.0.0.1/", 1, "--key");
	check_says(TLSBATON_LOAD " --tls 1.2 --ciphers NONSENSE https://127.0.0.1/", 1,
	           "--ciphers");
	check_says(TLSBATON_LOAD " --ciphersuites NONSENSE https://127.0.0.1/", 1,
	           "--ciphersuites");
	check_says(TLSBATON_LOAD " --groups NONSENSE https://127.0.0.1/", 1, "--groups");
	check_says(TLSBATON_LOAD " --csv nowhere/x.csv https://127.0.0.1/", 1,
	           "--csv nowhere/x.csv");
	check_says(TLSBATON_LOAD " --csv /dev/full https://127.0.0.1/", 1, "--csv /dev/full");
	check_says(TLSBATON_LOAD " --cpu 1000 https://127.0.0.1/", 2, "--cpu 1000");
	check_says(TLSBATON_LOAD " --rate 1000000 --duration 600000 https://127.0.0.1/", 1,
	           "lower --rate or --duration");
}

static void write_file(const char *name, const char *text, size_t n_filling)
{
	char path[LINE_BYTES];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	while (n_filling-- > 0)
		fputc('x', file);
	assert_int_equal(fclose(file), 0);
}

static void make_certificate(const char *certificate, const char *key)
{
	char line[LINE_BYTES];

	snprintf(
	    line, sizeof(line),
	    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "
	    "/CN=localhost -addext subjectAltName=DNS:localhost -keyout %s -out %s",
	    key, certificate);
	check_says(line, 0, "");
}

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	make_certificate("cert.pem", "key.pem");
	make_certificate("other.pem", "other.key");
	write_file("ok", "HTTP/1.1 200 OK\r\nContent-Length: 51200\r\n\r\n", 51200);
	write_file("missing", "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n", 5);
	write_file("short", "HTTP/1.1 200 OK\r\nContent-Length: 51200\r\n\r\n", 51199);
	write_file("ssh", "SSH-2.0-OpenSSH_9.2\r\n", 0);
	write_file("large", "HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n", 3000000);
	write_file("endless", "HTTP/1.1 200 OK\r\n\r\n", 100000);
	return 0;
}

static int tear_down(void **state)
{
	static const char *const names[] = {
	    "cert.pem", "key.pem", "other.pem", "other.key", "ok",         "missing",   "short",
	    "ssh",      "large",   "endless",   "dies.csv",  "signal.csv", "behind.csv"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		remove_file(names[i]);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_resumption),
	    cmocka_unit_test(test_busy_poll),
	    cmocka_unit_test(test_no_session_is_no_miss),
	    cmocka_unit_test(test_bad_answers),
	    cmocka_unit_test(test_other_bodies),
	    cmocka_unit_test(test_certificates),
	    cmocka_unit_test(test_what_helps_with_a_certificate),
	    cmocka_unit_test(test_server_hangs),
	    cmocka_unit_test(test_nobody_listens),
	    cmocka_unit_test(test_server_resets),
	    cmocka_unit_test(test_no_descriptors),
	    cmocka_unit_test(test_server_dies_and_comes_back),
	    cmocka_unit_test(test_signals),
	    cmocka_unit_test(test_behind),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
