/* Expiry, the sweep, and that nothing of a session is left in the file once it is gone, however it went. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "table/internal.h"
#include "table/test-util.h"

static struct session session;

static int setup(void **state)
{
	static struct fixture f;

	fixture_init(&f);
	session_make(&session, 1, 1, 32, 130);
	assert_int_equal(fixture_open(&f, TABLE_SIZE_MIN, NOW, NULL, 0), TABLE_CREATED);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	fixture_deinit(*state);
	return 0;
}

static void put_number(struct fixture *f, uint64_t number, int64_t expires_s, int64_t now_s)
{
	struct session s;

	session_make(&s, number, 1, 32, 130);
	assert_int_equal(session_put(f->table, &s, expires_s, now_s, 0, NULL), 0);
}

static void put_session(struct fixture *f, int64_t expires_s)
{
	assert_int_equal(session_put(f->table, &session, expires_s, NOW, 0, NULL), 0);
	assert_true(table_holds(f->table, session.der + 8, 16));
	assert_true(table_holds(f->table, session.id, 16));
}

static void expect_wiped(struct fixture *f)
{
	assert_int_equal(session_get(f->view, &session, NOW), TABLE_MISS);
	/* Any eight bytes of it would be too many; records start on words, so each word is looked for. */
	for (size_t i = 8; i + 8 <= session.n_der; i += 8)
		assert_false(table_holds(f->table, session.der + i, 8));
	for (size_t i = 0; i + 8 <= session.n_id; i += 8)
		assert_false(table_holds(f->table, session.id + i, 8));
}

static void test_expired_at_the_tail(void **state)
{
	struct fixture *f = *state;

	put_session(f, NOW + 10);
	put_number(f, 2, NOW + 20, NOW);
	assert_false(table_expire(f->table, NOW + 9, 100));
	assert_int_equal(session_get(f->view, &session, NOW), 0);
	assert_false(table_expire(f->table, NOW + 10, 100));
	expect_wiped(f);
}

static void test_expired_behind_a_longer_one(void **state)
{
	struct fixture *f = *state;
	struct table_stats stats;

	put_number(f, 2, NOW + 20, NOW);
	put_session(f, NOW + 10);
	put_number(f, 3, NOW + 20, NOW);
	assert_false(table_expire(f->table, NOW + 9, 100));
	assert_int_equal(session_get(f->view, &session, NOW), 0);
	assert_false(table_expire(f->table, NOW + 10, 100));
	expect_wiped(f);
	table_stats(f->table, &stats);
	assert_int_equal(stats.n_live, 2);
	assert_int_equal(stats.n_expired, 1);
	assert_int_equal(stats.n_in_log, 3);
}

static void test_removed(void **state)
{
	struct fixture *f = *state;
	_cleanup_(freep) uint8_t *der = NULL;

	put_session(f, NOW + 10);
	assert_int_equal(session_put(f->table, &session, NOW + 10, NOW, TABLE_TOMBSTONE, NULL), 0);
	assert_int_equal(session_get(f->view, &session, NOW), TABLE_MISS);
	for (size_t i = 8; i + 8 <= session.n_der; i += 8)
		assert_false(table_holds(f->table, session.der + i, 8));
	/* The tombstone needs the ID, until it expires itself. */
	assert_false(table_expire(f->table, NOW + 10, 100));
	expect_wiped(f);
}

static void test_evicted(void **state)
{
	struct fixture *f = *state;
	struct table_stats stats;

	put_session(f, NOW + 10);
	for (uint64_t i = 2;; i++) {
		table_stats(f->table, &stats);
		if (stats.n_evicted)
			break;
		put_number(f, i, NOW + 10, NOW);
	}
	assert_int_equal(session_get(f->view, &session, NOW), TABLE_MISS);
	assert_false(table_holds(f->table, session.der + 8, 16));
}

static void test_superseded(void **state)
{
	struct fixture *f = *state;
	struct session newer;

	put_session(f, NOW + 10);
	session_make(&newer, 1, 2, 32, 130);
	assert_int_equal(session_put(f->table, &newer, NOW + 30, NOW + 10, 0, NULL), 0);
	assert_int_equal(session_get(f->view, &newer, NOW + 10), 0);
	for (size_t i = 8; i + 8 <= session.n_der; i += 8)
		assert_false(table_holds(f->table, session.der + i, 8));
}

static void test_rebuilt(void **state)
{
	struct fixture *f = *state;
	_cleanup_(closep) int old_fd = -1;

	put_session(f, NOW + 10);
	old_fd = table_fd(f->table);
	fixture_close(f);
	assert_int_equal(fixture_open(f, 2 * TABLE_SIZE_MIN, NOW, NULL, 0), TABLE_REBUILT);
	expect_wiped(f);
	assert_false(file_holds(old_fd, session.der + 8, 16));
}

