/*
 * The session table beside LMDB, and beside the least that a lookup could cost: one random memory read that
 * depends on the one before, over as much memory as the table takes.
 *
 * Same conditions for both stores: files in /dev/shm, random 32-byte IDs, 130-byte values, looked up at random
 * over all that is stored, all hits, the value copied out. LMDB is set up as a cache would: no syncs, a
 * writable map, one write transaction a put (the put must be visible at once), one renewed read transaction a
 * get. The stores are filled first, LMDB in large transactions; then rounds of each measurement are
 * interleaved, and the median round counts.
 *
 * Usage: bench-table [LARGEST-SIZE]. One row a size on stdout; progress on stderr.
 */
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "table/table.h"

#define N_ROUNDS 7
#define ID_BYTES 32
#define DER_BYTES 130
#define FILL_BATCH 10000 /* LMDB puts a transaction, while filling */
#define LINE 64
#define NOW_S 1700000000

static const size_t sizes[] = {10000, 100000, 1000000, 10000000};

enum { GET, LMDB_GET, CHASE, PUT, LMDB_PUT, N_MEASURES };

struct bench {
	size_t n;       /* sessions */
	size_t n_gets;  /* a round */
	size_t n_puts;  /* a round */
	size_t n_steps; /* of the chase, a round */
	char directory[64];
	struct table *table;
	struct table_view *view;
	MDB_env *env;
	MDB_dbi dbi;
	MDB_txn *reader;
	uint8_t *lines; /* the chase: each line starts with the number of the next */
	size_t n_lines;
	uint8_t *ids; /* of the gets of a round */
	double ns[N_MEASURES][N_ROUNDS];
	size_t n_stored[2]; /* by table and LMDB: so many sessions have been put */
};

static void die(const char *what, int error)
{
	fprintf(stderr, "bench-table: %s: %s\n", what,
	        error < 0 ? strerror(-error) : mdb_strerror(error));
	exit(1);
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* What stands there is taken for used: the compiler must not leave out what made it. */
static void keep(const void *result)
{
	__asm__ __volatile__("" : : "r"(result) : "memory");
}

static uint64_t mix(uint64_t x) /* splitmix64 */
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static uint64_t random_state = 1;

static uint64_t random_below(uint64_t n)
{
	return (uint64_t)((unsigned __int128)mix(random_state++) * n >> 64);
}

static void make_id(uint8_t *id, uint64_t i)
{
	for (uint64_t k = 0; k < ID_BYTES / 8; k++) {
		uint64_t word = mix(i * 4 + k + 0x1000000000);

		memcpy(id + k * 8, &word, 8);
	}
}

static void make_der(uint8_t *der, uint64_t i)
{
	memset(der, (int)(i & 0xff), DER_BYTES);
	memcpy(der, &i, sizeof(i));
}

/* ---- The table ---- */

static void table_put_one(struct bench *b, uint64_t i, const uint8_t *id)
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
	r = table_put(b->table, &record, NOW_S, NULL);
	if (r != 0)
		die("table_put", r);
}

static void table_get_one(const struct bench *b, const uint8_t *id)
{
	uint8_t der[256];
	size_t n_der;
	int r = table_view_get(b->view, id, ID_BYTES, NOW_S, der, sizeof(der), &n_der, NULL, NULL);

	if (r != 0 || n_der != DER_BYTES)
		die("table_view_get", r); /* a miss: all that is stored must be found */
}

/*
 * Puts once around the ring, and lets it all expire: in a daemon that has run for some minutes every page has
 * been written before, and a put meets no page fault.
 */
static void table_lap(struct bench *b)
{
	struct table_stats stats;
	uint8_t id[ID_BYTES];

	for (uint64_t i = UINT64_C(1) << 32;; i++) {
		table_stats(b->table, &stats);
		if (stats.n_evicted)
			break;
		make_id(id, i);
		table_put_one(b, i, id);
	}
	while (table_expire(b->table, NOW_S + 3600, 1000000))
		;
}

static void table_setup(struct bench *b)
{
	char path[128];
	int fd, r;

	snprintf(path, sizeof(path), "%s/table", b->directory);
	r = table_open(&b->table, path, (b->n + N_ROUNDS * b->n_puts) * 210 + 65536, false, NOW_S,
	               NULL, 0);
	if (r < 0)
		die("table_open", r);
	unlink(path);
	fd = table_fd(b->table);
	r = table_view_open(&b->view, fd);
	if (r < 0)
		die("table_view_open", r);
	close(fd);
	table_lap(b);
	for (; b->n_stored[0] < b->n; b->n_stored[0]++) {
		uint8_t id[ID_BYTES];

		make_id(id, b->n_stored[0]);
		table_put_one(b, b->n_stored[0], id);
	}
	/* Likewise for reads: LMDB and the chase are read through the mapping that filled them, a view is not. */
	for (size_t i = 0; i < b->n; i++) {
		uint8_t id[ID_BYTES];

		make_id(id, i);
		table_get_one(b, id);
	}
}

