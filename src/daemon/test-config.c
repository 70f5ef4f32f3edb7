/* The configuration file: its options, and what is said of mistakes in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>

#include "daemon/test-config.h"

#define BASE TEST_CONFIG_BASE

static void test_everything(void **state)
{
	_cleanup_(config_freep) struct config *c = NULL;
	char error[512];
	int r =
	    test_config_load(*state,
	                     "# a comment, which libconfuse alone would count twice\n"
	                     "node = \"a\" // another\n"
	                     "group = web /* and\n one more */\n"
	                     "user = root\n"
	                     "run-directory = /var/lib/x//y\n"
	                     "table-size = 2G\n"
	                     "worker-users = {root,\n # in a list\n daemon}\n"
	                     "worker-groups = {\"daemon\"}\n"
	                     "workers-max = 7\nring-size = 512K\ngate-deadline = 50\nheartbeat = "
	                     "1000\nresumption = both\nticket-rotation = 600\n"
	                     "listen = \"[2001:db8::1]:1\"\n"
	                     "peer b { address = 10.78.0.2:7410 }\n"
	                     "peer c {\n address = \"[2001:db8::3]:7410\"\n}\n"
	                     "key-file = @\n"
	                     "service eth1 {\n addresses = {\"10.77.0.10/24\", 2001:db8::10/64}\n"
	                     " start-as = active\n interface-down = yes\n announce = 0\n}\n"
	                     "http = \"[::1]:80\"\nlog = syslog\nlog-level = debug",
	                     &c, error);

	assert_string_equal(error, "");
	assert_int_equal(r, 0);
	assert_string_equal(c->path, ((struct test_config *)*state)->file);
	assert_string_equal(c->node, "a");
	assert_string_equal(c->group, "web");
	assert_string_equal(c->user, "root");
	assert_int_equal(c->uid, 0);
	assert_string_equal(c->run_directory, "/var/lib/x//y");
	assert_int_equal(c->table_bytes, 2ULL << 30);
	assert_int_equal(c->n_worker_uids, 2);
	assert_int_equal(c->worker_uids[1], 1);
	assert_int_equal(c->n_worker_gids, 1);
	assert_int_equal(c->worker_gids[0], 1);
	assert_int_equal(c->workers_max, 7);
	assert_int_equal(c->ring_bytes, 512 << 10);
	assert_int_equal(c->gate_deadline_ms, 50);
	assert_int_equal(c->heartbeat_ms, 1000);
	assert_int_equal(c->resumption, TICKET_BOTH);
	assert_int_equal(c->ticket_rotation_s, 600);
	assert_string_equal(c->listen, "[2001:db8::1]:1");
	assert_int_equal(c->n_peers, 2);
	assert_string_equal(c->peers[0].name, "b");
	assert_string_equal(c->peers[1].address, "[2001:db8::3]:7410");
	assert_int_equal(c->group_key[31], 0x1f);
	assert_true(c->has_service);
	assert_string_equal(c->service.interface, "eth1");
	assert_int_equal(c->service.n_addresses, 2);
	assert_string_equal(c->service.addresses[1], "2001:db8::10/64");
	assert_true(c->service.interface_down);
	assert_true(c->start_active);
	assert_int_equal(c->announce_s, 0);
	assert_string_equal(c->http, "[::1]:80");
	assert_int_equal(c->log_target, LOG_TARGET_SYSLOG);
	assert_int_equal(c->log_level, LOG_LEVEL_DEBUG);
}

