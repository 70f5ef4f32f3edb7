#include "table/key.h"

void key_init(struct key *key, const struct layout *layout, uint64_t seed, const uint8_t *id,
              size_t n_id)
{
	uint64_t hash = key_hash(seed, id, n_id);

	key->n_id = n_id;
	memset(key->id, 0, sizeof(key->id));
	memcpy(key->id, id, n_id);
	key->buckets[0] = key_bucket(layout, hash);
	key->buckets[1] = key_bucket(layout, hash << 32);
	key->tag = key_tag(hash);
}
