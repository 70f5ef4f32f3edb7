/*
 * libtlsbaton's lines in Apache's error log, one for the server.
 *
 * Each child has its own connection to the daemon and says when that is lost and when it is back.
 * With hundreds of children one restart of the daemon would fill the log with hundreds of equal
 * lines, at whatever time each child finds out. So all processes share a small page on which the
 * hashes of the last few lines stand with the time at which one of them wrote it: a line is written
 * once a minute, by the first that has it to say. The others' go to the log at level debug.
 *
 * The page is a hint and guards nothing: relaxed atomics do, and two processes at the very same
 * moment may both write. An equal hash of two lines costs one of them a minute.
 */
#include "mod_tlsbaton.h" /* first: Apache's headers need httpd.h before them */

#include <sys/mman.h>
#include <http_log.h>

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

/* FNV-1a; never 0. */
static uint32_t hash_line(const char *line)
{
	uint32_t hash = 2166136261u;

	for (; *line != '\0'; ++line)
		hash = (hash ^ (unsigned char)*line) * 16777619u;
	return hash | 1;
}

static bool may_say(const char *line)
{
	uint32_t hash = hash_line(line), now_s = (uint32_t)apr_time_sec(apr_time_now());
	uint64_t mine = (uint64_t)hash << 32 | now_s, oldest = UINT64_MAX;
	size_t i_oldest = 0;

	if (said == NULL)
		return true;
	for (size_t i = 0; i < SAID_SLOTS; ++i) {
		uint64_t slot = atomic_load_explicit(&said->slots[i], memory_order_relaxed);

		if (slot >> 32 == hash)
			return now_s - (uint32_t)slot >= SAID_AGAIN_S &&
			       atomic_compare_exchange_strong_explicit(&said->slots[i], &slot, mine,
			                                               memory_order_relaxed,
			                                               memory_order_relaxed);
		if ((uint32_t)slot < (uint32_t)oldest) {
			oldest = slot;
			i_oldest = i;
		}
	}
	/* If another line took the slot meanwhile, this one may be said again sooner. */
	(void)atomic_compare_exchange_strong_explicit(&said->slots[i_oldest], &oldest, mine,
	                                              memory_order_relaxed, memory_order_relaxed);
	return true;
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