static void test_defaults(void **state)
{
	_cleanup_(config_freep) struct config *c = NULL;
	char error[512];

	assert_int_equal(test_config_load(*state, BASE "worker-users = {}\n", &c, error), 0);
	assert_string_equal(c->group, "default");
	assert_string_equal(c->run_directory, "/run/tlsbaton");
	assert_int_equal(c->table_bytes, 256 << 20);
	assert_int_equal(c->n_worker_uids, 0);
	assert_int_equal(c->workers_max, 1024);
	assert_int_equal(c->ring_bytes, 1 << 20);
	assert_int_equal(c->gate_deadline_ms, 20);
	assert_int_equal(c->heartbeat_ms, 500);
	assert_int_equal(c->resumption, TICKET_STATEFUL);
	assert_int_equal(c->ticket_rotation_s, 3600);
	assert_string_equal(c->listen, "[::]:7410");
	assert_string_equal(c->http, "127.0.0.1:7411");
	assert_false(c->has_service);
	assert_int_equal(c->log_target, LOG_TARGET_STDERR);
	assert_int_equal(c->log_level, LOG_LEVEL_NOTICE);
}

/* What each mistake gets: the line, and words that its message must hold. */
static const struct mistake {
	const char *text;
	int line;
	const char *what, *remedy;
} mistakes[] = {
    /* syntax */
    {BASE "listen 10.0.0.1:1\n", 4, "missing equal sign after option 'listen'",
     "write NAME = VALUE"},
    {BASE "listen = \"10.0.0.1:1\n", 4, "has no end", "closing \" on the same line"},
    {BASE "listen = 'x\ny'\n", 4, "has no end", "closing ' on the same line"},
    {BASE "/* x\n\n", 4, "comment that starts here has no end", "*/"},
    {BASE "peer b {\n address = 1.2.3.4:5\n", 4, "never closed", "write }"},
    {BASE "\n}\n", 5, "closes nothing", "remove it"},
    {BASE "peer { address = 1.2.3.4:5 }\n", 4, "missing title for section 'peer'",
     "SECTION NAME {"},
    {BASE "peer b = c\n", 4, "missing opening brace", "SECTION NAME {"},
    {BASE "listen = {1.2.3.4:5}\n", 4, "unexpected token '{'", "NAME = VALUE"},
    {BASE "listen += 1.2.3.4:5\n", 4, "append to non-list", "NAME = VALUE"},
    {BASE "listen = \n\n", 5, "premature end of file", "value that is missing"},
    {BASE "group = \"${HOME}\"\n", 4, "environment", "the value itself"},
    {BASE "group = ${HOME}\n", 4, "environment", "the value itself"},
    {BASE "group = a\001b\n", 4, "control character (0x01)", "remove it"},
    {BASE "group = \"a\\nb\"\n", 4, "'a?b' is not a name", "letters, digits"},
    {BASE "\"\" = x\n", 4, "cannot be understood", "tlsbaton.conf(5)"},
    /* options */
    {BASE "# hm\n# hm\nlisen = 1.2.3.4:5\n", 6, "lisen: is not an option", "did you mean listen?"},
    {BASE "frobnicate = 1\n", 4, "frobnicate: is not an option", "tlsbaton.conf(5)"},
    {BASE "peer b {\n\n adress = 1.2.3.4:5\n}\n", 6, "adress: is not an option",
     "did you mean address?"},
    {BASE "peer b { address = 1.2.3.4:5 }\n\"peer=b|address\" = 1.2.3.4:6\n", 5,
     "does not belong here", "section"},
    {BASE "group = x\n\ngroup = y\n", 6, "group: was set in line 4 already", "remove one"},
    {BASE "worker-users = {root}\nworker-users = {root}\n", 5, "worker-users: was set in line 4",
     "remove one"},
    {BASE "worker-users = {root}\nworker-users = {}\n", 4, "worker-users: is set twice",
     "one list"},
    {BASE "worker-groups = {root}\nworker-groups = {}\n", 4, "worker-groups: is set twice",
     "one list"},
    /* values */
    {BASE "group = \"a b\"\n", 4, "'a b' is not a name", "letters, digits"},
    {BASE "group = \"\"\n", 4, "0 bytes", "1 to 63"},
    {BASE "group = -x\n", 4, "starts with '-'", "letter or digit"},
    {"user = nobody-at-all\n", 1, "no user 'nobody-at-all'", "create it"},
    {BASE "run-directory = run\n", 4, "not a full path", "starts with /"},
    {BASE "run-directory = "
          "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
          "aaaa\n",
     4, "bytes", "at most 90"},
    {BASE "table-size = big\n", 4, "'big' is not a size", "from 1M to 1024G"},
    {BASE "table-size = 256MB\n", 4, "'256MB' is not a size", "K, M or G"},
    {BASE "table-size = 1023K\n", 4, "out of range", "from 1M"},
    {BASE "table-size = 99999999999999999999G\n", 4, "not a size", "from 1M"},
    {BASE "table-size = 18014398509481985K\n", 4, "out of range", "from 1M"},
    {BASE "worker-users = {root,\n\n nobody-at-all}\n", 6, "no user 'nobody-at-all'", "create it"},
    {BASE "worker-groups = {no-such-group}\n", 4, "no group 'no-such-group'", "create it"},
    {BASE "workers-max = 0\n", 4, "out of range", "from 1 to 65536"},
    {BASE "workers-max = ten\n", 4, "'ten' is not a number", "from 1 to 65536"},
    {BASE "ring-size = 1K\n", 4, "out of range", "from 64K to 256M"},
    {BASE "gate-deadline = 0\n", 4, "out of range", "10000 ms"},
    {BASE "gate-deadline = 20ms\n", 4, "'20ms' is not a number", "in ms"},
    {BASE "gate-deadline = -1\n", 4, "'-1' is not a number", "in ms"},
    {BASE "heartbeat = 49\n", 4, "out of range", "from 50"},
    {BASE "ticket-rotation = 1\n", 4, "out of range", "from 2"},
    {BASE "ticket-rotation = 604801\n", 4, "out of range", "to 604800"},
    {BASE "resumption = ticket\n", 4, "resumption", "tickets"},
    {BASE "heartbeat = 4294967796\n", 4, "out of range", "from 50"},
    {BASE "listen = 10.0.0.1\n", 4, "not an address and port", "192.0.2.7:7410"},
    {BASE "listen = 10.0.0.1:0\n", 4, "no port", "192.0.2.7:7410"},
    {BASE "listen = 10.0.0.1:65536\n", 4, "no port", "192.0.2.7:7410"},
    {BASE "listen = 10.0.0.256:1\n", 4, "does not start with an IP address", "192.0.2.7:7410"},
    {BASE "listen = 2001:db8::1:7410\n", 4, "does not start with an IP address",
     "[2001:db8::7]:7410"},
    {BASE "listen = \"[2001:db8::1]\"\n", 4, "not an address and port", "[2001:db8::7]:7410"},
    {BASE "listen = \"[:\"\n", 4, "not an address and port", "[2001:db8::7]:7410"},
    {BASE "http = 0.0.0.0:7411\n", 4, "not a loopback address", "127.0.0.1:PORT"},
    {BASE "http = \"[::]:7411\"\n", 4, "not a loopback address", "[::1]:PORT"},
    {BASE "log = file\n", 4, "'file' is not known", "stderr or syslog"},
    {BASE "log-level = info\n", 4, "'info' is not known", "error, warning, notice or debug"},
    /* peers */
    {BASE "\npeer b {\n}\n", 5, "peer 'b' has no address", "write address"},
    {BASE "worker-users = {root}\npeer b {\n}\n", 5, "peer 'b' has no address", "write address"},
    {BASE "peer b {\n address = b.example:7410\n}\n", 5, "does not start with an IP",
     "192.0.2.7:7410"},
    {BASE "peer \"b c\" {\n address = 1.2.3.4:5\n}\n", 4, "'b c' is not a name", "letters, digits"},
    {BASE "peer b { address = 1.2.3.4:5 }\npeer b { address = 1.2.3.5:5 }\n", 5,
     "duplicate title 'b'", "name of its own"},
    {BASE "peer b { address = 1.2.3.4:5 }\npeer c {\n address = 1.2.3.4:5 }\n", 6,
     "1.2.3.4:5 is the address of peer 'b' already", "that of 'c'"},
    {"peer b { address = 1.2.3.4:5 }\npeer a {\n address = 1.2.3.4:6 }\n" BASE, 2,
     "this node's own name", "the other node"},
    {BASE "peer b {\n address = 1.2.3.4:5 }\nlisten = 1.2.3.4:5\n", 4, "this node listens on",
     "peer's own"},
    {BASE "peer b { address = 1.2.3.4:5\n address = 1.2.3.4:6 }\n", 5, "was set in line 4",
     "remove one"},
    /* service */
    {BASE "service eth0 {\n start-as = active\n}\n", 4, "no address", "write addresses ="},
    {BASE "service eth0 { addresses = {10.0.0.1} }\n", 4, "no prefix length", "write 10.0.0.1/24"},
    {BASE "service eth0 { addresses = {\"::1\"} }\n", 4, "no prefix length", "write ::1/64"},
    {BASE "service eth0 { addresses = {10.0.0.1/33} }\n", 4, "needs a prefix length", "1 to 32"},
    {BASE "service eth0 { addresses = {10.0.0.1/24,\n10.0.0.1/16} }\n", 5, "given twice",
     "remove one"},
    {BASE "service eth0 { addresses = {10.0.0.0/24} }\n", 4, "10.0.0.0/24", "network itself"},
    {BASE "service eth0 { addresses = {10.0.0/24} }\n", 4, "not an address", "192.0.2.10/24"},
    {BASE "service eth0 { addresses = {10.0.0.1/24}\naddresses={} }\n", 4, "set twice", "one list"},
    {BASE "service a-name-too-long-for-linux {\n addresses = {10.0.0.1/24}\n }\n", 4,
     "interface name", "1 to 15"},
    {BASE "service \"a/b\" { addresses = {10.0.0.1/24} }\n", 4, "not an interface name", "ip link"},
    {BASE
     "service eth0 { addresses = {10.0.0.1/24} }\nservice eth1 { addresses = {10.0.0.2/24} }\n",
     5, "second service", "write one"},
    {BASE "service eth0 {\n start-as = master }\n", 5, "'master' is not known",
     "standby or active"},
    {BASE "service eth0 {\n interface-down = perhaps }\n", 5, "neither true nor false",
     "write true or false"},
    {BASE "service eth0 {\n announce = 3601 }\n", 5, "out of range", "3600 s"},
    {BASE "listen = 10.0.0.1:7410\nservice eth0 { addresses = {10.0.0.2/24, 10.0.0.1/24} }\n", 4,
     "10.0.0.1:7410 is a service address", "address of this node's own"},
    {BASE "service eth0 { addresses = {\"2001:db8::1/64\"} }\n"
          "peer b {\n address = \"[2001:db8::1]:5\" }\n",
     5, "peer 'b' has a service address", "address of the peer's own"},
    /* who may join */
    {"node = a\nuser = root\n\n\n", 0, "key-file: is not set", "key-file = "},
    {BASE "certificate = /etc/passwd\n", 4, "certificate: cannot stand beside key-file",
     "remove one"},
    {"node = a\nuser = root\ncertificate = /c.pem\n", 3, "certificate: needs private-key, too",
     "private-key ="},
    {"node = a\nuser = root\nca = /c.pem\nprivate-key = /k.pem\n", 4,
     "private-key: needs certificate, too", "certificate ="},
    {"node = a\nuser = root\nca = /etc/passwd\nprivate-key = /none.pem\ncertificate = /etc/passwd",
     4, "/none.pem cannot be read", "PEM"},
    {"node = a\nuser = root\nca = /etc/passwd\nprivate-key = /etc/passwd\ncertificate = "
     "/etc/passwd",
     4, "has mode 0644", "chmod 0640 /etc/passwd"},
    {"node = a\nuser = root\nca = /etc\nprivate-key = @\ncertificate = /etc/passwd", 3,
     "not a regular file", "PEM"},
    {"node = a\nuser = root\n\nkey-file = /none\n", 4, "/none: cannot be read", "tlsbaton keygen"},
    {"node = a\nuser = root\n\nkey-file = /etc\n", 4, "not a regular file", "tlsbaton keygen"},
    {"node = a\nuser = root\n\nkey-file = /etc/passwd\n", 4, "has mode 0644",
     "chmod 0640 /etc/passwd"},
};

