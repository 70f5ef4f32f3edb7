/*
 * The policies of this process: those of the contexts that are attached to its handle. Each stands once, with the
 * number of its contexts, in a place that it keeps as long as it has one: so a context is told its policy by a number
 * (an int that threads can read while it changes), and ten thousand contexts of one policy cost no more than one.
 *
 * Changes are made under the handle's lock, and told to the daemon at once. What handshakes need they read without a
 * lock. Who reads in the moment of a change may take one session for one that nobody here knows, a full handshake.
 */
#include "client/bind.h"

static uint64_t prefix(const uint8_t *policy)
{
	uint64_t word;

	memcpy(&word, policy, sizeof(word));
	return word;
}

void known_tell(const struct tlsbaton *baton, struct ring_page *page)
{
	uint8_t policies[RING_POLICIES_MAX][RING_POLICY_BYTES];
	size_t n = 0;

	for (size_t i = 0; i < RING_POLICIES_MAX; i++)
		if (baton->policies[i].n_contexts > 0)
			memcpy(policies[n++], baton->policies[i].policy, RING_POLICY_BYTES);
	ring_tell_policies(page, (const uint8_t(*)[RING_POLICY_BYTES])policies, n);
}

/* Under the lock. */
static int find_place(const struct tlsbaton *baton, const uint8_t policy[POLICY_BYTES])
{
	int free_place = CONTEXT_NO_POLICY;

	for (int i = RING_POLICIES_MAX - 1; i >= 0; i--) {
		if (baton->policies[i].n_contexts == 0)
			free_place = i;
		else if (memcmp(baton->policies[i].policy, policy, POLICY_BYTES) == 0)
			return i;
	}
	return free_place;
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
	known_tell(baton, baton->page);
	return place;
}

/* Under the lock. */
static void leave(struct tlsbaton *baton, int place)
{
	if (place == CONTEXT_NO_POLICY || --baton->policies[place].n_contexts > 0)
		return;
	atomic_store_explicit(&baton->known[place], 0, memory_order_relaxed);
	known_tell(baton, baton->page);
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
	const uint64_t wanted = prefix(policy);

	/* 0 stands for none, here and in a session that is bound to none. */
	for (size_t i = 0; i < RING_POLICIES_MAX && wanted != 0; i++)
		if (atomic_load_explicit(&baton->known[i], memory_order_relaxed) == wanted)
			return true;
	return false;
}
