/*
 * The table against a model that is too simple to be wrong: an array of what was put, in order. Random
 * operations on a table so small that it wraps, evicts, sweeps and is taken over all the time; after each, what
 * the model knows must be what the table says.
 *
 * The model does not foresee which records are evicted: it takes the tail for granted, and checks that the
 * tail moves only as far as room was needed or time had come.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "table/internal.h"
#include "table/test-util.h"

#define N_OPERATIONS 20000
#define N_NUMBERS                                                                                  \
	6000 /* sessions are made from numbers below this: more than fit, few enough to meet again */

struct entry {
	uint64_t number, generation;
	size_t n_id, n_der;
	uint64_t end; /* position */
	int64_t expires_s;
	unsigned flags;
	bool dead; /* removed or superseded */
};

struct model {
	struct fixture f;
	uint64_t random;
	int64_t now_s;
	struct entry *entries;
	size_t n_entries;
	size_t first;             /* entries before it are below the tail */
	size_t latest[N_NUMBERS]; /* entry of each number + 1 */
	uint64_t n_hits, n_evicted, n_removed, n_duplicates;
};

static uint64_t pick(struct model *m, uint64_t below)
{
	return next_random(&m->random, below);
}

/* A number's ID always has the same length, at least 8 so that no two are alike. */
static size_t id_bytes(uint64_t number)
{
	return number % 4 ? 32 : 8 + mix(number) % 25;
}

static bool is_live(const struct model *m, const struct entry *e)
{
	return !e->dead && e->end > table_tail(m->f.table) && e->expires_s > m->now_s;
}

static struct entry *find(struct model *m, uint64_t number)
{
	struct entry *e = m->latest[number] ? &m->entries[m->latest[number] - 1] : NULL;

	return e && is_live(m, e) ? e : NULL;
}

static void check_get(struct model *m, uint64_t number)
{
	struct entry *e = find(m, number);
	static struct session s;

	session_make(&s, number, e ? e->generation : 0, id_bytes(number), e ? e->n_der : 0);
	if (e && !(e->flags & TABLE_TOMBSTONE)) {
		assert_int_equal(session_get(m->f.view, &s, m->now_s), 0);
		m->n_hits++;
	} else {
		assert_int_equal(session_get(m->f.view, &s, m->now_s), TABLE_MISS);
	}
}

/* The tail may have moved in a put only until the new record fitted. */
static void check_eviction(struct model *m, uint64_t tail_before)
{
	struct table_stats stats;

	table_stats(m->f.table, &stats);
	if (table_tail(m->f.table) != tail_before)
		assert_true(table_head(m->f.table) - tail_before > stats.log_bytes);
	assert_true(table_head(m->f.table) - table_tail(m->f.table) <= stats.log_bytes);
	for (; m->first < m->n_entries && m->entries[m->first].end <= table_tail(m->f.table);
	     m->first++)
		m->n_evicted += m->entries[m->first].expires_s > m->now_s &&
		                !m->entries[m->first].dead &&
		                !(m->entries[m->first].flags & TABLE_TOMBSTONE);
	assert_int_equal(stats.n_evicted, m->n_evicted);
}

static size_t pick_der_bytes(struct model *m)
{
	switch (pick(m, 20)) {
	case 0:
		return 1 + pick(m, TABLE_DER_MAX);
	case 1:
	case 2:
		return 1 + pick(m, 1000);
	default:
		return 126 + pick(m, 6);
	}
}

static void do_put(struct model *m)
{
	uint64_t number = pick(m, N_NUMBERS);
	bool tombstone = pick(m, 10) == 0;
	struct entry e = {
	    .number = number,
	    .generation = m->n_entries + 1,
	    .n_id = id_bytes(number),
	    .n_der = tombstone ? 0 : pick_der_bytes(m),
	    /* Mostly in the order in which they come, some all over the place, some too late. */
	    .expires_s = m->now_s + (pick(m, 4) ? 300 : (int64_t)pick(m, 1000) - 20),
	    .flags = (tombstone ? TABLE_TOMBSTONE : 0) | (pick(m, 2) ? TABLE_LOCAL : 0),
	};
	struct entry *old = find(m, number);
	uint64_t tail = table_tail(m->f.table), head = table_head(m->f.table);
	static struct session s;
	int expected = 0;

	if (e.expires_s <= m->now_s)
		expected = TABLE_EXPIRED;
	else if (old && (!tombstone || old->flags & TABLE_TOMBSTONE))
		expected = TABLE_DUPLICATE;
	session_make(&s, number, e.generation, e.n_id, e.n_der);
	assert_int_equal(session_put(m->f.table, &s, e.expires_s, m->now_s, e.flags, &e.end),
	                 expected);
	if (expected) {
		m->n_duplicates++;
		assert_true(table_tail(m->f.table) == tail && table_head(m->f.table) == head);
		return;
	}
	assert_true(e.end == table_head(m->f.table) && e.end > head);
	check_eviction(m, tail);
	if (old && old->end > table_tail(m->f.table)) {
		old->dead = true;
		m->n_removed++;
	} else if (m->latest[number]) {
		m->entries[m->latest[number] - 1].dead = true;
	}
	m->entries[m->n_entries++] = e;
	m->latest[number] = m->n_entries;
	check_get(m, number);
}