static void test_mistakes(void **state)
{
	struct test_config *place = *state;
	char error[512], where[96];

	for (size_t i = 0; i < ARRAY_SIZE(mistakes); i++) {
		const struct mistake *m = &mistakes[i];
		struct config *c = NULL;
		int r = test_config_load(place, m->text, &c, error);

		if (m->line)
			snprintf(where, sizeof(where), "%s:%d: ", place->file, m->line);
		else /* what is missing has none */
			snprintf(where, sizeof(where), "%s: ", place->file);
		if (r >= 0 || c || strncmp(error, where, strlen(where)) != 0 ||
		    !strstr(error, m->what) || !strstr(error, m->remedy) || strchr(error, '\n') ||
		    !strchr(error, ';'))
			fail_msg("got %d \"%s\" for:\n%s", r, error, m->text);
	}
}

static void test_too_many_peers(void **state)
{
	char text[4096] = BASE, error[512];
	struct config *c = NULL;
	size_t n = strlen(text);

	for (int i = 0; i < REPL_PEERS_MAX + 1; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n,
		                      "peer p%d { address = 10.0.0.%d:1 }\n", i, i + 1);
	assert_int_equal(test_config_load(*state, text, &c, error), -EINVAL);
	assert_non_null(strstr(error, ":19: address: there are more than 15 peers"));
}

