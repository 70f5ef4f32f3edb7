/*
 * A line is claimed by a compare-and-swap of the oldest slot, and who fails looks again: of two processes at the
 * very same moment both want the same slot, since both saw the same page, and only one gets it. A slot's
 * value does not come back, with its time in it, but for a notice that is forgotten. The page guards nothing else,
 * so relaxed atomics do. An equal hash of two lines costs one of them a minute.
 */
#include "said.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <syslog.h>

#include "util/clock.h"

#define SAID_SLOTS 16
#define SAID_AGAIN_S 60

struct lines {
	_Atomic uint64_t slots[SAID_SLOTS]; /* hash << 32 | when, in seconds; 0: free */
};

static struct said {
	struct lines faults, notices;
} * said;

void said_init(void)
{
	if (said != NULL)
		return;
	/* Anonymous and shared: inherited by every process that is forked later. */
	said = mmap(NULL, sizeof(*said), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (said == MAP_FAILED)
		said = NULL;
}

/* FNV-1a of all but digits; never 0. */
static uint32_t hash_line(const char *line)
{
	uint32_t hash = 2166136261u;

	for (; *line != '\0'; ++line)
		if (*line < '0' || *line > '9')
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
static int claim(struct lines *lines, uint32_t hash, uint32_t now_s)
{
	uint64_t mine = (uint64_t)hash << 32 | now_s, oldest = UINT64_MAX;
	size_t i_oldest = 0;

	for (size_t i = 0; i < SAID_SLOTS; ++i) {
		uint64_t slot = atomic_load_explicit(&lines->slots[i], memory_order_relaxed);

		if (slot >> 32 == hash)
			/* Signed: it may have been said since this process looked at the clock. */
			return (int32_t)(now_s - (uint32_t)slot) >= SAID_AGAIN_S &&
			       swap(&lines->slots[i], slot, mine);
		if ((uint32_t)slot < (uint32_t)oldest) {
			oldest = slot;
			i_oldest = i;
		}
	}
	return swap(&lines->slots[i_oldest], oldest, mine) ? 1 : -1;
}

static void forget(struct lines *lines)
{
	for (size_t i = 0; i < SAID_SLOTS; ++i)
		atomic_store_explicit(&lines->slots[i], 0, memory_order_relaxed);
}

bool said_may(int level, const char *line)
{
	uint32_t hash = hash_line(line), now_s = (uint32_t)(clock_coarse_ms() / 1000);
	const bool is_fault = level < LOG_NOTICE;
	int claimed = -1;

	if (said == NULL)
		return true;
	/* Each failure is another process's success: no number of processes makes it wait for one. */
	while (claimed < 0)
		claimed = claim(is_fault ? &said->faults : &said->notices, hash, now_s);
	if (claimed == 1 && is_fault)
		forget(&said->notices);
	return claimed == 1;
}
