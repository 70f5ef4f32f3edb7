/*
 * Acks: one number that grows, in the header page, and two ways to be told of it.
 *
 * Nobody is told who does not wait: `waiting` and `polling` are set by a worker before it looks a last
 * time at `acked`, and the daemon looks at them after it has moved `acked`. All four are sequentially
 * consistent, so at least one side sees the other: either the worker finds its ack and does not sleep,
 * or the daemon finds the flag and wakes. Flags, not counts of waiters: a thread that dies or leaves
 * for a new ring has nothing to put right.
 */
#include "ring/ring.h"

#include <errno.h>
#include <linux/futex.h>
#include <limits.h>
#include <sys/syscall.h>
#include <time.h>

static void turn_and_wake(struct ring_page *page)
{
	/* Release: pairs with the acquire load of `turn` in ring_wait(). */
	atomic_fetch_add_explicit(&page->turn, 1, memory_order_release);
	/* Not FUTEX_PRIVATE: the sleepers are in another process. */
	(void)syscall(SYS_futex, &page->turn, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

bool ring_ack(struct ring_page *page, uint64_t seq)
{
	atomic_store_explicit(&page->acked, seq, memory_order_seq_cst);
	/* Looked at before it is reset: in the common case nobody waits and the line stays shared. */
	if (atomic_load_explicit(&page->waiting, memory_order_seq_cst)) {
		atomic_store_explicit(&page->waiting, 0, memory_order_seq_cst);
		turn_and_wake(page);
	}
	if (!atomic_load_explicit(&page->polling, memory_order_seq_cst))
		return false;
	atomic_store_explicit(&page->polling, 0, memory_order_seq_cst);
	return true;
}

void ring_wake_waiters(struct ring_page *page)
{
	turn_and_wake(page);
}

bool ring_wait(struct ring_page *page, uint64_t seq, uint64_t until_us)
{
	struct timespec until = {
	    .tv_sec = (time_t)(until_us / 1000000),
	    .tv_nsec = (long)(until_us % 1000000 * 1000),
	};
	uint32_t turn;

	/* Acquire, and before the flag: a turn after this load makes the futex refuse to sleep. */
	turn = atomic_load_explicit(&page->turn, memory_order_acquire);
	atomic_store_explicit(&page->waiting, 1, memory_order_seq_cst);
	if (atomic_load_explicit(&page->acked, memory_order_seq_cst) >= seq)
		return true;
	/* FUTEX_WAIT_BITSET takes an absolute time, so a wake-up too many does not stretch the wait. */
	(void)syscall(SYS_futex, &page->turn, FUTEX_WAIT_BITSET, turn, &until, NULL,
	              FUTEX_BITSET_MATCH_ANY);
	return ring_acked(page, seq);
}

bool ring_poll(struct ring_page *page, uint64_t seq)
{
	atomic_store_explicit(&page->polling, 1, memory_order_seq_cst);
	return atomic_load_explicit(&page->acked, memory_order_seq_cst) >= seq;
}

void ring_count_wait(struct ring_page *page, uint64_t waited_us)
{
	unsigned bucket = waited_us == 0 ? 0 : 64 - (unsigned)__builtin_clzll(waited_us);

	bucket = MIN(bucket, RING_WAIT_BUCKETS - 1U);
	atomic_fetch_add_explicit(&page->gate_wait_us[bucket], 1, memory_order_relaxed);
}