static void test_too_many_of_the_rest(void **state)
{
	char text[8192], error[512];
	struct config *c = NULL;
	size_t n;

	n = (size_t)snprintf(text, sizeof(text), BASE "service eth0 { addresses = {");
	for (int i = 0; i < VIP_ADDRESSES_MAX + 1; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "10.0.0.%d/24,\n", i + 1);
	assert_int_equal(test_config_load(*state, text, &c, error), -EINVAL); /* not closed */
	snprintf(text + n, sizeof(text) - n, "}}");
	assert_int_equal(test_config_load(*state, text, &c, error), -EINVAL);
	assert_non_null(strstr(error, ":20: addresses: there are more than 16"));

	n = (size_t)snprintf(text, sizeof(text), BASE "worker-users = {root");
	for (int i = 0; i < 64; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, ",\nroot");
	snprintf(text + n, sizeof(text) - n, "}");
	assert_int_equal(test_config_load(*state, text, &c, error), -EINVAL);
	assert_non_null(strstr(error, ":68: worker-users: there are too many"));

	n = (size_t)snprintf(text, sizeof(text), "%s", "");
	for (int i = 0; i < 40; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "peer p%d {}\n", i);
	assert_int_equal(test_config_load(*state, text, &c, error), -EINVAL);
	assert_non_null(strstr(error, ":33: too many sections"));
	n = (size_t)snprintf(text, sizeof(text), "a = ");
	memset(text + n, '{', 20);
	text[n + 20] = '\0';
	assert_int_equal(test_config_load(*state, text, &c, error), -EINVAL);
	assert_non_null(strstr(error, ":1: too many open braces"));
}

