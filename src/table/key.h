/* A session ID as the index sees it: hashed, and padded to words. */
#ifndef TLSBATON_TABLE_KEY_H
#define TLSBATON_TABLE_KEY_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "table/layout.h"

struct key {
	size_t n_id;
	uint64_t id[RECORD_ID_WORDS];
	uint64_t buckets[2];
	unsigned tag;
};

/*
 * Buckets come from the upper bits of the hash's halves, the tag from the lower ones, so that they stay
 * independent up to 2^24 buckets (a 12 GiB file); beyond, tags merely match by accident a little more often.
 */
/* For lookups. Nearly all IDs have 32 bytes: where the compiler knows the length, hash and copy are a few dozen
 * instructions without a branch. */
static inline __attribute__((always_inline)) void key_make(struct key *key,
                                                           const struct layout *layout,
                                                           uint64_t seed, const uint8_t *id,
                                                           size_t n_id)
{
	uint64_t hash = XXH3_64bits_withSeed(id, n_id, seed);

	key->n_id = n_id;
	memset(key->id, 0, sizeof(key->id));
	memcpy(key->id, id, n_id);
	key->buckets[0] = (hash >> 32) * layout->n_buckets >> 32;
	key->buckets[1] = (hash & UINT32_MAX) * layout->n_buckets >> 32;
	key->tag = (unsigned)((hash >> 24 & 0xff00) | (hash & 0xff));
}

/* The same, for the writer. */
void key_init(struct key *key, const struct layout *layout, uint64_t seed, const uint8_t *id,
              size_t n_id);

#endif
