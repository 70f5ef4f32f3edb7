/* Putting, getting, removing, reading the log: every outcome, and lengths from end to end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>

#include "table/internal.h"
#include "table/test-util.h"

static int setup(void **state)
{
	static struct fixture f;

	fixture_init(&f);
	assert_int_equal(fixture_open(&f, TABLE_SIZE_MIN, NOW, NULL, 0), TABLE_CREATED);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	fixture_deinit(*state);
	return 0;
}

static int put(struct table *table, const char *id, const char *der, int64_t expires_s,
               unsigned flags)
{
	struct table_record record = {
	    .id = (const uint8_t *)id,
	    .n_id = strlen(id),
	    .der = (const uint8_t *)der,
	    .n_der = der ? strlen(der) : 0,
	    .expires_s = expires_s,
	    .flags = flags,
	};

	return table_put(table, &record, NOW, NULL);
}

static int get(const struct fixture *f, const char *id, int64_t now_s, char der[64])
{
	size_t n_der;
	int r = table_view_get(f->view, (const uint8_t *)id, strlen(id), now_s, (uint8_t *)der, 63,
	                       &n_der, NULL, NULL);

	if (r == 0)
		der[n_der] = '\0';
	return r;
}

static void test_put_and_get(void **state)
{
	struct fixture *f = *state;
	char der[64];

	assert_int_equal(get(f, "a", NOW, der), TABLE_MISS);
	assert_int_equal(put(f->table, "a", "session of a", NOW + 10, 0), 0);
	assert_int_equal(put(f->table, "b", "session of b", NOW + 20, TABLE_LOCAL), 0);
	assert_int_equal(get(f, "a", NOW, der), 0);
	assert_string_equal(der, "session of a");
	assert_int_equal(get(f, "b", NOW + 19, der), 0);
	assert_string_equal(der, "session of b");
	/* IDs that are prefixes of one another differ, also where they are padded alike. */
	assert_int_equal(get(f, "ab", NOW, der), TABLE_MISS);
	assert_int_equal(table_view_get(f->view, (const uint8_t *)"a\0", 2, NOW, (uint8_t *)der, 63,
	                                &(size_t){0}, NULL, NULL),
	                 TABLE_MISS);
}

static bool is_acked(const struct fixture *f, const char *id)
{
	uint64_t position;
	uint8_t der[64];
	size_t n_der;

	assert_int_equal(table_view_get(f->view, (const uint8_t *)id, strlen(id), NOW, der,
	                                sizeof(der), &n_der, NULL, &position),
	                 0);
	return table_view_is_acked(f->view, position);
}

static void test_what_is_acked(void **state)
{
	struct fixture *f = *state;
	uint64_t end_of_a;

	assert_int_equal(put(f->table, "a", "made here", NOW + 10, TABLE_LOCAL), 0);
	end_of_a = table_head(f->table);
	assert_int_equal(put(f->table, "b", "made here", NOW + 10, TABLE_LOCAL), 0);
	assert_int_equal(put(f->table, "c", "from a peer", NOW + 10, 0), 0);
	assert_false(is_acked(f, "a"));
	assert_false(is_acked(f, "b"));
	assert_true(is_acked(f, "c"));
	table_set_acked(f->table, end_of_a);
	assert_true(is_acked(f, "a"));
	assert_false(is_acked(f, "b"));
	table_set_acked(f->table, table_head(f->table));
	assert_true(is_acked(f, "b"));
	table_set_acked(f->table, end_of_a); /* a late one */
	assert_true(is_acked(f, "b"));
}

static void test_what_get_gives(void **state)
{
	struct fixture *f = *state;
	uint64_t start = table_head(f->table), position = 0;
	int64_t expires_s = 0;
	uint8_t der[64];
	size_t n_der = 0;

	assert_int_equal(put(f->table, "a", "session of a", NOW + 10, 0), 0);
	assert_int_equal(table_view_get(f->view, (const uint8_t *)"a", 1, NOW, der, 12, &n_der,
	                                &expires_s, &position),
	                 0);
	assert_int_equal(n_der, 12);
	assert_int_equal(expires_s, NOW + 10);
	assert_true(position == start);
	assert_true(table_view_epoch(f->view) == table_epoch(f->table));
	/* Outputs stay untouched on failure. */
	assert_int_equal(table_view_get(f->view, (const uint8_t *)"a", 1, NOW, der, 11, &n_der,
	                                &expires_s, &position),
	                 -ENOBUFS);
	assert_int_equal(
	    table_view_get(f->view, (const uint8_t *)"a", 0, NOW, der, 64, &n_der, NULL, NULL),
	    -EINVAL);
	assert_int_equal(
	    table_view_get(f->view, der, TABLE_ID_MAX + 1, NOW, der, 64, &n_der, NULL, NULL),
	    -EINVAL);
	assert_int_equal(n_der, 12);
}