/* What is shipped as an example is correct, and the defaults that it shows are the defaults. */
static void test_example(void **state)
{
	struct test_config *place = *state;
	_cleanup_(config_freep) struct config *plain = NULL, *c = NULL;
	_cleanup_(freep) char *example = NULL, *shown = NULL;
	FILE *file = fopen(EXAMPLE, "re");
	char error[512], *to;
	size_t n = 0;

	assert_non_null(file);
	assert_true(getdelim(&example, &n, '\0', file) > 0);
	fclose(file);
	/* Take the comment sign off every default, and put in what this machine has. */
	to = shown = malloc(2 * strlen(example) + 1);
	assert_non_null(shown);
	for (const char *from = example; *from;) {
		const char *end = strchr(from, '\n') + 1;
		size_t indent = strspn(from, "\t");
		size_t name = from[indent] == '#'
		                  ? strspn(from + indent + 2, "abcdefghijklmnopqrstuvwxyz-")
		                  : 0;

		if (name && strncmp(from + indent + 2 + name, " = ", 3) == 0)
			from += indent + 2;
		if (strncmp(from, "key-file", 8) == 0)
			to += sprintf(to, "key-file = \"@\"\n");
		else if (strncmp(from, "user ", 5) == 0)
			to += sprintf(to, "user = root\n");
		else if (strncmp(from, "worker-users", 12) != 0)
			to += sprintf(to, "%.*s", (int)(end - from), from);
		from = end;
	}
	if (test_config_load(place, shown, &c, error) < 0)
		fail_msg("%s in:\n%s", error, shown);
	assert_int_equal(test_config_load(place, BASE, &plain, error), 0);
	assert_int_equal(c->table_bytes, plain->table_bytes);
	assert_int_equal(c->ring_bytes, plain->ring_bytes);
	assert_int_equal(c->workers_max, plain->workers_max);
	assert_int_equal(c->n_worker_gids, plain->n_worker_gids);
	assert_int_equal(c->gate_deadline_ms, plain->gate_deadline_ms);
	assert_int_equal(c->heartbeat_ms, plain->heartbeat_ms);
	assert_int_equal(c->announce_s, plain->announce_s);
	assert_int_equal(c->service.interface_down, plain->service.interface_down);
	assert_string_equal(c->run_directory, plain->run_directory);
	assert_string_equal(c->http, plain->http);
	assert_int_equal(c->log_target, plain->log_target);
	assert_int_equal(c->log_level, plain->log_level);
	assert_true(c->has_service);
	assert_int_equal(c->n_peers, 1);
}

