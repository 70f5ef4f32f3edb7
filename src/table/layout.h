/*
 * What stands in a table file, shared by its writer and its readers. docs/table.md draws it.
 *
 *   0            header (one page): an immutable, checksummed part; tail; head; counters
 *   index_offset n_buckets buckets of 64 bytes: 8 slots {16-bit tag, 48-bit position in units}
 *   log_offset   log_bytes: the ring of records, each a multiple of 16 bytes (a unit)
 *
 * The geometry is a pure function of the file's size, so neither side ever takes an offset from the file:
 * a reader computes it from fstat(2) and only compares it with the header.
 *
 * The protocol between the writer and its readers, to which comments elsewhere refer by number:
 *
 *  P1 publish. The writer stores all words of a record, then the head, then the slot (release). A reader
 *     loads the slot (acquire) and so sees the whole record. A slot never names a position at or above
 *     the head, also after the writer died between any two of these.
 *  P2 reclaim. The writer stores the tail, issues a release fence, then wipes. A reader copies, issues an
 *     acquire fence, then loads the tail: if any word it copied came from the wipe, or from whatever was
 *     written there later, it sees a tail beyond its record, and drops the copy.
 *  P3 kill. A record amid the log goes by the same pair of fences, with its own stamp in the tail's place.
 *  P4 restart. When positions run out, the index is emptied before the new epoch is stored (release), and
 *     the epoch before the first small position. A reader loads the epoch (acquire) before any slot and
 *     compares it again after the acquire fence: no copy ever spans a restart.
 *
 * Every word that both sides touch is a relaxed atomic, so a torn copy is possible and harmless, and a
 * data race is not possible. ThreadSanitizer does not model fences. Under it, word loads are acquire and
 * word stores release, which orders at least as much as the fences they replace; other builds keep those.
 */
#ifndef TLSBATON_TABLE_LAYOUT_H
#define TLSBATON_TABLE_LAYOUT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "table/table.h"

#if defined(__SANITIZE_THREAD__)
#define LAYOUT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LAYOUT_TSAN 1
#endif
#endif

#define LAYOUT_MAGIC UINT64_C(0x656c626174425354) /* "TSBtable" in a little-endian file */
#define LAYOUT_VERSION 1
#define LAYOUT_HEADER_BYTES 4096
#define LAYOUT_SIZE_MAX (UINT64_C(1) << 40)
#define LAYOUT_UNIT 16
#define LAYOUT_SLOTS 8
#define LAYOUT_BUCKET_BYTES 64
/* Positions are 48 bits of units: beyond this the table restarts with a new epoch. */
#define LAYOUT_POSITION_END ((UINT64_C(1) << 48) * LAYOUT_UNIT)

typedef _Atomic uint64_t word_t;

struct layout_header {
	uint64_t magic;
	uint32_t version;
	uint32_t header_bytes;
	uint64_t size_bytes;
	uint64_t n_buckets;
	uint64_t log_offset;
	uint64_t log_bytes;
	uint64_t seed; /* of the index's hash: random, so that nobody can aim at one bucket */
	uint64_t boot
	    [2]; /* the machine's boot: pages of an earlier one may have reached a disk in any order */
	uint64_t checksum; /* of everything above */

	/* Readers load this line at each lookup; the writer stores it only when it reclaims. */
	_Alignas(64) word_t tail;
	word_t epoch;

	/* The writer's own. Readers touch it only to walk the whole log. */
	_Alignas(64) word_t head;
	uint64_t n_appended;
	uint64_t n_expired;
	uint64_t n_removed;
	uint64_t n_evicted;
	uint64_t n_displaced;
	uint64_t
	    log_bytes_wanted; /* most log that the sessions not yet expired would have filled */

	/* Below it all is acked (table_set_acked()). Loaded at each hit, stored at each ack: a line of its own
	 * costs a reader one miss an ack. */
	_Alignas(64) word_t acked;
};
_Static_assert(sizeof(struct layout_header) <= LAYOUT_HEADER_BYTES, "the header is one page");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "atomics in shared memory must not hide a lock");

