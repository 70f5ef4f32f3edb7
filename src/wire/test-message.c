/*
 * Every message there and back, and every way that a payload can be wrong: cut short at each
 * byte, one byte too long, a length that its type does not allow, a value out of range.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "wire/message.h"

static uint8_t bytes[WIRE_FRAME_MAX + 16];
static struct wire_writer writer;

static int setup(void **state)
{
	(void)state;
	memset(bytes, 0xa5, sizeof(bytes));
	writer = wire_writer(bytes, WIRE_FRAME_MAX);
	return 0;
}

static size_t n_payload(void)
{
	return (size_t)(writer.at - writer.start) - WIRE_HEADER_BYTES;
}

static const uint8_t *payload(enum wire_type type)
{
	struct wire_header header;

	assert_false(writer.failed);
	assert_int_equal(wire_decode_header(bytes, (size_t)(writer.at - writer.start), &header), 0);
	assert_int_equal(header.type, type);
	assert_int_equal(header.n_payload, n_payload());
	return bytes + WIRE_HEADER_BYTES;
}

/* Expects `decode` to refuse each prefix of the payload, and the payload with a byte more. The
 * payload is copied to the end of an allocation of its size, so that a sanitizer sees a read
 * beyond it. */
#define assert_only_whole(decode, type, out)                                                       \
	do {                                                                                       \
		const uint8_t *whole_ = payload(type);                                             \
		for (size_t n_ = 0; n_ <= n_payload() + 1; n_++) {                                 \
			uint8_t *copy_ = malloc(n_ ? n_ : 1);                                      \
			memcpy(copy_, whole_, n_);                                                 \
			assert_int_equal(decode(copy_, n_, out), n_ == n_payload() ? 0 : -EPROTO); \
			free(copy_);                                                               \
		}                                                                                  \
	} while (0)

static struct wire_hello sample_hello(void)
{
	struct wire_hello hello = {
	    .version = WIRE_VERSION,
	    .node = "node-a.example",
	    .group = "shop_1",
	    .dialect = 0x300000d0,
	    .epoch = 0x1122334455667788,
	    .wall_ms = 1700000000123,
	    .heartbeat_ms = 500,
	    .role = {.term = 42,
	             .active = true,
	             .has_service = true,
	             .has_workers = true,
	             .refuses_workers = true},
	    .policies.n = 2,
	    .resume_epoch = 7,
	    .resume_position = 9,
	};

	memset(hello.policies.fingerprints[0], 1, WIRE_FINGERPRINT_BYTES);
	memset(hello.policies.fingerprints[1], 2, WIRE_FINGERPRINT_BYTES);
	return hello;
}

/* Field by field: structs have padding. */
static void assert_same_hello(const struct wire_hello *a, const struct wire_hello *b)
{
	assert_int_equal(a->version, b->version);
	assert_string_equal(a->node, b->node);
	assert_string_equal(a->group, b->group);
	assert_int_equal(a->dialect, b->dialect);
	assert_int_equal(a->epoch, b->epoch);
	assert_int_equal(a->wall_ms, b->wall_ms);
	assert_int_equal(a->heartbeat_ms, b->heartbeat_ms);
	assert_int_equal(a->role.term, b->role.term);
	assert_int_equal(a->role.active, b->role.active);
	assert_int_equal(a->role.has_service, b->role.has_service);
	assert_int_equal(a->role.has_workers, b->role.has_workers);
	assert_int_equal(a->role.refuses_workers, b->role.refuses_workers);
	assert_int_equal(a->policies.n, b->policies.n);
	assert_memory_equal(a->policies.fingerprints, b->policies.fingerprints,
	                    sizeof(a->policies.fingerprints));
	assert_int_equal(a->resume_epoch, b->resume_epoch);
	assert_int_equal(a->resume_position, b->resume_position);
}

