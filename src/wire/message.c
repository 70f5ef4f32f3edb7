/*
 * Frames and their payloads. The shapes table is the one place that says how short and long a
 * payload of each type may be; everything that reads a length from the network goes through
 * wire_decode_header() first.
 */
#include "wire/message.h"

#include <errno.h>
#include <openssl/crypto.h>

#define WIRE_IDENTITY_BYTES (WIRE_MAGIC_BYTES + 2)
/* Magic, version, two names of one byte, dialect, epoch, wall, heartbeat, term, active, no fingerprint. */
#define WIRE_HELLO_MIN (WIRE_IDENTITY_BYTES + 2 + 2 + 4 + 8 + 8 + 4 + 8 + 1 + 1)

static const struct {
	uint32_t least, most;
} wire_shapes[] = {
    /* A hello of another version may be shorter than ours: only what tells the version must be
       there. */
    [WIRE_HELLO] = {WIRE_IDENTITY_BYTES, WIRE_HELLO_MAX},
    [WIRE_HELLO_ANSWER] = {WIRE_IDENTITY_BYTES, WIRE_HELLO_MAX},
    [WIRE_REFUSE] = {WIRE_IDENTITY_BYTES + 2, WIRE_IDENTITY_BYTES + 2 + WIRE_REASON_MAX},
    [WIRE_RECORDS] = {8 + WIRE_RECORD_BYTES + 1, WIRE_FRAME_MAX - WIRE_HEADER_BYTES},
    [WIRE_MARK] = {8, 8},
    [WIRE_START] = {8, 8},
    [WIRE_ACK] = {16, 16},
    [WIRE_PING] = {8, 8},
    [WIRE_PONG] = {8, 8},
    [WIRE_ROLE] = {9, 9},
    [WIRE_CONTROL] = {1, WIRE_CONTROL_MAX},
    [WIRE_TICKET_KEYS] = {WIRE_TICKET_KEYS_BYTES, WIRE_TICKET_KEYS_FRAME - WIRE_HEADER_BYTES},
    [WIRE_POLICIES] = {1, WIRE_POLICIES_FRAME_MAX - WIRE_HEADER_BYTES},
};

_Static_assert(WIRE_HELLO_MIN + 2 * (WIRE_NAME_MAX - 1) + 16 +
                       WIRE_FINGERPRINTS_MAX * WIRE_FINGERPRINT_BYTES <=
                   WIRE_HELLO_MAX,
               "the longest hello fits");
_Static_assert(WIRE_RECORDS_BYTES + WIRE_RECORD_BYTES + TABLE_ID_MAX + TABLE_DER_MAX <=
                   WIRE_FRAME_MAX,
               "the longest record fits in a frame");

int wire_decode_header(const uint8_t *bytes, size_t n_bytes, struct wire_header *out)
{
	struct wire_reader reader = wire_reader(bytes, n_bytes);
	uint32_t n_payload = wire_get_u32(&reader);
	uint8_t type = wire_get_u8(&reader);

	if (reader.failed)
		return WIRE_MORE;
	if (type == 0 || type >= ARRAY_SIZE(wire_shapes) || n_payload < wire_shapes[type].least ||
	    n_payload > wire_shapes[type].most)
		return -EPROTO;
	out->type = (enum wire_type)type;
	out->n_payload = n_payload;
	return 0;
}

bool wire_name_valid(const char *name, size_t n)
{
	if (n < 1 || n > WIRE_NAME_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= 'A' && name[i] <= 'Z') ||
		      (name[i] >= '0' && name[i] <= '9') || name[i] == '.' || name[i] == '_' ||
		      name[i] == '-'))
			return false;
	return true;
}

static bool wire_get_name(struct wire_reader *reader, char name[WIRE_NAME_MAX + 1])
{
	size_t n = wire_get_u8(reader);
	const uint8_t *bytes = wire_get(reader, n);

	if (!bytes || !wire_name_valid((const char *)bytes, n))
		return false;
	memcpy(name, bytes, n);
	name[n] = '\0';
	return true;
}

/* What every version's hellos and refusals begin with. */
static bool wire_get_identity(struct wire_reader *reader, uint16_t *version)
{
	const uint8_t *magic = wire_get(reader, WIRE_MAGIC_BYTES);

	*version = wire_get_u16(reader);
	return !reader->failed && memcmp(magic, WIRE_MAGIC, WIRE_MAGIC_BYTES) == 0;
}

/* False: flags that this version does not know, a node that answers for an address that it does not have, or a term
 * above 2^63 - 1: one after it must be left. */