struct layout {
	uint64_t n_buckets;
	uint64_t log_offset;
	uint64_t log_bytes;
};

/*
 * A record: three header words, the ID padded to words, the DER padded to the unit. With a 32-byte ID and
 * the usual 126 to 131 bytes of DER that makes 192 bytes: three cache lines.
 *
 * The stamp names the record's own position and whether it is live, so that nothing else in the log can be
 * taken for a record by accident. A pad fills the ring's end where the next record would straddle it; it
 * can be a single unit, so it has only the first two words.
 */
enum {
	RECORD_STAMP,
	RECORD_META,
	RECORD_TIMES,
	RECORD_WORDS, /* of its header */
};
#define RECORD_LIVE (UINT64_C(1) << 63)
#define RECORD_DEAD (UINT64_C(1) << 62)
#define RECORD_PAD (1u << 7) /* a flag beside enum table_flags, in the log only */
#define RECORD_FLAGS ((unsigned)TABLE_LOCAL | (unsigned)TABLE_TOMBSTONE)
#define RECORD_ID_WORDS (TABLE_ID_MAX / 8)
#define RECORD_BYTES_MAX                                                                           \
	((RECORD_WORDS * 8 + TABLE_ID_MAX + TABLE_DER_MAX + LAYOUT_UNIT - 1) / LAYOUT_UNIT *       \
	 LAYOUT_UNIT)

/* The meta word, unpacked. */
struct record_meta {
	uint32_t bytes; /* of the whole record */
	unsigned n_id;  /* 0 in a dead record and a pad */
	unsigned n_der;
	unsigned flags;
};

/* Its upper 16 bits: lengths and flags hashed with the position, so that damage to them shows. */
static inline uint64_t record_meta_check(uint64_t word, uint64_t position)
{
	return ((word << 16 ^ position) * UINT64_C(0x9e3779b97f4a7c15)) >> 48 << 48;
}

static inline uint64_t record_meta_pack(const struct record_meta *meta, uint64_t position)
{
	uint64_t word = (uint64_t)(meta->bytes / LAYOUT_UNIT) | (uint64_t)meta->n_id << 16 |
	                (uint64_t)meta->n_der << 24 | (uint64_t)meta->flags << 40;

	return word | record_meta_check(word, position);
}

static inline struct record_meta record_meta_unpack(uint64_t word)
{
	return (struct record_meta){
	    .bytes = (uint32_t)(word & 0xffff) * LAYOUT_UNIT,
	    .n_id = word >> 16 & 0xff,
	    .n_der = word >> 24 & 0xffff,
	    .flags = word >> 40 & 0xff,
	};
}

static inline size_t record_id_bytes(size_t n_id)
{
	return (n_id + 7) / 8 * 8;
}

static inline uint32_t record_bytes(size_t n_id, size_t n_der)
{
	size_t n = RECORD_WORDS * 8 + record_id_bytes(n_id) + n_der;

	return (uint32_t)((n + LAYOUT_UNIT - 1) / LAYOUT_UNIT * LAYOUT_UNIT);
}

/* Whether a live record may look like this: lengths in range, and agreeing with each other. */
static inline bool record_meta_valid(const struct record_meta *meta)
{
	bool tombstone = meta->flags & TABLE_TOMBSTONE;

	return meta->n_id >= 1 && meta->n_id <= TABLE_ID_MAX && meta->n_der <= TABLE_DER_MAX &&
	       (meta->flags & ~RECORD_FLAGS) == 0 && tombstone == (meta->n_der == 0) &&
	       meta->bytes == record_bytes(meta->n_id, meta->n_der);
}

/* Reading one that claims to be a session: first the length of its DER, then whether all else agrees with it. */
static inline size_t record_meta_n_der(uint64_t word)
{
	return word >> 24 & 0xffff;
}

