/*
 * Binding sessions to what they were made under, and honouring them nowhere else.
 *
 * When a session is made the handshake is over, or almost: the context that the client's name led to is known, and
 * stands in the session from then on. When it is to be resumed, OpenSSL asks for it before it looks at the name; a
 * refusal there is a full handshake, and costs the client nothing more. So all that can be known is compared there:
 *  - the end of its life;
 *  - the client's server name, read from the ClientHello: it must be the one that the session was made with;
 *  - the policy: if a context was chosen already (SSL_CTX_set_client_hello_cb(3), as Apache does), that context's;
 *    if not, it must be of some context of this process. A session of a node that differs is so a miss here;
 *  - and the policy and verify mode that this name led to when it was last seen here (`learned`). A client without a
 *    name is taken to stay at the listener's first context, until one is seen that did not.
 * One case is left: a name that this process has not seen yet, whose sessions were made, elsewhere or under an older
 * configuration, under a policy that this process has too, but for other names. It is found out when the name has led
 * to its context, and then OpenSSL has no way back to a full handshake. So the connection is watched: at the next
 * step of its handshake, which is the first with the final context, policies are compared once more. If they differ,
 * it is shut down for reading and writing: OpenSSL then takes no further record (ssl3_read_bytes()), the client's
 * Finished among them, the handshake fails, and nothing is served. Once a name and process: then it is learned.
 *
 * A program that chooses the context with the certificate (SSL_CTX_set_cert_cb(3)) is not asked at a resumption, which
 * stays in the context that it began in. So a full handshake and a resumption of one name end under two policies, and
 * its sessions are honoured nowhere: what a resumption led to counts, until a full handshake leads to the same.
 *
 * The watch is an info callback at the connection, set only when a session is about to be honoured. The server's own,
 * at its connection or its context, is called through it.
 *
 * A session that comes of a resumption inherits the binding as it is, with its end. So a session in TLS 1.3 that is
 * resumed again and again ends when the first one would have, and so does a ticket that is renewed.
 */
#include "client/bind.h"
#include "util/clock.h"

#include <errno.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/* What a client must show: a connection that asks for more than the one that made the session does not honour it. */
#define MODES (SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT)
/* A word in `learned` has, from its lowest bit: 13 of the policy, the mode, and whether a resumption led there that had
 * to be ended. The rest is the name's. */
#define LEARNED_POLICY 0x1fffULL
#define LEARNED_MODE_SHIFT 13
#define LEARNED_RESUMING 0x8000ULL
#define LEARNED_BITS 0xffffULL
_Static_assert(MODES == 3, "two bits of a word in `learned`");

typedef void (*info_callback)(const SSL *ssl, int where, int value);
_Static_assert(sizeof(info_callback) == sizeof(void *), "kept as ex_data");

static int index_watch = -1; /* of SSL: the connection's own info callback, while it is watched */
static int index_begun = -1; /* of SSL: struct context of the context that it began with */

int bind_init(void)
{
	index_watch = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	index_begun = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	return index_watch < 0 || index_begun < 0 ? -ENOMEM : 0;
}

/* A connection may have been given a trust store that is not its context's. */
static bool trusts_as_context(SSL *ssl, SSL_CTX *ctx)
{
	X509_STORE *own = NULL;

	(void)SSL_get0_verify_cert_store(ssl, &own);
	return (own ? own : SSL_CTX_get_cert_store(ctx)) == policy_store(ctx);
}

/* The policy of the context that the connection has now; NULL: none. */
static const uint8_t *policy_now(const struct context *origin, SSL *ssl)
{
	SSL_CTX *ctx = SSL_get_SSL_CTX(ssl);
	struct context *context = context_of(ctx, origin->baton);

	return context && trusts_as_context(ssl, ctx) ? context_policy(context, ctx) : NULL;
}

/* ---- What names led to ---- */

/* Of a name, as a client said it to that listener. A name that collides costs a full handshake. */
static uint64_t hash_name(const struct context *origin, const uint8_t *name, size_t n_name)
{
	return XXH3_64bits_withSeed(name, n_name, origin->number);
}

