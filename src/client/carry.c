/*
 * From ring to ring. A process always has a ring: a private one before the first connection and after
 * fork(), then the one that its daemon made. When the daemon is gone, notices go on into that ring. Its
 * successor brings a new one; what the old daemon had not stored is copied over, and then the new
 * header page is mapped over the old one, at the same address, in one step for all threads.
 *
 * What stands in the old ring before `taken` is in a table, and its gates are open: a daemon that is gone
 * holds none closed. So the new ring starts with all of that acked.
 */
#include "client/bind.h"
#include "util/clock.h"

#include <errno.h>

static int old_ring(struct tlsbaton *baton, struct ring_consumer *consumer, uint8_t *copy)
{
	if (!baton->ring.data)
		return -ENODATA;
	return ring_consumer_init(consumer, baton->page, baton->ring.data, baton->ring.data_bytes,
	                          copy);
}

/* Relaxed, here and in what else prepares the new page: nobody looks at it before the first notice is put,
 * and ring_put() orders that. What the daemon writes there it writes after it took one, so all has to be
 * in place before. */
static void set_acked(struct ring_page *page, uint64_t seq)
{
	atomic_store_explicit(&page->acked, seq, memory_order_relaxed);
}

static void copy_notices(struct tlsbaton *baton, struct ring_producer *to, size_t *n_carried,
                         size_t *n_lost)
{
	struct ring_consumer from;
	struct ring_notice notice;
	uint8_t copy[RING_COPY_BYTES];

	*n_carried = *n_lost = 0;
	set_acked(to->page, baton->seq);
	if (old_ring(baton, &from, copy) < 0)
		return;
	while (ring_next(&from, &notice) == 0) {
		if (*n_carried + *n_lost == 0)
			set_acked(to->page, notice.seq - 1);
		if (ring_put(to, &notice) == 0)
			++*n_carried;
		else if (notice.kind != RING_MARK) /* no session */
			++*n_lost;
	}
	explicit_bzero(copy, from.n_copied);
}

/* The counters go on; those of the gap, which no daemon has summed up, are left to the new ring. What a
 * lookup or a gate counts on the old page from here to the change is not counted. */
static void carry_counters(const struct tlsbaton *baton, struct ring_page *to)
{
	for (size_t i = 0; i < RING_N_COUNTERS; i++)
		atomic_store_explicit(
		    &to->counters[i],
		    atomic_load_explicit(&baton->page->counters[i], memory_order_relaxed) -
		        baton->counted_at_loss[i],
		    memory_order_relaxed);
}

static void commit_counters(struct tlsbaton *baton)
{
	for (size_t i = 0; i < RING_N_COUNTERS; i++) {
		baton->counted_before[i] += baton->counted_at_loss[i];
		baton->counted_at_loss[i] = 0;
	}
}

int carry_over(struct tlsbaton *baton, int fd, size_t *n_carried, size_t *n_lost)
{
	struct ring_producer ring;
	struct ring_page *page;
	uint8_t *data;
	int r;

	r = ring_map(fd, &page, &data);
	if (r < 0)
		return r;
	/* The daemon's lock holds for as long as it lives; ours is for the time after, where the limit allows it. */
	(void)!ring_lock(data, page->data_bytes);
	ring_producer_init(&ring, page, data);
	carry_counters(baton, page);
	known_tell(baton, page);
	/* A turn of its own makes the futex refuse whoever read the old page's just before the change. */
	atomic_store_explicit(&page->turn,
	                      atomic_load_explicit(&baton->page->turn, memory_order_relaxed) + 2,
	                      memory_order_relaxed);
	copy_notices(baton, &ring, n_carried, n_lost);
	/* Who sleeps on the old page looks again, at the new one; whoever slips between sleeps to his next
	 * look. */
	ring_wake_waiters(baton->page);
	r = ring_move_page(page, baton->page);
	if (r < 0) {
		/* What was copied is the daemon's now, and will be a duplicate when it is copied again. */
		ring_unmap_data(data, page->data_bytes, false);
		ring_unmap_page(page);
		return r;
	}
	commit_counters(baton);
	ring_unmap_data(baton->ring.data, baton->ring.data_bytes, true);
	ring.page = baton->page;
	baton->ring = ring;
	return 0;
}

void carry_expire(struct tlsbaton *baton)
{
	struct ring_consumer from;
	struct ring_notice notice;
	uint8_t copy[RING_COPY_BYTES];
	int64_t now = clock_coarse_wall_s();

	if (old_ring(baton, &from, copy) < 0)
		return;
	/* Each notice is looked at once before it goes, and one more that stays: no long work under the lock. */
	for (;;) {
		uint64_t before = from.cursor;

		if (ring_next(&from, &notice) != 0)
			break;
		if (notice.expires_s > now) {
			from.cursor = before;
			break;
		}
	}
	ring_release(&from);
	explicit_bzero(copy, sizeof(copy));
}