static bool wire_get_role(struct wire_reader *reader, struct wire_role *out)
{
	uint8_t flags;

	out->term = wire_get_u64(reader);
	flags = wire_get_u8(reader);
	out->active = flags & WIRE_ROLE_ACTIVE;
	out->has_service = flags & WIRE_ROLE_SERVICE;
	out->refuses_workers = flags & WIRE_ROLE_REFUSES;
	out->has_workers = flags & WIRE_ROLE_WORKERS;
	return flags < 2 * WIRE_ROLE_WORKERS && (!out->active || out->has_service) &&
	       out->term <= INT64_MAX;
}

/* Sorted, each once: two nodes that have the same say the same. */
static bool wire_get_policies(struct wire_reader *reader, struct wire_policies *out)
{
	uint8_t n = wire_get_u8(reader);
	const uint8_t *bytes;

	if (n > WIRE_FINGERPRINTS_MAX)
		return false;
	bytes = wire_get(reader, (size_t)n * WIRE_FINGERPRINT_BYTES);
	if (!bytes)
		return false;
	for (size_t i = 1; i < n; i++)
		if (memcmp(bytes + (i - 1) * WIRE_FINGERPRINT_BYTES,
		           bytes + i * WIRE_FINGERPRINT_BYTES, WIRE_FINGERPRINT_BYTES) >= 0)
			return false;
	out->n = n;
	memcpy(out->fingerprints, bytes, (size_t)n * WIRE_FINGERPRINT_BYTES);
	return true;
}

static int wire_decode_any_hello(const uint8_t *payload, size_t n, bool answer,
                                 struct wire_hello *out)
{
	struct wire_reader reader = wire_reader(payload, n);
	struct wire_hello hello = {0};

	if (!wire_get_identity(&reader, &hello.version))
		return -EPROTO;
	if (hello.version != WIRE_VERSION) {
		out->version = hello.version;
		return WIRE_OTHER_VERSION;
	}
	if (!wire_get_name(&reader, hello.node) || !wire_get_name(&reader, hello.group))
		return -EPROTO;
	hello.dialect = wire_get_u32(&reader);
	hello.epoch = wire_get_u64(&reader);
	hello.wall_ms = (int64_t)wire_get_u64(&reader);
	hello.heartbeat_ms = wire_get_u32(&reader);
	if (!wire_get_role(&reader, &hello.role) || hello.wall_ms < 0)
		return -EPROTO;
	if (!wire_get_policies(&reader, &hello.policies))
		return -EPROTO;
	if (answer) {
		hello.resume_epoch = wire_get_u64(&reader);
		hello.resume_position = wire_get_u64(&reader);
	}
	if (reader.failed || wire_left(&reader) > 0)
		return -EPROTO;
	*out = hello;
	return 0;
}

int wire_decode_hello(const uint8_t *payload, size_t n, struct wire_hello *out)
{
	return wire_decode_any_hello(payload, n, false, out);
}

int wire_decode_hello_answer(const uint8_t *payload, size_t n, struct wire_hello *out)
{
	return wire_decode_any_hello(payload, n, true, out);
}

int wire_decode_refuse(const uint8_t *payload, size_t n, struct wire_refuse *out)
{
	struct wire_reader reader = wire_reader(payload, n);
	struct wire_refuse refuse = {0};
	const uint8_t *reason;
	uint8_t n_reason;

	if (!wire_get_identity(&reader, &refuse.version))
		return -EPROTO;
	refuse.code = (enum wire_refusal)wire_get_u8(&reader);
	n_reason = wire_get_u8(&reader);
	reason = wire_get(&reader, n_reason);
	if (reader.failed || wire_left(&reader) > 0 || n_reason > WIRE_REASON_MAX)
		return -EPROTO;
	/* It is shown to people: nothing that a terminal would act on. */
	for (size_t i = 0; i < n_reason; i++)
		refuse.reason[i] = reason[i] >= 0x20 && reason[i] < 0x7f ? (char)reason[i] : '?';
	*out = refuse;
	return 0;
}

static bool wire_get_record(struct wire_reader *reader, struct table_record *out)
{
	size_t n_id = wire_get_u8(reader);
	size_t n_der = wire_get_u16(reader);
	uint64_t expires_s = wire_get_u64(reader);
	const uint8_t *id = wire_get(reader, n_id);
	const uint8_t *der = wire_get(reader, n_der);

	if (reader->failed || n_id < 1 || n_id > TABLE_ID_MAX || n_der > TABLE_DER_MAX ||
	    expires_s > INT64_MAX)
		return false;
	out->id = id;
	out->n_id = n_id;
	out->der = n_der > 0 ? der : NULL;
	out->n_der = n_der;
	out->expires_s = (int64_t)expires_s;
	out->flags = n_der > 0 ? 0 : TABLE_TOMBSTONE;
	return true;
}