/* Once everything has expired, log and index hold nothing but zeros and free slots. */
static void test_all_expired_leaves_zeros(void **state)
{
	struct fixture *f = *state;
	struct table_stats stats;
	uint64_t random = 1;

	for (uint64_t i = 0; i < 20000; i++) {
		static struct session s;

		session_make(&s, i, 1, 1 + next_random(&random, 32),
		             1 + next_random(&random, 1000));
		if (session_put(f->table, &s, NOW + 1 + (int64_t)next_random(&random, 100), NOW,
		                i % 8 ? 0 : TABLE_TOMBSTONE, NULL) < 0)
			fail();
	}
	while (table_expire(f->table, NOW + 101, 7))
		;
	table_stats(f->table, &stats);
	assert_int_equal(stats.n_live, 0);
	assert_int_equal(stats.n_in_log, 0);
	assert_int_equal(stats.used_bytes, 0);
	for (uint64_t i = 0; i < stats.log_bytes / 8; i++)
		assert_int_equal(f->table->log[i], 0);
}

/* Lifetimes all mixed up: after a pass at any time exactly those that have expired are gone. */
static void test_sweep_finds_all(void **state)
{
	struct fixture *f = *state;
	int64_t expires_s[4000];
	uint64_t random = 2;
	struct table_stats stats;

	for (uint64_t i = 0; i < 4000; i++) {
		/* One that holds up the tail until the end. */
		expires_s[i] = i == 0 ? NOW + 1000 : NOW + 1 + (int64_t)next_random(&random, 500);
		put_number(f, i, expires_s[i], NOW);
	}
	for (int64_t now_s = NOW; now_s <= NOW + 500;
	     now_s += 1 + (int64_t)next_random(&random, 20)) {
		uint64_t n_live = 0;

		while (table_expire(f->table, now_s, 1 + next_random(&random, 3000)))
			;
		for (uint64_t i = 0; i < 4000; i++)
			n_live += expires_s[i] > now_s;
		table_stats(f->table, &stats);
		assert_int_equal(stats.n_live, n_live);
		assert_int_equal(stats.n_expired, 4000 - n_live);
	}
}

/* The same while records come in, the ring turns, and the writer is replaced now and then. */
static void test_sweep_of_a_moving_log(void **state)
{
	struct fixture *f = *state;
	static int64_t expires_s[60000];
	static uint64_t ends[60000];
	uint64_t random = 3;
	int64_t now_s = NOW;

	for (uint64_t i = 0; i < ARRAY_SIZE(expires_s); i++) {
		struct table_stats stats;
		uint64_t n_live = 0;

		expires_s[i] = now_s + 1 + (int64_t)next_random(&random, i % 50 ? 30 : 400);
		put_number(f, i, expires_s[i], now_s);
		ends[i] = table_head(f->table);
		if (i % 100 == 99)
			now_s++;
		if (next_random(&random, 10) == 0)
			(void)table_expire(f->table, now_s, next_random(&random, 200));
		if (next_random(&random, 5000) == 0) {
			fixture_close(f);
			assert_int_equal(fixture_open(f, TABLE_SIZE_MIN, now_s, NULL, 0), 0);
		}
		if (i % 1000)
			continue;
		while (table_expire(f->table, now_s, 1000))
			;
		/* A pass may have been under way, which skipped chunks that were not due then: another one. */
		while (table_expire(f->table, now_s, 1000))
			;
		for (uint64_t j = i < 8000 ? 0 : i - 8000; j <= i; j++)
			n_live += expires_s[j] > now_s && ends[j] > table_tail(f->table);
		table_stats(f->table, &stats);
		assert_int_equal(stats.n_live, n_live);
	}
}

static void test_expire_is_bounded(void **state)
{
	struct fixture *f = *state;
	struct table_stats stats;
	unsigned n_calls = 1;

	put_number(f, 0, NOW + 1000, NOW);
	for (uint64_t i = 1; i <= 1000; i++)
		put_number(f, i, NOW + 10, NOW);
	assert_true(table_expire(f->table, NOW + 10, 0));
	table_stats(f->table, &stats);
	assert_int_equal(stats.n_expired, 0);
	while (table_expire(f->table, NOW + 10, 100)) {
		table_stats(f->table, &stats);
		assert_in_range(stats.n_expired, n_calls * 100 - 1, n_calls * 100);
		n_calls++;
	}
	table_stats(f->table, &stats);
	assert_int_equal(stats.n_expired, 1000);
	assert_in_range(n_calls, 10, 12);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_expired_at_the_tail),
	    TEST(test_expired_behind_a_longer_one),
	    TEST(test_removed),
	    TEST(test_evicted),
	    TEST(test_superseded),
	    TEST(test_rebuilt),
	    TEST(test_all_expired_leaves_zeros),
	    TEST(test_sweep_finds_all),
	    TEST(test_sweep_of_a_moving_log),
	    TEST(test_expire_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
