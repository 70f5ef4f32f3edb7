/* Whole frames, one after the other, each to the decoder of its type. */
#include "fuzz.h"
#include "wire/message.h"

static void decode(enum wire_type type, const uint8_t *payload, size_t n)
{
	struct wire_hello hello;
	struct wire_refuse refuse;
	struct wire_records records;
	struct wire_ack ack;
	struct wire_role role;
	static struct ticket_state keys;
	struct wire_policies policies;
	uint64_t number;
	int r = 0;

	switch (type) {
	case WIRE_HELLO:
		r = wire_decode_hello(payload, n, &hello);
		break;
	case WIRE_HELLO_ANSWER:
		r = wire_decode_hello_answer(payload, n, &hello);
		break;
	case WIRE_REFUSE:
		r = wire_decode_refuse(payload, n, &refuse);
		break;
	case WIRE_RECORDS:
		r = wire_decode_records(payload, n, &records);
		break;
	case WIRE_ACK:
		r = wire_decode_ack(payload, n, &ack);
		FUZZ_CHECK(r == 0); /* any number will do, and the header has checked the length */
		break;
	case WIRE_ROLE:
		r = wire_decode_role(payload, n, &role);
		break;
	case WIRE_POLICIES:
		r = wire_decode_policies(payload, n, &policies);
		break;
	case WIRE_START:
	case WIRE_MARK:
	case WIRE_PING:
	case WIRE_PONG:
		r = wire_decode_number(payload, n, &number);
		FUZZ_CHECK(r == 0);
		break;
	case WIRE_TICKET_KEYS:
		r = wire_decode_ticket_keys(payload, n, &keys);
		FUZZ_CHECK(keys.ring.n <= KEYRING_KEYS_MAX);
		break;
	case WIRE_CONTROL:
		FUZZ_CHECK(n >= 1 && n <= WIRE_CONTROL_MAX);
		break;
	}
	FUZZ_CHECK(r <= WIRE_OTHER_VERSION);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data)
{
	struct wire_header header;
	size_t used = 0;

	while (wire_decode_header(data + used, n_data - used, &header) == 0) {
		FUZZ_CHECK(header.n_payload <= WIRE_FRAME_MAX - WIRE_HEADER_BYTES);
		used += WIRE_HEADER_BYTES;
		if (n_data - used < header.n_payload)
			break;
		decode(header.type, data + used, header.n_payload);
		used += header.n_payload;
	}
	return 0;
}
