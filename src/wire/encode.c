/*
 * Writing frames. A frame's length is known only at its end: wire_begin() leaves room for the
 * header and wire_end() fills it in.
 */
#include "wire/message.h"

static uint8_t *wire_begin(struct wire_writer *writer)
{
	return wire_reserve(writer, WIRE_HEADER_BYTES);
}

static void wire_end(struct wire_writer *writer, uint8_t *frame, enum wire_type type)
{
	struct wire_writer header = wire_writer(frame, frame ? WIRE_HEADER_BYTES : 0);

	if (writer->failed)
		return;
	wire_put_u32(&header, (uint32_t)(writer->at - frame - WIRE_HEADER_BYTES));
	wire_put_u8(&header, (uint8_t)type);
}

static void wire_put_identity(struct wire_writer *writer, uint16_t version)
{
	wire_put(writer, WIRE_MAGIC, WIRE_MAGIC_BYTES);
	wire_put_u16(writer, version);
}

static void wire_put_name(struct wire_writer *writer, const char *name)
{
	size_t n = strnlen(name, WIRE_NAME_MAX);

	wire_put_u8(writer, (uint8_t)n);
	wire_put(writer, name, n);
}

static void wire_put_role(struct wire_writer *writer, const struct wire_role *role)
{
	wire_put_u64(writer, role->term);
	wire_put_u8(writer, (uint8_t)((role->active ? WIRE_ROLE_ACTIVE : 0) |
	                              (role->has_service ? WIRE_ROLE_SERVICE : 0) |
	                              (role->refuses_workers ? WIRE_ROLE_REFUSES : 0) |
	                              (role->has_workers ? WIRE_ROLE_WORKERS : 0)));
}

static void wire_put_policies(struct wire_writer *writer, const struct wire_policies *policies)
{
	wire_put_u8(writer, policies->n);
	wire_put(writer, policies->fingerprints, (size_t)policies->n * WIRE_FINGERPRINT_BYTES);
}

static void wire_put_hello(struct wire_writer *writer, const struct wire_hello *hello)
{
	wire_put_identity(writer, hello->version);
	wire_put_name(writer, hello->node);
	wire_put_name(writer, hello->group);
	wire_put_u32(writer, hello->dialect);
	wire_put_u64(writer, hello->epoch);
	wire_put_u64(writer, (uint64_t)hello->wall_ms);
	wire_put_u32(writer, hello->heartbeat_ms);
	wire_put_role(writer, &hello->role);
	wire_put_policies(writer, &hello->policies);
}

void wire_encode_hello(struct wire_writer *writer, const struct wire_hello *hello)
{
	uint8_t *frame = wire_begin(writer);

	wire_put_hello(writer, hello);
	wire_end(writer, frame, WIRE_HELLO);
}

void wire_encode_hello_answer(struct wire_writer *writer, const struct wire_hello *hello)
{
	uint8_t *frame = wire_begin(writer);

	wire_put_hello(writer, hello);
	wire_put_u64(writer, hello->resume_epoch);
	wire_put_u64(writer, hello->resume_position);
	wire_end(writer, frame, WIRE_HELLO_ANSWER);
}

void wire_encode_refuse(struct wire_writer *writer, const struct wire_refuse *refuse)
{
	uint8_t *frame = wire_begin(writer);
	size_t n = strnlen(refuse->reason, WIRE_REASON_MAX);

	wire_put_identity(writer, refuse->version);
	wire_put_u8(writer, (uint8_t)refuse->code);
	wire_put_u8(writer, (uint8_t)n);
	wire_put(writer, refuse->reason, n);
	wire_end(writer, frame, WIRE_REFUSE);
}

void wire_encode_ack(struct wire_writer *writer, const struct wire_ack *ack)
{
	uint8_t *frame = wire_begin(writer);

	wire_put_u64(writer, ack->position);
	wire_put_u64(writer, ack->n_records);
	wire_end(writer, frame, WIRE_ACK);
}

void wire_encode_role(struct wire_writer *writer, const struct wire_role *role)
{
	uint8_t *frame = wire_begin(writer);

	wire_put_role(writer, role);
	wire_end(writer, frame, WIRE_ROLE);
}

void wire_encode_policies(struct wire_writer *writer, const struct wire_policies *policies)
{
	uint8_t *frame = wire_begin(writer);

	wire_put_policies(writer, policies);
	wire_end(writer, frame, WIRE_POLICIES);
}

void wire_encode_number(struct wire_writer *writer, enum wire_type type, uint64_t number)
{
	uint8_t *frame = wire_begin(writer);

	wire_put_u64(writer, number);
	wire_end(writer, frame, type);
}

void wire_encode_ticket_keys(struct wire_writer *writer, const struct ticket_state *keys)
{
	uint8_t *frame = wire_begin(writer);

	wire_put_u8(writer, (uint8_t)keys->resumption);
	wire_put_u32(writer, keys->rotation_ms);
	wire_put_u64(writer, keys->ring.generation);
	for (size_t i = 0; i < keys->ring.n; i++) {
		const struct ticket_key *key = &keys->ring.keys[i];

		wire_put(writer, key->name, sizeof(key->name));
		wire_put(writer, key->aes, sizeof(key->aes));
		wire_put(writer, key->hmac, sizeof(key->hmac));
		wire_put_u64(writer, (uint64_t)key->not_before_ms);
		wire_put_u64(writer, (uint64_t)key->use_until_ms);
		wire_put_u64(writer, (uint64_t)key->not_after_ms);
	}
	wire_end(writer, frame, WIRE_TICKET_KEYS);
}

void wire_encode_control(struct wire_writer *writer, const uint8_t *payload, size_t n)
{
	uint8_t *frame = wire_begin(writer);

	wire_put(writer, payload, n);
	wire_end(writer, frame, WIRE_CONTROL);
}

uint8_t *wire_records_begin(struct wire_writer *writer)
{
	if (wire_room(writer) < WIRE_RECORDS_BYTES)
		return NULL;
	return wire_reserve(writer, WIRE_RECORDS_BYTES);
}

bool wire_records_add(struct wire_writer *writer, const struct table_record *record)
{
	if (wire_room(writer) < WIRE_RECORD_BYTES + record->n_id + record->n_der)
		return false;
	wire_put_u8(writer, (uint8_t)record->n_id);
	wire_put_u16(writer, (uint16_t)record->n_der);
	wire_put_u64(writer, (uint64_t)record->expires_s);
	wire_put(writer, record->id, record->n_id);
	wire_put(writer, record->der, record->n_der);
	return true;
}

void wire_records_end(struct wire_writer *writer, uint8_t *frame, uint64_t end)
{
	struct wire_writer position =
	    wire_writer(frame + WIRE_HEADER_BYTES, WIRE_RECORDS_BYTES - WIRE_HEADER_BYTES);

	wire_put_u64(&position, end);
	wire_end(writer, frame, WIRE_RECORDS);
}
