/*
 * The peers that we dial, when they misbehave: hang, refuse, claim too much, stop reading; and a
 * table that is too small for a peer that was away. The gate must never wait for longer than its
 * deadline.
 */
#include "repl/fake.h"

struct dialled {
	struct event_base *base;
	struct node a;
	int listener; /* of "b", under the test's hand */
	struct repl_config config;
};

static int setup(void **state)
{
	struct dialled *dialled = calloc(1, sizeof(*dialled));
	uint16_t port = reserve_port();

	dialled->base = event_base_new();
	node_init(&dialled->a, dialled->base, "a", 4 << 20);
	dialled->listener = testing_listen(port);
	node_add_peer(&dialled->a, "b", port);
	dialled->config = dialled->a.config;
	dialled->a.config.gate_deadline_ms = 10000; /* passed by the test's clock only */
	dialled->a.config.heartbeat_ms = 60000;
	node_start(&dialled->a);
	node_control_time(&dialled->a);
	*state = dialled;
	return 0;
}

static int teardown(void **state)
{
	struct dialled *dialled = *state;

	node_deinit(&dialled->a);
	close(dialled->listener);
	event_base_free(dialled->base);
	free(dialled);
	return 0;
}

static unsigned waited_for(const struct dialled *dialled)
{
	unsigned n;

	(void)repl_acked(dialled->a.repl, &n);
	return n;
}

static uint64_t acked(const struct dialled *dialled)
{
	unsigned n;

	return repl_acked(dialled->a.repl, &n);
}

/* Takes a's connection and its hello. */
static struct fake *take_hello(struct dialled *dialled)
{
	struct fake *fake = fake_accept(dialled->base, &dialled->config, dialled->listener);
	struct wire_hello hello;
	const uint8_t *payload;
	size_t n;

	payload = fake_expect(fake, WIRE_HELLO, &n);
	assert_int_equal(wire_decode_hello(payload, n, &hello), 0);
	assert_string_equal(hello.node, "a");
	assert_int_equal(hello.epoch, table_epoch(dialled->a.table));
	return fake;
}

static uint64_t take_number(struct fake *fake, enum wire_type type)
{
	const uint8_t *payload;
	uint64_t number;
	size_t n;

	payload = fake_expect(fake, type, &n);
	assert_int_equal(wire_decode_number(payload, n, &number), 0);
	return number;
}

static uint64_t take_records(struct fake *fake, size_t *n_records)
{
	struct wire_records records;
	const uint8_t *payload;
	size_t n;

	payload = fake_expect(fake, WIRE_RECORDS, &n);
	assert_int_equal(wire_decode_records(payload, n, &records), 0);
	*n_records = records.n_records;
	return records.end;
}

static struct fake *stream_from(struct dialled *dialled, uint64_t epoch, uint64_t position)
{
	struct fake *fake = take_hello(dialled);
	struct wire_hello answer = fake_hello("b", "g");

	answer.resume_epoch = epoch;
	answer.resume_position = position;
	fake_say_answer(fake, &answer);
	return fake;
}

static struct fake *in_sync(struct dialled *dialled)
{
	struct fake *fake = stream_from(dialled, 0, 0);
	uint64_t mark = take_number(fake, WIRE_MARK);

	assert_int_equal(node_state(&dialled->a, 0), REPL_CATCHING_UP);
	fake_say_ack(fake, mark, 0);
	run_until(dialled->base, node_state(&dialled->a, 0) == REPL_IN_SYNC);
	assert_int_equal(waited_for(dialled), 1);
	return fake;
}

static void test_in_sync_only_once_the_mark_is_acked(void **state)
{
	struct dialled *dialled = *state;
	struct fake *fake;
	uint64_t end, mark;
	size_t n;

	node_put(&dialled->a, 0, 10);
	fake = stream_from(dialled, 0, 0);
	assert_int_equal(take_number(fake, WIRE_START), table_tail(dialled->a.table));
	end = take_records(fake, &n);
	assert_int_equal(n, 10);
	mark = take_number(fake, WIRE_MARK);
	assert_int_equal(mark, end);
	/* All is sent, nothing is acked: nobody waits for it. */
	assert_int_equal(node_state(&dialled->a, 0), REPL_CATCHING_UP);
	assert_int_equal(waited_for(dialled), 0);
	fake_say_ack(fake, end - 1, 9);
	run_until(dialled->base, node_status(&dialled->a, 0).n_acked == 9);
	assert_int_equal(node_state(&dialled->a, 0), REPL_CATCHING_UP);
	fake_say_ack(fake, mark, 10);
	run_until(dialled->base, node_state(&dialled->a, 0) == REPL_IN_SYNC);
	fake_free(fake);
}

