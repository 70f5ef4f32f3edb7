#include "store_lmdb.h"

#include <stdio.h>
#include <unistd.h>

#include "sessions.h"

static void check(const char *what, int r)
{
	if (r == 0)
		return;
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, mdb_strerror(r));
	exit(1);
}

void store_lmdb_open(struct store_lmdb *store, const char *directory, size_t n)
{
	char path[128];
	MDB_txn *txn;

	snprintf(path, sizeof(path), "%s/lmdb", directory);
	check("mdb_env_create", mdb_env_create(&store->env));
	check("mdb_env_set_mapsize", mdb_env_set_mapsize(store->env, n * 600 + (64 << 20)));
	check("mdb_env_open", mdb_env_open(store->env, path,
	                                   MDB_NOSUBDIR | MDB_NOSYNC | MDB_NOMETASYNC |
	                                       MDB_WRITEMAP | MDB_NORDAHEAD,
	                                   0600));
	unlink(path);
	snprintf(path, sizeof(path), "%s/lmdb-lock", directory);
	unlink(path);
	check("mdb_txn_begin", mdb_txn_begin(store->env, NULL, 0, &txn));
	check("mdb_dbi_open", mdb_dbi_open(txn, NULL, MDB_CREATE, &store->dbi));
	check("mdb_txn_commit", mdb_txn_commit(txn));
	check("mdb_txn_begin", mdb_txn_begin(store->env, NULL, MDB_RDONLY, &store->reader));
	mdb_txn_reset(store->reader);
}

static void put_in(const struct store_lmdb *store, MDB_txn *txn, uint64_t i, uint8_t *id)
{
	uint8_t der[DER_BYTES];
	MDB_val key = {ID_BYTES, id}, value = {DER_BYTES, der};

	make_der(der, i);
	check("mdb_put", mdb_put(txn, store->dbi, &key, &value, MDB_NOOVERWRITE));
}

void store_lmdb_put(struct store_lmdb *store, uint64_t i, uint8_t *id)
{
	MDB_txn *txn;

	check("mdb_txn_begin", mdb_txn_begin(store->env, NULL, 0, &txn));
	put_in(store, txn, i, id);
	check("mdb_txn_commit", mdb_txn_commit(txn));
}

void store_lmdb_fill(void *store, uint64_t first, uint64_t end)
{
	struct store_lmdb *s = store;
	MDB_txn *txn;

	check("mdb_txn_begin", mdb_txn_begin(s->env, NULL, 0, &txn));
	for (uint64_t i = first; i < end; i++) {
		uint8_t id[ID_BYTES];

		make_id(id, i);
		put_in(s, txn, i, id);
	}
	check("mdb_txn_commit", mdb_txn_commit(txn));
}

void store_lmdb_get(void *store, const uint8_t *id)
{
	struct store_lmdb *s = store;
	uint8_t copy[ID_BYTES], der[256];
	MDB_val key = {ID_BYTES, copy}, value;

	memcpy(copy, id, ID_BYTES); /* LMDB wants it writable, and does not write */
	check("mdb_txn_renew", mdb_txn_renew(s->reader));
	check("mdb_get", mdb_get(s->reader, s->dbi, &key, &value));
	memcpy(der, value.mv_data, value.mv_size);
	keep(der); /* the copy is the point */
	mdb_txn_reset(s->reader);
}

void store_lmdb_close(struct store_lmdb *store)
{
	mdb_txn_abort(store->reader);
	mdb_env_close(store->env);
}
