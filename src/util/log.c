#include "util/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>

static enum log_target log_to = LOG_TARGET_STDERR;
static enum log_level log_most = LOG_LEVEL_NOTICE;
static const char *log_ident = "tlsbaton";
/* systemd sets JOURNAL_STREAM for units whose stderr is the journal: it then reads "<N>" prefixes. */
static bool log_journal;

static const int log_priorities[] = {
    [LOG_LEVEL_ERROR] = LOG_ERR,
    [LOG_LEVEL_WARNING] = LOG_WARNING,
    [LOG_LEVEL_NOTICE] = LOG_NOTICE,
    [LOG_LEVEL_DEBUG] = LOG_DEBUG,
};

void log_open(const char *ident, enum log_target target, enum log_level level)
{
	log_ident = ident;
	log_to = target;
	log_most = level;
	log_journal = target == LOG_TARGET_STDERR && getenv("JOURNAL_STREAM") != NULL;
	if (target == LOG_TARGET_SYSLOG)
		openlog(ident, LOG_PID, LOG_DAEMON);
}

void log_write(enum log_level level, const char *fmt, ...)
{
	char line[1024];
	va_list args;

	if (level > log_most)
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	/* Names in a line may come from a peer: keep terminals and log files safe from them. */
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	if (log_to == LOG_TARGET_SYSLOG)
		syslog(log_priorities[level], "%s", line);
	else if (log_journal)
		fprintf(stderr, "<%d>%s\n", log_priorities[level], line);
	else
		fprintf(stderr, "%s: %s\n", log_ident, line);
}

static uint64_t log_limit_hash(const char *s)
{
	uint64_t h = 14695981039346656037ULL; /* FNV-1a: sources are few and not secret */

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 1099511628211ULL;
	return h ? h : 1;
}

bool log_limit_pass(struct log_limit *limit, const char *source, int64_t now_ms, unsigned *n_held)
{
	uint64_t hash = log_limit_hash(source);
	size_t slot = 0;

	for (size_t i = 0; i < LOG_LIMIT_SOURCES; i++) {
		if (limit->slots[i].source == hash) {
			slot = i;
			break;
		}
		if (limit->slots[i].source == 0 ||
		    (limit->slots[slot].source != 0 &&
		     limit->slots[i].passed_ms < limit->slots[slot].passed_ms))
			slot = i;
	}
	if (limit->slots[slot].source != hash) {
		limit->slots[slot].source = hash;
		limit->slots[slot].n_held = 0;
	} else if (now_ms - limit->slots[slot].passed_ms < LOG_LIMIT_PERIOD_MS) {
		limit->slots[slot].n_held++;
		return false;
	}
	*n_held = limit->slots[slot].n_held;
	limit->slots[slot].n_held = 0;
	limit->slots[slot].passed_ms = now_ms;
	return true;
}
