/*
 * What comes in from where it should not, or from a member that misbehaves. After each act the
 * node goes on: a good peer connects, and records go both ways.
 */
#include "repl/fake.h"

struct hostile {
	struct event_base *base;
	struct node a, b; /* a is under attack, b is good */
};

static int setup(void **state)
{
	struct hostile *hostile = calloc(1, sizeof(*hostile));

	hostile->base = event_base_new();
	node_init(&hostile->a, hostile->base, "a", 8 << 20);
	node_init(&hostile->b, hostile->base, "b", 8 << 20);
	node_add_peer(&hostile->a, "b", hostile->b.port);
	node_add_peer(&hostile->b, "a", hostile->a.port);
	node_start(&hostile->a);
	node_control_time(&hostile->a);
	*state = hostile;
	return 0;
}

static int teardown(void **state)
{
	struct hostile *hostile = *state;

	node_deinit(&hostile->a);
	node_deinit(&hostile->b);
	event_base_free(hostile->base);
	free(hostile);
	return 0;
}

/* The proof that a is unharmed. */
static void assert_unharmed(struct hostile *hostile)
{
	struct node *a = &hostile->a, *b = &hostile->b;

	node_start(b);
	run_until(hostile->base, node_state(a, 0) == REPL_IN_SYNC);
	run_until(hostile->base, node_state(b, 0) == REPL_IN_SYNC);
	node_put(a, 900000, 100);
	node_put(b, 910000, 100);
	run_until(hostile->base,
	          node_count(a, 910000, 100) == 100 && node_count(b, 900000, 100) == 100);
}

/* Sends bytes without TLS, and waits to be thrown out. */
static void send_raw(struct hostile *hostile, const void *bytes, size_t n)
{
	int fd = testing_connect(hostile->a.port);
	uint64_t n_before = node_stats(&hostile->a).n_refused_auth;
	char answer[256];

	(void)!send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	run_until(hostile->base, node_stats(&hostile->a).n_refused_auth == n_before + 1);
	run_until(hostile->base,
	          recv(fd, answer, sizeof(answer), MSG_DONTWAIT) <= 0 && errno != EAGAIN);
	close(fd);
}

static void test_plaintext(void **state)
{
	static const char http[] = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";

	send_raw(*state, http, sizeof(http) - 1);
	assert_unharmed(*state);
}

static void test_garbage(void **state)
{
	uint8_t garbage[20000];
	uint32_t x = 1;

	for (size_t i = 0; i < sizeof(garbage); i++) {
		x = x * 1664525 + 1013904223;
		garbage[i] = (uint8_t)(x >> 24);
	}
	send_raw(*state, garbage, sizeof(garbage));
	/* Garbage that begins as a TLS record does. */
	memcpy(garbage, "\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03", 11);
	send_raw(*state, garbage, sizeof(garbage));
	assert_unharmed(*state);
}

static void test_wrong_key(void **state)
{
	struct hostile *hostile = *state;
	static const uint8_t other_key[REPL_KEY_BYTES] = "another key, of the same length";
	struct node evil;

	/* Under the name of a node that is expected. */
	node_init(&evil, hostile->base, "b", 1 << 20);
	node_add_peer(&evil, "a", hostile->a.port);
	evil.config.group_key = other_key;
	node_put(&evil, 0, 10);
	node_start(&evil);
	run_until(hostile->base, node_state(&evil, 0) == REPL_REFUSED);
	run_until(hostile->base, node_stats(&hostile->a).n_refused_auth > 0);
	assert_non_null(strstr(node_status(&evil, 0).error,
	                       "peer a has another key or `group` than we, or certificates ("));
	/* It fits. */
	assert_non_null(strstr(node_status(&evil, 0).error, "(tlsbaton keygen)"));
	assert_null(strstr(node_status(&evil, 0).error, "sslv3"));
	assert_int_equal(node_count(&hostile->a, 0, 10), 0);
	node_deinit(&evil);
	assert_unharmed(hostile);
}

static void test_other_group_with_the_key(void **state)
{
	struct hostile *hostile = *state;
	struct repl_config config = hostile->b.config;
	struct fake *fake;

	config.group = "other";
	fake = fake_dial(hostile->base, &config, hostile->a.port);
	run_until(hostile->base, node_stats(&hostile->a).n_refused_auth == 1);
	fake_free(fake);
	assert_unharmed(hostile);
}

static unsigned n_words;

static void on_words(int severity, const char *text)
{
	(void)severity;
	(void)text;
	n_words++;
}

/* Two daemons of one name: each connection takes the place of the one before, at any moment of its life. */
static void test_connections_replaced_in_quick_succession(void **state)
{
	struct hostile *hostile = *state;
	struct wire_hello hello = fake_hello("b", "g");
	struct fake *fakes[4] = {NULL};

	n_words = 0;
	event_set_log_callback(on_words);
	for (unsigned i = 0; i < 40; i++) {
		struct fake **fake = &fakes[i % ARRAY_SIZE(fakes)];

		if (*fake)
			fake_free(*fake);
		*fake = fake_dial(hostile->base, &hostile->b.config, hostile->a.port);
		fake_say_hello(*fake, &hello);
		if (i % 3 == 0)
			(void)fake_expect(*fake, WIRE_HELLO_ANSWER, &(size_t){0});
	}
	for (size_t i = 0; i < ARRAY_SIZE(fakes); i++)
		fake_free(fakes[i]);
	assert_unharmed(hostile);
	event_set_log_callback(NULL);
	assert_int_equal(n_words, 0);
}