static void test_hello(void **state)
{
	struct wire_hello hello = sample_hello(), out;

	(void)state;
	hello.resume_epoch = hello.resume_position = 0;
	wire_encode_hello(&writer, &hello);
	assert_only_whole(wire_decode_hello, WIRE_HELLO, &out);
	assert_int_equal(wire_decode_hello(payload(WIRE_HELLO), n_payload(), &out), 0);
	assert_same_hello(&out, &hello);
}

static void test_hello_answer(void **state)
{
	struct wire_hello hello = sample_hello(), out;

	(void)state;
	wire_encode_hello_answer(&writer, &hello);
	assert_only_whole(wire_decode_hello_answer, WIRE_HELLO_ANSWER, &out);
	assert_int_equal(wire_decode_hello_answer(payload(WIRE_HELLO_ANSWER), n_payload(), &out),
	                 0);
	assert_same_hello(&out, &hello);
}

static void fill_policies(struct wire_policies *policies)
{
	policies->n = WIRE_FINGERPRINTS_MAX;
	for (size_t i = 0; i < policies->n; i++)
		memset(policies->fingerprints[i], (int)(i * 3), WIRE_FINGERPRINT_BYTES);
}

static void test_longest_hello(void **state)
{
	struct wire_hello hello = sample_hello(), out;

	(void)state;
	memset(hello.node, 'n', WIRE_NAME_MAX);
	memset(hello.group, 'g', WIRE_NAME_MAX);
	fill_policies(&hello.policies);
	wire_encode_hello_answer(&writer, &hello);
	assert_int_equal(wire_decode_hello_answer(payload(WIRE_HELLO_ANSWER), n_payload(), &out),
	                 0);
	assert_same_hello(&out, &hello);
}

/* Offsets in a hello's payload, for breaking it. */
#define AT_VERSION WIRE_MAGIC_BYTES
#define AT_NODE (AT_VERSION + 2)

static void test_hello_of_another_version(void **state)
{
	struct wire_hello hello = sample_hello(), out = {0};

	(void)state;
	hello.version = 2;
	wire_encode_hello(&writer, &hello);
	assert_int_equal(wire_decode_hello(payload(WIRE_HELLO), n_payload(), &out),
	                 WIRE_OTHER_VERSION);
	assert_int_equal(out.version, 2);
	assert_string_equal(out.node, "");
	/* Whatever else that version's hello holds. */
	memset(bytes + WIRE_HEADER_BYTES + AT_NODE, 0xff, n_payload() - AT_NODE);
	assert_int_equal(wire_decode_hello(bytes + WIRE_HEADER_BYTES, n_payload(), &out),
	                 WIRE_OTHER_VERSION);
	assert_int_equal(wire_decode_hello(bytes + WIRE_HEADER_BYTES, AT_NODE, &out),
	                 WIRE_OTHER_VERSION);
	assert_int_equal(wire_decode_hello(bytes + WIRE_HEADER_BYTES, AT_NODE - 1, &out), -EPROTO);
}

static void test_hello_out_of_range(void **state)
{
	struct wire_hello hello = sample_hello(), out;
	uint8_t *at = bytes + WIRE_HEADER_BYTES;
	size_t n_node = strlen(hello.node), at_wall, at_active;

	(void)state;
	wire_encode_hello(&writer, &hello);
	at_wall = AT_NODE + 1 + n_node + 1 + strlen(hello.group) + 4 + 8;
	at_active = at_wall + 8 + 4 + 8;

#define assert_breaks(offset, value)                                                               \
	do {                                                                                       \
		uint8_t was_ = at[offset];                                                         \
		at[offset] = value;                                                                \
		assert_int_equal(wire_decode_hello(at, n_payload(), &out), -EPROTO);               \
		at[offset] = was_;                                                                 \
		assert_int_equal(wire_decode_hello(at, n_payload(), &out), 0);                     \
	} while (0)

	assert_breaks(0, 'T');
	assert_breaks(AT_NODE, 0);
	assert_breaks(AT_NODE, WIRE_NAME_MAX + 1);
	assert_breaks(AT_NODE, 255);
	assert_breaks(AT_NODE + 1, '/');
	assert_breaks(AT_NODE + 1, '\0');
	assert_breaks(AT_NODE + 1, ' ');
	assert_breaks(AT_NODE + n_node, 0x80);
	assert_breaks(AT_NODE + 1 + n_node + 1, '\n');
	assert_breaks(at_wall, 0x80);
	assert_breaks(at_active, WIRE_ROLE_ACTIVE); /* for no address */
	assert_breaks(at_active, 2 * WIRE_ROLE_WORKERS);
	assert_breaks(at_active + 1, 1);
	assert_breaks(at_active + 1, WIRE_FINGERPRINTS_MAX + 1);
	assert_breaks(at_active + 1, 255);
}

