/* The system's clocks. What can be tested with a clock of its own takes times as parameters instead. */
#ifndef TLSBATON_UTIL_CLOCK_H
#define TLSBATON_UTIL_CLOCK_H

#include <stdint.h>
#include <time.h>

/* CLOCK_MONOTONIC: for deadlines and ages. Not for what another machine sees. */
static inline int64_t clock_monotonic_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* The same to the last tick of the kernel (some ms), for a few ns instead of tens: for heartbeats and back-offs. */
static inline int64_t clock_coarse_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Seconds since 1970, to the last tick: for lookups. */
static inline int64_t clock_coarse_wall_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return now.tv_sec;
}

/* The same in ms, exact to the last tick: for ticket keys. */
static inline int64_t clock_coarse_wall_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME_COARSE, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* CLOCK_BOOTTIME: as CLOCK_MONOTONIC, and goes on while the machine sleeps. */
static inline int64_t clock_boot_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Since 1970: for expiry, which all nodes share. It may jump. */
static inline int64_t clock_wall_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#endif
