/*
 * When each visit begins: a pure function of the plan, known before the first byte is sent.
 *
 * User i arrives at i / rate. Its think time t is drawn from the weighted choices, by a hash of the seed and i, and
 * its k-th visit (from 0) is planned for i / rate + k * t. No answer moves a start: this is an open loop, and a server that
 * stalls meets the same crowd as one that does not. Times are µs since the start of the load.
 *
 * A schedule needs no memory per user: among users of one think time the k-th visits come in the order of arrival, so
 * there is one cursor for each pair of think time and visit, and the next start is the earliest of these.
 */
#ifndef TLSBATON_LOAD_SCHEDULE_H
#define TLSBATON_LOAD_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "util/macro.h"

#define SCHEDULE_THINKS_MAX 16
#define SCHEDULE_VISITS_MAX 100
#define SCHEDULE_WEIGHT_MAX 1000000
#define SCHEDULE_USERS_MAX UINT32_C(1000000000)

struct schedule_think {
	int64_t us;
	uint32_t weight; /* 1 to SCHEDULE_WEIGHT_MAX */
};

struct schedule_plan {
	uint64_t rate_milli; /* users per 1000 s, above 0 */
	int64_t duration_us; /* users arrive before this, above 0 */
	unsigned n_visits;   /* of each user, 1 to SCHEDULE_VISITS_MAX */
	uint64_t seed;
	unsigned n_thinks; /* 1 to SCHEDULE_THINKS_MAX */
	struct schedule_think thinks[SCHEDULE_THINKS_MAX];
};

struct schedule_start {
	int64_t at_us;
	uint32_t user;  /* from 0, in the order of arrival */
	unsigned visit; /* from 0 */
};

struct schedule;

/* Makes the schedule of a plan, which is copied. Returns 0, -ENOMEM, or -ERANGE when the plan has more than
 * SCHEDULE_USERS_MAX users or a figure out of the limits above. */
int schedule_new(struct schedule **out, const struct schedule_plan *plan) MUST_CHECK;
void schedule_free(struct schedule *schedule);

/* How many users and visits there are in all. */
uint32_t schedule_n_users(const struct schedule *schedule);
uint64_t schedule_n_visits(const struct schedule *schedule);

/* The next start; the same again until schedule_advance(). Starts come in the order of time; at the same time, lower
 * visits first. False: there is none left. */
bool schedule_peek(const struct schedule *schedule, struct schedule_start *out) MUST_CHECK;
void schedule_advance(struct schedule *schedule);

#endif