static void test_refuse(void **state)
{
	struct wire_refuse refuse = {
	    .version = 3, .code = WIRE_REFUSE_GROUP, .reason = "other group"};
	struct wire_refuse out;

	(void)state;
	wire_encode_refuse(&writer, &refuse);
	assert_only_whole(wire_decode_refuse, WIRE_REFUSE, &out);
	assert_int_equal(wire_decode_refuse(payload(WIRE_REFUSE), n_payload(), &out), 0);
	assert_int_equal(out.version, 3);
	assert_int_equal(out.code, WIRE_REFUSE_GROUP);
	assert_string_equal(out.reason, "other group");
}

static void test_refuse_reason_is_made_harmless(void **state)
{
	struct wire_refuse refuse = {.version = 1, .reason = "a\x1b[2J\xff\n"}, out;

	(void)state;
	wire_encode_refuse(&writer, &refuse);
	assert_int_equal(wire_decode_refuse(payload(WIRE_REFUSE), n_payload(), &out), 0);
	assert_string_equal(out.reason, "a?[2J??");
	/* The longest; and one longer than its type allows. */
	setup(NULL);
	memset(refuse.reason, 'r', WIRE_REASON_MAX);
	wire_encode_refuse(&writer, &refuse);
	assert_int_equal(wire_decode_refuse(payload(WIRE_REFUSE), n_payload(), &out), 0);
	assert_int_equal(strlen(out.reason), WIRE_REASON_MAX);
	bytes[WIRE_HEADER_BYTES + 11] = WIRE_REASON_MAX + 1;
	assert_int_equal(wire_decode_refuse(bytes + WIRE_HEADER_BYTES, n_payload() + 1, &out),
	                 -EPROTO);
}

static void test_policies(void **state)
{
	struct wire_policies policies = {0}, policies_out = {0};

	(void)state;
	wire_encode_policies(&writer, &policies);
	assert_only_whole(wire_decode_policies, WIRE_POLICIES, &policies_out);
	assert_int_equal(policies_out.n, 0);
	fill_policies(&policies);
	setup(NULL);
	wire_encode_policies(&writer, &policies);
	assert_only_whole(wire_decode_policies, WIRE_POLICIES, &policies_out);
	assert_int_equal(policies_out.n, policies.n);
	assert_memory_equal(policies_out.fingerprints, policies.fingerprints,
	                    sizeof(policies.fingerprints));
	/* One that stands twice, and one out of order. */
	for (uint8_t last = 6; last >= 5; last--) {
		policies.n = 3;
		memset(policies.fingerprints[2], last - 3, WIRE_FINGERPRINT_BYTES);
		setup(NULL);
		wire_encode_policies(&writer, &policies);
		assert_int_equal(
		    wire_decode_policies(payload(WIRE_POLICIES), n_payload(), &policies_out),
		    -EPROTO);
	}
}

