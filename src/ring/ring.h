/*
 * The ring: shared memory between one worker process (the producer) and the daemon (the consumer). It
 * carries notices one way, and acks, counters and signs of life in its header page. No sockets here: how
 * the two come by the memory is hello.h's and the client's and daemon's business. ring.c has the essay.
 */
#ifndef TLSBATON_RING_RING_H
#define TLSBATON_RING_RING_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/macro.h"

#define RING_MAGIC 0x31676e6974616274ULL /* "tbating1" */
#define RING_PAGE_BYTES 4096             /* the header page; data follows it in the file */
#define RING_BYTES_MIN                                                                             \
	(64 * 1024) /* the longest notice, and a skip before it, always fit an empty ring */
#define RING_BYTES_MAX (256 * 1024 * 1024)
#define RING_ID_MAX 32
#define RING_DER_MAX 16384
#define RING_WAIT_BUCKETS 32
#define RING_POLICIES_MAX 64
#define RING_POLICY_BYTES 32
#define RING_DEAD_MS 1000 /* a heartbeat older than this: the daemon hangs */

/* In the order of struct tlsbaton_counters. */
enum ring_counter {
	RING_PUTS,
	RING_LOST,
	RING_HITS,
	RING_HITS_EARLY,
	RING_MISSES,
	RING_REMOVALS,
	RING_REMOVALS_IGNORED,
	RING_STATELESS,
	RING_TICKETS_ISSUED,
	RING_TICKETS_OPENED,
	RING_TICKETS_REFUSED,
	RING_GATE_WAITS,
	RING_GATE_TIMEOUTS,
	RING_GATE_NO_DAEMON,
	RING_RECONNECTS,
	RING_REFUSED_POLICY,
	RING_N_COUNTERS,
};

/* The header page. A cache line has one writer in the common case; what is rare may share. */
struct ring_page {
	/* Written once, before anybody else sees the ring. */
	uint64_t magic;
	uint64_t data_bytes; /* a power of two */

	/* Worker: where the next notice will start. */
	alignas(64) _Atomic uint64_t head;
	/* Worker: somebody sleeps on `turn`; polls the socket. The daemon resets them as it wakes. */
	alignas(64) _Atomic uint32_t waiting;
	_Atomic uint32_t polling;

	/* Daemon: before this all is stored in the table; before this all is wiped and free again. */
	alignas(64) _Atomic uint64_t taken;
	_Atomic uint64_t tail;
	/* Daemon: 1 while it sleeps, so that the next notice must wake it; the worker resets it as it does. */
	alignas(64) _Atomic uint32_t sleeping;
	/* Daemon: notices up to this number are where the policy wants them; `turn` moves at each change. */
	alignas(64) _Atomic uint64_t acked;
	_Atomic uint32_t turn;
	_Atomic uint32_t gate_deadline_ms;
	_Atomic uint64_t heartbeat_ms; /* CLOCK_MONOTONIC */

	/* Worker: statistics; nothing depends on them. */
	alignas(64) _Atomic uint64_t counters[RING_N_COUNTERS];
	/* Gates that waited less than 2^i microseconds and at least 2^(i-1). */
	alignas(64) _Atomic uint64_t gate_wait_us[RING_WAIT_BUCKETS];

	/* Worker: the policies of its contexts, or their sum if they are more (policies.c). `policies_turn` is odd while
	 * they change. */
	alignas(64) _Atomic uint32_t policies_turn;
	_Atomic uint32_t n_policies;
	_Atomic uint64_t policies[RING_POLICIES_MAX][RING_POLICY_BYTES / 8];
};
_Static_assert(sizeof(struct ring_page) <= RING_PAGE_BYTES, "the header is one page");

enum ring_kind {
	RING_PUT = 1,
	RING_REMOVE,
	RING_SKIP, /* what is left of the ring stays empty; never given or taken */
	RING_MARK, /* nothing to store: its ack says that all is acked which stood in the table when it was taken */
};

/* A notice as given or taken. Pointers are borrowed. */
struct ring_notice {
	enum ring_kind kind;
	uint64_t seq;
	int64_t expires_s;
	const uint8_t *id; /* n_id bytes, 1..RING_ID_MAX; NULL and 0 for RING_MARK */
	size_t n_id;
	const uint8_t *der; /* n_der bytes, 1..RING_DER_MAX; NULL and 0 but for RING_PUT */
	size_t n_der;
};

enum ring_outcome {
	RING_EMPTY = 1, /* no further notice */
	RING_FULL,      /* no room; nothing changed */
};

/* ---- Memory ---- */

/* `bytes` within the limits and rounded up to a power of two. */
size_t ring_round(size_t bytes);

/* Out: `*fd`, a sealed memory file with an empty ring of ring_round(data_bytes). 0 or a negated errno. */
int ring_create(size_t data_bytes, int *fd) MUST_CHECK;

/*
 * Checks that `fd` is a ring (seals, size, magic) and maps header and data of it. The two mappings are
 * separate so that the worker can put a new ring's header where an old one's was. Neither goes into core
 * dumps. Returns 0, -EPROTO (not a ring) or a negated errno.
 */
int ring_map(int fd, struct ring_page **page, uint8_t **data) MUST_CHECK;

/* The same, of a ring that no daemon knows, in private memory, which is locked if the limit allows it. */
int ring_map_private(size_t data_bytes, struct ring_page **page, uint8_t **data) MUST_CHECK;

