/*
 * The index, as its writer sees it: where the record of an ID may stand.
 *
 * Each ID has two candidate buckets of eight slots, one cache line each. A new record goes to the first until
 * six of its slots are taken, and then to the emptier of the two. Choosing keeps buckets so even that both are
 * full only when the whole index nearly is. Choosing late keeps nearly all records in their first bucket, where
 * a lookup finds them without the second: seven of eight when the log is full, more when it is not. A slot
 * whose position is below the tail is free by definition, so reclaiming log costs nothing here. Slots of
 * records killed amid the log are cleared.
 *
 * Slots are hints: whoever follows one checks the record. So garbage in the index can hide a session, at
 * worst, and never give a wrong one. There is at most one live record of an ID, and while it is live and
 * at or above the tail, some slot of its buckets names it; a record that loses its slot is killed.
 */
#include "table/bucket.h"
#include "table/internal.h"

#define INDEX_FIRST_ENOUGH 6 /* slots taken; with 7, two buckets of a full table do fill up */

static word_t *index_bucket(const struct table *table, const struct key *key, size_t i)
{
	return table->index + key->buckets[i] * LAYOUT_SLOTS;
}

void index_prefetch(const struct table *table, const struct key *key)
{
	__builtin_prefetch(index_bucket(table, key, 0), 1);
	__builtin_prefetch(index_bucket(table, key, 1), 1);
}

static bool index_slot_in_log(const struct table *table, uint64_t slot)
{
	uint64_t position = slot_position(slot);

	return position >= writer_tail(table) && position < writer_head(table);
}

static bool index_record_has_key(const struct table *table, uint64_t position,
                                 const struct key *key)
{
	const word_t *record = log_at(table, position);
	struct record_meta meta;
	bool live;

	if (!log_record_check(table, position, &meta, &live) || !live || meta.n_id != key->n_id)
		return false;
	for (size_t i = 0; i < record_id_bytes(key->n_id) / 8; i++)
		if (word_load(&record[RECORD_WORDS + i]) != key->id[i])
			return false;
	return true;
}

/* The slot that names the live record (expired or not) of this ID, or NULL. */
word_t *index_find(const struct table *table, const struct key *key)
{
	for (size_t bucket = 0; bucket < 2; bucket++) {
		word_t *slots = index_bucket(table, key, bucket);
		unsigned matches = bucket_match(slots, key->tag);

		for (; matches; matches &= matches - 1) {
			word_t *slot = &slots[__builtin_ctz(matches)];
			uint64_t value = word_load(slot);

			if (index_slot_in_log(table, value) &&
			    index_record_has_key(table, slot_position(value), key))
				return slot;
		}
	}
	return NULL;
}

/* The slot that names the record at `position`, whose key this is, or NULL. */
static word_t *index_find_position(const struct table *table, const struct key *key,
                                   uint64_t position)
{
	uint64_t wanted = slot_pack(key->tag, position);

	for (size_t i = 0; i < 2 * LAYOUT_SLOTS; i++) {
		word_t *slot = index_bucket(table, key, i / LAYOUT_SLOTS) + i % LAYOUT_SLOTS;

		if (word_load(slot) == wanted)
			return slot;
	}
	return NULL;
}

/* A bucket's slots that name a position in the log, one bit each. Without branches: see bucket.h. */
static unsigned index_taken(const struct table *table, const word_t *bucket, unsigned *n_taken)
{
	uint64_t tail = writer_tail(table);
	uint64_t used = writer_head(table) - tail;
	unsigned taken = 0, n = 0;

#pragma GCC unroll 8
	for (unsigned i = LAYOUT_SLOTS; i-- > 0;) {
		unsigned is_taken = slot_position(word_load(&bucket[i])) - tail < used;

		taken = taken * 2 + is_taken;
		n += is_taken;
	}
	*n_taken = n;
	return taken;
}

static word_t *index_oldest(const struct table *table, const struct key *key)
{
	word_t *oldest = index_bucket(table, key, 0);

	for (size_t i = 1; i < 2 * LAYOUT_SLOTS; i++) {
		word_t *slot = index_bucket(table, key, i / LAYOUT_SLOTS) + i % LAYOUT_SLOTS;

		if (slot_position(word_load(slot)) < slot_position(word_load(oldest)))
			oldest = slot;
	}
	return oldest;
}

/* The slot for a new record: a free one, or the oldest of all when both buckets are full. */
static word_t *index_choose(const struct table *table, const struct key *key)
{
	word_t *buckets[2] = {index_bucket(table, key, 0), index_bucket(table, key, 1)};
	unsigned n_taken[2];
	unsigned taken[2] = {index_taken(table, buckets[0], &n_taken[0]),
	                     index_taken(table, buckets[1], &n_taken[1])};
	size_t chosen = n_taken[0] >= INDEX_FIRST_ENOUGH && n_taken[1] < n_taken[0];

	if (n_taken[chosen] == LAYOUT_SLOTS)
		return index_oldest(table, key);
	return &buckets[chosen][__builtin_ctz(~taken[chosen])];
}

/* Makes `slot` name the record at `position`, in place of an older one of the same ID. */
void index_replace(word_t *slot, const struct key *key, uint64_t position)
{
	/* P1: publish. Partner: the acquire load of the slot in table_view_get(). */
	atomic_store_explicit(slot, slot_pack(key->tag, position), memory_order_release);
}

/*
 * Gives the record at `position` a slot. A live record that loses its slot for that could never be found
 * again, and must not count as live: it is killed.
 */
void index_insert(struct table *table, const struct key *key, uint64_t position)
{
	word_t *slot = index_choose(table, key);
	uint64_t old = word_load(slot);
	uint64_t old_position = slot_position(old);
	struct record_meta meta;
	bool live;

	index_replace(slot, key, position);
	if (index_slot_in_log(table, old) && log_record_check(table, old_position, &meta, &live) &&
	    live) {
		if (!(meta.flags & TABLE_TOMBSTONE))
			table->header->n_displaced++;
		log_kill(table, old_position);
	}
}

/* Kills the live record at `position` and clears its slot. */
void index_kill_record(struct table *table, uint64_t position)
{
	struct key key;
	word_t *slot;

	log_key(table, position, &key);
	slot = index_find_position(table, &key, position);
	log_kill(table, position);
	/* Relaxed: a reader that still sees the old slot is stopped by the record's stamp. */
	if (slot)
		word_store(slot, 0);
}

void index_clear(struct table *table)
{
	for (uint64_t i = 0; i < table->layout.n_buckets * LAYOUT_SLOTS; i++)
		word_store(&table->index[i], 0);
}