static void test_expiry(void **state)
{
	struct fixture *f = *state;
	struct table_stats stats;
	char der[64];

	assert_int_equal(put(f->table, "c", "x", NOW, 0), TABLE_EXPIRED);
	assert_int_equal(put(f->table, "c", "x", NOW - 1, 0), TABLE_EXPIRED);
	assert_int_equal(put(f->table, "c", "x", INT64_MIN, 0), TABLE_EXPIRED);
	assert_int_equal(get(f, "c", NOW, der), TABLE_MISS);
	assert_int_equal(put(f->table, "c", "x", NOW + 10, 0), 0);
	assert_int_equal(get(f, "c", NOW + 9, der), 0);
	assert_int_equal(get(f, "c", NOW + 10, der), TABLE_MISS);
	/* Beyond the longest lifetime: clamped. */
	assert_int_equal(put(f->table, "d", "x", INT64_MAX, 0), 0);
	assert_int_equal(get(f, "d", NOW + TABLE_LIFETIME_MAX_S - 1, der), 0);
	assert_int_equal(get(f, "d", NOW + TABLE_LIFETIME_MAX_S, der), TABLE_MISS);
	table_stats(f->table, &stats);
	assert_int_equal(stats.n_appended, 2);
	assert_int_equal(stats.n_live, 2);
}

static void test_bad_records(void **state)
{
	struct fixture *f = *state;
	static uint8_t bytes[TABLE_DER_MAX + 1];
	const struct table_record good = {
	    .id = bytes, .n_id = 1, .der = bytes, .n_der = 1, .expires_s = NOW + 1};
	struct table_record bad[9];
	uint64_t head = table_head(f->table), end = 7;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = good;
	bad[0].n_id = 0;
	bad[1].n_id = TABLE_ID_MAX + 1;
	bad[2].id = NULL;
	bad[3].n_der = 0;
	bad[4].n_der = TABLE_DER_MAX + 1;
	bad[5].der = NULL;
	bad[6].flags = 4;
	bad[7].flags = TABLE_TOMBSTONE; /* with a DER */
	bad[8].n_der = SIZE_MAX;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(table_put(f->table, &bad[i], NOW, &end), -EINVAL);
	assert_true(table_head(f->table) == head);
	assert_int_equal(end, 7);
}

static void test_duplicates(void **state)
{
	struct fixture *f = *state;
	struct table_stats stats;
	char der[64];

	assert_int_equal(put(f->table, "a", "first", NOW + 10, 0), 0);
	assert_int_equal(put(f->table, "a", "second", NOW + 20, 0), TABLE_DUPLICATE);
	assert_int_equal(get(f, "a", NOW, der), 0);
	assert_string_equal(der, "first");
	/* Its time is over, though no sweep has met it: the ID is free again. */
	assert_int_equal(table_put(f->table,
	                           &(struct table_record){.id = (const uint8_t *)"a",
	                                                  .n_id = 1,
	                                                  .der = (const uint8_t *)"second",
	                                                  .n_der = 6,
	                                                  .expires_s = NOW + 20},
	                           NOW + 10, NULL),
	                 0);
	assert_int_equal(get(f, "a", NOW + 10, der), 0);
	assert_string_equal(der, "second");
	table_stats(f->table, &stats);
	assert_int_equal(stats.n_expired, 1);
	assert_int_equal(stats.n_live, 1);
	assert_int_equal(stats.n_in_log, 2);
}

