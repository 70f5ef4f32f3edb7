#include "store_table.h"

#include "sessions.h"

#define NOW_S 1700000000
#define RECORD_BYTES 210 /* in the file, its share of the index included */

void store_table_put(const struct store_table *store, uint64_t i, const uint8_t *id)
{
	uint8_t der[DER_BYTES];
	struct table_record record = {
	    .id = id,
	    .n_id = ID_BYTES,
	    .der = der,
	    .n_der = DER_BYTES,
	    .expires_s = NOW_S + 3600,
	};
	int r;

	make_der(der, i);
	r = table_put(store->table, &record, NOW_S, NULL);
	if (r != 0)
		die("table_put", r);
}

void store_table_fill(void *store, uint64_t first, uint64_t end)
{
	for (uint64_t i = first; i < end; i++) {
		uint8_t id[ID_BYTES];

		make_id(id, i);
		store_table_put(store, i, id);
	}
}

void store_table_get(void *store, const uint8_t *id)
{
	const struct store_table *s = store;
	uint8_t der[256];
	size_t n_der;
	int r = table_view_get(s->view, id, ID_BYTES, NOW_S, der, sizeof(der), &n_der, NULL, NULL);

	if (r != 0 || n_der != DER_BYTES)
		die("table_view_get", r);
}

void store_table_touch(struct store_table *store, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t id[ID_BYTES];

		make_id(id, i);
		store_table_get(store, id);
	}
}

static void lap(struct store_table *store)
{
	struct table_stats stats;

	for (uint64_t i = UINT64_C(1) << 32;; i++) {
		table_stats(store->table, &stats);
		if (stats.n_evicted)
			break;
		store_table_fill(store, i, i + 1);
	}
	while (table_expire(store->table, NOW_S + 3600, 1000000))
		;
}

void store_table_open(struct store_table *store, const char *directory, size_t n)
{
	char path[128];
	int fd, r;

	snprintf(path, sizeof(path), "%s/table", directory);
	r = table_open(&store->table, path, MAX(n * RECORD_BYTES + 65536, (size_t)TABLE_SIZE_MIN),
	               false, NOW_S, NULL, 0);
	if (r < 0)
		die("table_open", r);
	unlink(path);
	fd = table_fd(store->table);
	r = table_view_open(&store->view, fd);
	if (r < 0)
		die("table_view_open", r);
	close(fd);
	lap(store);
}

void store_table_close(struct store_table *store)
{
	table_view_free(store->view);
	table_free(store->table);
}
