/* A reader's view of a table, for view.c and for tests that make one over the writer's own mapping. */
#ifndef TLSBATON_TABLE_VIEW_H
#define TLSBATON_TABLE_VIEW_H

#include "table/layout.h"

struct table_view {
	const struct layout_header *header; /* the mapping */
	uint64_t size_bytes;
	struct layout layout; /* from the mapping's size */
	uint64_t seed;
	const word_t *index;
	const word_t *log;
};

/* Fills in a view of a mapping of `size_bytes` (at least TABLE_SIZE_MIN). -EPROTO: not a table of this layout. */
int table_view_init(struct table_view *view, const void *map, uint64_t size_bytes) MUST_CHECK;

#endif