/* ---- LMDB ---- */

static void lmdb_check(const char *what, int r)
{
	if (r != 0)
		die(what, r);
}

static void lmdb_put_in(struct bench *b, MDB_txn *txn, uint64_t i, uint8_t *id)
{
	uint8_t der[DER_BYTES];
	MDB_val key = {ID_BYTES, id}, value = {DER_BYTES, der};

	make_der(der, i);
	lmdb_check("mdb_put", mdb_put(txn, b->dbi, &key, &value, MDB_NOOVERWRITE));
}

static void lmdb_put_one(struct bench *b, uint64_t i, uint8_t *id)
{
	MDB_txn *txn;

	lmdb_check("mdb_txn_begin", mdb_txn_begin(b->env, NULL, 0, &txn));
	lmdb_put_in(b, txn, i, id);
	lmdb_check("mdb_txn_commit", mdb_txn_commit(txn));
}

static void lmdb_get_one(const struct bench *b, uint8_t *id)
{
	MDB_val key = {ID_BYTES, id}, value;
	uint8_t der[256];

	lmdb_check("mdb_txn_renew", mdb_txn_renew(b->reader));
	lmdb_check("mdb_get", mdb_get(b->reader, b->dbi, &key, &value));
	memcpy(der, value.mv_data, value.mv_size);
	keep(der); /* the copy is the point */
	mdb_txn_reset(b->reader);
}

static void lmdb_setup(struct bench *b)
{
	char path[128];
	MDB_txn *txn;

	snprintf(path, sizeof(path), "%s/lmdb", b->directory);
	lmdb_check("mdb_env_create", mdb_env_create(&b->env));
	lmdb_check("mdb_env_set_mapsize", mdb_env_set_mapsize(b->env, b->n * 600 + (64 << 20)));
	lmdb_check("mdb_env_open", mdb_env_open(b->env, path,
	                                        MDB_NOSUBDIR | MDB_NOSYNC | MDB_NOMETASYNC |
	                                            MDB_WRITEMAP | MDB_NORDAHEAD,
	                                        0600));
	unlink(path);
	snprintf(path, sizeof(path), "%s/lmdb-lock", b->directory);
	unlink(path);
	lmdb_check("mdb_txn_begin", mdb_txn_begin(b->env, NULL, 0, &txn));
	lmdb_check("mdb_dbi_open", mdb_dbi_open(txn, NULL, MDB_CREATE, &b->dbi));
	lmdb_check("mdb_txn_commit", mdb_txn_commit(txn));
	while (b->n_stored[1] < b->n) {
		lmdb_check("mdb_txn_begin", mdb_txn_begin(b->env, NULL, 0, &txn));
		for (size_t i = 0; i < FILL_BATCH && b->n_stored[1] < b->n; i++) {
			uint8_t id[ID_BYTES];

			make_id(id, b->n_stored[1]);
			lmdb_put_in(b, txn, b->n_stored[1]++, id);
		}
		lmdb_check("mdb_txn_commit", mdb_txn_commit(txn));
	}
	lmdb_check("mdb_txn_begin", mdb_txn_begin(b->env, NULL, MDB_RDONLY, &b->reader));
	mdb_txn_reset(b->reader);
}

/* ---- The chase ---- */

static uint64_t chase_next(const struct bench *b, uint64_t line)
{
	uint64_t next;

	memcpy(&next, b->lines + line * LINE, sizeof(next));
	return next;
}

/* One cycle through all lines of a file as large as what the table has in use (Sattolo's shuffle). */
static void chase_setup(struct bench *b)
{
	struct table_stats stats;
	char path[128];
	size_t size;
	int fd;

	table_stats(b->table, &stats);
	size =
	    (size_t)((double)stats.size_bytes * (double)stats.used_bytes / (double)stats.log_bytes);
	b->n_lines = size / LINE;
	snprintf(path, sizeof(path), "%s/chase", b->directory);
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 || unlink(path) < 0 || ftruncate(fd, (off_t)(b->n_lines * LINE)) < 0)
		die("chase file", -errno);
	b->lines = mmap(NULL, b->n_lines * LINE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (b->lines == MAP_FAILED)
		die("mmap", -errno);
	close(fd);
	for (uint64_t i = 0; i < b->n_lines; i++)
		memcpy(b->lines + i * LINE, &i, sizeof(i));
	for (uint64_t i = b->n_lines - 1; i > 0; i--) {
		uint64_t j = random_below(i), at_i = chase_next(b, i), at_j = chase_next(b, j);

		memcpy(b->lines + i * LINE, &at_j, sizeof(at_j));
		memcpy(b->lines + j * LINE, &at_i, sizeof(at_i));
	}
}

