/*
 * How large the table should have been. Each live record that is evicted adds its bytes to the 64 seconds
 * in which it would have expired; as time passes those, the bytes are forgotten. What is left, plus what the
 * log holds, is the log that nobody would have been evicted from; table_stats() reports the most it was.
 * Kept in the writer's memory only: the maximum is in the file's header, and that is what lasts.
 */
#include "table/internal.h"

static void wanted_advance(struct wanted *wanted, int64_t now_s)
{
	int64_t now_slot = now_s >> WANTED_SLOT_BITS;

	if (wanted->sum == 0 || now_slot - wanted->slot >= WANTED_SLOTS) {
		if (wanted->sum)
			memset(wanted->bytes, 0, sizeof(wanted->bytes));
		wanted->sum = 0;
		wanted->slot = now_slot;
		return;
	}
	for (; wanted->slot < now_slot; wanted->slot++) {
		uint64_t *bytes = &wanted->bytes[(uint64_t)wanted->slot % WANTED_SLOTS];

		wanted->sum -= *bytes;
		*bytes = 0;
	}
}

void wanted_add(struct wanted *wanted, uint64_t n_bytes, int64_t expires_s, int64_t now_s)
{
	int64_t slot = expires_s >> WANTED_SLOT_BITS;

	wanted_advance(wanted, now_s);
	/* A clock that was set back can put an expiry out of reach on either side. */
	slot = MAX(slot, wanted->slot);
	slot = MIN(slot, wanted->slot + WANTED_SLOTS - 1);
	wanted->bytes[(uint64_t)slot % WANTED_SLOTS] += n_bytes;
	wanted->sum += n_bytes;
}

uint64_t wanted_bytes(struct wanted *wanted, int64_t now_s)
{
	wanted_advance(wanted, now_s);
	return wanted->sum;
}
