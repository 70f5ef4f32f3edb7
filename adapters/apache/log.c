/*
 * libtlsbaton's lines in Apache's error log, one for the server.
 *
 * Each child has its own connection to the daemon and says when that is lost and when it is back.
 * With hundreds of children one restart of the daemon would fill the log with hundreds of equal
 * lines, at whatever time each child finds out. So all processes share a small page on which the
 * hashes of the last few lines stand with the time at which one of them wrote it: a line is written
 * once a minute, by the first that has it to say. The others' go to the log at level debug. Lines
 * that differ in their figures only are equal: each child has its own.
 *
 * A line is claimed by a compare-and-swap of the oldest slot, and who fails looks again: of two
 * processes at the very same moment both want the same slot, since both saw the same page, and only
 * one gets it. A slot's value never comes back, with its time in it. The page guards nothing else, so
 * relaxed atomics do. An equal hash of two lines costs one of them a minute.
 */
#include "mod_tlsbaton.h" /* first: Apache's headers need httpd.h before them */

#include <sys/mman.h>
#include <apr_lib.h>
#include <http_log.h>

#include "util/clock.h"

APLOG_USE_MODULE(tlsbaton);

#define SAID_SLOTS 16
#define SAID_AGAIN_S 60

static struct said {
	_Atomic uint64_t slots[SAID_SLOTS]; /* hash << 32 | when, in seconds; 0: free */
} * said;
static server_rec *server;

void log_set_server(server_rec *s)
{
	server = s;
	if (said != NULL)
		return;
	/* Anonymous and shared: inherited by every child that is forked later. It stays for good. */
	said = mmap(NULL, sizeof(*said), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (said == MAP_FAILED)
		said = NULL; /* then each process says its own */
}

/* FNV-1a of all but digits; never 0. */
static uint32_t hash_line(const char *line)
{
	uint32_t hash = 2166136261u;

	for (; *line != '\0'; ++line)
		if (!apr_isdigit(*line))
			hash = (hash ^ (unsigned char)*line) * 16777619u;
	return hash | 1;
}

static bool swap(_Atomic uint64_t *slot, uint64_t seen, uint64_t mine)
{
	return atomic_compare_exchange_strong_explicit(slot, &seen, mine, memory_order_relaxed,
	                                               memory_order_relaxed);
}

/* One attempt: 1 if this process may say the line, 0 if it was said, -1 if another process was faster
 * with the slot, for this line or for another. */
static int claim(uint32_t hash, uint32_t now_s)
{
	uint64_t mine = (uint64_t)hash << 32 | now_s, oldest = UINT64_MAX;
	size_t i_oldest = 0;

	for (size_t i = 0; i < SAID_SLOTS; ++i) {
		uint64_t slot = atomic_load_explicit(&said->slots[i], memory_order_relaxed);

		if (slot >> 32 == hash)
			/* Signed: it may have been said since this process looked at the clock. */
			return (int32_t)(now_s - (uint32_t)slot) >= SAID_AGAIN_S &&
			       swap(&said->slots[i], slot, mine);
		if ((uint32_t)slot < (uint32_t)oldest) {
			oldest = slot;
			i_oldest = i;
		}
	}
	return swap(&said->slots[i_oldest], oldest, mine) ? 1 : -1;
}

static bool may_say(const char *line)
{
	uint32_t hash = hash_line(line), now_s = (uint32_t)(clock_coarse_ms() / 1000);
	int claimed = -1;

	if (said == NULL)
		return true;
	/* Each failure is another process's success: no number of processes makes it wait for one. */
	while (claimed < 0)
		claimed = claim(hash, now_s);
	return claimed == 1;
}

void log_line(void *arg, int level, const char *line)
{
	/* syslog(3)'s priorities are Apache's levels, by number. */
	if (level < APLOG_EMERG || level > APLOG_DEBUG)
		level = APLOG_NOTICE;
	if (!may_say(line))
		level = APLOG_DEBUG;
	ap_log_error(APLOG_MARK, level, 0, server, "%s", line);
}
