#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>

static const char *const percentile_names[STATS_N_PERCENTILES] = {"p50", "p90", "p99", "p999"};

static int finish(FILE *out)
{
	return fflush(out) == 0 && !ferror(out) ? 0 : errno ? -errno : -EIO;
}

int report_csv_header(FILE *out)
{
	fputs("time_s,unix_time,started,finished,full,resumed,missed,errors,no_session,bytes,"
	      "hs_p50_us,hs_p90_us,hs_p99_us,hs_p999_us,"
	      "total_p50_us,total_p90_us,total_p99_us,total_p999_us,behind_us,waiting,open\n",
	      out);
	return finish(out);
}

static void csv_latency(FILE *out, const struct stats_latency *latency)
{
	for (int i = 0; i < STATS_N_PERCENTILES; i++) {
		if (latency->us[i] < 0)
			fputc(',', out);
		else
			fprintf(out, ",%" PRId64, latency->us[i]);
	}
}

int report_csv_row(FILE *out, const struct stats_row *row, double unix_time)
{
	const struct stats_counts *c = &row->counts;

	fprintf(out,
	        "%" PRId64 ",%.3f,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64
	        ",%" PRIu64 ",%" PRIu64 ",%" PRIu64,
	        row->second, unix_time, c->started, c->finished, c->full, c->resumed, c->missed,
	        c->errors, c->no_session, c->bytes);
	csv_latency(out, &row->handshake);
	csv_latency(out, &row->total);
	fprintf(out, ",%" PRId64 ",%" PRIu64 ",%" PRIu64 "\n", row->behind_us, row->n_waiting,
	        row->n_open);
	return finish(out);
}

static void json_latency(json_t *object, const char *prefix, const struct histogram *histogram)
{
	struct stats_latency latency = stats_latency_of(histogram);

	for (int i = 0; i < STATS_N_PERCENTILES; i++) {
		char name[64];

		snprintf(name, sizeof(name), "%s_%s_us", prefix, percentile_names[i]);
		json_object_set_new(object, name,
		                    latency.us[i] < 0 ? json_null() : json_integer(latency.us[i]));
	}
}

static double cpu_us_per_visit(const struct stats *stats, const struct report_run *run)
{
	return run->cpu_s * 1e6 / (double)MAX(stats->total.finished, 1);
}

static json_t *json_totals(const struct stats *stats, const struct report_run *run)
{
	const struct stats_counts *c = &stats->total;

	return json_pack(
	    "{s:s, s:s, s:f, s:f, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, "
	    "s:b, s:I, s:I, s:f, s:f}",
	    "target", run->target, "tls", run->tls, "start_unix", run->start_unix, "seconds",
	    run->seconds, "interrupted", run->interrupted, "visits_planned",
	    (json_int_t)run->visits_planned, "unfinished", (json_int_t)run->n_unfinished, "started",
	    (json_int_t)c->started, "finished", (json_int_t)c->finished, "full",
	    (json_int_t)c->full, "resumed", (json_int_t)c->resumed, "missed", (json_int_t)c->missed,
	    "no_session", (json_int_t)c->no_session, "errors", (json_int_t)c->errors, "bytes",
	    (json_int_t)c->bytes, "behind_schedule", (int)stats_is_behind(stats), "behind_us",
	    (json_int_t)stats->behind_us, "late", (json_int_t)stats->n_late, "cpu_s", run->cpu_s,
	    "cpu_us_per_visit", cpu_us_per_visit(stats, run));
}

int report_json(FILE *out, const struct stats *stats, const struct report_run *run)
{
	json_t *object = json_totals(stats, run), *kinds = json_object();
	int r = 0;

	for (unsigned i = 0; i < stats->n_kinds; i++)
		json_object_set_new(kinds, stats->kinds[i].name,
		                    json_integer((json_int_t)stats->kinds[i].n));
	json_object_set_new(object, "errors_by_kind", kinds);
	json_latency(object, "hs", &stats->all_handshakes);
	json_latency(object, "hs_full", &stats->full_handshakes);
	json_latency(object, "hs_resumed", &stats->resumed_handshakes);
	json_latency(object, "total", &stats->all_answers);
	errno = 0;
	if (!object || json_dumpf(object, out, JSON_INDENT(2) | JSON_REAL_PRECISION(14)) < 0 ||
	    fputc('\n', out) == EOF)
		r = errno ? -errno : -ENOMEM;
	json_decref(object);
	return r < 0 ? r : finish(out);
}