static void test_resume_positions_that_cannot_be(void **state)
{
	struct dialled *dialled = *state;
	uint64_t epoch = table_epoch(dialled->a.table), tail, head;
	struct fake *fake;
	size_t n;

	node_put(&dialled->a, 0, 10);
	tail = table_tail(dialled->a.table);
	head = table_head(dialled->a.table);
	const struct {
		uint64_t epoch, position;
		size_t n;
	} cases[] = {
	    {epoch + 1, head, 10}, {epoch, head + 8, 10}, {epoch, UINT64_MAX, 10},
	    {epoch, head - 3, 10}, {epoch, tail, 10},     {epoch, head, 0},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		fake = stream_from(dialled, cases[i].epoch, cases[i].position);
		if (cases[i].n > 0) {
			(void)take_records(fake, &n);
			assert_int_equal(n, cases[i].n);
		}
		assert_int_equal(take_number(fake, WIRE_MARK), head);
		fake_free(fake);
		run_until(dialled->base, node_state(&dialled->a, 0) == REPL_ABSENT);
		node_pass_ms(&dialled->a, 3000);
	}
}

static void test_a_peer_that_does_not_ack_is_not_waited_for(void **state)
{
	struct dialled *dialled = *state;
	struct fake *fake = in_sync(dialled);
	uint64_t before = acked(dialled), end;
	size_t n;

	node_put(&dialled->a, 0, 1);
	end = take_records(fake, &n);
	assert_int_equal(acked(dialled), before);
	node_pass_ms(&dialled->a, 9900);
	assert_int_equal(node_state(&dialled->a, 0), REPL_IN_SYNC);
	assert_true(node_status(&dialled->a, 0).lag_ms >= 9900);
	assert_int_equal(node_status(&dialled->a, 0).lag_records, 1);
	node_pass_ms(&dialled->a, 200);
	assert_int_equal(node_state(&dialled->a, 0), REPL_LAGGING);
	assert_int_equal(waited_for(dialled), 0);
	assert_int_equal(acked(dialled), table_head(dialled->a.table));
	assert_int_equal(node_status(&dialled->a, 0).n_gate_lagging, 1);
	/* Later records neither; and once it has caught up it is waited for again. */
	node_put(&dialled->a, 1, 1);
	assert_int_equal(waited_for(dialled), 0);
	(void)take_records(fake, &n);
	fake_say_ack(fake, end, 1);
	run_until(dialled->base, node_status(&dialled->a, 0).n_acked == 1);
	fake_say_ack(fake, table_head(dialled->a.table), 2);
	run_until(dialled->base, node_state(&dialled->a, 0) == REPL_IN_SYNC);
	assert_int_equal(waited_for(dialled), 1);
	fake_free(fake);
}

static void test_a_peer_that_stops_reading(void **state)
{
	struct dialled *dialled = *state;
	struct fake *fake = in_sync(dialled);
	struct push *push = &dialled->a.repl->peers[0]->push;

	fake->deaf = true;
	/* More than all sockets hold; each call returns, and the table, not memory, is the
	 * backlog. */
	for (unsigned i = 0; i < 100; i++)
		node_put(&dialled->a, i * 1000, 1000);
	assert_false(link_idle(&push->link));
	assert_int_equal(push->link.out_size, WIRE_FRAME_MAX);
	node_pass_ms(&dialled->a, 10100);
	assert_int_equal(waited_for(dialled), 0);
	assert_int_equal(acked(dialled), table_head(dialled->a.table));
	/* Silent for four heartbeats: gone. */
	for (unsigned i = 0; i < 5; i++)
		node_pass_ms(&dialled->a, 60000);
	run_until(dialled->base, node_state(&dialled->a, 0) == REPL_ABSENT);
	assert_non_null(strstr(node_status(&dialled->a, 0).error, "ping"));
	fake_free(fake);
}

