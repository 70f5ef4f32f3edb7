#include "table/key.h"

void key_init(struct key *key, const struct layout *layout, uint64_t seed, const uint8_t *id,
              size_t n_id)
{
	key_make(key, layout, seed, id, n_id);
}
