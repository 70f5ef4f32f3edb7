/* One run: the loop that starts visits on time, moves them on, and reports each second. */
#ifndef TLSBATON_LOAD_RUN_H
#define TLSBATON_LOAD_RUN_H

#include <stdatomic.h>
#include <stdio.h>

#include "options.h"
#include "report.h"
#include "stats.h"
#include "target.h"

struct run_setup {
	const struct options *options;
	const struct target *target;
	FILE *csv;      /* NULL: none */
	FILE *progress; /* a terminal; NULL: none */
	const atomic_int
	    *stop; /* becomes a signal's number when the run shall end; set in a handler */
};

/* Runs the load until the last visit has ended or `stop` is set, and then says in `stats` (the caller's, from stats_new(),
 * empty) and `report` what happened. Returns 0, or < 0 with what is wrong, and the remedy, in `error`. */
int run(const struct run_setup *setup, struct stats *stats, struct report_run *report, char *error,
        size_t n_error) MUST_CHECK;

#endif
