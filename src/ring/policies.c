/*
 * Which policies the worker's contexts have, told in the header page and not by notices: it is a state, not an event.
 * So it needs no room in the ring, is there at once on a new page, and what a daemon that was away has missed is
 * told by what it finds.
 *
 * It changes as contexts are made and freed, a handful of times in a process's life, so a reader that finds it
 * changing looks away. A worker that never stops changing it is not heard, and that is all.
 */
#include "ring/ring.h"

#define WORDS (RING_POLICY_BYTES / 8)

void ring_tell_policies(struct ring_page *page, const uint8_t (*policies)[RING_POLICY_BYTES],
                        size_t n)
{
	uint32_t turn = atomic_load_explicit(&page->policies_turn, memory_order_relaxed) | 1;

	atomic_store_explicit(&page->policies_turn, turn, memory_order_relaxed);
	/* Release: who reads a word of what follows, and then fences, reads the odd turn or a later one. */
	atomic_thread_fence(memory_order_release);
	for (size_t i = 0; i < n; i++) {
		uint64_t words[WORDS];

		memcpy(words, policies[i], sizeof(words));
		for (size_t k = 0; k < WORDS; k++)
			atomic_store_explicit(&page->policies[i][k], words[k],
			                      memory_order_relaxed);
	}
	atomic_store_explicit(&page->n_policies, (uint32_t)n, memory_order_relaxed);
	/* Release: pairs with the acquire in ring_look_at_policies(). */
	atomic_store_explicit(&page->policies_turn, turn + 1, memory_order_release);
}

bool ring_look_at_policies(struct ring_page *page, uint32_t *turn,
                           uint8_t policies[RING_POLICIES_MAX][RING_POLICY_BYTES], size_t *n)
{
	/* Acquire: pairs with the release at the end of ring_tell_policies(): the words are of this turn or later. */
	const uint32_t now = atomic_load_explicit(&page->policies_turn, memory_order_acquire);
	uint8_t copy[RING_POLICIES_MAX][RING_POLICY_BYTES];
	size_t n_copied;

	if (now == *turn || now & 1)
		return false;
	n_copied = atomic_load_explicit(&page->n_policies, memory_order_relaxed);
	n_copied = MIN(n_copied, (size_t)RING_POLICIES_MAX);
	for (size_t i = 0; i < n_copied; i++)
		for (size_t k = 0; k < WORDS; k++) {
			uint64_t word =
			    atomic_load_explicit(&page->policies[i][k], memory_order_relaxed);

			memcpy(copy[i] + 8 * k, &word, sizeof(word));
		}
	/* Acquire: pairs with the release fence there; a word of a later turn shows the later turn, too. */
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&page->policies_turn, memory_order_relaxed) != now)
		return false;
	memcpy(policies, copy, n_copied * RING_POLICY_BYTES);
	*n = n_copied;
	*turn = now;
	return true;
}
