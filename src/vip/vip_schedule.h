/*
 * When the helper announces again. A frame can be lost, a switch can be slow to bring a port up, a client
 * can have had its interface down: so an announcement is repeated soon after a take or a carrier's return,
 * and from then on now and again. Pure: the caller brings the time (milliseconds of any monotonic clock).
 */
#ifndef TLSBATON_VIP_VIP_SCHEDULE_H
#define TLSBATON_VIP_VIP_SCHEDULE_H

#include <stdint.h>

struct vip_schedule {
	unsigned period_s; /* 0: only the burst after a take */
	unsigned n_burst;  /* announcements of the burst that are still to come */
	int64_t taken_ms;
	int64_t next_ms; /* INT64_MAX: never */
};

void vip_schedule_init(struct vip_schedule *schedule, unsigned period_s, int64_t now_ms);

/* The address was taken (and announced) now, or the network has returned: starts the burst. */
void vip_schedule_taken(struct vip_schedule *schedule, int64_t now_ms);

/* The address was let go: ends the burst. The period goes on, since another may hand the address back. */
void vip_schedule_released(struct vip_schedule *schedule, int64_t now_ms);

/* An announcement that was due has been made: on to the next. */
void vip_schedule_announced(struct vip_schedule *schedule, int64_t now_ms);

/* Milliseconds until the next is due, 0 if it is; -1: never. As poll(2) wants it. */
int vip_schedule_wait(const struct vip_schedule *schedule, int64_t now_ms);

#endif
