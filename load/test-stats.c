/* Rows and totals with a clock of our own, and the forms that they are written in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <jansson.h>

#include "report.h"
#include "stats.h"

static struct stats *make(void)
{
	struct stats *stats;

	assert_int_equal(stats_new(&stats), 0);
	assert_int_equal(stats_advance(stats, 0, 0, 0), 0);
	return stats;
}

static void answer(struct stats *stats, bool resumed, int64_t latency_us)
{
	const struct stats_end end = {
	    .handshaken = true, .resumed = resumed, .latency_us = latency_us};

	stats_handshake(stats, resumed, latency_us / 2);
	stats_bytes(stats, 1000);
	stats_end(stats, &end);
}

static void fail_visit(struct stats *stats, const char *name)
{
	const struct stats_end end = {.failure = name};

	stats_end(stats, &end);
}

static void test_rows(void **state)
{
	struct stats *stats = make();
	struct stats_row row;

	(void)state;
	assert_int_equal(stats_start(stats, 100000, 20), 0);
	assert_int_equal(stats_start(stats, 900000, 0), 0);
	answer(stats, false, 200);
	assert_false(stats_take(stats, 1500000, &row)); /* the second is not over */
	assert_int_equal(stats_advance(stats, 1000000, 5, 6), 0);
	assert_false(stats_take(stats, 999999, &row)); /* a visit of it has yet to begin */
	assert_int_equal(stats_start(stats, 999999, 1000), 0);
	answer(stats, true, 100);
	assert_true(stats_take(stats, 1500000, &row));
	assert_int_equal(row.second, 0);
	assert_int_equal(row.counts.started, 3);
	assert_int_equal(row.counts.finished, 1);
	assert_int_equal(row.counts.full, 1);
	assert_int_equal(row.counts.resumed, 0);
	assert_int_equal(row.counts.bytes, 1000);
	assert_int_equal(row.behind_us, 1000);
	assert_int_equal(row.handshake.us[STATS_P50], 100);
	assert_int_equal(row.total.us[STATS_P999], 200);
	assert_int_equal(row.n_waiting, 5);
	assert_int_equal(row.n_open, 6);
	assert_false(stats_take(stats, INT64_MAX, &row));
	stats_free(stats);
}

/* The generator was stopped for seconds: there is a row for each, and what ended then is in the last. */
static void test_gap(void **state)
{
	struct stats *stats = make();
	struct stats_row row;

	(void)state;
	assert_int_equal(stats_advance(stats, 3500000, 1, 0), 0);
	assert_int_equal(stats_start(stats, 1200000, 2300000), 0);
	answer(stats, false, 2300000);
	assert_int_equal(stats_close(stats, 0, 0), 0);
	for (int64_t second = 0; second <= 3; second++) {
		assert_true(stats_take(stats, INT64_MAX, &row));
		assert_int_equal(row.second, second);
		assert_int_equal(row.counts.started, second == 1);
		assert_int_equal(row.counts.finished, second == 3);
		assert_int_equal(row.handshake.us[STATS_P50] >= 0, second == 3);
	}
	assert_false(stats_take(stats, INT64_MAX, &row));
	assert_true(stats_is_behind(stats));
	assert_int_equal(stats->behind_us, 2300000);
	stats_free(stats);
}

static void test_behind(void **state)
{
	struct stats *stats = make();

	(void)state;
	assert_false(stats_is_behind(stats));
	for (int i = 0; i < 999; i++)
		assert_int_equal(stats_start(stats, 0, STATS_LATE_US), 0);
	assert_false(stats_is_behind(stats));
	assert_int_equal(stats_start(stats, 0, STATS_LATE_US + 1), 0);
	assert_false(stats_is_behind(stats)); /* one in a thousand */
	assert_int_equal(stats_start(stats, 0, STATS_LATE_US + 1), 0);
	assert_true(stats_is_behind(stats));
	stats_free(stats);
}

static void test_kinds_are_bounded(void **state)
{
	struct stats *stats = make();
	uint64_t n = 0;

	(void)state;
	for (int i = 0; i < 3 * STATS_KINDS_MAX; i++) {
		char name[FAILURE_NAME_MAX];

		snprintf(name, sizeof(name), "kind_%d", i / 2);
		fail_visit(stats, name);
	}
	assert_int_equal(stats->n_kinds, STATS_KINDS_MAX + 1);
	assert_int_equal(stats->kinds[0].n, 2);
	assert_string_equal(stats->kinds[STATS_KINDS_MAX].name, "other");
	for (unsigned i = 0; i < stats->n_kinds; i++)
		n += stats->kinds[i].n;
	assert_int_equal(n, stats->total.errors);
	stats_free(stats);
}

