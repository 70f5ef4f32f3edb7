/* Hellos, answers and refusals: what decodes must encode to the same bytes again. */
#include <string.h>

#include "fuzz.h"
#include "wire/message.h"

static void check_again(const struct wire_writer *writer, const uint8_t *data, size_t n_data)
{
	FUZZ_CHECK(!writer->failed);
	FUZZ_CHECK((size_t)(writer->at - writer->start) == n_data + WIRE_HEADER_BYTES);
	FUZZ_CHECK(memcmp(writer->start + WIRE_HEADER_BYTES, data, n_data) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data)
{
	static uint8_t again[WIRE_HELLO_MAX + WIRE_HEADER_BYTES];
	struct wire_writer writer = wire_writer(again, sizeof(again));
	struct wire_hello hello;
	struct wire_refuse refuse;

	if (wire_decode_hello(data, n_data, &hello) == 0) {
		FUZZ_CHECK(wire_name_valid(hello.node, strlen(hello.node)));
		FUZZ_CHECK(wire_name_valid(hello.group, strlen(hello.group)));
		wire_encode_hello(&writer, &hello);
		check_again(&writer, data, n_data);
	}
	writer = wire_writer(again, sizeof(again));
	if (wire_decode_hello_answer(data, n_data, &hello) == 0) {
		wire_encode_hello_answer(&writer, &hello);
		check_again(&writer, data, n_data);
	}
	if (wire_decode_refuse(data, n_data, &refuse) == 0)
		for (const char *c = refuse.reason; *c; c++)
			FUZZ_CHECK(*c >= 0x20 && *c < 0x7f);
	return 0;
}
