/*
 * LMDB as a store to measure, set up as a cache would: no syncs, a writable map, one write transaction a put (it
 * must be visible at once), one renewed read transaction a get. Filled in large transactions.
 */
#ifndef TLSBATON_BENCH_STORE_LMDB_H
#define TLSBATON_BENCH_STORE_LMDB_H

#include <lmdb.h>
#include <stddef.h>
#include <stdint.h>

struct store_lmdb {
	MDB_env *env;
	MDB_dbi dbi;
	MDB_txn *reader; /* reset between gets */
};

/* Makes an environment for `n` sessions in `directory`. This and what follows ends the program on a failure. */
void store_lmdb_open(struct store_lmdb *store, const char *directory, size_t n);
/* Puts the session `i` of that `id`, in a transaction of its own. */
void store_lmdb_put(struct store_lmdb *store, uint64_t i, uint8_t *id);
/* Puts the sessions from `first` up to, not including, `end`, in one transaction; `store` is a struct store_lmdb. */
void store_lmdb_fill(void *store, uint64_t first, uint64_t end);
/* Looks one up, that must be there, and copies its DER out. */
void store_lmdb_get(void *store, const uint8_t *id);
void store_lmdb_close(struct store_lmdb *store);

#endif
