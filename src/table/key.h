/* A session ID as the index sees it. */
#ifndef TLSBATON_TABLE_KEY_H
#define TLSBATON_TABLE_KEY_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "table/layout.h"

/* Nearly all IDs have 32 bytes: where the compiler knows the length, this is three dozen instructions. */
static inline __attribute__((always_inline)) uint64_t key_hash(uint64_t seed, const uint8_t *id,
                                                               size_t n_id)
{
	return XXH3_64bits_withSeed(id, n_id, seed);
}

/*
 * Buckets come from the upper bits of the hash's halves, the tag from the lower ones, so that they stay
 * independent up to 2^24 buckets (a 12 GiB file); beyond, tags merely match by accident a little more often.
 */
static inline uint64_t key_bucket(const struct layout *layout, uint64_t hash)
{
	return (hash >> 32) * layout->n_buckets >> 32;
}

static inline unsigned key_tag(uint64_t hash)
{
	return (unsigned)((hash >> 24 & 0xff00) | (hash & 0xff));
}

/* For the writer: all of it, and the ID padded to words. */
struct key {
	size_t n_id;
	uint64_t id[RECORD_ID_WORDS];
	uint64_t buckets[2];
	unsigned tag;
};

void key_init(struct key *key, const struct layout *layout, uint64_t seed, const uint8_t *id,
              size_t n_id);

#endif
