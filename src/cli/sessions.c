/*
 * tlsbaton sessions: what stands in the session table, counted. It maps the table file read-only, as a worker
 * does, so it costs the daemon nothing; and it is never shown an ID or a secret (table_view_each()).
 */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <time.h>

#include "table/table.h"

static const struct {
	int64_t below_s;
	const char *words;
} spans[] = {
    {60, "under 1 min"},     {300, "1 to 5 min"},  {1800, "5 to 30 min"},
    {7200, "30 min to 2 h"}, {86400, "2 to 24 h"}, {INT64_MAX, "24 h and more"},
};

static const struct {
	size_t below;
	const char *words;
} lengths[] = {
    {128, "under 128 bytes"}, {256, "128 to 255 bytes"},    {1024, "256 to 1023 bytes"},
    {4096, "1 to 4 KiB"},     {SIZE_MAX, "4 KiB and more"},
};

struct tally {
	int64_t now_s;
	uint64_t n, n_local, bytes;
	uint64_t by_age[ARRAY_SIZE(spans)];
	uint64_t by_lifetime[ARRAY_SIZE(spans)];
	uint64_t by_length[ARRAY_SIZE(lengths)];
	int64_t youngest_s, oldest_s, shortest_s, longest_s;
	size_t smallest, largest;
};

static size_t span_of(int64_t seconds)
{
	size_t i = 0;

	while (seconds >= spans[i].below_s && i + 1 < ARRAY_SIZE(spans))
		i++;
	return i;
}

static void tally_one(void *arg, const struct table_session *session)
{
	struct tally *t = arg;
	int64_t left_s = session->expires_s - t->now_s;
	int64_t age_s = MAX(t->now_s - session->stored_s, 0); /* the clock may have been set back */
	size_t n_der = session->n_der, i = 0;

	t->by_age[span_of(age_s)]++;
	t->by_lifetime[span_of(left_s)]++;
	while (n_der >= lengths[i].below && i + 1 < ARRAY_SIZE(lengths))
		i++;
	t->by_length[i]++;
	t->youngest_s = t->n ? MIN(t->youngest_s, age_s) : age_s;
	t->oldest_s = MAX(t->oldest_s, age_s);
	t->shortest_s = t->n ? MIN(t->shortest_s, left_s) : left_s;
	t->longest_s = MAX(t->longest_s, left_s);
	t->smallest = t->n ? MIN(t->smallest, n_der) : n_der;
	t->largest = MAX(t->largest, n_der);
	t->bytes += n_der;
	t->n_local += session->local;
	t->n++;
}

static void print_row(const char *words, uint64_t n, uint64_t total)
{
	printf("  %-18s %12" PRIu64 "  %5.1f %%\n", words, n,
	       total ? 100.0 * (double)n / (double)total : 0);
}

static void print_table(const struct tally *t)
{
	printf("%" PRIu64 " live sessions: %" PRIu64 " made on this node, %" PRIu64
	       " received from peers\n",
	       t->n, t->n_local, t->n - t->n_local);
	if (t->n == 0)
		return;
	printf("\nAge (%" PRId64 " to %" PRId64 " s)\n", t->youngest_s, t->oldest_s);
	for (size_t i = 0; i < ARRAY_SIZE(spans); i++)
		print_row(spans[i].words, t->by_age[i], t->n);
	printf("\nLifetime left (%" PRId64 " to %" PRId64 " s)\n", t->shortest_s, t->longest_s);
	for (size_t i = 0; i < ARRAY_SIZE(spans); i++)
		print_row(spans[i].words, t->by_lifetime[i], t->n);
	printf("\nSize (%zu to %zu bytes, mean %" PRIu64 ")\n", t->smallest, t->largest,
	       t->bytes / t->n);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
		print_row(lengths[i].words, t->by_length[i], t->n);
}

/* A bucket is {"below": its upper edge, null for none; "n"}. */
static json_t *json_bucket(bool last, int64_t below, uint64_t n)
{
	return json_pack("{s:o, s:I}", "below", last ? json_null() : json_integer(below), "n",
	                 (json_int_t)n);
}

