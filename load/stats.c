#include "stats.h"

#include <errno.h>

int stats_new(struct stats **out)
{
	struct stats *stats = calloc(1, sizeof(*stats));

	if (!stats)
		return -ENOMEM;
	*out = stats;
	return 0;
}

void stats_free(struct stats *stats)
{
	if (stats)
		free(stats->rows);
	free(stats);
}

struct stats_latency stats_latency_of(const struct histogram *histogram)
{
	return (struct stats_latency){{
	    [STATS_P50] = histogram_permille(histogram, 500),
	    [STATS_P90] = histogram_permille(histogram, 900),
	    [STATS_P99] = histogram_permille(histogram, 990),
	    [STATS_P999] = histogram_permille(histogram, 999),
	}};
}

/* Makes sure that there are rows up to this second, unless they have been taken. */
static int make_rows(struct stats *stats, int64_t second)
{
	int64_t next =
	    stats->n_rows > 0 ? stats->rows[stats->n_rows - 1].second + 1 : stats->second;

	for (; next <= second; next++) {
		if (stats->n_rows == stats->n_room) {
			size_t n_room = MAX(16, stats->n_room * 2);
			struct stats_row *rows = realloc(stats->rows, n_room * sizeof(*rows));

			if (!rows)
				return -ENOMEM;
			stats->rows = rows;
			stats->n_room = n_room;
		}
		stats->rows[stats->n_rows++] = (struct stats_row){.second = next};
	}
	return 0;
}

/* The row of a second that has not been taken. */
static struct stats_row *row_of(struct stats *stats, int64_t second)
{
	return &stats->rows[second - stats->rows[0].second];
}

static void close_second(struct stats *stats, uint64_t n_waiting, uint64_t n_open)
{
	struct stats_row *row = row_of(stats, stats->second);

	row->handshake = stats_latency_of(&stats->handshake);
	row->total = stats_latency_of(&stats->answer);
	row->n_waiting = n_waiting;
	row->n_open = n_open;
	histogram_merge(&stats->all_handshakes, &stats->handshake);
	histogram_merge(&stats->all_answers, &stats->answer);
	histogram_clear(&stats->handshake);
	histogram_clear(&stats->answer);
	stats->second++;
}

int stats_advance(struct stats *stats, int64_t now_us, uint64_t n_waiting, uint64_t n_open)
{
	int r = make_rows(stats, MAX(now_us / 1000000, stats->second));

	while (r == 0 && stats->second < now_us / 1000000)
		close_second(stats, n_waiting, n_open);
	return r;
}

int stats_close(struct stats *stats, uint64_t n_waiting, uint64_t n_open)
{
	int r = make_rows(stats, stats->second);

	if (r == 0)
		close_second(stats, n_waiting, n_open);
	return r;
}

int stats_start(struct stats *stats, int64_t planned_us, int64_t late_us)
{
	struct stats_row *row;
	int r = make_rows(stats, planned_us / 1000000);

	if (r < 0)
		return r;
	row = row_of(stats, planned_us / 1000000);
	row->counts.started++;
	row->behind_us = MAX(row->behind_us, late_us);
	stats->total.started++;
	stats->behind_us = MAX(stats->behind_us, late_us);
	stats->n_late += late_us > STATS_LATE_US;
	return 0;
}

void stats_handshake(struct stats *stats, bool resumed, int64_t latency_us)
{
	histogram_record(&stats->handshake, latency_us);
	histogram_record(resumed ? &stats->resumed_handshakes : &stats->full_handshakes,
	                 latency_us);
}

void stats_bytes(struct stats *stats, uint64_t n)
{
	row_of(stats, stats->second)->counts.bytes += n;
	stats->total.bytes += n;
}

static void count_kind(struct stats *stats, const char *name)
{
	unsigned i = 0;

	while (i < stats->n_kinds && strcmp(stats->kinds[i].name, name) != 0)
		i++;
	if (i == stats->n_kinds && i <= STATS_KINDS_MAX) {
		if (i == STATS_KINDS_MAX)
			name = "other";
		memcpy(stats->kinds[i].name, name, strlen(name) + 1);
		stats->n_kinds++;
	}
	stats->kinds[MIN(i, STATS_KINDS_MAX)].n++;
}

static void count_end(struct stats_counts *counts, const struct stats_end *end)
{
	counts->finished++;
	counts->full += end->handshaken && !end->resumed;
	counts->resumed += end->handshaken && end->resumed;
	counts->missed += end->missed;
	counts->no_session += end->no_session;
	counts->errors += end->failure != NULL;
}

void stats_end(struct stats *stats, const struct stats_end *end)
{
	count_end(&row_of(stats, stats->second)->counts, end);
	count_end(&stats->total, end);
	if (end->failure) {
		count_kind(stats, end->failure);
		return;
	}
	stats->n_answered++;
	histogram_record(&stats->answer, end->latency_us);
}

bool stats_take(struct stats *stats, int64_t planned_us, struct stats_row *out)
{
	if (stats->n_rows == 0 || stats->rows[0].second >= stats->second ||
	    stats->rows[0].second >= planned_us / 1000000)
		return false;
	*out = stats->rows[0];
	memmove(stats->rows, stats->rows + 1, --stats->n_rows * sizeof(*stats->rows));
	return true;
}

bool stats_is_behind(const struct stats *stats)
{
	return stats->n_late * 1000 > stats->total.started;
}