static struct fake *member(struct hostile *hostile)
{
	struct fake *fake = fake_dial(hostile->base, &hostile->b.config, hostile->a.port);

	assert_false(fake->closed);
	return fake;
}

/* A member of the group that was let in as "b". */
static struct fake *let_in(struct hostile *hostile)
{
	struct fake *fake = member(hostile);
	struct wire_hello hello = fake_hello("b", "g");
	size_t n;

	fake_say_hello(fake, &hello);
	(void)fake_expect(fake, WIRE_HELLO_ANSWER, &n);
	return fake;
}

static void expect_refusal(struct hostile *hostile, const struct wire_hello *hello,
                           enum wire_refusal code, const char *words)
{
	struct fake *fake = member(hostile);
	struct wire_refuse refuse;
	const uint8_t *payload;
	uint64_t n_before = node_stats(&hostile->a).n_refused_hello;
	size_t n;

	fake_say_hello(fake, hello);
	payload = fake_expect(fake, WIRE_REFUSE, &n);
	assert_int_equal(wire_decode_refuse(payload, n, &refuse), 0);
	assert_int_equal(refuse.version, WIRE_VERSION);
	assert_int_equal(refuse.code, code);
	assert_non_null(strstr(refuse.reason, words));
	fake_wait_closed(fake);
	assert_int_equal(node_stats(&hostile->a).n_refused_hello, n_before + 1);
	fake_free(fake);
}

static void test_refused_hellos(void **state)
{
	struct hostile *hostile = *state;
	struct wire_hello hello = fake_hello("b", "g");

	hello.version = 2;
	expect_refusal(hostile, &hello, WIRE_REFUSE_VERSION, "version 2, node a speaks 1");
	hello = fake_hello("b", "elsewhere");
	expect_refusal(hostile, &hello, WIRE_REFUSE_GROUP, "group");
	hello = fake_hello("a", "g");
	expect_refusal(hostile, &hello, WIRE_REFUSE_SAME_NAME, "two nodes are named a");
	hello = fake_hello("stranger", "g");
	expect_refusal(hostile, &hello, WIRE_REFUSE_UNKNOWN_NODE, "no peer named stranger");
	assert_unharmed(hostile);
}

static void test_two_nodes_of_one_name(void **state)
{
	struct hostile *hostile = *state;
	struct node twin;

	node_init(&twin, hostile->base, "a", 1 << 20);
	node_add_peer(&twin, "b", hostile->a.port); /* finds another "a" where it expects b */
	node_start(&twin);
	run_until(hostile->base, node_state(&twin, 0) == REPL_REFUSED);
	assert_non_null(strstr(node_status(&twin, 0).error, "two nodes are named a"));
	node_deinit(&twin);
	assert_unharmed(hostile);
}

static void send_malformed(struct hostile *hostile, struct fake *fake, const void *bytes, size_t n)
{
	uint64_t n_before = node_stats(&hostile->a).n_malformed;

	fake_send(fake, bytes, n);
	fake_wait_closed(fake);
	assert_int_equal(node_stats(&hostile->a).n_malformed, n_before + 1);
	fake_free(fake);
}

static void test_malformed_messages(void **state)
{
	struct hostile *hostile = *state;
	struct fake *fake;

	send_malformed(hostile, member(hostile), "\0\0\0\x8\x8\1\2\3\4\5\6\7\x8", 13);
	send_malformed(hostile, member(hostile), "\xff\xff\xff\xff\4", 5);
	send_malformed(hostile, member(hostile), "\0\0\0\xa\1notbaton\0\1", 15);
	send_malformed(hostile, let_in(hostile), "\0\1\0\0\4", 5);
	send_malformed(hostile, let_in(hostile), "\0\0\0\x8\xe", 5);
	send_malformed(hostile, let_in(hostile), "\0\0\0\x1\xd\x1", 6);
	/* Records without a start; a second hello; a mark, and records, that go backwards. */
	fake = let_in(hostile);
	fake_say_record(fake, 100, "an id", "its DER");
	send_malformed(hostile, fake, "", 0);
	fake = let_in(hostile);
	fake_say_hello(fake, &(struct wire_hello){.version = 1, .node = "b", .group = "g"});
	send_malformed(hostile, fake, "", 0);
	fake = let_in(hostile);
	fake_say_number(fake, WIRE_START, 1000);
	fake_say_number(fake, WIRE_MARK, 999);
	send_malformed(hostile, fake, "", 0);
	fake = let_in(hostile);
	fake_say_number(fake, WIRE_START, 1000);
	fake_say_record(fake, 999, "an id", "its DER");
	send_malformed(hostile, fake, "", 0);
	assert_int_equal(node_status(&hostile->a, 0).n_received, 0);
	assert_unharmed(hostile);
}