/* Keeps the data, page by page as they come into use, from being swapped out, for as long as this process maps it.
 * Returns 0 or a negated errno (-ENOMEM, -EPERM: raise RLIMIT_MEMLOCK). */
int ring_lock(uint8_t *data, size_t data_bytes) MUST_CHECK;

/* Moves the mapping of `page` over the one at `to`, in one step for all threads: each access finds the old
 * page or the new one. Returns 0 or a negated errno, and then nothing has changed. */
int ring_move_page(struct ring_page *page, struct ring_page *to) MUST_CHECK;

/* Unmaps; NULL is fine. With `wipe` (the memory may be somebody else's too) the data is zeroed first. */
void ring_unmap_page(struct ring_page *page);
void ring_unmap_data(uint8_t *data, size_t data_bytes, bool wipe);

/* ---- Notices: worker. Not thread-safe: its user has a lock. ---- */

struct ring_producer {
	struct ring_page *page;
	uint8_t *data; /* NULL: no room */
	size_t data_bytes;
	uint64_t head;      /* the truth; the page has a copy */
	uint64_t tail_seen; /* the tail as last loaded: at or behind the true one */
};

/* An empty ring's producer end; `page` and `data` are borrowed. */
void ring_producer_init(struct ring_producer *producer, struct ring_page *page, uint8_t *data);

/* Copies `notice` in. Never blocks. Returns 0, RING_FULL, -EINVAL (a length out of range). */
int ring_put(struct ring_producer *producer, const struct ring_notice *notice) MUST_CHECK;

/* True when the daemon must be woken for what was put; then exactly this caller has to do it. */
bool ring_must_wake(struct ring_page *page);

/* ---- Notices: daemon (or a worker that carries notices over from a ring whose daemon is gone) ---- */

struct ring_consumer {
	struct ring_page *page;
	uint8_t *data;
	size_t data_bytes;
	uint64_t released; /* before it all is free */
	uint64_t cursor;   /* the next notice to take */
	uint64_t seq;      /* of the last notice taken */
	uint8_t *copy;     /* borrowed, RING_COPY_BYTES */
	size_t n_copied;   /* of them hold secrets */
};
#define RING_COPY_BYTES (RING_ID_MAX + RING_DER_MAX)

/* Starts at the page's `taken`. Memory is borrowed; several consumers may share a `copy` as long as each
 * releases before another takes. Returns 0, -EPROTO (`taken` is no position in the ring). */
int ring_consumer_init(struct ring_consumer *consumer, struct ring_page *page, uint8_t *data,
                       size_t data_bytes, uint8_t copy[RING_COPY_BYTES]) MUST_CHECK;

/*
 * Copies the next notice out and checks the copy; what stands in the ring is the worker's word and may
 * change at any time. `notice` points into the consumer's copy until the next call; ring_release() wipes it.
 * Returns 0, RING_EMPTY, -EPROTO (malformed: the ring is of no more use).
 */
int ring_next(struct ring_consumer *consumer, struct ring_notice *notice) MUST_CHECK;

/* The notices so far are stored: frees and wipes their room. */
void ring_release(struct ring_consumer *consumer);

/* Announces sleep. True: the ring is empty and the next ring_put() will wake. False: look again. */
bool ring_sleep(struct ring_consumer *consumer);
void ring_stay_awake(struct ring_page *page);

/* ---- Acks ---- */

/* Daemon: publishes `seq` and wakes who sleeps on it. True: a gate is polled, and must be told by socket. */
bool ring_ack(struct ring_page *page, uint64_t seq);

/* Worker: wakes everyone in ring_wait(), to look again. */
void ring_wake_waiters(struct ring_page *page);

/* Worker: true when `seq` is acked. One load. */
static inline bool ring_acked(const struct ring_page *page, uint64_t seq)
{
	/* Acquire: pairs with the release in ring_ack(); what the daemon did before the ack has happened. */
	return atomic_load_explicit(&page->acked, memory_order_acquire) >= seq;
}

/* Worker: sleeps until `seq` is acked, ring_wake_waiters() is called, or CLOCK_MONOTONIC reaches
 * `until_us`. True when acked. May return early. */
bool ring_wait(struct ring_page *page, uint64_t seq, uint64_t until_us);

/* Worker: asks to be told of the next ack by socket, then looks. True when `seq` is acked. */
bool ring_poll(struct ring_page *page, uint64_t seq);

/* ---- Policies: what the worker's contexts ask of clients. No secrets. ---- */

/* Worker, under its lock: these `n` (at most RING_POLICIES_MAX), and no others. */
void ring_tell_policies(struct ring_page *page, const uint8_t (*policies)[RING_POLICY_BYTES],
                        size_t n);

/*
 * Daemon: true when they are others than at `*turn` (begin with 0), which follows. Out: `policies` and `*n`, the
 * worker's word within RING_POLICIES_MAX. False, too, while they change: ask again later. Never waits.
 */
bool ring_look_at_policies(struct ring_page *page, uint32_t *turn,
                           uint8_t policies[RING_POLICIES_MAX][RING_POLICY_BYTES],
                           size_t *n) MUST_CHECK;

/* ---- Statistics ---- */

static inline void ring_count(struct ring_page *page, enum ring_counter counter)
{
	/* Relaxed: a sum, ordered with nothing. */
	atomic_fetch_add_explicit(&page->counters[counter], 1, memory_order_relaxed);
}

void ring_count_wait(struct ring_page *page, uint64_t waited_us);

#endif