/* At once: that its ID has `n_id` bytes, that its length is that of such a record, and that it has no flag but
 * TABLE_LOCAL. Whether `n_der` is in range is the caller's to check. */
static inline bool record_meta_is_session(uint64_t word, size_t n_id, size_t n_der)
{
	uint64_t wanted = (uint64_t)(record_bytes(n_id, n_der) / LAYOUT_UNIT) |
	                  (uint64_t)n_id << 16 | (uint64_t)n_der << 24;
	uint64_t any = (uint64_t)TABLE_LOCAL << 40 | UINT64_C(0xffff) << 48; /* and the check */

	return ((word ^ wanted) & ~any) == 0;
}

static inline uint64_t record_stamp(uint64_t position, uint64_t state)
{
	return position / LAYOUT_UNIT | state;
}

/*
 * The times word: the expiry, in seconds since 1970, in 40 bits; above them the lifetime that was left when the
 * record was stored here, in seconds.
 */
#define RECORD_EXPIRES_BITS 40

static inline uint64_t record_times_pack(int64_t expires_s, int64_t now_s)
{
	return (uint64_t)expires_s | (uint64_t)(expires_s - now_s) << RECORD_EXPIRES_BITS;
}

static inline int64_t times_expires_s(uint64_t times)
{
	return (int64_t)(times & ((UINT64_C(1) << RECORD_EXPIRES_BITS) - 1));
}

static inline int64_t times_stored_s(uint64_t times)
{
	return times_expires_s(times) - (int64_t)(times >> RECORD_EXPIRES_BITS);
}

/* ---- Slots ---- */

static inline uint64_t slot_pack(unsigned tag, uint64_t position)
{
	return (uint64_t)tag << 48 | position / LAYOUT_UNIT;
}

static inline uint64_t slot_position(uint64_t slot)
{
	return (slot & ((UINT64_C(1) << 48) - 1)) * LAYOUT_UNIT;
}

/* ---- Words ---- */

static inline uint64_t word_load(const word_t *word)
{
#ifdef LAYOUT_TSAN
	return atomic_load_explicit(word, memory_order_acquire);
#else
	return atomic_load_explicit(word, memory_order_relaxed);
#endif
}

static inline void word_store(word_t *word, uint64_t value)
{
#ifdef LAYOUT_TSAN
	atomic_store_explicit(word, value, memory_order_release);
#else
	atomic_store_explicit(word, value, memory_order_relaxed);
#endif
}

static inline int64_t record_expires_s(const word_t *record)
{
	return times_expires_s(word_load(&record[RECORD_TIMES]));
}

/* The writer's side of P2 and P3; its partner is fence_before_recheck(). */
static inline void fence_before_wipe(void)
{
#ifndef LAYOUT_TSAN
	atomic_thread_fence(memory_order_release);
#endif
}

/* A reader's side of P2, P3 and P4; its partner is fence_before_wipe(). */
static inline void fence_before_recheck(void)
{
#ifndef LAYOUT_TSAN
	atomic_thread_fence(memory_order_acquire);
#endif
}

/* ---- Files ---- */

/* The geometry of a file of `size_bytes`; false if no table has that size. */
bool layout_init(struct layout *layout, uint64_t size_bytes) MUST_CHECK;

/* The nearest file size from `size_bytes` up that a table can have. */
uint64_t layout_round(uint64_t size_bytes);

/* The size of a file whose log has at least `log_bytes`. */
uint64_t layout_size_for_log(uint64_t log_bytes);

/* Fills in a header whose page is zero; the checksum last, so that a half-made one
 * does not pass. */
void layout_header_init(struct layout_header *header, const struct layout *layout,
                        uint64_t size_bytes, uint64_t seed, uint64_t epoch, const uint64_t boot[2]);

/* NULL if the header is of this layout and of a file of `size_bytes`, or what is wrong, in words. */
const char *layout_header_check(const struct layout_header *header, const struct layout *layout,
                                uint64_t size_bytes);

#endif
