/*
 * The session table: a node's store of session records, in one shared-memory file. It is at once the
 * store, the expiry queue and the replication backlog. docs/table.md draws the layout.
 *
 * One process writes it (struct table; tlsbatond, one thread). Any number of processes read it
 * (struct table_view; workers, any thread) without locks, system calls or waiting for the writer.
 * Time is passed in: `now_s` is seconds since 1970.
 *
 * Positions are monotonic 64-bit byte offsets in the log, never reused within an epoch. A record is
 * named by the position where it starts; table_put() also gives the position where it ends, and "acked
 * up to P" means every record that ends at or before P.
 */
#ifndef TLSBATON_TABLE_TABLE_H
#define TLSBATON_TABLE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/macro.h"

#define TABLE_ID_MAX 32
#define TABLE_DER_MAX 16384
/* A record that expires later than this from now is clamped to it: bad input must not fill the table for ever. */
#define TABLE_LIFETIME_MAX_S (7 * 24 * 3600)

enum table_flags {
	/* Came from a worker of this node, not from a peer. */
	TABLE_LOCAL = 1 << 0,
	/* The session is removed; no DER; blocks a late put of the same ID until it expires. */
	TABLE_TOMBSTONE = 1 << 1,
};

/* A record as given or taken. Pointers are borrowed. */
struct table_record {
	const uint8_t *id; /* n_id bytes, 1..TABLE_ID_MAX */
	size_t n_id;
	const uint8_t *der; /* n_der bytes, 1..TABLE_DER_MAX; NULL and 0 for a tombstone */
	size_t n_der;
	int64_t expires_s;
	unsigned flags; /* enum table_flags */
};

enum table_outcome {
	TABLE_CREATED = 1, /* there was no file */
	TABLE_REBUILT, /* the file was foreign, truncated, damaged or of another size: a new one took its place */
	TABLE_DUPLICATE, /* a live record (or tombstone) with this ID stands already; nothing changed */
	TABLE_EXPIRED, /* expires_s is not after now_s; nothing changed */
	TABLE_MISS,    /* no live record */
	TABLE_END,     /* the position is the head: nothing follows */
	TABLE_GONE,    /* the position is behind the tail */
};

struct table_stats {
	uint64_t size_bytes; /* of the file */
	uint64_t log_bytes;  /* room for records */
	uint64_t used_bytes; /* head - tail */
	/* Sessions that can be resumed; expired ones that no sweep has met yet included. */
	uint64_t n_live;
	uint64_t n_appended;  /* records and tombstones appended in this epoch */
	uint64_t n_in_log;    /* those between tail and head, dead ones included */
	uint64_t n_expired;   /* records wiped because their time had come */
	uint64_t n_removed;   /* wiped by a tombstone */
	uint64_t n_evicted;   /* live records wiped for want of room in the log */
	uint64_t n_displaced; /* live records that lost their index slot to a newer one */
	/* File size that would have held every session not yet expired; 0: nothing evicted. */
	uint64_t bytes_wanted;
};

struct table;

/*
 * Opens the table file at `path` for writing, creating it with `size_bytes` (rounded up to the layout's
 * needs; at least TABLE_SIZE_MIN) and mode 0600 where it is missing. A file of this layout and size is
 * taken over as its last writer left it, also when that writer died at any instruction. Anything else is
 * wiped and replaced: TABLE_REBUILT, and `why` (of `why_size` bytes) says in words what was wrong. Holds
 * an OFD lock: a second writer gets -EWOULDBLOCK. The memory is left out of core dumps, and locked when
 * `lock` (-ENOMEM or -EPERM if that fails: raise RLIMIT_MEMLOCK).
 * Returns 0, TABLE_CREATED, TABLE_REBUILT (`*out` is set for all three) or a negated errno.
 */
#define TABLE_SIZE_MIN (1024 * 1024)
int table_open(struct table **out, const char *path, uint64_t size_bytes, bool lock, int64_t now_s,
               char *why, size_t why_size) MUST_CHECK;

/* Closes; the file stays. NULL is fine. */
void table_free(struct table *table);

