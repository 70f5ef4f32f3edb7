/*
 * A whole session of the dialling side behind TLS: what the peer answers to hello and to records.
 * Whatever it claims, the gate never opens beyond the log's head, and no more counts as acked
 * than was sent.
 */
#include "repl-fixture.h"

static void put_records(struct table *table, unsigned n)
{
	static uint32_t number;
	uint8_t id[32] = {1}, der[120] = {2};
	struct table_record record = {.id = id,
	                              .n_id = sizeof(id),
	                              .der = der,
	                              .n_der = sizeof(der),
	                              .expires_s = FIXTURE_NOW_S + 100,
	                              .flags = TABLE_LOCAL};

	for (unsigned i = 0; i < n; i++) {
		number++;
		memcpy(id, &number, sizeof(number));
		FUZZ_CHECK(table_put(table, &record, FIXTURE_NOW_S, NULL) == 0);
	}
}

static void fill(struct push *push)
{
	static uint8_t out[WIRE_FRAME_MAX];
	struct wire_writer writer = wire_writer(out, sizeof(out));

	push_fill(push, &writer);
	FUZZ_CHECK(!writer.failed);
	push_report(push);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data)
{
	static struct table *table;
	struct repl repl;
	struct push *push;
	size_t used = 0;
	int r = 0;

	if (!table)
		table = fixture_table();
	fixture_repl(&repl, table);
	push = &repl.peers[0]->push;
	push->phase = PUSH_GREETING;
	/* Each round: some records, then what the peer sends, up to a length that the input
	 * says. */
	for (unsigned round = 0; r == 0 && used + 1 < n_data && round < 64; round++) {
		size_t n = MIN(1 + (size_t)data[used], n_data - used - 1), n_used = 0;
		unsigned waited_for;

		put_records(table, data[used] & 3);
		push_note_head(push, 1000000);
		fill(push);
		r = push_input(push, data + used + 1, n, &n_used);
		FUZZ_CHECK(r <= 0 && n_used <= n);
		used += 1 + n_used;
		if (n_used == 0)
			break;
		fill(push);
		FUZZ_CHECK(repl_acked(&repl, &waited_for) <= table_head(table));
		FUZZ_CHECK(push->n_acked <= push->n_sent && push->acked <= push->position);
		FUZZ_CHECK(push->state != REPL_IN_SYNC || (push->marked && push->synced));
	}
	push_stop(push, REPL_ABSENT);
	repl_deinit(&repl);
	return 0;
}
