#include "repl/clock.h"

#include <stddef.h>
#include <time.h>

static int64_t clock_mono_us(void *arg)
{
	struct timespec now;

	(void)arg;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static int64_t clock_wall_ms(void *arg)
{
	struct timespec now;

	(void)arg;
	clock_gettime(CLOCK_REALTIME, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

const struct repl_clock repl_clock_system = {clock_mono_us, clock_wall_ms, NULL};