static char *written(FILE **out, char **text, size_t *n)
{
	assert_int_equal(fclose(*out), 0);
	*out = NULL;
	assert_non_null(*text);
	assert_true(*n > 0);
	return *text;
}

static void test_csv(void **state)
{
	struct stats *stats = make();
	struct stats_row row;
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);

	(void)state;
	assert_int_equal(stats_start(stats, 0, 3), 0);
	answer(stats, false, 200);
	assert_int_equal(stats_advance(stats, 1000000, 4, 5), 0);
	assert_int_equal(stats_advance(stats, 2000000, 6, 7), 0);
	assert_int_equal(report_csv_header(out), 0);
	while (stats_take(stats, INT64_MAX, &row))
		assert_int_equal(report_csv_row(out, &row, 1700000000.25 + (double)row.second), 0);
	assert_string_equal(
	    written(&out, &text, &n),
	    "time_s,unix_time,started,finished,full,resumed,missed,errors,no_session,bytes,"
	    "hs_p50_us,hs_p90_us,hs_p99_us,hs_p999_us,"
	    "total_p50_us,total_p90_us,total_p99_us,total_p999_us,behind_us,waiting,open\n"
	    "0,1700000000.250,1,1,1,0,0,0,0,1000,100,100,100,100,200,200,200,200,3,4,5\n"
	    "1,1700000001.250,0,0,0,0,0,0,0,0,,,,,,,,,0,6,7\n");
	free(text);
	stats_free(stats);
}

static void test_json(void **state)
{
	static const char *const names[] = {
	    "hs_p50_us",         "hs_p999_us",      "total_p90_us", "hs_full_p50_us",
	    "hs_resumed_p99_us", "visits_planned",  "start_unix",   "seconds",
	    "cpu_us_per_visit",  "behind_schedule", "interrupted",  "bytes",
	};
	struct stats *stats = make();
	const struct report_run run = {.target = "127.0.0.1:1", .tls = "1.2", .visits_planned = 9};
	char *text = NULL;
	size_t n = 0;
	FILE *out = open_memstream(&text, &n);
	json_t *object;

	(void)state;
	assert_int_equal(stats_start(stats, 0, 0), 0);
	answer(stats, false, 200);
	fail_visit(stats, "http_404");
	fail_visit(stats, "http_404");
	assert_int_equal(stats_close(stats, 0, 0), 0);
	assert_int_equal(report_json(out, stats, &run), 0);
	object = json_loads(written(&out, &text, &n), JSON_REJECT_DUPLICATES, NULL);
	assert_non_null(object);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_non_null(json_object_get(object, names[i]));
	assert_int_equal(json_integer_value(json_object_get(object, "hs_full_p50_us")), 100);
	assert_true(json_is_null(json_object_get(object, "hs_resumed_p50_us")));
	assert_int_equal(json_integer_value(json_object_get(
	                     json_object_get(object, "errors_by_kind"), "http_404")),
	                 2);
	json_decref(object);
	free(text);
	stats_free(stats);
}

/* A report that cannot be written is a failure. */
static void test_full_disk(void **state)
{
	struct stats *stats = make();
	const struct report_run run = {.target = "127.0.0.1:1", .tls = "1.2"};
	const struct stats_row row = {0};
	FILE *out = fopen("/dev/full", "w");

	(void)state;
	assert_non_null(out);
	assert_true(report_csv_header(out) < 0);
	assert_true(report_csv_row(out, &row, 0) < 0);
	assert_true(report_json(out, stats, &run) < 0);
	assert_true(report_summary(out, stats, &run) < 0);
	(void)fclose(out);
	stats_free(stats);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),      cmocka_unit_test(test_gap),
	    cmocka_unit_test(test_behind),    cmocka_unit_test(test_kinds_are_bounded),
	    cmocka_unit_test(test_csv),       cmocka_unit_test(test_json),
	    cmocka_unit_test(test_full_disk),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