int wire_decode_records(const uint8_t *payload, size_t n, struct wire_records *out)
{
	struct wire_reader reader = wire_reader(payload, n);
	struct wire_records records = {.end = wire_get_u64(&reader)};
	struct table_record record;

	if (reader.failed || wire_left(&reader) == 0)
		return -EPROTO;
	records.rest = reader;
	for (; wire_left(&reader) > 0; records.n_records++)
		if (!wire_get_record(&reader, &record))
			return -EPROTO;
	*out = records;
	return 0;
}

bool wire_records_next(struct wire_records *records, struct table_record *out)
{
	return wire_left(&records->rest) > 0 && wire_get_record(&records->rest, out);
}

int wire_decode_ack(const uint8_t *payload, size_t n, struct wire_ack *out)
{
	struct wire_reader reader = wire_reader(payload, n);
	struct wire_ack ack;

	ack.position = wire_get_u64(&reader);
	ack.n_records = wire_get_u64(&reader);
	if (reader.failed || wire_left(&reader) > 0)
		return -EPROTO;
	*out = ack;
	return 0;
}

int wire_decode_policies(const uint8_t *payload, size_t n, struct wire_policies *out)
{
	struct wire_reader reader = wire_reader(payload, n);
	struct wire_policies policies = {0};

	if (!wire_get_policies(&reader, &policies) || reader.failed || wire_left(&reader) > 0)
		return -EPROTO;
	*out = policies;
	return 0;
}

int wire_decode_role(const uint8_t *payload, size_t n, struct wire_role *out)
{
	struct wire_reader reader = wire_reader(payload, n);
	struct wire_role role;

	if (!wire_get_role(&reader, &role) || reader.failed || wire_left(&reader) > 0)
		return -EPROTO;
	*out = role;
	return 0;
}

/* Bytes and times, whatever they say: which keys are taken is the ring's to judge (keyring_merge()). */
static bool wire_get_ticket_key(struct wire_reader *reader, struct ticket_key *out)
{
	const uint8_t *name = wire_get(reader, sizeof(out->name));
	const uint8_t *aes = wire_get(reader, sizeof(out->aes));
	const uint8_t *hmac = wire_get(reader, sizeof(out->hmac));
	uint64_t not_before = wire_get_u64(reader), use_until = wire_get_u64(reader),
	         not_after = wire_get_u64(reader);

	if (reader->failed || not_before > INT64_MAX || use_until > INT64_MAX ||
	    not_after > INT64_MAX)
		return false;
	memcpy(out->name, name, sizeof(out->name));
	memcpy(out->aes, aes, sizeof(out->aes));
	memcpy(out->hmac, hmac, sizeof(out->hmac));
	out->not_before_ms = (int64_t)not_before;
	out->use_until_ms = (int64_t)use_until;
	out->not_after_ms = (int64_t)not_after;
	return true;
}

int wire_decode_ticket_keys(const uint8_t *payload, size_t n, struct ticket_state *out)
{
	struct wire_reader reader = wire_reader(payload, n);
	struct ticket_state keys = {0};
	uint8_t resumption = wire_get_u8(&reader);
	bool good;

	keys.rotation_ms = wire_get_u32(&reader);
	keys.ring.generation = wire_get_u64(&reader);
	good = !reader.failed && resumption >= TICKET_STATEFUL && resumption <= TICKET_BOTH &&
	       keys.rotation_ms >= TICKET_ROTATION_MS_MIN &&
	       keys.rotation_ms <= TICKET_ROTATION_MS_MAX;
	while (good && wire_left(&reader) > 0) {
		good = keys.ring.n < KEYRING_KEYS_MAX &&
		       wire_get_ticket_key(&reader, &keys.ring.keys[keys.ring.n]);
		keys.ring.n++;
	}
	if (good) {
		keys.resumption = (enum ticket_resumption)resumption;
		*out = keys;
	}
	OPENSSL_cleanse(&keys, sizeof(keys));
	return good ? 0 : -EPROTO;
}

int wire_decode_number(const uint8_t *payload, size_t n, uint64_t *out)
{
	struct wire_reader reader = wire_reader(payload, n);
	uint64_t number = wire_get_u64(&reader);

	if (reader.failed || wire_left(&reader) > 0)
		return -EPROTO;
	*out = number;
	return 0;
}
