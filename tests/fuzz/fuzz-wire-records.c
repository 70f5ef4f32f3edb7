/* Records: what decodes walks to its end, within bounds, and encodes to the same bytes again. */
#include <string.h>

#include "fuzz.h"
#include "wire/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data)
{
	static uint8_t again[WIRE_FRAME_MAX];
	struct wire_writer writer = wire_writer(again, sizeof(again));
	struct wire_records records;
	struct table_record record;
	uint8_t *frame;
	size_t n = 0;

	if (n_data > WIRE_FRAME_MAX - WIRE_HEADER_BYTES ||
	    wire_decode_records(data, n_data, &records) != 0)
		return 0;
	frame = wire_records_begin(&writer);
	while (wire_records_next(&records, &record)) {
		FUZZ_CHECK(record.n_id >= 1 && record.n_id <= TABLE_ID_MAX);
		FUZZ_CHECK(record.n_der <= TABLE_DER_MAX);
		FUZZ_CHECK((record.n_der == 0) == ((record.flags & TABLE_TOMBSTONE) != 0));
		FUZZ_CHECK(record.id >= data && record.id + record.n_id <= data + n_data);
		FUZZ_CHECK(record.expires_s >= 0);
		FUZZ_CHECK(wire_records_add(&writer, &record));
		n++;
	}
	FUZZ_CHECK(n == records.n_records && n > 0);
	wire_records_end(&writer, frame, records.end);
	FUZZ_CHECK((size_t)(writer.at - writer.start) == n_data + WIRE_HEADER_BYTES);
	FUZZ_CHECK(memcmp(again + WIRE_HEADER_BYTES, data, n_data) == 0);
	return 0;
}