static void test_replayed_bytes(void **state)
{
	struct hostile *hostile = *state;
	struct fake *fake = let_in(hostile);
	size_t n;

	fake_say_number(fake, WIRE_START, 1000);
	fake_say_record(fake, 1100, "replayed", "its DER");
	(void)fake_expect(fake, WIRE_ACK, &n);
	assert_int_equal(node_status(&hostile->a, 0).n_received, 1);
	/* The same bytes again, all of them, from another connection. */
	send_raw(hostile, fake->recorded, fake->n_recorded);
	assert_int_equal(node_status(&hostile->a, 0).n_received, 1);
	fake_free(fake);
	assert_unharmed(hostile);
}

static void test_altered_bytes(void **state)
{
	struct hostile *hostile = *state;
	struct fake *fake = let_in(hostile);
	uint8_t record[64] = {0x17, 3, 3, 0, 59};

	fake_say_number(fake, WIRE_START, 1000);
	assert_int_equal(send(fake->fd, record, sizeof(record), MSG_NOSIGNAL), sizeof(record));
	fake_wait_closed(fake);
	fake_free(fake);
	assert_unharmed(hostile);
}

static void test_silent_connections_are_given_up(void **state)
{
	struct hostile *hostile = *state;
	int fd = testing_connect(hostile->a.port);
	struct fake *fake = member(hostile);
	char byte;

	run_until(hostile->base, hostile->a.repl->n_pending == 2);
	node_pass_ms(&hostile->a, 4900);
	testing_run(hostile->base);
	assert_int_equal(hostile->a.repl->n_pending, 2);
	node_pass_ms(&hostile->a, 200);
	run_until(hostile->base, hostile->a.repl->n_pending == 0);
	fake_wait_closed(fake);
	run_until(hostile->base, recv(fd, &byte, 1, MSG_DONTWAIT) == 0);
	close(fd);
	fake_free(fake);
	assert_unharmed(hostile);
}

static void test_a_silent_member_is_given_up(void **state)
{
	struct hostile *hostile = *state;
	struct fake *fake = let_in(hostile);

	run_until(hostile->base, node_status(&hostile->a, 0).from_connected);
	node_pass_ms(&hostile->a, 700);
	testing_run(hostile->base);
	assert_true(node_status(&hostile->a, 0).from_connected);
	/* Its bytes might stand unread in the socket, if this process had paused. */
	node_pass_ms(&hostile->a, 200);
	testing_run(hostile->base);
	assert_true(node_status(&hostile->a, 0).from_connected);
	node_pass_ms(&hostile->a, 200);
	run_until(hostile->base, !node_status(&hostile->a, 0).from_connected);
	fake_free(fake);
	assert_unharmed(hostile);
}

static void test_connection_flood(void **state)
{
	struct hostile *hostile = *state;
	int fds[200];

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = testing_connect(hostile->a.port);
		testing_run(hostile->base);
		assert_true(hostile->a.repl->n_pending <= 4 + REPL_PENDING_SPARE);
	}
	run_until(hostile->base, node_stats(&hostile->a).n_refused_limit > 100);
	/* They are all still there, and the good peer gets in all the same. */
	assert_unharmed(hostile);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
}

/* Asks and asks, and does not read the answers: at most one answer of a kind is kept for it. */
static void test_a_dialler_that_does_not_read(void **state)
{
	struct hostile *hostile = *state;
	struct fake *fake = let_in(hostile);
	static uint8_t pings[13 * 1000];
	struct wire_writer writer = wire_writer(pings, sizeof(pings));
	struct receiver *receiver = TAILQ_FIRST(&hostile->a.repl->receivers);
	int64_t until_us = testing_now_us() + 20000000;
	int small = 4096;

	setsockopt(receiver->link.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	for (unsigned i = 0; i < 1000; i++)
		wire_encode_number(&writer, WIRE_PING, i);
	fake->deaf = true;
	while (receiver->link.out_end == 0) {
		assert_true(testing_now_us() < until_us);
		fake_send(fake, pings, 13);
		event_base_loop(hostile->base, EVLOOP_NONBLOCK);
	}
	for (unsigned i = 0; i < 100; i++)
		fake_send(fake, pings, sizeof(pings));
	assert_int_equal(receiver->link.out_size, LINK_SMALL_BYTES);
	assert_false(fake->closed);
	fake_free(fake);
	assert_unharmed(hostile);
}

#define hostile_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    hostile_test(test_plaintext),
	    hostile_test(test_garbage),
	    hostile_test(test_wrong_key),
	    hostile_test(test_connections_replaced_in_quick_succession),
	    hostile_test(test_other_group_with_the_key),
	    hostile_test(test_refused_hellos),
	    hostile_test(test_two_nodes_of_one_name),
	    hostile_test(test_malformed_messages),
	    hostile_test(test_replayed_bytes),
	    hostile_test(test_altered_bytes),
	    hostile_test(test_silent_connections_are_given_up),
	    hostile_test(test_a_silent_member_is_given_up),
	    hostile_test(test_connection_flood),
	    hostile_test(test_a_dialler_that_does_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
