#include "table/layout.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/*
 * One twelfth of the file is index: with 192-byte records the log is full when 46 % of the slots are
 * taken. Two choices of eight slots then never both fill up in practice; even records of a third of that
 * size (tombstones) rarely displace one another.
 */
#define LAYOUT_INDEX_SHARE 12

#define LAYOUT_GRAIN 4096

bool layout_init(struct layout *layout, uint64_t size_bytes)
{
	uint64_t index_bytes;

	if (size_bytes < TABLE_SIZE_MIN || size_bytes > LAYOUT_SIZE_MAX ||
	    size_bytes % LAYOUT_GRAIN)
		return false;
	index_bytes = size_bytes / LAYOUT_INDEX_SHARE / LAYOUT_GRAIN * LAYOUT_GRAIN;
	layout->n_buckets = index_bytes / LAYOUT_BUCKET_BYTES;
	layout->log_offset = LAYOUT_HEADER_BYTES + index_bytes;
	layout->log_bytes = size_bytes - layout->log_offset;
	return true;
}

uint64_t layout_round(uint64_t size_bytes)
{
	if (size_bytes < TABLE_SIZE_MIN)
		return TABLE_SIZE_MIN;
	return (size_bytes + LAYOUT_GRAIN - 1) / LAYOUT_GRAIN * LAYOUT_GRAIN;
}

uint64_t layout_size_for_log(uint64_t log_bytes)
{
	return layout_round(LAYOUT_HEADER_BYTES +
	                    log_bytes / (LAYOUT_INDEX_SHARE - 1) * LAYOUT_INDEX_SHARE +
	                    LAYOUT_GRAIN);
}

static uint64_t layout_header_checksum(const struct layout_header *header)
{
	return XXH3_64bits(header, offsetof(struct layout_header, checksum));
}

void layout_header_init(struct layout_header *header, const struct layout *layout,
                        uint64_t size_bytes, uint64_t seed, uint64_t epoch, const uint64_t boot[2])
{
	header->version = LAYOUT_VERSION;
	header->header_bytes = LAYOUT_HEADER_BYTES;
	header->size_bytes = size_bytes;
	header->n_buckets = layout->n_buckets;
	header->log_offset = layout->log_offset;
	header->log_bytes = layout->log_bytes;
	header->seed = seed;
	header->boot[0] = boot[0];
	header->boot[1] = boot[1];
	/* Not zero: an empty slot then names a position below the tail, like every other free one. */
	word_store(&header->tail, layout->log_bytes);
	word_store(&header->head, layout->log_bytes);
	word_store(&header->epoch, epoch);
	header->magic = LAYOUT_MAGIC;
	header->checksum = layout_header_checksum(header);
}

const char *layout_header_check(const struct layout_header *header, const struct layout *layout,
                                uint64_t size_bytes)
{
	if (header->magic != LAYOUT_MAGIC)
		return "it is not a session table";
	if (header->version != LAYOUT_VERSION)
		return "it has another layout version";
	if (header->checksum != layout_header_checksum(header))
		return "its header is damaged: wrong checksum";
	if (header->size_bytes != size_bytes || header->header_bytes != LAYOUT_HEADER_BYTES ||
	    header->n_buckets != layout->n_buckets || header->log_offset != layout->log_offset ||
	    header->log_bytes != layout->log_bytes)
		return "its header does not fit its size";
	return NULL;
}