static void test_tombstones(void **state)
{
	struct fixture *f = *state;
	struct table_stats stats;
	char der[64];

	assert_int_equal(put(f->table, "a", "session of a", NOW + 10, 0), 0);
	assert_int_equal(put(f->table, "a", NULL, NOW + 10, TABLE_TOMBSTONE), 0);
	assert_int_equal(get(f, "a", NOW, der), TABLE_MISS);
	assert_int_equal(put(f->table, "a", "late", NOW + 10, 0), TABLE_DUPLICATE);
	assert_int_equal(put(f->table, "a", NULL, NOW + 10, TABLE_TOMBSTONE), TABLE_DUPLICATE);
	/* The removal may come before what it removes. */
	assert_int_equal(put(f->table, "b", NULL, NOW + 10, TABLE_TOMBSTONE | TABLE_LOCAL), 0);
	assert_int_equal(put(f->table, "b", "late", NOW + 10, 0), TABLE_DUPLICATE);
	table_stats(f->table, &stats);
	assert_int_equal(stats.n_live, 0);
	assert_int_equal(stats.n_removed, 1);
	assert_int_equal(stats.n_in_log, 3);
	/* Once the tombstones have expired, the ID is like any other. */
	assert_false(table_expire(f->table, NOW + 10, 100));
	assert_true(table_tail(f->table) == table_head(f->table));
	assert_int_equal(put(f->table, "a", "again", NOW + 10, 0), 0);
	table_stats(f->table, &stats);
	assert_int_equal(stats.n_expired, 0);
}

static void test_next(void **state)
{
	struct fixture *f = *state;
	struct table_record record = {0};
	uint64_t position = table_tail(f->table), n_passed = 0;

	assert_int_equal(table_next(f->table, &position, &record, &n_passed), TABLE_END);
	assert_int_equal(put(f->table, "a", "session of a", NOW + 10, 0), 0);
	assert_int_equal(put(f->table, "b", "session of b", NOW + 10, TABLE_LOCAL), 0);
	assert_int_equal(put(f->table, "a", NULL, NOW + 10, TABLE_TOMBSTONE), 0);
	assert_int_equal(table_next(f->table, &position, &record, &n_passed), 0);
	assert_int_equal(record.n_id, 1);
	assert_memory_equal(record.id, "b", 1);
	assert_int_equal(record.n_der, 12);
	assert_memory_equal(record.der, "session of b", 12);
	assert_int_equal(record.expires_s, NOW + 10);
	assert_int_equal(record.flags, TABLE_LOCAL);
	assert_int_equal(n_passed, 2);
	assert_int_equal(table_next(f->table, &position, &record, &n_passed), 0);
	assert_int_equal(record.flags, TABLE_TOMBSTONE);
	assert_null(record.der);
	assert_int_equal(table_next(f->table, &position, &record, &n_passed), TABLE_END);
	assert_int_equal(n_passed, 3);
	assert_true(position == table_head(f->table));
}

/* A position comes from a peer: whatever it is, the answer is one of the documented ones. */
static void test_next_at_bad_positions(void **state)
{
	struct fixture *f = *state;
	struct table_record record;
	uint64_t position, n_passed = 0;
	struct session s;

	session_make(&s, 1, 1, 32, 130);
	assert_int_equal(session_put(f->table, &s, NOW + 10, NOW, 0, NULL), 0);
	for (position = table_tail(f->table) + 1; position < table_head(f->table); position++) {
		uint64_t at = position;

		assert_int_equal(table_next(f->table, &at, &record, &n_passed), -EINVAL);
		assert_true(at == position);
	}
	position = table_head(f->table) + LAYOUT_UNIT;
	assert_int_equal(table_next(f->table, &position, &record, &n_passed), -EINVAL);
	position = UINT64_MAX;
	assert_int_equal(table_next(f->table, &position, &record, &n_passed), -EINVAL);
	position = 0;
	assert_int_equal(table_next(f->table, &position, &record, &n_passed), TABLE_GONE);
	assert_true(position == table_tail(f->table));
	assert_int_equal(n_passed, 0);
}

static void test_all_lengths(void **state)
{
	struct fixture *f = *state;
	static const size_t ders[] = {
	    1, 7, 8, 9, 126, 131, 400, 4096, TABLE_DER_MAX - 1, TABLE_DER_MAX};
	static struct session s;

	for (size_t n_id = 1; n_id <= TABLE_ID_MAX; n_id++) {
		for (size_t i = 0; i < ARRAY_SIZE(ders); i++) {
			uint64_t before = table_head(f->table), end;

			session_make(&s, n_id * 100 + i, 1, n_id, ders[i]);
			/* A one-byte ID has met many others by now: room for repeats. */
			if (session_get(f->view, &s, NOW) == 0)
				continue;
			assert_int_equal(session_put(f->table, &s, NOW + 10, NOW, 0, &end), 0);
			assert_true(end == table_head(f->table) && end > before);
			assert_int_equal(session_get(f->view, &s, NOW), 0);
		}
	}
}

static void count_session(void *arg, const struct table_session *session)
{
	size_t *counts = arg;

	assert_true(session->expires_s > NOW && session->n_der == 130);
	assert_int_equal(session->stored_s, NOW);
	counts[session->local]++;
}