/* ---- Measuring ---- */

static void pick_stored_ids(struct bench *b)
{
	for (size_t i = 0; i < b->n_gets; i++)
		make_id(b->ids + i * ID_BYTES, random_below(b->n));
}

static void pick_new_ids(struct bench *b, size_t first)
{
	for (size_t i = 0; i < b->n_puts; i++)
		make_id(b->ids + i * ID_BYTES, first + i);
}

static void round_gets(struct bench *b, int round)
{
	uint64_t line = random_below(b->n_lines);
	double start;

	pick_stored_ids(b);
	start = now_ns();
	for (size_t i = 0; i < b->n_gets; i++)
		table_get_one(b, b->ids + i * ID_BYTES);
	b->ns[GET][round] = (now_ns() - start) / (double)b->n_gets;
	pick_stored_ids(b);
	start = now_ns();
	for (size_t i = 0; i < b->n_gets; i++)
		lmdb_get_one(b, b->ids + i * ID_BYTES);
	b->ns[LMDB_GET][round] = (now_ns() - start) / (double)b->n_gets;
	start = now_ns();
	for (size_t i = 0; i < b->n_steps; i++)
		line = chase_next(b, line);
	keep(&line);
	b->ns[CHASE][round] = (now_ns() - start) / (double)b->n_steps;
}

static void round_puts(struct bench *b, int round)
{
	double start;

	pick_new_ids(b, b->n_stored[0]);
	start = now_ns();
	for (size_t i = 0; i < b->n_puts; i++)
		table_put_one(b, b->n_stored[0] + i, b->ids + i * ID_BYTES);
	b->ns[PUT][round] = (now_ns() - start) / (double)b->n_puts;
	b->n_stored[0] += b->n_puts;
	start = now_ns();
	for (size_t i = 0; i < b->n_puts; i++)
		lmdb_put_one(b, b->n_stored[1] + i, b->ids + i * ID_BYTES);
	b->ns[LMDB_PUT][round] = (now_ns() - start) / (double)b->n_puts;
	b->n_stored[1] += b->n_puts;
}

static int compare_doubles(const void *a, const void *b)
{
	double x, y;

	memcpy(&x, a, sizeof(x));
	memcpy(&y, b, sizeof(y));
	return (x > y) - (x < y);
}

static double median(double ns[N_ROUNDS])
{
	qsort(ns, N_ROUNDS, sizeof(*ns), compare_doubles);
	return ns[N_ROUNDS / 2];
}

static void report(struct bench *b)
{
	struct table_stats stats;

	table_stats(b->table, &stats);
	printf("%zu", b->n);
	for (int i = 0; i < N_MEASURES; i++)
		printf(" %.0f", median(b->ns[i]));
	printf(" %.0f\n", (double)stats.size_bytes * (double)stats.used_bytes /
	                      (double)stats.log_bytes / (double)stats.n_live);
	fflush(stdout);
}

static void bench_size(size_t n)
{
	struct bench b = {
	    .n = n,
	    .n_gets = 200000,
	    .n_puts = MIN(n / 20, (size_t)50000),
	    .n_steps = 200000,
	    .directory = "/dev/shm/bench-table-XXXXXX",
	};

	b.ids = malloc(b.n_gets * ID_BYTES);
	if (!b.ids || !mkdtemp(b.directory))
		die("set-up", -errno);
	fprintf(stderr, "%zu sessions: filling the table\n", n);
	table_setup(&b);
	fprintf(stderr, "  filling LMDB\n");
	lmdb_setup(&b);
	fprintf(stderr, "  laying the chase\n");
	chase_setup(&b);
	rmdir(b.directory); /* its files are unlinked: they go with this process, however it ends */
	for (int round = 0; round < N_ROUNDS; round++) {
		fprintf(stderr, "  round %d\n", round + 1);
		round_gets(&b, round);
		round_puts(&b, round);
	}
	report(&b);
	munmap(b.lines, b.n_lines * LINE);
	mdb_txn_abort(b.reader);
	mdb_env_close(b.env);
	table_view_free(b.view);
	table_free(b.table);
	free(b.ids);
}

int main(int argc, char **argv)
{
	size_t largest = argc > 1 ? strtoull(argv[1], NULL, 10) : SIZE_MAX;

	puts("size get_ns lmdb_get_ns chase_ns put_ns lmdb_put_ns bytes_per_session");
	for (size_t i = 0; i < ARRAY_SIZE(sizes) && sizes[i] <= largest; i++)
		bench_size(sizes[i]);
	return 0;
}
