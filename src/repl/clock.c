#include "repl/clock.h"

#include <stddef.h>

#include "util/clock.h"

static int64_t system_mono_us(void *arg)
{
	(void)arg;
	return clock_monotonic_us();
}

static int64_t system_wall_ms(void *arg)
{
	(void)arg;
	return clock_wall_ms();
}

const struct repl_clock repl_clock_system = {system_mono_us, system_wall_ms, NULL};
