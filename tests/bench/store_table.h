/* tlsbaton's session table as a store to measure: filled by its writer, looked up through a worker's view. */
#ifndef TLSBATON_BENCH_STORE_TABLE_H
#define TLSBATON_BENCH_STORE_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "table/table.h"

struct store_table {
	struct table *table;
	struct table_view *view;
};

/*
 * Makes a table for `n` sessions in `directory`, and puts once around its ring and lets it all expire: in a
 * daemon that has run for some minutes every page has been written before, and a put meets no page fault.
 */
void store_table_open(struct store_table *store, const char *directory, size_t n);
/* Puts the session `i` of that `id`. */
void store_table_put(const struct store_table *store, uint64_t i, const uint8_t *id);
/* Puts the sessions from `first` up to, not including, `end`; `store` is a struct store_table. */
void store_table_fill(void *store, uint64_t first, uint64_t end);
/* Looks one up and copies its DER out. All that is looked up must be there: a miss ends the program. */
void store_table_get(void *store, const uint8_t *id);
/* Looks all `n` up once, so that the view's pages are mapped, as they are in a worker that has run for a while. */
void store_table_touch(struct store_table *store, size_t n);
void store_table_close(struct store_table *store);

#endif
