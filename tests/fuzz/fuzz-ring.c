/*
 * A worker's ring, as the daemon reads it. Input: `taken` and `head`, 8 bytes each, then what stands in the
 * data from `taken` on. After each notice the ring is scribbled over: what was taken is a copy.
 */
#include <string.h>

#include "fuzz.h"
#include "ring/ring.h"

static struct ring_page page;
static _Alignas(64) uint8_t ring[RING_BYTES_MIN];
static uint8_t copy[RING_COPY_BYTES];

static void check(const struct ring_notice *notice, uint64_t last_seq)
{
	FUZZ_CHECK(notice->kind == RING_PUT || notice->kind == RING_REMOVE ||
	           notice->kind == RING_MARK);
	FUZZ_CHECK(notice->seq > last_seq);
	FUZZ_CHECK(notice->n_id <= RING_ID_MAX);
	FUZZ_CHECK((notice->n_id == 0) == (notice->kind == RING_MARK));
	FUZZ_CHECK(notice->id == (notice->n_id ? copy : NULL));
	FUZZ_CHECK((notice->n_der == 0) == (notice->kind != RING_PUT));
	FUZZ_CHECK(notice->n_der <= RING_DER_MAX);
	FUZZ_CHECK(notice->n_der == 0 || notice->der == copy + notice->n_id);
}

static void take_all(struct ring_consumer *consumer)
{
	struct ring_notice notice;
	uint64_t last_seq = 0;
	size_t n = 0, last;
	uint8_t before;

	while (ring_next(consumer, &notice) == 0) {
		check(&notice, last_seq);
		last_seq = notice.seq;
		FUZZ_CHECK(++n <= sizeof(ring) / 24);
		last = notice.kind == RING_MARK ? 0 : notice.n_id + notice.n_der - 1;
		before = copy[last];
		ring[(consumer->cursor - 1) % sizeof(ring)] ^= 0xff;
		ring[(consumer->cursor + 3) % sizeof(ring)] ^= 0x01;
		FUZZ_CHECK(copy[last] == before);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_data)
{
	struct ring_consumer consumer;
	uint64_t taken, head;

	if (n_data < 16)
		return 0;
	memcpy(&taken, data, 8);
	memcpy(&head, data + 8, 8);
	memset(ring, 0, sizeof(ring));
	for (size_t i = 16; i < MIN(n_data, 16 + sizeof(ring)); i++)
		ring[(taken + i - 16) % sizeof(ring)] = data[i];
	atomic_store(&page.taken, taken);
	atomic_store(&page.tail, taken);
	atomic_store(&page.head, head);
	if (ring_consumer_init(&consumer, &page, ring, sizeof(ring), copy) != 0)
		return 0;
	take_all(&consumer);
	FUZZ_CHECK(consumer.cursor - taken <= head - taken);
	ring_release(&consumer);
	FUZZ_CHECK(atomic_load(&page.tail) == consumer.cursor &&
	           atomic_load(&page.taken) == consumer.cursor);
	for (uint64_t at = taken; at != consumer.cursor; at++)
		FUZZ_CHECK(ring[at % sizeof(ring)] == 0);
	for (size_t i = 0; i < sizeof(copy); i++)
		FUZZ_CHECK(copy[i] == 0);
	return 0;
}