static void test_a_peer_that_is_overtaken_starts_again(void **state)
{
	struct dialled *dialled = *state;
	struct fake *fake = in_sync(dialled);
	unsigned n_received = 0, last = 60000;
	size_t n;

	/* Three times as much as the table holds, in one go. */
	for (unsigned i = 0; i < last; i += 100) {
		struct repl *repl = dialled->a.repl;

		dialled->a.repl = NULL; /* put without a push */
		node_put(&dialled->a, i, 100);
		dialled->a.repl = repl;
	}
	repl_push(dialled->a.repl);
	assert_int_equal(node_state(&dialled->a, 0), REPL_CATCHING_UP);
	assert_int_equal(waited_for(dialled), 0);
	assert_true(take_number(fake, WIRE_START) > 0);
	while (node_state(&dialled->a, 0) != REPL_IN_SYNC) {
		struct wire_header header;
		struct wire_records records;
		const uint8_t *payload = fake_frame(fake, &header);
		uint64_t mark;

		assert_non_null(payload);
		if (header.type == WIRE_RECORDS) {
			assert_int_equal(wire_decode_records(payload, header.n_payload, &records),
			                 0);
			n_received += records.n_records;
		} else if (header.type == WIRE_MARK) {
			assert_int_equal(wire_decode_number(payload, header.n_payload, &mark), 0);
			fake_say_ack(fake, mark, n_received);
			run_until(dialled->base, node_state(&dialled->a, 0) == REPL_IN_SYNC);
		}
	}
	/* Every live record, and no more. */
	assert_int_equal(n_received, node_count(&dialled->a, 0, last));
	assert_true(n_received > 5000 && n_received < last);
	node_put(&dialled->a, last, 1);
	(void)take_records(fake, &n);
	assert_int_equal(n, 1);
	fake_free(fake);
}

static void test_a_peer_that_claims_too_much(void **state)
{
	struct dialled *dialled = *state;
	static const struct {
		uint64_t beyond;
		uint64_t n_records;
	} claims[] = {{1, 1}, {0, 2}, {UINT64_MAX / 2, 1}};

	for (size_t i = 0; i < ARRAY_SIZE(claims); i++) {
		struct fake *fake = in_sync(dialled);
		uint64_t n_before = node_stats(&dialled->a).n_malformed, end;
		size_t n;

		node_put(&dialled->a, (unsigned)i, 1);
		end = take_records(fake, &n);
		fake_say_ack(fake, end + claims[i].beyond,
		             node_status(&dialled->a, 0).n_sent - 1 + claims[i].n_records);
		fake_wait_closed(fake);
		run_until(dialled->base, node_state(&dialled->a, 0) == REPL_ABSENT);
		assert_int_equal(node_stats(&dialled->a).n_malformed, n_before + 1);
		fake_free(fake);
		node_pass_ms(&dialled->a, 3000);
	}
}

static void test_a_peer_that_sends_what_it_may_not(void **state)
{
	struct dialled *dialled = *state;
	struct fake *fake = in_sync(dialled);

	fake_say_record(fake, 10, "an id", "its DER");
	fake_wait_closed(fake);
	assert_int_equal(node_stats(&dialled->a).n_malformed, 1);
	fake_free(fake);
	node_pass_ms(&dialled->a, 3000);
	fake = take_hello(dialled);
	fake_say_ack(fake, 0, 0); /* before its answer */
	fake_wait_closed(fake);
	assert_int_equal(node_stats(&dialled->a).n_malformed, 2);
	fake_free(fake);
}

static void test_answers_that_name_another(void **state)
{
	struct dialled *dialled = *state;
	static const char *const names[][2] = {{"c", "g"}, {"b", "h"}};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct fake *fake = take_hello(dialled);
		struct wire_hello answer = fake_hello(names[i][0], names[i][1]);

		fake_say_answer(fake, &answer);
		fake_wait_closed(fake);
		run_until(dialled->base, node_state(&dialled->a, 0) == REPL_REFUSED);
		assert_non_null(strstr(node_status(&dialled->a, 0).error, "not peer b"));
		fake_free(fake);
		node_pass_ms(&dialled->a, 3000);
	}
}

static void test_another_version(void **state)
{
	struct dialled *dialled = *state;
	struct fake *fake = take_hello(dialled);
	uint8_t bytes[512];
	struct wire_writer writer = wire_writer(bytes, sizeof(bytes));

	wire_encode_refuse(&writer,
	                   &(struct wire_refuse){2, WIRE_REFUSE_VERSION, "words of version 2"});
	fake_send(fake, bytes, (size_t)(writer.at - writer.start));
	run_until(dialled->base, node_state(&dialled->a, 0) == REPL_REFUSED);
	assert_string_equal(node_status(&dialled->a, 0).error,
	                    "peer b speaks protocol version 2, we speak 1: upgrade the older node");
	assert_int_equal(waited_for(dialled), 0);
	fake_free(fake);
	/* It is upgraded: all is well, without a restart here. */
	node_pass_ms(&dialled->a, 3000);
	fake = in_sync(dialled);
	assert_string_equal(node_status(&dialled->a, 0).error, "");
	fake_free(fake);
}