static void test_small_messages(void **state)
{
	struct wire_ack ack = {1, UINT64_MAX}, ack_out;
	struct wire_role role = {77, true, true, false, true}, role_out = {0};
	uint64_t number;

	(void)state;
	wire_encode_ack(&writer, &ack);
	assert_only_whole(wire_decode_ack, WIRE_ACK, &ack_out);
	assert_int_equal(wire_decode_ack(payload(WIRE_ACK), n_payload(), &ack_out), 0);
	assert_memory_equal(&ack_out, &ack, sizeof(ack));
	setup(NULL);
	wire_encode_role(&writer, &role);
	assert_only_whole(wire_decode_role, WIRE_ROLE, &role_out);
	assert_int_equal(role_out.term, 77);
	assert_true(role_out.active && role_out.has_service && !role_out.has_workers);
	assert_true(role_out.refuses_workers);
	bytes[WIRE_HEADER_BYTES + 8] = 2 * WIRE_ROLE_WORKERS;
	assert_int_equal(wire_decode_role(payload(WIRE_ROLE), n_payload(), &role_out), -EPROTO);
	setup(NULL);
	role.term = (uint64_t)INT64_MAX + 1;
	wire_encode_role(&writer, &role);
	assert_int_equal(wire_decode_role(payload(WIRE_ROLE), n_payload(), &role_out), -EPROTO);
	for (enum wire_type type = WIRE_START; type <= WIRE_PONG; type++) {
		if (type == WIRE_ACK)
			continue;
		setup(NULL);
		wire_encode_number(&writer, type, 0x0102030405060708);
		assert_only_whole(wire_decode_number, type, &number);
		assert_int_equal(wire_decode_number(payload(type), n_payload(), &number), 0);
		assert_int_equal(number, 0x0102030405060708);
	}
	setup(NULL);
	wire_encode_control(&writer, (const uint8_t *)"hand over", 9);
	assert_memory_equal(payload(WIRE_CONTROL), "hand over", 9);
	assert_int_equal(n_payload(), 9);
}

static uint8_t id[TABLE_ID_MAX + 1] = "an ID";
static uint8_t der[TABLE_DER_MAX + 1] = "DER";

static void add_record(size_t n_id, size_t n_der)
{
	struct table_record record = {
	    .id = id, .n_id = n_id, .der = n_der ? der : NULL, .n_der = n_der, .expires_s = 12345};

	assert_true(wire_records_add(&writer, &record));
}

static void test_records(void **state)
{
	static const struct {
		size_t n_id, n_der;
	} sizes[] = {{1, 1}, {32, 126}, {16, 0}, {32, TABLE_DER_MAX}, {1, 0}};
	struct wire_records records;
	struct table_record record;
	uint8_t *frame = wire_records_begin(&writer);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		add_record(sizes[i].n_id, sizes[i].n_der);
	wire_records_end(&writer, frame, 987654321);
	assert_int_equal(wire_decode_records(payload(WIRE_RECORDS), n_payload(), &records), 0);
	assert_int_equal(records.end, 987654321);
	assert_int_equal(records.n_records, ARRAY_SIZE(sizes));
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		assert_true(wire_records_next(&records, &record));
		assert_int_equal(record.n_id, sizes[i].n_id);
		assert_int_equal(record.n_der, sizes[i].n_der);
		assert_int_equal(record.expires_s, 12345);
		assert_int_equal(record.flags, sizes[i].n_der ? 0 : TABLE_TOMBSTONE);
		assert_memory_equal(record.id, id, record.n_id);
		if (record.n_der)
			assert_memory_equal(record.der, der, record.n_der);
		else
			assert_null(record.der);
	}
	assert_false(wire_records_next(&records, &record));
}

/* A cut is noticed wherever it falls, except between two records, where what is left is a
 * shorter message. */