static void summary_latency(FILE *out, const char *name, const struct histogram *histogram)
{
	struct stats_latency latency = stats_latency_of(histogram);

	if (histogram->n == 0)
		return;
	fprintf(out, "%-20s %10.3f %10.3f %10.3f %10.3f\n", name,
	        (double)latency.us[STATS_P50] / 1e3, (double)latency.us[STATS_P90] / 1e3,
	        (double)latency.us[STATS_P99] / 1e3, (double)latency.us[STATS_P999] / 1e3);
}

static void summary_counts(FILE *out, const struct stats *stats, const struct report_run *run)
{
	const struct stats_counts *c = &stats->total;
	uint64_t n_offers = c->resumed + c->missed;

	fprintf(out, "%s, TLS %s, %.1f s%s\n", run->target, run->tls, run->seconds,
	        run->interrupted ? ", interrupted" : "");
	fprintf(out,
	        "visits   %" PRIu64 " of %" PRIu64 " planned: %" PRIu64 " answered, %" PRIu64
	        " failed",
	        c->started, run->visits_planned, stats->n_answered, c->errors);
	if (run->n_unfinished > 0)
		fprintf(out, ", %" PRIu64 " cut off", run->n_unfinished);
	fprintf(out, "; %.1f MB\n", (double)c->bytes / 1e6);
	fprintf(out,
	        "full     %" PRIu64 " handshakes, of these %" PRIu64 " missed, %" PRIu64
	        " without a session to offer\n",
	        c->full, c->missed, c->no_session);
	fprintf(out, "resumed  %" PRIu64, c->resumed);
	if (n_offers > 0)
		fprintf(out, ", %.2f %% of those who offered a session",
		        100.0 * (double)c->resumed / (double)n_offers);
	fputc('\n', out);
}

int report_summary(FILE *out, const struct stats *stats, const struct report_run *run)
{
	summary_counts(out, stats, run);
	for (unsigned i = 0; i < stats->n_kinds; i++)
		fprintf(out, "failed   %" PRIu64 " %s\n", stats->kinds[i].n, stats->kinds[i].name);
	fprintf(out, "\n%-20s %10s %10s %10s %10s\n", "ms from planned start", "p50", "p90", "p99",
	        "p99.9");
	summary_latency(out, "full handshake", &stats->full_handshakes);
	summary_latency(out, "resumed handshake", &stats->resumed_handshakes);
	summary_latency(out, "whole answer", &stats->all_answers);
	fprintf(out, "\ngenerator: %.0f us of CPU a visit; latest start %.1f ms after its time%s\n",
	        cpu_us_per_visit(stats, run), (double)stats->behind_us / 1e3,
	        stats_is_behind(stats)
	            ? ": it was behind its schedule, and these figures are its own as "
	              "much as the server's"
	            : "");
	return finish(out);
}

void report_progress(FILE *out, const struct stats_row *row)
{
	const struct stats_counts *c = &row->counts;

	fprintf(out,
	        "\r%5" PRId64 " s  %5" PRIu64 " started  %5" PRIu64 " full  %5" PRIu64
	        " resumed  %4" PRIu64 " missed  %4" PRIu64 " errors  p99 ",
	        row->second, c->started, c->full, c->resumed, c->missed, c->errors);
	if (row->total.us[STATS_P99] < 0)
		fputs("      -", out);
	else
		fprintf(out, "%7.1f", (double)row->total.us[STATS_P99] / 1e3);
	fprintf(out, " ms  %" PRIu64 " waiting  %" PRIu64 " open\033[K", row->n_waiting,
	        row->n_open);
	fflush(out);
}
