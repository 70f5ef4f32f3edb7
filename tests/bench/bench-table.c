/*
 * The session table beside LMDB, and beside the least that a lookup could cost: one random memory read that
 * depends on the one before, over as much memory as the table takes.
 *
 * Same conditions for both stores: files in /dev/shm, random 32-byte IDs, 130-byte values, looked up at random
 * over all that is stored, all hits, the value copied out (store_table.c, store_lmdb.c). The stores are filled
 * first; then rounds of each measurement are interleaved, and the median round counts.
 *
 * Usage: bench-table [LARGEST-SIZE]. One row a size on stdout; progress on stderr.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "sessions.h"
#include "store_lmdb.h"
#include "store_table.h"

#define N_ROUNDS 7
#define FILL_BATCH 10000 /* LMDB puts a transaction, while filling */
#define LINE 64

static const size_t sizes[] = {10000, 100000, 1000000, 10000000};

enum { GET, LMDB_GET, CHASE, PUT, LMDB_PUT, N_MEASURES };

struct bench {
	size_t n;       /* sessions */
	size_t n_gets;  /* a round */
	size_t n_puts;  /* a round */
	size_t n_steps; /* of the chase, a round */
	char directory[64];
	struct store_table table;
	struct store_lmdb lmdb;
	uint8_t *lines; /* the chase: each line starts with the number of the next */
	size_t n_lines;
	uint8_t *ids; /* of the gets of a round */
	double ns[N_MEASURES][N_ROUNDS];
	size_t n_stored[2]; /* by table and LMDB: so many sessions have been put */
};

static double now_ns(void)
{
	return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* Both get room for what the rounds put as well. */
static void setup_stores(struct bench *b)
{
	size_t n_room = b->n + N_ROUNDS * b->n_puts;

	fprintf(stderr, "%zu sessions: filling the table\n", b->n);
	store_table_open(&b->table, b->directory, n_room);
	store_table_fill(&b->table, 0, b->n);
	/* LMDB and the chase are read through the mapping that filled them, a view is not. */
	store_table_touch(&b->table, b->n);
	fprintf(stderr, "  filling LMDB\n");
	store_lmdb_open(&b->lmdb, b->directory, n_room);
	for (size_t i = 0; i < b->n; i += FILL_BATCH)
		store_lmdb_fill(&b->lmdb, i, MIN(i + FILL_BATCH, b->n));
	b->n_stored[0] = b->n_stored[1] = b->n;
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

	table_stats(b->table.table, &stats);
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
		store_table_get(&b->table, b->ids + i * ID_BYTES);
	b->ns[GET][round] = (now_ns() - start) / (double)b->n_gets;
	pick_stored_ids(b);
	start = now_ns();
	for (size_t i = 0; i < b->n_gets; i++)
		store_lmdb_get(&b->lmdb, b->ids + i * ID_BYTES);
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
		store_table_put(&b->table, b->n_stored[0] + i, b->ids + i * ID_BYTES);
	b->ns[PUT][round] = (now_ns() - start) / (double)b->n_puts;
	b->n_stored[0] += b->n_puts;
	start = now_ns();
	for (size_t i = 0; i < b->n_puts; i++)
		store_lmdb_put(&b->lmdb, b->n_stored[1] + i, b->ids + i * ID_BYTES);
	b->ns[LMDB_PUT][round] = (now_ns() - start) / (double)b->n_puts;
	b->n_stored[1] += b->n_puts;
}

static void report(struct bench *b)
{
	struct table_stats stats;

	table_stats(b->table.table, &stats);
	printf("%zu", b->n);
	for (int i = 0; i < N_MEASURES; i++)
		printf(" %.0f", median(b->ns[i], N_ROUNDS));
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
	setup_stores(&b);
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
	store_lmdb_close(&b.lmdb);
	store_table_close(&b.table);
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