/* Where a name led: `policy` may be NULL, none. */
static uint64_t learned_word(uint64_t hash, const uint8_t *policy, int mode)
{
	const uint64_t bits = policy ? (uint64_t)policy[0] << 8 | policy[1] : 0;

	return (hash & ~LEARNED_BITS) | (uint64_t)(mode & MODES) << LEARNED_MODE_SHIFT |
	       (bits & LEARNED_POLICY);
}

static bool is_same_name(uint64_t word, uint64_t other)
{
	return ((word ^ other) & ~LEARNED_BITS) == 0;
}

static bool is_same_policy(uint64_t word, uint64_t other)
{
	return ((word ^ other) & LEARNED_POLICY) == 0;
}

static _Atomic uint64_t *learned_place(struct tlsbaton *baton, uint64_t hash)
{
	return &baton->learned[(hash >> 16) % LEARNED_NAMES];
}

/* Relaxed, here and below: a word by itself, and what it misses is found by the watch. */
static void put_word(_Atomic uint64_t *place, uint64_t word)
{
	/* Mostly it stands there: no line is taken from other threads. */
	if (atomic_load_explicit(place, memory_order_relaxed) != word)
		atomic_store_explicit(place, word, memory_order_relaxed);
}

/* A full handshake led there. */
static void learn(struct context *origin, const struct binding *binding, const uint8_t *policy)
{
	const uint64_t hash = hash_name(origin, binding->name, binding->n_name);
	const uint64_t word = learned_word(hash, policy, binding->verify_mode);
	_Atomic uint64_t *place = learned_place(origin->baton, hash);
	const uint64_t old = atomic_load_explicit(place, memory_order_relaxed);

	if (old & LEARNED_RESUMING && is_same_name(old, word) && !is_same_policy(old, word))
		return;
	put_word(place, word);
}

/* A resumption led there. */
static void learn_resuming(struct context *origin, const struct binding *binding,
                           const uint8_t *policy, int mode, bool ended)
{
	const uint64_t hash = hash_name(origin, binding->name, binding->n_name);

	put_word(learned_place(origin->baton, hash),
	         learned_word(hash, policy, mode) | (ended ? LEARNED_RESUMING : 0));
}

/* A connection that asks for more than the one that made the session. */
static bool asks_for_more(int mode, const struct binding *binding)
{
	return (mode & MODES & ~binding->verify_mode) != 0;
}

/* Whether the client's name may lead from `origin`, whose policy is `own` (NULL: it has none), to that of `binding`. */
static bool may_lead(struct context *origin, const uint8_t *own, const struct binding *binding)
{
	const uint64_t hash = hash_name(origin, binding->name, binding->n_name);
	const uint64_t word =
	    atomic_load_explicit(learned_place(origin->baton, hash), memory_order_relaxed);

	if (!known_policy(origin->baton, binding->policy))
		return false;
	if (is_same_name(word, hash))
		return is_same_policy(word, learned_word(hash, binding->policy, 0)) &&
		       !asks_for_more((int)(word >> LEARNED_MODE_SHIFT), binding);
	/* No name leads elsewhere, as a rule. */
	return binding->n_name > 0 ||
	       (own && memcmp(own, binding->policy, POLICY_BOUND_BYTES) == 0);
}

/* ---- New sessions ---- */

int64_t bind_expires(SSL_SESSION *session)
{
	static const uint8_t none[POLICY_BOUND_BYTES];
	struct binding binding;

	if (!binding_read(session, &binding) || memcmp(binding.policy, none, sizeof(none)) == 0)
		return 0;
	return MAX(binding.expires_s, 1);
}

/* What a full handshake decided. */
static void bind_afresh(struct context *origin, SSL *ssl, SSL_SESSION *session,
                        struct binding *binding, uint8_t name[POLICY_NAME_MAX])
{
	const uint8_t *policy = policy_now(origin, ssl);

	*binding = (struct binding){
	    .verify_mode = (uint8_t)SSL_get_verify_mode(ssl),
	    .name = name,
	    .n_name = (uint8_t)binding_ssl_name(ssl, name),
	    .expires_s = (int64_t)SSL_SESSION_get_time(session) + SSL_SESSION_get_timeout(session),
	};
	if (policy)
		memcpy(binding->policy, policy, POLICY_BOUND_BYTES);
	learn(origin, binding, policy);
}

