/* The one place where replication asks what time it is; tests hand in a clock of their own. */
#ifndef TLSBATON_REPL_CLOCK_H
#define TLSBATON_REPL_CLOCK_H

#include <stdint.h>

struct repl_clock {
	int64_t (*mono_us)(void *arg); /* CLOCK_MONOTONIC: deadlines, ages */
	int64_t (*wall_ms)(
	    void *arg); /* since 1970: expiry of records, comparing clocks with peers */
	void *arg;
};

extern const struct repl_clock repl_clock_system;

#endif
