/*
 * A whole session of the accepting side behind TLS: bytes in any cuts, from hello on. Whatever
 * comes, each answer fits its buffer, and nothing is acked that was not announced. The first byte
 * of the input says in which cuts the rest comes.
 */
#include "repl-fixture.h"

static bool may_be(struct receiver *receiver, const char *node)
{
	(void)receiver;
	return strcmp(node, "x") != 0;
}

static void take_answers(struct receiver *receiver)
{
	static uint8_t out[LINK_SMALL_BYTES];
	struct wire_writer writer = wire_writer(out, sizeof(out));

	receiver_fill(receiver, &writer);
	FUZZ_CHECK(!writer.failed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data)
{
	static struct table *table;
	static uint8_t in[LINK_IN_BYTES];
	struct repl repl;
	struct receiver receiver = {.phase = RECEIVER_HELLO, .source = "fuzz", .may_be = may_be};
	size_t cut, n_in = 0;
	int r = 0;

	if (!table)
		table = fixture_table();
	if (n_data < 1)
		return 0;
	fixture_repl(&repl, table);
	receiver.repl = &repl;
	repl.n_pending = 1;
	cut = data[0] == 0 ? sizeof(in) : data[0] * 7U;
	for (size_t at = 1; r == 0 && at < n_data;) {
		size_t n = MIN(MIN(cut, n_data - at), sizeof(in) - n_in), n_used = 0;

		FUZZ_CHECK(n > 0); /* a full buffer always holds a frame, or was refused */
		memcpy(in + n_in, data + at, n);
		at += n;
		n_in += n;
		r = receiver_input(&receiver, in, n_in, &n_used);
		FUZZ_CHECK(r <= 0 && n_used <= n_in);
		memmove(in, in + n_used, n_in - n_used);
		n_in -= n_used;
		take_answers(&receiver);
	}
	receiver_detach(&receiver);
	FUZZ_CHECK(repl.n_pending == 0 && repl.peers[0]->from == NULL);
	repl_deinit(&repl);
	return 0;
}
