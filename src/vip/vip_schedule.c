#include "vip/vip_schedule.h"

#include <limits.h>

#include "util/macro.h"

/* After a take, in milliseconds: close together first, since most clients are won by the first that
 * arrives, then out to where a port that came up late listens. */
static const unsigned vip_burst_ms[] = {100, 300, 700, 1300, 2000};

static void vip_schedule_next_period(struct vip_schedule *schedule, int64_t now_ms)
{
	schedule->next_ms =
	    schedule->period_s ? now_ms + (int64_t)schedule->period_s * 1000 : INT64_MAX;
}

static void vip_schedule_next(struct vip_schedule *schedule, int64_t now_ms)
{
	if (schedule->n_burst)
		schedule->next_ms =
		    schedule->taken_ms + vip_burst_ms[ARRAY_SIZE(vip_burst_ms) - schedule->n_burst];
	else
		vip_schedule_next_period(schedule, now_ms);
}

void vip_schedule_init(struct vip_schedule *schedule, unsigned period_s, int64_t now_ms)
{
	*schedule = (struct vip_schedule){.period_s = period_s};
	vip_schedule_next_period(schedule, now_ms);
}

void vip_schedule_taken(struct vip_schedule *schedule, int64_t now_ms)
{
	schedule->taken_ms = now_ms;
	schedule->n_burst = ARRAY_SIZE(vip_burst_ms);
	vip_schedule_next(schedule, now_ms);
}

void vip_schedule_released(struct vip_schedule *schedule, int64_t now_ms)
{
	schedule->n_burst = 0;
	vip_schedule_next_period(schedule, now_ms);
}

void vip_schedule_announced(struct vip_schedule *schedule, int64_t now_ms)
{
	if (schedule->n_burst)
		schedule->n_burst--;
	vip_schedule_next(schedule, now_ms);
}

int vip_schedule_wait(const struct vip_schedule *schedule, int64_t now_ms)
{
	int64_t left = schedule->next_ms - now_ms;

	if (schedule->next_ms == INT64_MAX)
		return -1;
	if (left <= 0)
		return 0;
	return left > INT_MAX ? INT_MAX : (int)left;
}