static void note_warning(void *arg, const char *text)
{
	char *all = arg;

	snprintf(all + strlen(all), 2048 - strlen(all), "%s\n", text);
}

static void test_warnings(void **state)
{
	struct test_config *place = *state;
	_cleanup_(config_freep) struct config *odd = NULL, *fine = NULL;
	char error[512], all[2048] = "";

	assert_int_equal(
	    test_config_load(
	        place,
	        BASE "worker-users = {}\nlisten = 198.51.100.1:7410\ntable-size = 1024G\n"
	             "gate-deadline = 1000\nservice tb-none { addresses = {10.0.0.1/24} }\n",
	        &odd, error),
	    0);
	assert_int_equal(config_warnings(odd, note_warning, all), 6);
	assert_int_equal(strncmp(all, place->file, strlen(place->file)), 0);
	assert_non_null(strstr(all, "no peer"));
	assert_non_null(strstr(all, "worker-users"));
	assert_non_null(strstr(all, "198.51.100.1:7410"));
	assert_non_null(strstr(all, "table-size"));
	assert_non_null(strstr(all, "tb-none"));
	assert_non_null(strstr(all, "heartbeat"));

	all[0] = '\0';
	assert_int_equal(
	    test_config_load(
	        place,
	        BASE "worker-users = {root}\nlisten = 127.0.0.1:7410\ntable-size = 1M\n"
	             "peer b { address = 10.0.0.2:1 }\nservice lo { addresses = {10.0.0.1/24} }\n",
	        &fine, error),
	    0);
	assert_int_equal(config_warnings(fine, note_warning, all), 0);
	assert_string_equal(all, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_everything, test_config_up, test_config_down),
	    cmocka_unit_test_setup_teardown(test_defaults, test_config_up, test_config_down),
	    cmocka_unit_test_setup_teardown(test_mistakes, test_config_up, test_config_down),
	    cmocka_unit_test_setup_teardown(test_too_many_peers, test_config_up, test_config_down),
	    cmocka_unit_test_setup_teardown(test_too_many_of_the_rest, test_config_up,
	                                    test_config_down),
	    cmocka_unit_test_setup_teardown(test_example, test_config_up, test_config_down),
	    cmocka_unit_test_setup_teardown(test_warnings, test_config_up, test_config_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