/* A new read-only descriptor of the file, for table_view_open() in this or, sent over a socket, another process. */
int table_fd(const struct table *table) MUST_CHECK; /* the caller's to close; or a negated errno */

/* Random, new at each (re)build, and when positions have run out: then old positions mean nothing any more. */
uint64_t table_epoch(const struct table *table);
uint64_t table_head(const struct table *table); /* where the next record will start */
uint64_t table_tail(const struct table *table); /* where the oldest record starts */

/* Tells the readers that every record which ends at or before `position` is where the policy wants it. A position
 * behind the last one is ignored. A table starts, and starts over, with none. */
void table_set_acked(struct table *table, uint64_t position);

/*
 * Appends a record (or, with TABLE_TOMBSTONE, removes the session of that ID and appends a tombstone).
 * Evicts the oldest when there is no room. Readers see the whole record or none.
 * Out: `*end`, the position where it ends; may be NULL.
 * Returns 0, TABLE_DUPLICATE, TABLE_EXPIRED, -EINVAL (a length out of range, unknown flags).
 */
int table_put(struct table *table, const struct table_record *record, int64_t now_s,
              uint64_t *end) MUST_CHECK;

/*
 * Wipes what has expired: moves the tail past it, and sweeps in place shorter-lived records that stand
 * behind longer-lived ones. Looks at no more than `n_max` records; call it again soon while it returns
 * true (there was more to do). Every record is looked at often enough that none outlives its expiry by
 * more than a full sweep. Where `now_s` is earlier than at the last call, all are looked at, and none lives longer than
 * TABLE_LIFETIME_MAX_S from then on.
 */
bool table_expire(struct table *table, int64_t now_s, size_t n_max);

/*
 * Reads the log, for replication. Takes the record at `*position` that is live (or a tombstone), passing
 * over dead ones, and moves `*position` to where the next starts. Record's pointers are borrowed until
 * the next call that changes the table. `*n_passed` is increased by the records moved over, dead ones
 * included. Returns 0, TABLE_END, TABLE_GONE (`*position` was set to the tail), -EINVAL (not a position).
 */
int table_next(struct table *table, uint64_t *position, struct table_record *out,
               uint64_t *n_passed) MUST_CHECK;

void table_stats(const struct table *table, struct table_stats *out);

/* ---- Readers ---- */

struct table_view;

/* Maps the table read-only. `fd` is borrowed (closing it later is fine). -EPROTO: not a table of this layout. */
int table_view_open(struct table_view **out, int fd) MUST_CHECK;
void table_view_free(struct table_view *view);
uint64_t table_view_epoch(const struct table_view *view);

/*
 * Looks up a live session. Out: a copy of its DER in `der`, `*n_der`, with up to 15 zeros behind it where der_size
 * has room for them; `*expires_s` (may be NULL) when it expires; `*position` (may be NULL) where its record starts:
 * with the epoch, a name for exactly this record for as long as it lives. Thread-safe; never blocks, loops or trusts
 * the file further than its bounds checks.
 * Returns 0, TABLE_MISS, -ENOBUFS (der_size too small), -EINVAL (n_id).
 */
int table_view_get(const struct table_view *view, const uint8_t *id, size_t n_id, int64_t now_s,
                   uint8_t *der, size_t der_size, size_t *n_der, int64_t *expires_s,
                   uint64_t *position) MUST_CHECK;

/* Whether the record that table_view_get() found at `position` is where the policy wants it: true if a peer made it,
 * or table_set_acked() has passed it. A load and a compare for nearly all. Thread-safe; never blocks. */
bool table_view_is_acked(const struct table_view *view, uint64_t position);

/* A live session as counted: never its ID or its secrets. */
struct table_session {
	int64_t expires_s;
	int64_t stored_s; /* when its record came into this table: a moment after its handshake */
	size_t n_der;
	bool local; /* made on this node */
};

/* Calls `fn` for each live session. A snapshot without guarantees while the writer writes. */
void table_view_each(const struct table_view *view, int64_t now_s,
                     void (*fn)(void *arg, const struct table_session *session), void *arg);

DEFINE_CLEANUP(struct table *, table_free)
DEFINE_CLEANUP(struct table_view *, table_view_free)

#endif
