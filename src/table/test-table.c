#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "table/table.h"

#define NOW 1700000000

struct fixture {
	char directory[64];
	char path[80];
	struct table *table;
	struct table_view *view;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	strcpy(f->directory, "/tmp/test-table-XXXXXX");
	assert_non_null(mkdtemp(f->directory));
	snprintf(f->path, sizeof(f->path), "%s/table", f->directory);
	assert_int_equal(table_open(&f->table, f->path, TABLE_SIZE_MIN, false, NOW, NULL, 0),
	                 TABLE_CREATED);
	fd = table_fd(f->table);
	assert_true(fd >= 0);
	assert_int_equal(table_view_open(&f->view, fd), 0);
	close(fd);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	table_view_free(f->view);
	table_free(f->table);
	unlink(f->path);
	assert_int_equal(rmdir(f->directory), 0);
	free(f);
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
	assert_int_equal(put(f->table, "a", "other", NOW + 10, 0), TABLE_DUPLICATE);
	assert_int_equal(get(f, "a", NOW, der), 0);
	assert_string_equal(der, "session of a");
	assert_int_equal(get(f, "b", NOW + 19, der), 0);
	assert_string_equal(der, "session of b");
	assert_int_equal(get(f, "a", NOW + 10, der), TABLE_MISS);
	assert_int_equal(get(f, "ab", NOW, der), TABLE_MISS);
	assert_int_equal(put(f->table, "c", "x", NOW, 0), TABLE_EXPIRED);
}

static void test_remove(void **state)
{
	struct fixture *f = *state;
	char der[64];

	assert_int_equal(put(f->table, "a", "session of a", NOW + 10, 0), 0);
	assert_int_equal(put(f->table, "a", NULL, NOW + 10, TABLE_TOMBSTONE), 0);
	assert_int_equal(get(f, "a", NOW, der), TABLE_MISS);
	assert_int_equal(put(f->table, "a", "late", NOW + 10, 0), TABLE_DUPLICATE);
	assert_false(table_expire(f->table, NOW + 10, 100));
	assert_true(table_tail(f->table) == table_head(f->table));
}

static void test_next(void **state)
{
	struct fixture *f = *state;
	struct table_record record;
	uint64_t position = table_tail(f->table), n_passed = 0;

	assert_int_equal(put(f->table, "a", "session of a", NOW + 10, 0), 0);
	assert_int_equal(put(f->table, "b", "session of b", NOW + 10, TABLE_LOCAL), 0);
	assert_int_equal(put(f->table, "a", NULL, NOW + 10, TABLE_TOMBSTONE), 0);
	assert_int_equal(table_next(f->table, &position, &record, &n_passed), 0);
	assert_int_equal(record.n_der, 12);
	assert_memory_equal(record.der, "session of b", 12);
	assert_int_equal(record.flags, TABLE_LOCAL);
	assert_int_equal(n_passed, 2);
	assert_int_equal(table_next(f->table, &position, &record, &n_passed), 0);
	assert_int_equal(record.flags, TABLE_TOMBSTONE);
	assert_int_equal(table_next(f->table, &position, &record, &n_passed), TABLE_END);
	assert_int_equal(n_passed, 3);
	position = 0;
	assert_int_equal(table_next(f->table, &position, &record, &n_passed), TABLE_GONE);
	assert_true(position == table_tail(f->table));
}

static void test_restart_of_the_writer(void **state)
{
	struct fixture *f = *state;
	uint64_t epoch = table_epoch(f->table);
	struct table *second;
	char der[64];

	assert_int_equal(put(f->table, "a", "session of a", NOW + 10, 0), 0);
	assert_int_equal(table_open(&second, f->path, TABLE_SIZE_MIN, false, NOW, NULL, 0),
	                 -EWOULDBLOCK);
	table_free(f->table);
	f->table = NULL;
	assert_int_equal(table_open(&f->table, f->path, TABLE_SIZE_MIN, false, NOW, NULL, 0), 0);
	assert_true(table_epoch(f->table) == epoch);
	assert_int_equal(get(f, "a", NOW, der), 0);
	assert_int_equal(put(f->table, "b", "session of b", NOW + 10, 0), 0);
	assert_int_equal(get(f, "b", NOW, der), 0);
}

static void test_eviction(void **state)
{
	struct fixture *f = *state;
	struct table_stats stats;
	char id[33], text[131], der[131];
	size_t n_der;

	for (int i = 0; i < 50000; i++) {
		snprintf(id, sizeof(id), "%032d", i);
		snprintf(text, sizeof(text), "%0130d", i);
		assert_int_equal(put(f->table, id, text, NOW + 1000, 0), 0);
		assert_int_equal(table_view_get(f->view, (uint8_t *)id, 32, NOW, (uint8_t *)der,
		                                130, &n_der, NULL, NULL),
		                 0);
		assert_int_equal(n_der, 130);
		assert_memory_equal(der, text, 130);
	}
	table_stats(f->table, &stats);
	assert_true(stats.n_evicted > 0);
	assert_int_equal(stats.n_live + stats.n_evicted + stats.n_displaced, 50000);
	assert_int_equal(stats.n_displaced, 0);
	assert_true(stats.bytes_wanted > 50000 * 192);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_put_and_get),           TEST(test_remove),   TEST(test_next),
	    TEST(test_restart_of_the_writer), TEST(test_eviction),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
