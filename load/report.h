/* The report in its forms: CSV a second, JSON, a summary, and a line on the terminal. docs/load.md says what each
 * figure means; names and columns are an interface. */
#ifndef TLSBATON_LOAD_REPORT_H
#define TLSBATON_LOAD_REPORT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "stats.h"

/* What is known of a run beyond what it counted. */
struct report_run {
	const char *target; /* address and port */
	const char *tls;    /* "1.2", "1.3" */
	double start_unix;  /* when the load began, s since 1970 */
	double seconds;     /* how long it took */
	double cpu_s;       /* processor time that the generator itself took */
	uint64_t visits_planned;
	uint64_t n_unfinished; /* begun and not ended: only when interrupted */
	bool interrupted;
};

/* All return 0 or -errno of the write. */
int report_csv_header(FILE *out) MUST_CHECK;
/* `unix_time`: of the begin of the row's second. The row is on disk or in the pipe when this returns. */
int report_csv_row(FILE *out, const struct stats_row *row, double unix_time) MUST_CHECK;
int report_json(FILE *out, const struct stats *stats, const struct report_run *run) MUST_CHECK;
int report_summary(FILE *out, const struct stats *stats, const struct report_run *run) MUST_CHECK;

/* One line that takes the place of the last, on a terminal. */
void report_progress(FILE *out, const struct stats_row *row);

#endif
