/* Sessions and the policies that they are made under: bind.c and known.c have the essays, policy.c the reasons.
 * Any thread; nothing here blocks for longer than a copy under the handle's lock, or logs. */
#ifndef TLSBATON_CLIENT_BIND_H
#define TLSBATON_CLIENT_BIND_H

#include "client/binding.h"
#include "client/handle.h"
#include "client/policy.h"

#define CONTEXT_NO_POLICY (-1)

/* What a handle knows of a context that is attached to it; embedded. */
struct context {
	struct tlsbaton *baton;
	uint64_t number;    /* of all in this process its own: an address is used again */
	_Atomic int policy; /* its place in the handle's `policies`, or CONTEXT_NO_POLICY */
	/* What can be asked for at each handshake, as it was when the fingerprint was taken. */
	_Atomic int verify_mode, verify_depth;
	_Atomic(X509_STORE *) store; /* compared, not used */
};

/* ---- known.c ---- */

/* Takes the policy of `ctx`. Without memory, or with more than POLICIES_MAX policies in the process, it has
 * none, and nothing made there is honoured. */
void context_init(struct context *context, struct tlsbaton *baton, SSL_CTX *ctx);
void context_deinit(struct context *context);

/* The first POLICY_BOUND_BYTES of the fingerprint of `ctx`, whose context this is, or NULL: it has none. Takes it
 * anew if the context was given another verify mode, depth or store since. */
const uint8_t *context_policy(struct context *context, SSL_CTX *ctx);

/* True if a context of this process has this policy. Lock-free. */
bool known_policy(const struct tlsbaton *baton, const uint8_t policy[POLICY_BOUND_BYTES]);

/* Tells the daemon behind `page` what this process has; under the lock, or before anybody else sees the page. */
void known_tell(const struct tlsbaton *baton, struct ring_page *page);

/* ---- bind.c ---- */

/* Once, before all else. 0 or -ENOMEM. */
int bind_init(void) MUST_CHECK;

/* The context of `ctx`, NULL if it is not attached; attach.c has it. One that was made ready to be attached late
 * (attach_prepare()) gets one for `baton`. */
struct context *context_of(SSL_CTX *ctx, struct tlsbaton *baton);

/*
 * Binds the new `session` of `ssl`, which began with `origin`, and clamps its lifetime. A session that came of
 * another one inherits what that was bound to. Without memory it stays unbound, and will not be honoured.
 */
void bind_session(struct context *origin, SSL *ssl, SSL_SESSION *session);

/* When a session that was bound expires, in seconds since 1970; 0: it is bound to no policy, and honoured nowhere. */
int64_t bind_expires(SSL_SESSION *session);

/*
 * For the callbacks that OpenSSL calls while it looks for a session: whether `ssl` may resume `session`. Counts a
 * refusal. What cannot be known yet is watched: if the client's name leads to another policy after all, the
 * connection ends in its handshake.
 */
bool bind_honours(struct context *origin, SSL *ssl, SSL_SESSION *session) MUST_CHECK;

#endif
