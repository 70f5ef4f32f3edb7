/*
 * The command as its user meets it: the program is run, against a control socket that the test serves, and
 * what it prints and returns is looked at.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <signal.h>
#include <sys/stat.h>
#include <time.h>

#include "cli/test-cli.h"
#include "table/table.h"

static void test_status(void **state)
{
	struct test_cli *b = *state;
	json_auto_t *expected = test_cli_status(b), *shown = NULL;

	assert_int_equal(test_cli_run(b, "--config", b->config, "status", NULL), CLI_DONE);
	ASSERT_HOLDS(b->out, "Role      active, term 3\n");
	assert_string_equal(b->err, "");
	assert_int_equal(test_cli_run(b, "status", "--control", b->socket, "--json", NULL),
	                 CLI_DONE);
	shown = json_loads(b->out, 0, NULL);
	assert_true(json_equal(shown, expected));
}

static void test_commands(void **state)
{
	struct test_cli *b = *state;

	assert_int_equal(test_cli_run(b, "-c", b->config, "switchover", NULL), CLI_DONE);
	assert_string_equal(b->name, "switchover");
	assert_string_equal(b->args, "{\"force\":false,\"timeout_ms\":0}");
	assert_string_equal(b->out, "one\ntwo?[2J\n");
	assert_string_equal(b->err, "");
	assert_int_equal(test_cli_run(b, "switchover", "-c", b->config, "--force", "--timeout",
	                              "1.5", "--to", "b", NULL),
	                 CLI_DONE);
	assert_string_equal(b->args, "{\"force\":true,\"timeout_ms\":1500,\"to\":\"b\"}");
	assert_int_equal(test_cli_run(b, "-c", b->config, "promote", NULL), CLI_DONE);
	assert_string_equal(b->name, "promote");
	assert_string_equal(b->args, "{}");
	assert_int_equal(test_cli_run(b, "-c", b->config, "demote", NULL), CLI_DONE);
	assert_string_equal(b->name, "demote");
	assert_int_equal(test_cli_run(b, "-c", b->config, "rekey", NULL), CLI_DONE);
	assert_string_equal(b->name, "rekey");
	assert_string_equal(b->args, "{}");
	ASSERT_HOLDS(b->out, "all tickets of before are void");

	b->refusal = "b is not in sync; wait, or use --force\n\033[2J";
	assert_int_equal(test_cli_run(b, "-c", b->config, "switchover", NULL), CLI_FAILED);
	assert_string_equal(b->out, "one\ntwo?[2J\n");
	assert_string_equal(b->err, "tlsbaton: b is not in sync; wait, or use --force??[2J\n");
}

static void test_a_rekey_that_some_node_has_not_heard_of(void **state)
{
	struct test_cli *b = *state;

	b->answer = "{\"ok\":true,\"confirmed\":[\"b\",\"c\"],\"unconfirmed\":[],\"away\":[]}";
	assert_int_equal(test_cli_run(b, "-c", b->config, "rekey", NULL), CLI_DONE);
	ASSERT_HOLDS(b->out, "void on this node, and on b, c.\n");
	assert_string_equal(b->err, "");
	b->answer = "{\"ok\":true,\"confirmed\":[\"b\"],\"unconfirmed\":[\"c\"],\"away\":[]}";
	assert_int_equal(test_cli_run(b, "-c", b->config, "rekey", NULL), CLI_FAILED);
	ASSERT_HOLDS(b->out, "void on this node, and on b.\n");
	ASSERT_HOLDS(b->err, "tlsbaton: not confirmed by c: ");
	b->answer = "{\"ok\":true,\"confirmed\":[],\"unconfirmed\":[],\"away\":[\"b\",\"c\"]}";
	assert_int_equal(test_cli_run(b, "-c", b->config, "rekey", NULL), CLI_FAILED);
	ASSERT_HOLDS(b->out, "void on this node.\n");
	ASSERT_HOLDS(b->err, "tlsbaton: not connected: b, c: ");
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
	    {{"foo"}, "unknown command \"foo\"\nTry tlsbaton --help.\n"},
	    {{"ru"}, "did you mean run?\n"},
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
	    {{"rekey", "b"}, "unexpected argument \"b\""},
	    {{"demote", "--force"}, "unrecognized option"},
	    {{"check", "a", "b"}, "unexpected argument \"b\""},
	    {{"keygen", "a", "b"}, "unexpected argument \"b\""},
	    {{"switchover", "--timeout", "0"}, "--timeout: \"0\""},
	    {{"switchover", "--timeout", "-1"}, "--timeout: \"-1\""},
	    {{"switchover", "--timeout", "nan"}, "--timeout: \"nan\""},
	    {{"switchover", "--timeout", "3601"}, "--timeout: \"3601\""},
	    {{"switchover", "--timeout", "10s"}, "--timeout: \"10s\""},
	    {{"switchover", "--timeout", ""}, "--timeout: \"\""},
	    {{"switchover", "--wait", "1"}, "unrecognized option"},
	    {{"promote", "--wait", "0"}, "--wait: \"0\""},
	    {{"demote", "--wait", "forever"}, "--wait: \"forever\""},
	};
	static const char *const commands[] = {"status", "sessions", "switchover", "promote",
	                                       "demote", "rekey",    "keygen",     "check"};
	struct test_cli *b = *state;
	static char help[sizeof(b->out)];

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		assert_int_equal(
		    test_cli_run(b, wrong[i].args[0], wrong[i].args[1], wrong[i].args[2], NULL),
		    CLI_USAGE);
		ASSERT_HOLDS(b->err, wrong[i].err);
		assert_string_equal(b->out, "");
	}
	assert_int_equal(test_cli_run(b, "--version", NULL), CLI_DONE);
	assert_string_equal(b->out, "tlsbaton " TLSBATON_VERSION "\n");
	assert_int_equal(test_cli_run(b, "--help", NULL), CLI_DONE);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		ASSERT_HOLDS(b->out, commands[i]);
	strcpy(help, b->out);
	assert_int_equal(test_cli_run(b, "help", NULL), CLI_DONE);
	assert_string_equal(b->out, help);
	assert_int_equal(test_cli_run(b, "help", "help", NULL), CLI_DONE);
	assert_string_equal(b->out, help);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		assert_int_equal(test_cli_run(b, "help", commands[i], NULL), CLI_DONE);
		strcpy(help, b->out);
		assert_int_equal(test_cli_run(b, commands[i], "--help", NULL), CLI_DONE);
		assert_string_equal(b->out, help);
		ASSERT_HOLDS(b->out, commands[i]);
		assert_string_equal(b->err, "");
	}
}

static void test_keygen(void **state)
{
	struct test_cli *b = *state;
	char first[64], second[64], line[256] = "", before[128];
	struct stat st;
	FILE *file;

	snprintf(first, sizeof(first), "%s/key", b->directory);
	snprintf(second, sizeof(second), "%s/key2", b->directory);
	umask(0);
	assert_int_equal(test_cli_run(b, "keygen", first, NULL), CLI_DONE);
	snprintf(line, sizeof(line), "chown root:tlsbaton %s && chmod 0640 %s\n", first, first);
	ASSERT_HOLDS(b->out, line);
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
	assert_int_equal(test_cli_run(b, "keygen", NULL), CLI_DONE);
	assert_int_equal(strlen(b->out), strlen(line));
	assert_string_not_equal(b->out, line);
	strcpy(before, b->out);
	assert_int_equal(test_cli_run(b, "keygen", "-", NULL), CLI_DONE);
	assert_string_not_equal(b->out, before);
	assert_int_equal(test_cli_run(b, "keygen", first, NULL), CLI_FAILED);
	ASSERT_HOLDS(b->err, "a key is not overwritten");
	assert_int_equal(symlink("/tmp/tb-cli-no-such-file", second), 0);
	assert_int_equal(test_cli_run(b, "keygen", second, NULL), CLI_FAILED);
	assert_int_equal(test_cli_run(b, "keygen", "/no/such/key", NULL), CLI_FAILED);
	ASSERT_HOLDS(b->err, "its directory does not exist");
	file = fopen(first, "re");
	assert_non_null(fgets(before, sizeof(before), file));
	fclose(file);
	assert_string_equal(before, line);
}

static void test_check(void **state)
{
	struct test_cli *b = *state;
	char text[512], key[64];

	snprintf(key, sizeof(key), "%s/key", b->directory);
	assert_int_equal(test_cli_run(b, "check", b->config, NULL), CLI_FAILED);
	ASSERT_HOLDS(b->err, "t.conf: "); /* something is missing, which has no line */
	assert_string_equal(b->out, "");
	test_cli_put(b->config, "\nlog = nowhere\n");
	assert_int_equal(test_cli_run(b, "check", b->config, NULL), CLI_FAILED);
	ASSERT_HOLDS(b->err, "t.conf:2: log: 'nowhere' is not known; write stderr or syslog");
	assert_int_equal(test_cli_run(b, "keygen", key, NULL), CLI_DONE);
	snprintf(
	    text, sizeof(text),
	    "node = a\nuser = root\nkey-file = %s\nservice tb-none { addresses = {10.0.0.1/24} }\n",
	    key);
	test_cli_put(b->config, text);
	assert_int_equal(test_cli_run(b, "-c", b->config, "check", NULL), CLI_DONE);
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
	struct test_cli *b = *state;
	struct table *table = NULL;
	json_auto_t *json = NULL;
	const json_t *by_length;
	char path[64], why[128];

	snprintf(path, sizeof(path), "%s/table", b->directory);
	assert_int_equal(
	    table_open(&table, path, TABLE_SIZE_MIN, false, time(NULL), why, sizeof(why)),
	    TABLE_CREATED);
	assert_int_equal(test_cli_run(b, "-c", b->config, "sessions", NULL), CLI_DONE);
	assert_string_equal(b->out,
	                    "0 live sessions: 0 made on this node, 0 received from peers\n");

	/* Lifetimes far from the buckets' edges, as seconds pass while this runs. */
	put_session(table, 1, 127, 200, TABLE_LOCAL);
	put_session(table, 2, 128, 1000, TABLE_LOCAL);
	put_session(table, 3, 5000, 50000, 0);
	assert_int_equal(test_cli_run(b, "-c", b->config, "sessions", NULL), CLI_DONE);
	ASSERT_HOLDS(b->out, "3 live sessions: 2 made on this node, 1 received from peers\n");
	ASSERT_HOLDS(b->out, "Size (127 to 5000 bytes, mean 1751)");
	ASSERT_HOLDS(b->out, "  2 to 24 h                     1   33.3 %\n");
	ASSERT_HOLDS(b->out, "  under 1 min                   0    0.0 %\n");
	assert_int_equal(test_cli_run(b, "-c", b->config, "sessions", "--json", NULL), CLI_DONE);
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

	test_cli_put(path, "this is no table");
	assert_int_equal(test_cli_run(b, "-c", b->config, "sessions", NULL), CLI_FAILED);
	ASSERT_HOLDS(b->err, "is no session table");
}

static void test_full_disk(void **state)
{
	struct test_cli *b = *state;
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
	    cmocka_unit_test_setup_teardown(test_status, test_cli_up, test_cli_down),
	    cmocka_unit_test_setup_teardown(test_commands, test_cli_up, test_cli_down),
	    cmocka_unit_test_setup_teardown(test_a_rekey_that_some_node_has_not_heard_of,
	                                    test_cli_up, test_cli_down),
	    cmocka_unit_test_setup_teardown(test_usage, test_cli_up, test_cli_down),
	    cmocka_unit_test_setup_teardown(test_keygen, test_cli_up, test_cli_down),
	    cmocka_unit_test_setup_teardown(test_check, test_cli_up, test_cli_down),
	    cmocka_unit_test_setup_teardown(test_sessions, test_cli_up, test_cli_down),
	    cmocka_unit_test_setup_teardown(test_full_disk, test_cli_up, test_cli_down),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