void bind_session(struct context *origin, SSL *ssl, SSL_SESSION *session)
{
	const int64_t start_s = SSL_SESSION_get_time(session);
	uint8_t name[POLICY_NAME_MAX];
	struct binding binding;
	int64_t ends_s;
	bool bound;

	bound = SSL_session_reused(ssl) && binding_read(session, &binding);
	if (!bound)
		bind_afresh(origin, ssl, session, &binding, name);
	/* Of a resumption, too: the client may have shown one since. */
	ends_s = binding_certificate_ends(session);
	if (ends_s < binding.expires_s) {
		binding.expires_s = ends_s;
		bound = false;
	}
	/* A session that other connections may be using (TLS 1.2) is bound, and has its time, already. */
	if (start_s + SSL_SESSION_get_timeout(session) > MAX(binding.expires_s, start_s + 1))
		/* Not 0: OpenSSL takes that for "unknown" when it reads it, and ends the handshake over the ticket. */
		SSL_SESSION_set_timeout(session, (long)MAX(binding.expires_s - start_s, 1));
	if (!bound)
		(void)!binding_write(session, &binding);
}

/* ---- Resumption ---- */

/* Refused from the first comparison that fails; the order is that of their cost. */
static bool may_honour(struct context *origin, SSL *ssl, SSL_SESSION *session)
{
	SSL_CTX *ctx = SSL_get_SSL_CTX(ssl);
	uint8_t name[POLICY_NAME_MAX];
	struct binding binding;
	const uint8_t *policy;

	if (!binding_read(session, &binding) || binding.expires_s <= clock_coarse_wall_s())
		return false;
	if (binding_hello_name(ssl, name) != binding.n_name ||
	    (binding.n_name > 0 && memcmp(name, binding.name, binding.n_name) != 0))
		return false;
	policy = policy_now(origin, ssl);
	if (context_of(ctx, origin->baton) == origin && trusts_as_context(ssl, ctx))
		return may_lead(origin, policy, &binding);
	return policy && memcmp(policy, binding.policy, POLICY_BOUND_BYTES) == 0;
}

/* The name has led to its context. */
static void check_again(SSL *ssl)
{
	struct context *origin = SSL_get_ex_data(ssl, index_begun);
	SSL_SESSION *session = SSL_get0_session(ssl);
	const uint8_t *policy = policy_now(origin, ssl);
	const int mode = SSL_get_verify_mode(ssl);
	struct binding binding;
	bool fits;

	if (!SSL_session_reused(ssl) || !binding_read(session, &binding))
		return;
	fits = policy && memcmp(policy, binding.policy, POLICY_BOUND_BYTES) == 0 &&
	       !asks_for_more(mode, &binding);
	learn_resuming(origin, &binding, policy, mode, !fits);
	if (fits)
		return;
	ring_count(origin->baton->page, RING_REFUSED_POLICY);
	SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
}

static void watch(const SSL *given, int where, int value)
{
	/* OpenSSL's callback has it const, and its own manual changes connections in it. */
	SSL *ssl = (SSL *)(uintptr_t)given;
	void *kept = SSL_get_ex_data(ssl, index_watch);
	info_callback own;

	memcpy(&own, &kept, sizeof(own));
	if (where & SSL_CB_LOOP && SSL_get_info_callback(ssl) == watch) {
		SSL_set_info_callback(ssl, own);
		check_again(ssl);
	}
	if (!own)
		own = SSL_CTX_get_info_callback(SSL_get_SSL_CTX(ssl));
	if (own)
		own(ssl, where, value);
}

static bool start_watch(struct context *origin, SSL *ssl)
{
	const info_callback own = SSL_get_info_callback(ssl);
	void *kept;

	/* Of several sessions that a client offers, one that OpenSSL did not take may have been watched. */
	if (own == watch)
		return true;
	memcpy(&kept, &own, sizeof(kept));
	if (!SSL_set_ex_data(ssl, index_watch, kept) || !SSL_set_ex_data(ssl, index_begun, origin))
		return false;
	SSL_set_info_callback(ssl, watch);
	return true;
}

bool bind_honours(struct context *origin, SSL *ssl, SSL_SESSION *session)
{
	if (may_honour(origin, ssl, session) && start_watch(origin, ssl))
		return true;
	ring_count(origin->baton->page, RING_REFUSED_POLICY);
	return false;
}
