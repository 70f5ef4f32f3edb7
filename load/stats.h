/*
 * What happened, a second at a time and in total.
 *
 * A second's row holds what ended in that second, by the clock, and the visits that were planned for it, whenever they really
 * began. So a row is complete once the clock has left the second and all of its visits have begun. Latencies are counted
 * from the planned start of a visit: what a stalled server, or a late generator, makes everybody wait is in them.
 */
#ifndef TLSBATON_LOAD_STATS_H
#define TLSBATON_LOAD_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "failure.h"
#include "histogram.h"

#define STATS_KINDS_MAX 64
#define STATS_LATE_US 10000 /* a visit that begins later than this after its time is late */

enum { STATS_P50, STATS_P90, STATS_P99, STATS_P999, STATS_N_PERCENTILES };

struct stats_counts {
	uint64_t started, finished, full, resumed, missed, errors, no_session, bytes;
};

struct stats_latency {
	int64_t us[STATS_N_PERCENTILES]; /* -1: there is none */
};

struct stats_row {
	int64_t second;
	struct stats_counts counts;
	struct stats_latency handshake, total;
	int64_t behind_us; /* the latest start of those planned for this second */
	uint64_t n_waiting, n_open;
};

struct stats_kind {
	char name[FAILURE_NAME_MAX];
	uint64_t n;
};

struct stats {
	struct stats_counts total;
	uint64_t n_late; /* visits that began late */
	uint64_t n_answered;
	int64_t behind_us; /* the latest of all */
	unsigned n_kinds;
	struct stats_kind kinds[STATS_KINDS_MAX + 1]; /* the last is for all that found no place */
	struct histogram handshake, answer;           /* of the second under way */
	struct histogram all_handshakes, all_answers, full_handshakes, resumed_handshakes;
	int64_t second;         /* under way */
	struct stats_row *rows; /* owned: seconds that are not complete or not taken, in order */
	size_t n_rows, n_room;
};

/* How one visit ended. */
struct stats_end {
	bool handshaken, resumed;
	bool missed;         /* a full handshake although a session was offered */
	bool no_session;     /* a returning user had none to offer */
	const char *failure; /* NULL: it got its answer */
	int64_t latency_us;  /* of the answer, from the planned start */
};

int stats_new(struct stats **out) MUST_CHECK;
void stats_free(struct stats *stats);

/* Moves the clock on, to µs since the start; seconds that it passes get their percentiles and these two gauges. To be
 * called before what happened at that time is counted. Returns 0 or -ENOMEM. */
int stats_advance(struct stats *stats, int64_t now_us, uint64_t n_waiting,
                  uint64_t n_open) MUST_CHECK;

/* A visit that was planned for `planned_us` begins `late_us` after that. Returns 0 or -ENOMEM. */
int stats_start(struct stats *stats, int64_t planned_us, int64_t late_us) MUST_CHECK;
void stats_handshake(struct stats *stats, bool resumed, int64_t latency_us);
void stats_bytes(struct stats *stats, uint64_t n);
void stats_end(struct stats *stats, const struct stats_end *end);

/* Takes the next complete row, when all visits planned before `planned_us` have begun. False: none is. */
bool stats_take(struct stats *stats, int64_t planned_us, struct stats_row *out) MUST_CHECK;

/* Completes the second under way, at the end. */
int stats_close(struct stats *stats, uint64_t n_waiting, uint64_t n_open) MUST_CHECK;

/* Whether more than one visit in a thousand was late: then the 99.9th percentile is the generator's as well. */
bool stats_is_behind(const struct stats *stats);

/* The percentiles of a histogram. */
struct stats_latency stats_latency_of(const struct histogram *histogram);

#endif
