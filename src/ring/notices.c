/* Notices in the ring: ring.c has the layout and who may trust what. */
#include "ring/ring.h"

#include <errno.h>

#define WORD 8
#define HEADER_BYTES (3 * WORD)

static size_t notice_bytes(size_t n_id, size_t n_der)
{
	return (HEADER_BYTES + n_id + n_der + WORD - 1) & ~(size_t)(WORD - 1);
}

static bool notice_lengths_ok(unsigned kind, size_t n_id, size_t n_der)
{
	if (kind == RING_MARK)
		return n_id == 0 && n_der == 0;
	if (n_id < 1 || n_id > RING_ID_MAX)
		return false;
	if (kind == RING_PUT)
		return n_der >= 1 && n_der <= RING_DER_MAX;
	return kind == RING_REMOVE && n_der == 0;
}

static uint64_t notice_word(unsigned kind, size_t n_id, size_t n_der)
{
	return kind | (uint64_t)n_id << 8 | (uint64_t)n_der << 16;
}

void ring_producer_init(struct ring_producer *producer, struct ring_page *page, uint8_t *data)
{
	*producer =
	    (struct ring_producer){.page = page, .data = data, .data_bytes = page->data_bytes};
}

static bool has_room(struct ring_producer *producer, size_t n_bytes)
{
	uint64_t used = producer->head - producer->tail_seen;

	if (n_bytes <= producer->data_bytes - used)
		return true;
	/* Acquire: pairs with the release in ring_release(); the daemon's wipe is over before we write. */
	producer->tail_seen = atomic_load_explicit(&producer->page->tail, memory_order_acquire);
	used = producer->head - producer->tail_seen;
	/* A daemon that goes mad must not take its workers along: a tail from elsewhere is a full ring. */
	if (used > producer->data_bytes) {
		producer->tail_seen = producer->head - producer->data_bytes;
		return false;
	}
	return n_bytes <= producer->data_bytes - used;
}

static void store_word(uint8_t *at, uint64_t word)
{
	memcpy(at, &word, sizeof(word));
}

int ring_put(struct ring_producer *producer, const struct ring_notice *notice)
{
	size_t n_bytes, offset, to_end;
	uint8_t *at;

	if (!notice_lengths_ok(notice->kind, notice->n_id, notice->n_der))
		return -EINVAL;
	if (!producer->data)
		return RING_FULL;
	n_bytes = notice_bytes(notice->n_id, notice->n_der);
	offset = producer->head & (producer->data_bytes - 1);
	to_end = producer->data_bytes - offset;
	if (!has_room(producer, n_bytes <= to_end ? n_bytes : to_end + n_bytes))
		return RING_FULL;
	if (n_bytes > to_end) {
		store_word(producer->data + offset, notice_word(RING_SKIP, 0, 0));
		producer->head += to_end;
		offset = 0;
	}
	at = producer->data + offset;
	store_word(at, notice_word(notice->kind, notice->n_id, notice->n_der));
	store_word(at + WORD, (uint64_t)notice->expires_s);
	store_word(at + 2 * WORD, notice->seq);
	if (notice->n_id)
		memcpy(at + HEADER_BYTES, notice->id, notice->n_id);
	if (notice->n_der)
		memcpy(at + HEADER_BYTES + notice->n_id, notice->der, notice->n_der);
	producer->head += n_bytes;
	/* Release: pairs with the acquire in ring_next(), which then sees the whole notice. Sequentially
	 * consistent besides: this store, then ring_must_wake()'s load of `sleeping`, against ring_sleep()'s
	 * store of `sleeping`, then its load of `head`. In one order of the four, one side sees the other. */
	atomic_store_explicit(&producer->page->head, producer->head, memory_order_seq_cst);
	return 0;
}

bool ring_must_wake(struct ring_page *page)
{
	/* The load keeps the line shared while the daemon is awake; its order is explained in ring_put(). */
	if (!atomic_load_explicit(&page->sleeping, memory_order_seq_cst))
		return false;
	/* Of several threads that saw the daemon asleep, one gets the 1. Relaxed: only the value counts. */
	return atomic_exchange_explicit(&page->sleeping, 0, memory_order_relaxed) == 1;
}

int ring_consumer_init(struct ring_consumer *consumer, struct ring_page *page, uint8_t *data,
                       size_t data_bytes, uint8_t copy[RING_COPY_BYTES])
{
	uint64_t head, taken;

	/* Acquire: pairs with ring_release(), for the worker that reads behind a daemon that is gone. */
	taken = atomic_load_explicit(&page->taken, memory_order_acquire);
	head = atomic_load_explicit(&page->head, memory_order_acquire);
	if (head - taken > data_bytes || taken % WORD)
		return -EPROTO;
	*consumer = (struct ring_consumer){
	    .page = page,
	    .data = data,
	    .data_bytes = data_bytes,
	    .released = taken,
	    .cursor = taken,
	    .copy = copy,
	};
	return 0;
}

