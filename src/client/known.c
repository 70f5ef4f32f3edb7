/*
 * The policies of this process: those of the contexts that are attached to its handle. Each stands once, with the
 * number of its contexts, in a place that it keeps as long as it has one: so a context is told its policy by a number
 * (an int that threads can read while it changes), and ten thousand contexts of one policy cost no more than one.
 *
 * Changes are made under the handle's lock, and told to the daemon at once. What handshakes need they read without a
 * lock. Who reads in the moment of a change may take one session for one that nobody here knows, a full handshake.
 *
 * The daemons want to know one thing: whether two nodes have the same. So of more policies than a ring's page has
 * places for, what is told is their sum, as if it were one policy.
 */
#include "client/bind.h"

#include <syslog.h>

static uint64_t prefix(const uint8_t *policy)
{
	uint64_t word;

	memcpy(&word, policy, sizeof(word));
	return word;
}

/* Relaxed: a number by itself, changed under the lock. */
static unsigned n_places(const struct tlsbaton *baton)
{
	return atomic_load_explicit(&baton->n_places, memory_order_relaxed);
}

void known_tell(const struct tlsbaton *baton, struct ring_page *page)
{
	uint8_t policies[RING_POLICIES_MAX][RING_POLICY_BYTES];
	size_t n = 0;

	if (baton->n_policies > RING_POLICIES_MAX) {
		ring_tell_policies(page, &baton->policies_sum, 1);
		return;
	}
	for (unsigned i = 0; i < n_places(baton); i++)
		if (baton->policies[i].n_contexts > 0)
			memcpy(policies[n++], baton->policies[i].policy, RING_POLICY_BYTES);
	ring_tell_policies(page, (const uint8_t(*)[RING_POLICY_BYTES])policies, n);
}

/* Under the lock. */
static int find_place(const struct tlsbaton *baton, const uint8_t policy[POLICY_BYTES])
{
	const int n = (int)n_places(baton);
	int free_place = n < POLICIES_MAX ? n : CONTEXT_NO_POLICY;

	for (int i = n - 1; i >= 0; i--) {
		if (baton->policies[i].n_contexts == 0)
			free_place = i;
		else if (memcmp(baton->policies[i].policy, policy, POLICY_BYTES) == 0)
			return i;
	}
	return free_place;
}

/* Under the lock: one more, or one less. */
static void sum_up(struct tlsbaton *baton, const uint8_t policy[POLICY_BYTES], int change)
{
	baton->n_policies += (unsigned)change;
	for (size_t i = 0; i < POLICY_BYTES; i++)
		baton->policies_sum[i] ^= policy[i];
	known_tell(baton, baton->page);
}

/* Under the lock. */
static int use(struct tlsbaton *baton, const uint8_t policy[POLICY_BYTES])
{
	const int place = find_place(baton, policy);

	if (place == CONTEXT_NO_POLICY)
		return place;
	if (baton->policies[place].n_contexts++ > 0)
		return place;
	memcpy(baton->policies[place].policy, policy, POLICY_BYTES);
	/* Relaxed, here and below: a number by itself. */
	atomic_store_explicit(&baton->known[place], prefix(policy), memory_order_relaxed);
	if (place == (int)n_places(baton))
		atomic_store_explicit(&baton->n_places, (unsigned)place + 1, memory_order_relaxed);
	sum_up(baton, policy, 1);
	return place;
}

/* Under the lock. */
static void leave(struct tlsbaton *baton, int place)
{
	if (place == CONTEXT_NO_POLICY || --baton->policies[place].n_contexts > 0)
		return;
	atomic_store_explicit(&baton->known[place], 0, memory_order_relaxed);
	sum_up(baton, baton->policies[place].policy, -1);
}

static bool is_as_seen(const struct context *context, SSL_CTX *ctx)
{
	return atomic_load_explicit(&context->verify_mode, memory_order_relaxed) ==
	           SSL_CTX_get_verify_mode(ctx) &&
	       atomic_load_explicit(&context->verify_depth, memory_order_relaxed) ==
	           SSL_CTX_get_verify_depth(ctx) &&
	       atomic_load_explicit(&context->store, memory_order_relaxed) == policy_store(ctx);
}

static void look(struct context *context, SSL_CTX *ctx)
{
	struct tlsbaton *baton = context->baton;
	uint8_t policy[POLICY_BYTES];
	const int r = policy_fingerprint(ctx, policy);
	int place, old;

	handle_lock(baton);
	place = r == 0 ? use(baton, policy) : CONTEXT_NO_POLICY;
	if (r == 0 && place == CONTEXT_NO_POLICY)
		handle_tell(baton, NEWS_POLICIES, LOG_WARNING,
		            "more than %d policies towards clients in one process: where those "
		            "beyond hold, clients do not resume",
		            POLICIES_MAX);
	old = atomic_exchange_explicit(&context->policy, place, memory_order_relaxed);
	leave(baton, old);
	atomic_store_explicit(&context->verify_mode, SSL_CTX_get_verify_mode(ctx),
	                      memory_order_relaxed);
	atomic_store_explicit(&context->verify_depth, SSL_CTX_get_verify_depth(ctx),
	                      memory_order_relaxed);
	atomic_store_explicit(&context->store, policy_store(ctx), memory_order_relaxed);
	handle_unlock(baton);
}

void context_init(struct context *context, struct tlsbaton *baton, SSL_CTX *ctx)
{
	static _Atomic uint64_t n_made;

	context->baton = baton;
	/* Relaxed: a number by itself. */
	context->number = atomic_fetch_add_explicit(&n_made, 1, memory_order_relaxed);
	atomic_store_explicit(&context->policy, CONTEXT_NO_POLICY, memory_order_relaxed);
	look(context, ctx);
}

void context_deinit(struct context *context)
{
	handle_lock(context->baton);
	leave(context->baton, atomic_load_explicit(&context->policy, memory_order_relaxed));
	handle_unlock(context->baton);
}

const uint8_t *context_policy(struct context *context, SSL_CTX *ctx)
{
	int place;

	if (!is_as_seen(context, ctx))
		look(context, ctx);
	place = atomic_load_explicit(&context->policy, memory_order_relaxed);
	return place == CONTEXT_NO_POLICY ? NULL : context->baton->policies[place].policy;
}

bool known_policy(const struct tlsbaton *baton, const uint8_t policy[POLICY_BOUND_BYTES])
{
	const unsigned n = n_places(baton);
	const uint64_t wanted = prefix(policy);

	/* 0 stands for none, here and in a session that is bound to none. */
	for (unsigned i = 0; i < n && wanted != 0; i++)
		if (atomic_load_explicit(&baton->known[i], memory_order_relaxed) == wanted)
			return true;
	return false;
}