/* A copy ends where the caller's buffer does, however much more the record has room for. */
static void test_all_buffers(void **state)
{
	struct fixture *f = *state;
	uint8_t der[320];
	struct session s;
	size_t n_der;

	for (size_t n = 1; n <= 300; n++) {
		session_make(&s, n, n, n % 3 ? TABLE_ID_MAX : 1 + n % TABLE_ID_MAX, n);
		assert_int_equal(session_put(f->table, &s, NOW + 10, NOW, 0, NULL), 0);
		for (size_t size = n - 1; size <= n + 16; size++) {
			int r;

			memset(der, 0xa5, sizeof(der));
			n_der = 7777;
			r = table_view_get(f->view, s.id, s.n_id, NOW, der, size, &n_der, NULL,
			                   NULL);
			assert_int_equal(r, size < n ? -ENOBUFS : 0);
			assert_int_equal(n_der, size < n ? 7777 : n);
			if (size >= n)
				assert_memory_equal(der, s.der, n);
			for (size_t i = size; i < sizeof(der); i++)
				assert_int_equal(der[i], 0xa5);
		}
	}
}

static void test_each(void **state)
{
	struct fixture *f = *state;
	size_t counts[2] = {0};
	struct session s;

	/* Round the ring a few times, so that pads and dead records are among them. */
	for (uint64_t i = 0; i < 20000; i++) {
		session_make(&s, i, 1, 32, 130);
		assert_int_equal(
		    session_put(f->table, &s, NOW + 10, NOW, i % 2 ? TABLE_LOCAL : 0, NULL), 0);
	}
	for (uint64_t i = 19900; i < 20000; i++) {
		session_make(&s, i, 1, 32, 130);
		assert_int_equal(session_put(f->table, &s, NOW + 10, NOW, TABLE_TOMBSTONE, NULL),
		                 0);
	}
	table_view_each(f->view, NOW, count_session, counts);
	for (uint64_t i = 0; i < 20000; i++) {
		session_make(&s, i, 1, 32, 130);
		if (session_get(f->view, &s, NOW) == 0)
			counts[i % 2]--;
	}
	assert_int_equal(counts[0], 0);
	assert_int_equal(counts[1], 0);
	table_view_each(f->view, NOW + 10, count_session, counts);
	assert_int_equal(counts[0] + counts[1], 0);
}

static void test_eviction(void **state)
{
	struct fixture *f = *state;
	struct table_stats stats;
	static struct session s;
	uint64_t n_found = 0;

	for (uint64_t i = 0; i < 20000; i++) {
		session_make(&s, i, 1, 32, 130);
		assert_int_equal(session_put(f->table, &s, NOW + 1000, NOW, 0, NULL), 0);
		assert_int_equal(session_get(f->view, &s, NOW), 0);
	}
	table_stats(f->table, &stats);
	assert_true(stats.n_evicted > 0);
	assert_int_equal(stats.n_displaced, 0);
	assert_int_equal(stats.n_live + stats.n_evicted, 20000);
	/* What is left are the youngest. */
	for (uint64_t i = 0; i < 20000; i++) {
		session_make(&s, i, 1, 32, 130);
		if (session_get(f->view, &s, NOW) == 0)
			n_found++;
		else
			assert_true(i < stats.n_evicted);
	}
	assert_int_equal(n_found, stats.n_live);
	assert_in_range(stats.bytes_wanted, 20000 * 192, 20000 * 256);
}

/* A table of the size that it asked for evicts nothing. */
static void test_bytes_wanted_do(void **state)
{
	struct fixture *f = *state;
	struct table_stats stats;
	struct session s;

	for (int attempt = 0; attempt < 2; attempt++) {
		for (uint64_t i = 0; i < 20000; i++) {
			session_make(&s, i, 1, 32, 130);
			assert_int_equal(session_put(f->table, &s, NOW + 1000, NOW, 0, NULL), 0);
		}
		table_stats(f->table, &stats);
		if (attempt == 0) {
			assert_true(stats.bytes_wanted > TABLE_SIZE_MIN);
			fixture_close(f);
			assert_int_equal(fixture_open(f, stats.bytes_wanted, NOW, NULL, 0),
			                 TABLE_REBUILT);
		}
	}
	assert_int_equal(stats.n_evicted, 0);
	assert_int_equal(stats.bytes_wanted, 0);
}