/* Exactly one load of a word that the other side may be changing. */
static uint64_t load_word(const uint8_t *at)
{
	return __atomic_load_n((const uint64_t *)(const void *)at, __ATOMIC_RELAXED);
}

/* Out: the words of the next notice, checked against the ring's bounds. */
static int take_header(struct ring_consumer *consumer, uint64_t *word, size_t *offset)
{
	/* Acquire: pairs with the release in ring_put(). */
	uint64_t head = atomic_load_explicit(&consumer->page->head, memory_order_acquire);
	uint64_t available = head - consumer->cursor;
	size_t to_end;

	if (head - consumer->released > consumer->data_bytes || available > consumer->data_bytes ||
	    head % WORD)
		return -EPROTO;
	for (;;) {
		if (available == 0)
			return RING_EMPTY;
		*offset = consumer->cursor & (consumer->data_bytes - 1);
		to_end = consumer->data_bytes - *offset;
		*word = load_word(consumer->data + *offset);
		if (*word != notice_word(RING_SKIP, 0, 0))
			break;
		/* A skip is published with its notice; at offset 0 it would send us in circles. */
		if (*offset == 0 || available <= to_end)
			return -EPROTO;
		consumer->cursor += to_end;
		available -= to_end;
	}
	if (available < HEADER_BYTES || to_end < HEADER_BYTES)
		return -EPROTO;
	if (notice_bytes(*word >> 8 & 0xff, *word >> 16 & 0xffff) > MIN(available, to_end))
		return -EPROTO;
	return 0;
}

int ring_next(struct ring_consumer *consumer, struct ring_notice *notice)
{
	struct ring_notice taken = {0};
	uint64_t word;
	size_t offset;
	int r;

	r = take_header(consumer, &word, &offset);
	if (r != 0)
		return r;
	taken.kind = word & 0xff;
	taken.n_id = word >> 8 & 0xff;
	taken.n_der = word >> 16 & 0xffff;
	if (word >> 32 || !notice_lengths_ok(taken.kind, taken.n_id, taken.n_der))
		return -EPROTO;
	taken.expires_s = (int64_t)load_word(consumer->data + offset + WORD);
	taken.seq = load_word(consumer->data + offset + 2 * WORD);
	if (taken.seq <= consumer->seq || taken.seq > INT64_MAX)
		return -EPROTO;
	memcpy(consumer->copy, consumer->data + offset + HEADER_BYTES, taken.n_id + taken.n_der);
	consumer->n_copied = MAX(consumer->n_copied, taken.n_id + taken.n_der);
	/* The copy is what counts from here on: the compiler must not go back to the original. */
	atomic_signal_fence(memory_order_seq_cst);
	taken.id = taken.n_id ? consumer->copy : NULL;
	taken.der = taken.n_der ? consumer->copy + taken.n_id : NULL;
	consumer->seq = taken.seq;
	consumer->cursor += notice_bytes(taken.n_id, taken.n_der);
	*notice = taken;
	return 0;
}

void ring_release(struct ring_consumer *consumer)
{
	size_t offset = consumer->released & (consumer->data_bytes - 1);
	size_t n_bytes = consumer->cursor - consumer->released;
	size_t first = MIN(n_bytes, consumer->data_bytes - offset);

	if (n_bytes == 0)
		return;
	/* Release: pairs with the acquire in ring_consumer_init(). First this, then the wipe: a worker that
	 * carries notices over from `taken` must find them whole. */
	atomic_store_explicit(&consumer->page->taken, consumer->cursor, memory_order_release);
	explicit_bzero(consumer->data + offset, first);
	explicit_bzero(consumer->data, n_bytes - first);
	explicit_bzero(consumer->copy, consumer->n_copied);
	consumer->n_copied = 0;
	consumer->released = consumer->cursor;
	/* Release: pairs with the acquire in has_room(). */
	atomic_store_explicit(&consumer->page->tail, consumer->cursor, memory_order_release);
}

bool ring_sleep(struct ring_consumer *consumer)
{
	/* Both sequentially consistent: ring_put() has the other half. */
	atomic_store_explicit(&consumer->page->sleeping, 1, memory_order_seq_cst);
	if (atomic_load_explicit(&consumer->page->head, memory_order_seq_cst) == consumer->cursor)
		return true;
	ring_stay_awake(consumer->page);
	return false;
}

void ring_stay_awake(struct ring_page *page)
{
	/* Relaxed: a worker that still reads 1 sends a wake-up too many. */
	atomic_store_explicit(&page->sleeping, 0, memory_order_relaxed);
}