static void test_records_cut_short(void **state)
{
	struct wire_records records;
	uint8_t *frame = wire_records_begin(&writer);
	size_t first = 8 + WIRE_RECORD_BYTES + 5 + 20, n;

	(void)state;
	add_record(5, 20);
	add_record(7, 0);
	wire_records_end(&writer, frame, 1);
	n = n_payload();
	for (size_t i = 0; i <= n + 1; i++) {
		uint8_t *copy = malloc(i ? i : 1);
		int r;

		memcpy(copy, bytes + WIRE_HEADER_BYTES, i);
		r = wire_decode_records(copy, i, &records);
		assert_int_equal(r, i == n || i == first ? 0 : -EPROTO);
		if (r == 0)
			assert_int_equal(records.n_records, i == n ? 2 : 1);
		free(copy);
	}
}

static void test_records_out_of_range(void **state)
{
	struct wire_records records;
	uint8_t *frame = wire_records_begin(&writer), *at = bytes + WIRE_HEADER_BYTES;

	(void)state;
	add_record(TABLE_ID_MAX, TABLE_DER_MAX);
	wire_records_end(&writer, frame, 1);
	assert_int_equal(wire_decode_records(at, n_payload(), &records), 0);
	at[8] = 0;
	assert_int_equal(wire_decode_records(at, n_payload(), &records), -EPROTO);
	/* One byte moves from the DER to the ID, and back the other way: the sum is right, the
	 * parts are not. */
	at[8] = TABLE_ID_MAX + 1;
	at[9] = (TABLE_DER_MAX - 1) >> 8;
	at[10] = (TABLE_DER_MAX - 1) & 0xff;
	assert_int_equal(wire_decode_records(at, n_payload(), &records), -EPROTO);
	at[8] = TABLE_ID_MAX - 1;
	at[9] = (TABLE_DER_MAX + 1) >> 8;
	at[10] = (TABLE_DER_MAX + 1) & 0xff;
	assert_int_equal(wire_decode_records(at, n_payload(), &records), -EPROTO);
	at[8] = TABLE_ID_MAX;
	at[9] = TABLE_DER_MAX >> 8;
	at[10] = TABLE_DER_MAX & 0xff;
	assert_int_equal(wire_decode_records(at, n_payload(), &records), 0);
	at[11] = 0x80; /* an expiry beyond INT64_MAX */
	assert_int_equal(wire_decode_records(at, n_payload(), &records), -EPROTO);
}

static void test_records_stop_at_the_room(void **state)
{
	struct table_record record = {.id = id, .n_id = 32, .der = der, .n_der = 100};
	struct wire_records records;
	uint8_t *frame = wire_records_begin(&writer), *before;
	size_t n = 0;

	(void)state;
	while (wire_records_add(&writer, &record))
		n++;
	before = writer.at;
	assert_false(wire_records_add(&writer, &record));
	assert_ptr_equal(writer.at, before);
	assert_int_equal(n, (WIRE_FRAME_MAX - WIRE_RECORDS_BYTES) / (WIRE_RECORD_BYTES + 132));
	wire_records_end(&writer, frame, 5);
	assert_int_equal(wire_decode_records(payload(WIRE_RECORDS), n_payload(), &records), 0);
	assert_int_equal(records.n_records, n);
	writer = wire_writer(bytes, WIRE_RECORDS_BYTES - 1);
	assert_null(wire_records_begin(&writer));
	assert_false(writer.failed);
}

