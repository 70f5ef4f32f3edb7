/*
 * Log lines for daemon and command: to stderr (with a priority prefix for systemd when asked)
 * or to syslog(3). Single-threaded: libtlsbaton does not use it, it calls its user's log hook.
 * A line never holds session IDs, DER, keys or ticket contents.
 */
#ifndef TLSBATON_UTIL_LOG_H
#define TLSBATON_UTIL_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "util/macro.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_NOTICE, LOG_LEVEL_DEBUG };
enum log_target { LOG_TARGET_STDERR, LOG_TARGET_SYSLOG };

/* Where lines go from now on, and the least important that is still written. Default: stderr, notice.
 * `ident` (borrowed, must outlive the process) is the program's name. */
void log_open(const char *ident, enum log_target target, enum log_level level);

/* Writes one line; `fmt` as printf(3), no newline at its end. Control bytes are shown as '?'. */
void log_write(enum log_level level, const char *fmt, ...) PRINTF_LIKE(2, 3);

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_notice(...) log_write(LOG_LEVEL_NOTICE, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

/*
 * One line a source and minute. A bounded table of sources (the least recently used gives way), so that
 * a flood of sources costs no memory. log_limit_pass() says whether the source may write a line at
 * `now_ms` (any monotonic clock), and then gives through `n_held` how many it was denied since its last.
 */
#define LOG_LIMIT_SOURCES 64
#define LOG_LIMIT_PERIOD_MS 60000
struct log_limit {
	struct {
		uint64_t source; /* hash of the source's name; 0: free */
		int64_t passed_ms;
		unsigned n_held;
	} slots[LOG_LIMIT_SOURCES];
};
bool log_limit_pass(struct log_limit *limit, const char *source, int64_t now_ms, unsigned *n_held);

#endif
