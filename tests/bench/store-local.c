/*
 * The stores of bench-stores that need no server around them, and what fills Redis.
 *
 * Usage: store-local tlsbaton|lmdb SESSIONS FILL-LIMIT-S SECONDS DIRECTORY    prints the store's row
 *        store-local redis-feed SESSIONS        prints Redis commands that store the sessions as mod_socache_redis
 *                                               does for mod_ssl; the server answers one "+OK" at their end
 */
#include "lookups.h"
#include "sessions.h"
#include "store_lmdb.h"
#include "store_table.h"

static void measure_table(uint64_t n, double limit_s, double seconds, const char *directory)
{
	struct store_table store;

	store_table_open(&store, directory, n);
	lookups_fill(&store, store_table_fill, n, limit_s);
	store_table_touch(&store, n);
	lookups_measure("tlsbaton", &store, store_table_get, n, seconds, 0);
	store_table_close(&store);
}

static void measure_lmdb(uint64_t n, double limit_s, double seconds, const char *directory)
{
	struct store_lmdb store;

	store_lmdb_open(&store, directory, n);
	lookups_fill(&store, store_lmdb_fill, n, limit_s);
	lookups_measure("lmdb", &store, store_lmdb_get, n, seconds, 0);
	store_lmdb_close(&store);
}

static void feed_redis(uint64_t n)
{
	printf("CLIENT REPLY OFF\r\n");
	for (uint64_t i = 0; i < n; i++) {
		static const char prefix[] = "mod_ssl-sess:";
		uint8_t id[ID_BYTES], der[DER_BYTES];

		make_id(id, i);
		make_der(der, i);
		printf("*4\r\n$5\r\nSETEX\r\n$%zu\r\n%s", sizeof(prefix) - 1 + 2 * ID_BYTES,
		       prefix);
		for (size_t k = 0; k < ID_BYTES; k++) {
			putchar("0123456789abcdef"[id[k] >> 4]);
			putchar("0123456789abcdef"[id[k] & 15]);
		}
		printf("\r\n$4\r\n3600\r\n$%d\r\n", DER_BYTES);
		fwrite(der, 1, DER_BYTES, stdout);
		printf("\r\n");
	}
	printf("CLIENT REPLY ON\r\n");
}

int main(int argc, char **argv)
{
	uint64_t n = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;

	if (argc == 6 && n > 0 && strcmp(argv[1], "tlsbaton") == 0)
		measure_table(n, atof(argv[3]), atof(argv[4]), argv[5]);
	else if (argc == 6 && n > 0 && strcmp(argv[1], "lmdb") == 0)
		measure_lmdb(n, atof(argv[3]), atof(argv[4]), argv[5]);
	else if (argc == 3 && n > 0 && strcmp(argv[1], "redis-feed") == 0)
		feed_redis(n);
	else
		return fprintf(stderr, "usage: see the top of store-local.c\n"), 2;
	return fflush(stdout) == 0 ? 0 : 1;
}