static void test_header(void **state)
{
	static const struct {
		uint32_t n;
		uint8_t type;
		int result;
	} cases[] = {
	    {8, WIRE_PING, 0},
	    {7, WIRE_PING, -EPROTO},
	    {9, WIRE_PING, -EPROTO},
	    {8, 0, -EPROTO},
	    {8, WIRE_POLICIES + 1, -EPROTO},
	    {8, 255, -EPROTO},
	    {0, WIRE_CONTROL, -EPROTO},
	    {WIRE_CONTROL_MAX, WIRE_CONTROL, 0},
	    {WIRE_CONTROL_MAX + 1, WIRE_CONTROL, -EPROTO},
	    {WIRE_TICKET_KEYS_BYTES - 1, WIRE_TICKET_KEYS, -EPROTO},
	    {WIRE_TICKET_KEYS_BYTES, WIRE_TICKET_KEYS, 0},
	    {WIRE_TICKET_KEYS_FRAME - WIRE_HEADER_BYTES, WIRE_TICKET_KEYS, 0},
	    {WIRE_TICKET_KEYS_FRAME - WIRE_HEADER_BYTES + 1, WIRE_TICKET_KEYS, -EPROTO},
	    {0, WIRE_POLICIES, -EPROTO},
	    {1 + 64 * 32, WIRE_POLICIES, 0},
	    {1 + 64 * 32 + 1, WIRE_POLICIES, -EPROTO},
	    {WIRE_FRAME_MAX - WIRE_HEADER_BYTES, WIRE_RECORDS, 0},
	    {WIRE_FRAME_MAX - WIRE_HEADER_BYTES + 1, WIRE_RECORDS, -EPROTO},
	    {8, WIRE_RECORDS, -EPROTO},
	    {UINT32_MAX, WIRE_RECORDS, -EPROTO},
	    {WIRE_HELLO_MAX + 1, WIRE_HELLO, -EPROTO},
	    {9, WIRE_HELLO, -EPROTO},
	    {10, WIRE_HELLO, 0},
	};
	struct wire_header header;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		setup(NULL);
		wire_put_u32(&writer, cases[i].n);
		wire_put_u8(&writer, cases[i].type);
		for (size_t n = 0; n < WIRE_HEADER_BYTES; n++)
			assert_int_equal(wire_decode_header(bytes, n, &header), WIRE_MORE);
		assert_int_equal(wire_decode_header(bytes, WIRE_HEADER_BYTES, &header),
		                 cases[i].result);
	}
}

static void test_writer_without_room(void **state)
{
	struct wire_hello hello = sample_hello();

	(void)state;
	wire_encode_hello_answer(&writer, &hello);
	for (size_t n = 0, whole = (size_t)(writer.at - writer.start); n < whole; n++) {
		memset(bytes, 0xa5, sizeof(bytes));
		writer = wire_writer(bytes, n);
		wire_encode_hello_answer(&writer, &hello);
		assert_true(writer.failed);
		assert_int_equal(bytes[n], 0xa5);
	}
}

static struct ticket_state sample_tickets(size_t n)
{
	struct ticket_state tickets = {
	    .resumption = TICKET_BOTH,
	    .rotation_ms = 3600000,
	    .ring = {.generation = 1700000000, .n = n},
	};

	for (size_t i = 0; i < n; i++) {
		struct ticket_key *key = &tickets.ring.keys[i];

		memset(key->name, (int)i + 1, sizeof(key->name));
		memset(key->aes, (int)i + 101, sizeof(key->aes));
		memset(key->hmac, (int)i + 201, sizeof(key->hmac));
		key->not_before_ms = 1700000000123 + (int64_t)i;
		key->use_until_ms = INT64_MAX - 1;
		key->not_after_ms = INT64_MAX;
	}
	return tickets;
}

static void test_ticket_keys(void **state)
{
	static const size_t numbers[] = {0, 1, 2, KEYRING_KEYS_MAX};
	struct ticket_state out;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		struct ticket_state tickets = sample_tickets(numbers[i]);

		writer = wire_writer(bytes, WIRE_FRAME_MAX);
		wire_encode_ticket_keys(&writer, &tickets);
		memset(&out, 0x77, sizeof(out));
		assert_int_equal(
		    wire_decode_ticket_keys(payload(WIRE_TICKET_KEYS), n_payload(), &out), 0);
		assert_int_equal(out.resumption, TICKET_BOTH);
		assert_int_equal(out.rotation_ms, 3600000);
		assert_int_equal(out.ring.generation, 1700000000);
		assert_int_equal(out.ring.n, numbers[i]);
		assert_memory_equal(out.ring.keys, tickets.ring.keys,
		                    numbers[i] * sizeof(out.ring.keys[0]));
	}
	assert_int_equal(n_payload(), WIRE_TICKET_KEYS_FRAME - WIRE_HEADER_BYTES);
}