static void test_a_clock_that_differs_is_shown(void **state)
{
	struct dialled *dialled = *state;
	struct fake *fake = take_hello(dialled);
	struct wire_hello answer = fake_hello("b", "g");

	answer.wall_ms -= 5000;
	fake_say_answer(fake, &answer);
	fake_say_ack(fake, take_number(fake, WIRE_MARK), 0);
	run_until(dialled->base, node_state(&dialled->a, 0) == REPL_IN_SYNC);
	assert_in_range(-node_status(&dialled->a, 0).clock_offset_ms, 5000, 15000);
	fake_free(fake);
}

static void test_a_peer_that_never_answers(void **state)
{
	struct dialled *dialled = *state;

	/* TCP is accepted by the kernel, nobody speaks TLS. */
	run_until(dialled->base, dialled->a.repl->peers[0]->push.link.phase == LINK_HANDSHAKE);
	node_put(&dialled->a, 0, 10);
	assert_int_equal(waited_for(dialled), 0);
	node_pass_ms(&dialled->a, 5100);
	run_until(dialled->base, node_status(&dialled->a, 0).error[0] != '\0');
	assert_int_equal(node_state(&dialled->a, 0), REPL_ABSENT);
	assert_non_null(strstr(node_status(&dialled->a, 0).error, "no answer"));
}

static void test_pings_are_sent_into_silence(void **state)
{
	struct dialled *dialled = *state;
	struct fake *fake = in_sync(dialled);

	for (unsigned i = 0; i < 6; i++) {
		node_pass_ms(&dialled->a, 60100);
		fake_say_number(fake, WIRE_PONG, take_number(fake, WIRE_PING));
		run_until(dialled->base, dialled->a.repl->peers[0]->push.n_pings == 0);
		assert_int_equal(node_state(&dialled->a, 0), REPL_IN_SYNC);
	}
	fake_free(fake);
}

static void test_control_messages_have_a_limit(void **state)
{
	struct dialled *dialled = *state;
	struct fake *fake = in_sync(dialled);
	uint8_t payload[REPL_CONTROL_MAX] = {0};
	unsigned n = 0;
	int r = 0;

	fake->deaf = true;
	for (unsigned i = 0; i < 100; i++)
		node_put(&dialled->a, i * 1000, 1000);
	while (r == 0 && n < 100) {
		r = repl_control(dialled->a.repl, 0, payload, sizeof(payload));
		n++;
	}
	assert_int_equal(r, -ENOBUFS);
	assert_int_equal(n, 9);
	fake_free(fake);
}

static void test_a_peer_that_says_hello_is_dialled_at_once(void **state)
{
	struct dialled *dialled = *state;
	const struct push *push = &dialled->a.repl->peers[0]->push;
	struct wire_hello hello = fake_hello("b", "g");
	struct fake *to, *from;

	while (push->backoff_ms < 2000) {
		fake_free(fake_accept(dialled->base, &dialled->config, dialled->listener));
		run_until(dialled->base, push->phase == PUSH_WAITING);
		if (push->backoff_ms < 2000)
			node_pass_ms(&dialled->a, 2500);
	}
	from = fake_dial(dialled->base, &dialled->config, dialled->a.port);
	fake_say_hello(from, &hello);
	(void)fake_expect(from, WIRE_HELLO_ANSWER, &(size_t){0});
	testing_run(dialled->base);
	assert_int_not_equal(push->phase, PUSH_WAITING);
	to = in_sync(dialled);
	fake_free(to);
	fake_free(from);
}

#define peers_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    peers_test(test_in_sync_only_once_the_mark_is_acked),
	    peers_test(test_resume_positions_that_cannot_be),
	    peers_test(test_a_peer_that_does_not_ack_is_not_waited_for),
	    peers_test(test_a_peer_that_stops_reading),
	    peers_test(test_a_peer_that_is_overtaken_starts_again),
	    peers_test(test_a_peer_that_claims_too_much),
	    peers_test(test_a_peer_that_sends_what_it_may_not),
	    peers_test(test_answers_that_name_another),
	    peers_test(test_another_version),
	    peers_test(test_a_clock_that_differs_is_shown),
	    peers_test(test_a_peer_that_never_answers),
	    peers_test(test_pings_are_sent_into_silence),
	    peers_test(test_control_messages_have_a_limit),
	    peers_test(test_a_peer_that_says_hello_is_dialled_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