static json_t *json_spans(const uint64_t n[ARRAY_SIZE(spans)])
{
	json_t *out = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(spans); i++)
		json_array_append_new(
		    out, json_bucket(i + 1 == ARRAY_SIZE(spans), spans[i].below_s, n[i]));
	return out;
}

static int print_json(const struct tally *t)
{
	json_auto_t *out = json_pack(
	    "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "live", (json_int_t)t->n, "local",
	    (json_int_t)t->n_local, "der_bytes", (json_int_t)t->bytes, "der_bytes_min",
	    (json_int_t)t->smallest, "der_bytes_max", (json_int_t)t->largest, "age_min_s",
	    (json_int_t)t->youngest_s, "age_max_s", (json_int_t)t->oldest_s, "lifetime_left_min_s",
	    (json_int_t)t->shortest_s, "lifetime_left_max_s", (json_int_t)t->longest_s, "now_s",
	    (json_int_t)t->now_s);
	json_t *by_length = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
		json_array_append_new(by_length,
		                      json_bucket(i + 1 == ARRAY_SIZE(lengths),
		                                  (int64_t)lengths[i].below, t->by_length[i]));
	if (json_object_set_new(out, "by_age_s", json_spans(t->by_age)) < 0 ||
	    json_object_set_new(out, "by_lifetime_left_s", json_spans(t->by_lifetime)) < 0 ||
	    json_object_set_new(out, "by_der_bytes", by_length) < 0) {
		cli_error("%s", strerror(ENOMEM));
		return CLI_FAILED;
	}
	json_dumpf(out, stdout, JSON_INDENT(2));
	putchar('\n');
	return cli_flush();
}

static int open_table(const char *path, struct table_view **view)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	int r;

	if (fd < 0 && errno == ENOENT) {
		cli_error("%s: there is no session table; start tlsbatond (systemctl start "
		          "tlsbatond), or name its "
		          "configuration with --config",
		          path);
		return CLI_UNREACHABLE;
	}
	if (fd < 0) {
		cli_error("%s: cannot be read: %s%s", path, strerror(errno),
		          errno == EACCES ? "; use sudo" : "");
		return CLI_FAILED;
	}
	r = table_view_open(view, fd);
	if (r == -EPROTO)
		cli_error("%s: is no session table of this version of tlsbaton; restart tlsbatond",
		          path);
	else if (r < 0)
		cli_error("%s: %s", path, strerror(-r));
	return r < 0 ? CLI_FAILED : CLI_DONE;
}

static int sessions_run(struct cli *cli, int argc, char **argv)
{
	static const struct option own[] = {{"json", no_argument, NULL, 'j'}, {NULL, 0, NULL, 0}};
	_cleanup_(freep) char *directory = NULL, *path = NULL;
	_cleanup_(table_view_freep) struct table_view *view = NULL;
	struct tally tally = {.now_s = time(NULL)};
	bool json = false;
	int done, r;

	while (cli_option(cli, &cli_sessions, argc, argv, own, &done) == 'j')
		json = true;
	if (done < 0)
		done = cli_arguments(&cli_sessions, argc, argv, 0);
	if (done >= 0)
		return done;
	r = cli_run_directory(cli, &directory);
	if (r != CLI_DONE)
		return r;
	if (asprintf(&path, "%s/table", directory) < 0) {
		path = NULL;
		cli_error("%s", strerror(ENOMEM));
		return CLI_FAILED;
	}
	r = open_table(path, &view);
	if (r != CLI_DONE)
		return r;
	table_view_each(view, tally.now_s, tally_one, &tally);
	if (json)
		return print_json(&tally);
	print_table(&tally);
	return cli_flush();
}

const struct cli_command cli_sessions = {
    .name = "sessions",
    .arguments = "[--json]",
    .summary = "Count the sessions in this node's table by age, lifetime left and size",
    .options = "      --json          as JSON, for programs\n",
    .run = sessions_run,
};