/* Records of a third of the usual size fill the index before the log: the oldest give way, and are counted. */
static void test_displacement(void **state)
{
	struct fixture *f = *state;
	struct table_stats stats;
	struct session s;
	uint64_t n_found = 0;

	for (uint64_t i = 0; i < 30000; i++) {
		session_make(&s, i, 1, 8, 1);
		assert_int_equal(session_put(f->table, &s, NOW + 1000, NOW, 0, NULL), 0);
		assert_int_equal(session_get(f->view, &s, NOW), 0);
	}
	table_stats(f->table, &stats);
	assert_true(stats.n_displaced > 0);
	for (uint64_t i = 0; i < 30000; i++) {
		session_make(&s, i, 1, 8, 1);
		n_found += session_get(f->view, &s, NOW) == 0;
	}
	assert_int_equal(n_found, stats.n_live);
	assert_int_equal(stats.n_live + stats.n_evicted + stats.n_displaced, 30000);
}

/* Positions have 48 bits of units. Where they end, the table starts over with another epoch. */
static void test_positions_run_out(void **state)
{
	struct fixture *f = *state;
	uint64_t epoch = table_epoch(f->table), n_passed = 0, position, end;
	struct table_record record;
	struct session s, old;

	session_make(&old, 1, 1, 32, 130);
	word_store(&f->table->header->tail, LAYOUT_POSITION_END - UINT64_C(3) * RECORD_BYTES_MAX);
	word_store(&f->table->header->head, LAYOUT_POSITION_END - UINT64_C(3) * RECORD_BYTES_MAX);
	assert_int_equal(session_put(f->table, &old, NOW + 10, NOW, 0, &end), 0);
	position = table_tail(f->table);
	assert_int_equal(session_get(f->view, &old, NOW), 0);
	for (uint64_t i = 2; table_epoch(f->table) == epoch; i++) {
		assert_true(i < 1000);
		session_make(&s, i, 1, 32, 130);
		assert_int_equal(session_put(f->table, &s, NOW + 10, NOW, 0, &end), 0);
	}
	assert_true(end < 2 * f->table->layout.log_bytes);
	assert_true(table_view_epoch(f->view) == table_epoch(f->table));
	assert_int_equal(session_get(f->view, &old, NOW), TABLE_MISS);
	assert_int_equal(session_get(f->view, &s, NOW), 0);
	assert_false(table_holds(f->table, old.der + 8, 32));
	assert_int_equal(table_next(f->table, &position, &record, &n_passed), -EINVAL);
	assert_int_equal(session_put(f->table, &old, NOW + 10, NOW, 0, NULL), 0);
	assert_int_equal(session_get(f->view, &old, NOW), 0);
}

/* A month back: what was to live for minutes lives for the longest lifetime, and no month. */
static void test_a_clock_that_is_set_back(void **state)
{
	const int64_t back = NOW - 30 * 86400, end = back + TABLE_LIFETIME_MAX_S;
	struct fixture *f = *state;
	struct table_stats stats;
	struct session s;

	for (uint64_t i = 0; i < 1000; i++) { /* several chunks */
		session_make(&s, i, 1, 32, 130);
		assert_int_equal(
		    session_put(f->table, &s, NOW + 300 + (int64_t)(i % 7), NOW, 0, NULL), 0);
	}
	while (table_expire(f->table, back, 100))
		;
	for (uint64_t i = 0; i < 1000; i++) {
		session_make(&s, i, 1, 32, 130);
		assert_int_equal(session_get(f->view, &s, end - 1), 0);
		assert_int_equal(session_get(f->view, &s, end), TABLE_MISS);
	}
	/* Forward it is as ever: nothing has become shorter, and all of it goes. */
	assert_false(table_expire(f->table, end - 1, 100));
	table_stats(f->table, &stats);
	assert_int_equal(stats.n_live, 1000);
	while (table_expire(f->table, end, 100))
		;
	table_stats(f->table, &stats);
	assert_int_equal(stats.n_live, 0);
	assert_int_equal(stats.n_expired, 1000);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_put_and_get),
	    TEST(test_what_is_acked),
	    TEST(test_what_get_gives),
	    TEST(test_expiry),
	    TEST(test_bad_records),
	    TEST(test_duplicates),
	    TEST(test_tombstones),
	    TEST(test_next),
	    TEST(test_next_at_bad_positions),
	    TEST(test_all_lengths),
	    TEST(test_all_buffers),
	    TEST(test_each),
	    TEST(test_eviction),
	    TEST(test_bytes_wanted_do),
	    TEST(test_displacement),
	    TEST(test_positions_run_out),
	    TEST(test_a_clock_that_is_set_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
