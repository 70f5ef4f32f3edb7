#include "schedule.h"

#include <errno.h>

struct cursor {
	uint32_t user; /* the next that this cursor starts; n_users: none is left */
	unsigned visit, think;
	int64_t at_us;
};

struct schedule {
	struct schedule_plan plan;
	uint32_t n_users;
	uint64_t total_weight;
	size_t n_cursors, next; /* next: the cursor whose start is the earliest */
	struct cursor cursors[];
};

/* splitmix64: neighbouring users get unrelated draws. */
static uint64_t draw(uint64_t seed, uint32_t user)
{
	uint64_t z = seed + ((uint64_t)user + 1) * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static unsigned think_of(const struct schedule *schedule, uint32_t user)
{
	uint64_t ticket;
	unsigned i = 0;

	if (schedule->plan.n_thinks == 1)
		return 0;
	ticket = draw(schedule->plan.seed, user) % schedule->total_weight;
	while (ticket >= schedule->plan.thinks[i].weight)
		ticket -= schedule->plan.thinks[i++].weight;
	return i;
}

static int64_t arrival_us(const struct schedule *schedule, uint32_t user)
{
	return (int64_t)((uint64_t)user * UINT64_C(1000000000) / schedule->plan.rate_milli);
}

/* Makes the cursor stand at the first user from `user` on that is its own. First visits are one cursor for all. */
static void cursor_seek(const struct schedule *schedule, struct cursor *cursor, uint32_t user)
{
	if (cursor->visit > 0)
		while (user < schedule->n_users && think_of(schedule, user) != cursor->think)
			user++;
	cursor->user = user;
	if (user < schedule->n_users)
		cursor->at_us = arrival_us(schedule, user) +
		                schedule->plan.thinks[cursor->think].us * cursor->visit;
}

static void find_next(struct schedule *schedule)
{
	const struct cursor *best = NULL;

	for (size_t i = 0; i < schedule->n_cursors; i++) {
		const struct cursor *cursor = &schedule->cursors[i];

		if (cursor->user < schedule->n_users && (!best || cursor->at_us < best->at_us))
			best = cursor;
	}
	schedule->next = best ? (size_t)(best - schedule->cursors) : schedule->n_cursors;
}

static bool is_valid(const struct schedule_plan *plan)
{
	if (plan->rate_milli == 0 || plan->duration_us <= 0 || plan->n_visits == 0 ||
	    plan->n_visits > SCHEDULE_VISITS_MAX || plan->n_thinks == 0 ||
	    plan->n_thinks > SCHEDULE_THINKS_MAX)
		return false;
	for (unsigned i = 0; i < plan->n_thinks; i++)
		if (plan->thinks[i].us < 0 || plan->thinks[i].weight == 0 ||
		    plan->thinks[i].weight > SCHEDULE_WEIGHT_MAX)
			return false;
	return true;
}

int schedule_new(struct schedule **out, const struct schedule_plan *plan)
{
	size_t n_cursors = 1 + (size_t)(plan->n_visits - 1) * plan->n_thinks;
	unsigned __int128 n_users;
	struct schedule *schedule;

	if (!is_valid(plan))
		return -ERANGE;
	n_users =
	    ((unsigned __int128)plan->duration_us * plan->rate_milli + 999999999) / 1000000000;
	if (n_users > SCHEDULE_USERS_MAX)
		return -ERANGE;
	schedule = calloc(1, sizeof(*schedule) + n_cursors * sizeof(struct cursor));
	if (!schedule)
		return -ENOMEM;
	schedule->plan = *plan;
	schedule->n_users = (uint32_t)n_users;
	schedule->n_cursors = n_cursors;
	for (unsigned i = 0; i < plan->n_thinks; i++)
		schedule->total_weight += plan->thinks[i].weight;
	for (size_t i = 0; i < n_cursors; i++) {
		struct cursor *cursor = &schedule->cursors[i];

		cursor->visit = i == 0 ? 0 : 1 + (unsigned)((i - 1) / plan->n_thinks);
		cursor->think = i == 0 ? 0 : (unsigned)((i - 1) % plan->n_thinks);
		cursor_seek(schedule, cursor, 0);
	}
	find_next(schedule);
	*out = schedule;
	return 0;
}

void schedule_free(struct schedule *schedule)
{
	free(schedule);
}

uint32_t schedule_n_users(const struct schedule *schedule)
{
	return schedule->n_users;
}

uint64_t schedule_n_visits(const struct schedule *schedule)
{
	return (uint64_t)schedule->n_users * schedule->plan.n_visits;
}

bool schedule_peek(const struct schedule *schedule, struct schedule_start *out)
{
	const struct cursor *cursor;

	if (schedule->next == schedule->n_cursors)
		return false;
	cursor = &schedule->cursors[schedule->next];
	*out = (struct schedule_start){
	    .at_us = cursor->at_us,
	    .user = cursor->user,
	    .visit = cursor->visit,
	};
	return true;
}

void schedule_advance(struct schedule *schedule)
{
	struct cursor *cursor;

	if (schedule->next == schedule->n_cursors)
		return;
	cursor = &schedule->cursors[schedule->next];
	cursor_seek(schedule, cursor, cursor->user + 1);
	find_next(schedule);
}