/* Whole keys only; the prefixes that end after one are messages of their own. */
static void test_ticket_keys_cut_short(void **state)
{
	struct ticket_state tickets = sample_tickets(2), out;

	(void)state;
	wire_encode_ticket_keys(&writer, &tickets);
	for (size_t n = 0; n <= n_payload() + 1; n++) {
		uint8_t *copy = malloc(n ? n : 1);
		bool whole = n >= WIRE_TICKET_KEYS_BYTES &&
		             (n - WIRE_TICKET_KEYS_BYTES) % WIRE_TICKET_KEY_BYTES == 0;

		memcpy(copy, payload(WIRE_TICKET_KEYS), n);
		assert_int_equal(wire_decode_ticket_keys(copy, n, &out), whole ? 0 : -EPROTO);
		free(copy);
	}
}

static void test_ticket_keys_out_of_range(void **state)
{
	static const struct {
		size_t at;
		uint8_t value;
	} bad[] = {
	    {0, 0}, /* resumption */
	    {0, TICKET_BOTH + 1},
	    {1, 0xff},                           /* rotation, the highest byte */
	    {WIRE_TICKET_KEYS_BYTES + 80, 0x80}, /* the highest byte of each time */
	    {WIRE_TICKET_KEYS_BYTES + 88, 0x80},
	    {WIRE_TICKET_KEYS_BYTES + 96, 0xff},
	};
	struct ticket_state tickets = sample_tickets(1), out, before;

	(void)state;
	memset(&out, 0x77, sizeof(out));
	before = out;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		writer = wire_writer(bytes, WIRE_FRAME_MAX);
		wire_encode_ticket_keys(&writer, &tickets);
		bytes[WIRE_HEADER_BYTES + bad[i].at] = bad[i].value;
		assert_int_equal(
		    wire_decode_ticket_keys(payload(WIRE_TICKET_KEYS), n_payload(), &out), -EPROTO);
	}
	tickets.rotation_ms = TICKET_ROTATION_MS_MIN - 1;
	writer = wire_writer(bytes, WIRE_FRAME_MAX);
	wire_encode_ticket_keys(&writer, &tickets);
	assert_int_equal(wire_decode_ticket_keys(payload(WIRE_TICKET_KEYS), n_payload(), &out),
	                 -EPROTO);
	assert_memory_equal(&out, &before, sizeof(out));
}

static void test_failed_decode_leaves_its_output(void **state)
{
	struct wire_hello out, before;
	struct wire_hello hello = sample_hello();

	(void)state;
	memset(&out, 0x77, sizeof(out));
	before = out;
	wire_encode_hello(&writer, &hello);
	assert_int_equal(wire_decode_hello(payload(WIRE_HELLO), n_payload() - 1, &out), -EPROTO);
	assert_memory_equal(&out, &before, sizeof(out));
}

#define wire_test(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    wire_test(test_hello),
	    wire_test(test_hello_answer),
	    wire_test(test_longest_hello),
	    wire_test(test_hello_of_another_version),
	    wire_test(test_hello_out_of_range),
	    wire_test(test_refuse),
	    wire_test(test_refuse_reason_is_made_harmless),
	    wire_test(test_policies),
	    wire_test(test_small_messages),
	    wire_test(test_records),
	    wire_test(test_records_cut_short),
	    wire_test(test_records_out_of_range),
	    wire_test(test_records_stop_at_the_room),
	    wire_test(test_header),
	    wire_test(test_writer_without_room),
	    wire_test(test_ticket_keys),
	    wire_test(test_ticket_keys_cut_short),
	    wire_test(test_ticket_keys_out_of_range),
	    wire_test(test_failed_decode_leaves_its_output),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
