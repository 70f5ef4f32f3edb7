/*
 * Readers race the writer. One thread writes a table that is as small as can be, so that the ring turns, records
 * are evicted, removed, swept and displaced, and positions run out, all the time; others look sessions up.
 * Every DER follows from its ID and from a generation that it starts with: a reader that was ever given parts of
 * two records, or another session's record, sees it. Built for ThreadSanitizer too: for its sake the readers'
 * views are over the writer's own mapping, since it tells memory apart by address.
 *
 * TABLE_STRESS multiplies the number of operations (default 1).
 */
#include <pthread.h>

#include "table/internal.h"
#include "table/test-util.h"
#include "table/view.h"

#define N_READERS 3
#ifdef LAYOUT_TSAN
#define N_OPERATIONS 40000
#else
#define N_OPERATIONS 1000000
#endif
#define N_NUMBERS 3000

static struct table *table;
static _Atomic int64_t now_s = NOW;
static atomic_bool done;

struct reader {
	pthread_t thread;
	uint64_t random;
	uint64_t n_hits, n_misses, n_counted;
};

static size_t der_bytes(uint64_t number, uint64_t generation)
{
	uint64_t dice = mix(number * 31 + generation);

	return dice % 50 == 0 ? 8 + dice / 50 % (TABLE_DER_MAX - 8) : 126 + dice / 50 % 6;
}

static void count(void *arg, const struct table_session *session)
{
	uint64_t *n = arg;

	must(session->expires_s <= NOW + 2 * TABLE_LIFETIME_MAX_S && session->n_der >= 8 &&
	     session->n_der <= TABLE_DER_MAX);
	++*n;
}

static void read_one(const struct table_view *view, struct reader *reader)
{
	uint64_t number = next_random(&reader->random, N_NUMBERS), generation, position;
	uint8_t der[TABLE_DER_MAX];
	struct session s;
	int64_t expires_s;
	size_t n_der;

	session_make(&s, number, 0, 32, 0);
	if (table_view_get(view, s.id, s.n_id, atomic_load(&now_s), der, sizeof(der), &n_der,
	                   &expires_s, &position) != 0) {
		reader->n_misses++;
		return;
	}
	reader->n_hits++;
	must(n_der >= sizeof(generation));
	memcpy(&generation, der, sizeof(generation));
	must(n_der == der_bytes(number, generation));
	session_make(&s, number, generation, 32, n_der);
	must(memcmp(s.der, der, n_der) == 0);
	must(position != 0 && position % LAYOUT_UNIT == 0);
}

static void *read_all(void *arg)
{
	struct reader *reader = arg;
	struct table_view view;

	must(table_view_init(&view, table->header, table->size_bytes) == 0);
	for (uint64_t i = 0; !atomic_load(&done) || reader->n_hits < 100; i++) {
		read_one(&view, reader);
		if (i % 5000 == 0)
			table_view_each(&view, atomic_load(&now_s), count, &reader->n_counted);
	}
	return NULL;
}

/* Empties the table, and goes to where positions run out: soon there will be another epoch. */
static void leap(void)
{
	while (table_expire(table, INT64_MAX, 10000))
		;
	word_store(&table->header->tail, LAYOUT_POSITION_END - UINT64_C(20) * RECORD_BYTES_MAX);
	word_store(&table->header->head, LAYOUT_POSITION_END - UINT64_C(20) * RECORD_BYTES_MAX);
}

static void write_one(uint64_t *random, uint64_t generation)
{
	uint64_t number = next_random(random, N_NUMBERS), dice = next_random(random, 100);
	int64_t now = atomic_load(&now_s);
	unsigned flags = dice < 20 ? TABLE_TOMBSTONE : 0;
	struct session s;

	session_make(&s, number, generation, 32, der_bytes(number, generation));
	must(session_put(table, &s, now + 1 + (int64_t)next_random(random, 60), now, flags, NULL) >=
	     0);
	if (dice == 99)
		atomic_store(&now_s, now + 1);
	if (dice == 98)
		(void)table_expire(table, now, 500);
}

int main(void)
{
	const char *factor = getenv("TABLE_STRESS");
	uint64_t n_operations = N_OPERATIONS * (factor ? strtoull(factor, NULL, 10) : 1);
	struct reader readers[N_READERS] = {0};
	struct table_stats stats;
	uint64_t random = 1, n_epochs = 0, epoch;
	struct fixture f;

	fixture_init(&f);
	must(fixture_open(&f, TABLE_SIZE_MIN, NOW, NULL, 0) == TABLE_CREATED);
	table = f.table;
	for (size_t i = 0; i < N_READERS; i++) {
		readers[i].random = (i + 1) << 32;
		must(pthread_create(&readers[i].thread, NULL, read_all, &readers[i]) == 0);
	}
	epoch = table_epoch(table);
	for (uint64_t i = 1; i <= n_operations; i++) {
		write_one(&random, i);
		if (i % 7000 == 0)
			leap();
		n_epochs += table_epoch(table) != epoch;
		epoch = table_epoch(table);
	}
	atomic_store(&done, true);
	for (size_t i = 0; i < N_READERS; i++) {
		must(pthread_join(readers[i].thread, NULL) == 0);
		must(readers[i].n_misses > 0 && readers[i].n_counted > 0);
	}
	table_stats(table, &stats);
	must(stats.n_evicted > 0 && stats.n_removed > 0 && stats.n_expired > 0 && n_epochs >= 2);
	fixture_deinit(&f);
	return 0;
}