/* Time goes on; what has expired is wiped at once, some of it, or not at all. */
static void do_expire(struct model *m)
{
	struct table_stats stats;
	uint64_t n_live = 0;

	m->now_s += (int64_t)pick(m, 10);
	if (pick(m, 2)) {
		(void)table_expire(m->f.table, m->now_s, pick(m, 300));
	} else {
		/* The first pass may have been under way already. */
		for (int pass = 0; pass < 2; pass++)
			while (table_expire(m->f.table, m->now_s, 1 + pick(m, 3000)))
				;
		for (size_t i = m->first; i < m->n_entries; i++)
			n_live +=
			    is_live(m, &m->entries[i]) && !(m->entries[i].flags & TABLE_TOMBSTONE);
		table_stats(m->f.table, &stats);
		assert_int_equal(stats.n_live, n_live);
	}
	for (; m->first < m->n_entries && m->entries[m->first].end <= table_tail(m->f.table);
	     m->first++)
		assert_true(m->entries[m->first].dead ||
		            m->entries[m->first].expires_s <= m->now_s);
}

/* The log, read as replication reads it, holds the model's records in order, each once. */
static void do_read_log(struct model *m)
{
	uint64_t position = table_tail(m->f.table), n_passed = 0;
	struct table_record record;
	struct table_stats stats;
	static struct session s;
	size_t i = m->first;
	int r;

	while ((r = table_next(m->f.table, &position, &record, &n_passed)) == 0) {
		/* Those that the model holds for dead or expired, the table may have wiped. */
		while (m->entries[i].end != position) {
			assert_false(is_live(m, &m->entries[i]));
			i++;
		}
		session_make(&s, m->entries[i].number, m->entries[i].generation, m->entries[i].n_id,
		             m->entries[i].n_der);
		assert_false(m->entries[i].dead);
		assert_int_equal(record.flags, m->entries[i].flags);
		assert_int_equal(record.expires_s, m->entries[i].expires_s);
		assert_int_equal(record.n_id, s.n_id);
		assert_memory_equal(record.id, s.id, s.n_id);
		assert_int_equal(record.n_der, s.n_der);
		if (s.n_der)
			assert_memory_equal(record.der, s.der, s.n_der);
		i++;
	}
	assert_int_equal(r, TABLE_END);
	for (; i < m->n_entries; i++)
		assert_false(is_live(m, &m->entries[i]));
	table_stats(m->f.table, &stats);
	assert_int_equal(n_passed, stats.n_in_log);
}

static void count(void *arg, const struct table_session *session)
{
	uint64_t *sum = arg;

	*sum += (uint64_t)session->expires_s * 31 + session->n_der * 7 + session->local;
}

static void do_count(struct model *m)
{
	uint64_t sum = 0, expected = 0;

	table_view_each(m->f.view, m->now_s, count, &sum);
	for (size_t i = m->first; i < m->n_entries; i++)
		if (is_live(m, &m->entries[i]) && !(m->entries[i].flags & TABLE_TOMBSTONE))
			count(&expected,
			      &(struct table_session){.expires_s = m->entries[i].expires_s,
			                              .n_der = m->entries[i].n_der,
			                              .local = m->entries[i].flags & TABLE_LOCAL});
	assert_true(sum == expected);
}

static void do_reopen(struct model *m)
{
	struct table_stats before, after;

	table_stats(m->f.table, &before);
	table_free(m->f.table);
	m->f.table = NULL;
	assert_int_equal(
	    table_open(&m->f.table, m->f.path, TABLE_SIZE_MIN, false, m->now_s, NULL, 0), 0);
	table_stats(m->f.table, &after);
	assert_memory_equal(&before, &after, sizeof(before));
}

static void run(uint64_t seed)
{
	static struct model m;

	m = (struct model){.random = seed << 32, .now_s = NOW};
	m.entries = calloc(N_OPERATIONS, sizeof(*m.entries));
	fixture_init(&m.f);
	assert_int_equal(fixture_open(&m.f, TABLE_SIZE_MIN, NOW, NULL, 0), TABLE_CREATED);
	for (int i = 0; i < N_OPERATIONS; i++) {
		uint64_t dice = pick(&m, 1000);

		if (dice < 1)
			do_reopen(&m);
		else if (dice < 3)
			do_read_log(&m);
		else if (dice < 5)
			do_count(&m);
		else if (dice < 25)
			do_expire(&m);
		else if (dice < 400)
			check_get(&m, pick(&m, N_NUMBERS));
		else
			do_put(&m);
	}
	/* What never happened was not tested. */
	assert_true(m.n_hits > 1000 && m.n_evicted > 100 && m.n_removed > 10 &&
	            m.n_duplicates > 100);
	assert_true(table_head(m.f.table) > 3 * m.f.table->layout.log_bytes);
	fixture_deinit(&m.f);
	free(m.entries);
}

static void test_against_the_model(void **state)
{
	const char *n_seeds = getenv("TABLE_MODEL_SEEDS");

	(void)state;
	for (uint64_t seed = 1; seed <= (n_seeds ? strtoull(n_seeds, NULL, 10) : 8); seed++)
		run(seed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_against_the_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
