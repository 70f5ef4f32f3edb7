/*
 * OpenSSL's session callbacks, for servers that leave sessions to OpenSSL.
 *
 * Which context's callbacks run is decided when an SSL is made: an SNI callback may give it another
 * SSL_CTX, the session callbacks stay the first one's. OpenSSL does not tell which that was, so a hook at
 * the making of each SSL notes it (`index_origin`).
 *
 * Every session is bound to the policy that it was made under, and to its end (bind.c): those that are reported as
 * new here, and those in tickets, TLS 1.3's and stateless ones, when OpenSSL is about to write one.
 *
 * Removals. OpenSSL calls remove_cb for sessions that security wants gone and for all whose connection
 * merely ended uncleanly, without a difference. A switchover ends many that way. So these are counted, and
 * never replicated; a server that means it calls tlsbaton_session_remove().
 */
#include "client/bind.h"
#include "client/recent.h"
#include "util/clock.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <pthread.h>

#define DER_ON_STACK 1024

_Static_assert(sizeof(void *) >= sizeof(uint64_t), "notice numbers are kept in ex_data pointers");

/* How far a context is. */
enum stage {
	SEEN,      /* a name led here: its sessions are guarded as far as others need it */
	ATTACHING, /* its callbacks are being set: those that are call the program's */
	ATTACHED,
};

struct attached {
	struct context context; /* first: bind.c knows it by that alone */
	struct tlsbaton *baton;
	bool shares; /* not only guarded */
	_Atomic enum stage stage;
	int (*next_new)(SSL *ssl, SSL_SESSION *session);
	SSL_SESSION *(*next_get)(SSL *ssl, const unsigned char *id, int n_id, int *copy);
	void (*next_remove)(SSL_CTX *ctx, SSL_SESSION *session);
};

static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;
static int once_error;
/* Stands at a context that attach_prepare() made ready: it may be attached while it is in use. */
static struct attached prepared;
static int index_attached = -1; /* of SSL_CTX: struct attached, owned */
static int index_origin = -1;   /* of SSL: the struct attached of the context it was made from */
static int index_notice = -1;   /* of SSL: number of its last notice */

static void attached_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl,
                          void *argp)
{
	struct attached *attached = ptr;

	(void)parent;
	(void)ad;
	(void)idx;
	(void)argl;
	(void)argp;
	if (!attached || attached == &prepared)
		return;
	context_deinit(&attached->context);
	free(attached);
}

/* Acquire: pairs with the releases in attach(), so that who sees a stage sees what was set before it. */
static enum stage stage_of(struct attached *attached)
{
	return atomic_load_explicit(&attached->stage, memory_order_acquire);
}

/* NULL: not attached, and not being attached. */
static struct attached *attached_of(SSL_CTX *ctx)
{
	struct attached *attached = SSL_CTX_get_ex_data(ctx, index_attached);

	return attached && attached != &prepared && stage_of(attached) != SEEN ? attached : NULL;
}

static void note_origin(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	SSL_CTX *ctx = SSL_get_SSL_CTX(parent);
	struct attached *attached = ctx ? attached_of(ctx) : NULL;

	(void)ptr;
	(void)argl;
	(void)argp;
	/* What another thread is attaching is not yet attached: callbacks that are not yet set would be taken for ones that
	 * the program replaced. Without memory for it this connection's sessions are not shared. */
	if (attached && stage_of(attached) == ATTACHED)
		(void)CRYPTO_set_ex_data(ad, idx, attached);
}

/* A client's SSL may be older than the attachment of its context, which as a server's gets it at its beginning. */
static struct attached *origin_of(const SSL *ssl)
{
	struct attached *attached = SSL_get_ex_data(ssl, index_origin);

	return attached ? attached : attached_of(SSL_get_SSL_CTX(ssl));
}

/* Of a connection that ended between two of its sessions: the daemon is to learn of the first. */
static void notice_free(void *parent, void *ptr, CRYPTO_EX_DATA *ad, int idx, long argl, void *argp)
{
	struct attached *attached = ptr ? origin_of(parent) : NULL;

	(void)ad;
	(void)idx;
	(void)argl;
	(void)argp;
	if (attached)
		handle_wake(attached->baton);
}

static void make_indexes(void)
{
	index_attached = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, attached_free);
	index_notice = SSL_get_ex_new_index(0, NULL, NULL, NULL, notice_free);
	index_origin = SSL_get_ex_new_index(0, NULL, note_origin, NULL, NULL);
	once_error = bind_init();
}

/* Of what a name led to before it had a connection of its own: guarded, as far as sessions need it. */
static struct attached *make_seen(SSL_CTX *ctx, struct tlsbaton *baton)
{
	struct attached *attached = calloc(1, sizeof(*attached));

	if (!attached)
		return NULL;
	attached->baton = baton;
	atomic_init(&attached->stage, SEEN);
	context_init(&attached->context, baton, ctx);
	/* Its place is there already: a pointer is all that changes. */
	if (!SSL_CTX_set_ex_data(ctx, index_attached, attached)) {
		context_deinit(&attached->context);
		free(attached);
		return NULL;
	}
	return attached;
}

/* What a context has already, or what is made for it. Threads whose connections are the first of a context wait for the one
 * that makes it, once: without it none of them could honour a session. */
static struct attached *attached_place(SSL_CTX *ctx, struct tlsbaton *baton)
{
	struct attached *attached;

	pthread_mutex_lock(&baton->contexts_lock);
	attached = SSL_CTX_get_ex_data(ctx, index_attached);
	if (!attached || attached == &prepared)
		attached = make_seen(ctx, baton);
	pthread_mutex_unlock(&baton->contexts_lock);
	return attached;
}

struct context *context_of(SSL_CTX *ctx, struct tlsbaton *baton)
{
	struct attached *attached = SSL_CTX_get_ex_data(ctx, index_attached);

	if (attached == &prepared)
		attached = attached_place(ctx, baton);
	return attached ? &attached->context : NULL;
}

/* ---- New sessions ---- */

static bool is_stateless(const SSL *ssl)
{
	return SSL_version(ssl) == TLS1_3_VERSION && !(SSL_get_options(ssl) & SSL_OP_NO_TICKET);
}

/* Where the group's clients are to resume by ticket, those that take none do not resume. */
static bool is_stored(const struct tlsbaton *baton, const SSL *ssl)
{
	return ticket_page_resumption(baton->tickets) != TICKET_TICKETS ||
	       (SSL_get_options(ssl) & SSL_OP_NO_TICKET);
}

/* A full handshake of TLS 1.3 ends with several tickets, each of them a session (SSL_CTX_set_num_tickets(3)): the first is
 * about to be followed by another, in the same call of the server's. */
static bool is_followed(const SSL *ssl)
{
	return SSL_version(ssl) == TLS1_3_VERSION && !SSL_session_reused(ssl) &&
	       SSL_get_num_tickets(ssl) > 1 && !SSL_get_ex_data(ssl, index_notice);
}

/* True: the daemon has it, or will. */
static bool put_session(const struct attached *attached, SSL *ssl, SSL_SESSION *session)
{
	const int64_t expires_s = bind_expires(session);
	const bool followed = is_followed(ssl);
	unsigned char on_stack[DER_ON_STACK], *der = on_stack, *end;
	unsigned n_id;
	const unsigned char *id = SSL_SESSION_get_id(session, &n_id);
	int n_der = i2d_SSL_SESSION(session, NULL);
	struct ring_notice put = {.kind = RING_PUT, .expires_s = expires_s, .id = id, .n_id = n_id};
	uint64_t notice;
	bool sent;

	if (expires_s == 0) {
		ring_count(attached->baton->page, RING_REFUSED_POLICY);
		return false;
	}
	/* Longer than any record may be: this session stays with this process. */
	if (n_der <= 0 || n_der > TLSBATON_DER_MAX || n_id == 0) {
		ring_count(attached->baton->page, RING_LOST);
		return false;
	}
	if (n_der > DER_ON_STACK)
		der = OPENSSL_malloc((size_t)n_der);
	if (!der) {
		ring_count(attached->baton->page, RING_LOST);
		return false;
	}
	end = der;
	n_der = i2d_SSL_SESSION(session, &end);
	put.der = der;
	put.n_der = n_der > 0 ? (size_t)n_der : 0;
	sent = handle_send(attached->baton, &put, followed ? WAKE_LATER : WAKE_NOW, &notice) == 0;
	if (sent) {
		(void)SSL_set_ex_data(ssl, index_notice, (void *)(uintptr_t)notice);
		if (!followed)
			recent_put(attached->baton->recent, session, expires_s,
			           clock_coarse_wall_s());
	}
	OPENSSL_cleanse(der, (size_t)(end - der));
	if (der != on_stack)
		OPENSSL_free(der);
	return sent;
}

/* True: the group has it, or will. */
static bool share(const struct attached *attached, SSL *ssl, SSL_SESSION *session)
{
	/* A context may serve both ends of connections; what it has as a client is another server's. */
	if (!attached->shares || !SSL_is_server(ssl))
		return false;
	if (is_stateless(ssl)) {
		ring_count(attached->baton->page, RING_STATELESS);
		return false;
	}
	return is_stored(attached->baton, ssl) && put_session(attached, ssl, session);
}

/* OpenSSL is about to write a ticket. Never fails: it would end the handshake. */
static int on_ticket(SSL *ssl, void *arg)
{
	struct attached *attached = origin_of(ssl);

	(void)arg;
	if (attached)
		bind_session(&attached->context, ssl, SSL_get0_session(ssl));
	return 1;
}

static void bind_if_not(struct attached *attached, SSL *ssl, SSL_SESSION *session)
{
	if (bind_expires(session) == 0)
		bind_session(&attached->context, ssl, session);
}

static int on_new(SSL *ssl, SSL_SESSION *session)
{
	struct attached *attached = origin_of(ssl);
	bool is_fallback;
	int kept = 0;

	if (!attached)
		return 0;
	/* What waits for a daemon's return nobody finds meanwhile. */
	is_fallback = attached->baton->own_cache_is_fallback && tlsbaton_connected(attached->baton);
	/* Before others may keep it, and again if they had no regard for what stood there. */
	if (SSL_is_server(ssl))
		bind_if_not(attached, ssl, session);
	if (is_fallback && share(attached, ssl, session))
		return 0;
	if (attached->next_new) {
		kept = attached->next_new(ssl, session);
		if (SSL_is_server(ssl))
			bind_if_not(attached, ssl, session);
	}
	if (!is_fallback)
		(void)share(attached, ssl, session);
	return kept;
}

/* ---- Lookups ---- */

/* A server that asks for certificates and has no session ID context: OpenSSL makes none of its sessions known, and
 * fails the handshake when it is given one of another server that has no context either. */
static bool would_fail(const SSL *ssl, const SSL_SESSION *session)
{
	unsigned n_context;

	(void)SSL_SESSION_get0_id_context(session, &n_context);
	return n_context == 0 && SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER;
}

/* A reference that is the caller's. The record is always looked up: it says whether the session lives. */
static SSL_SESSION *get_session(const struct attached *attached, SSL *ssl, const unsigned char *id,
                                size_t n_id)
{
	struct tlsbaton *baton = attached->baton;
	unsigned char der[TLSBATON_DER_MAX];
	const unsigned char *end = der;
	SSL_SESSION *session;
	int64_t expires_s;
	uint64_t notice;
	size_t n_der;

	if (tlsbaton_session_get(baton, id, n_id, der, sizeof(der), &n_der, &expires_s, &notice) !=
	    0) {
		recent_drop(baton->recent, id, n_id);
		return NULL;
	}
	session = recent_get(baton->recent, id, n_id, clock_coarse_wall_s());
	if (!session) {
		/* NULL for a record of an OpenSSL whose dialect this one does not know: a full handshake. */
		session = d2i_SSL_SESSION(NULL, &end, (long)n_der);
		if (session && !recent_is_for_one_use(session))
			recent_put(baton->recent, session, expires_s, clock_coarse_wall_s());
	}
	OPENSSL_cleanse(der, n_der);
	if (session && would_fail(ssl, session)) {
		SSL_SESSION_free(session);
		return NULL;
	}
	if (session && notice)
		(void)SSL_set_ex_data(ssl, index_notice, (void *)(uintptr_t)notice);
	return session;
}

static SSL_SESSION *on_get(SSL *ssl, const unsigned char *id, int n_id, int *copy)
{
	struct attached *attached = origin_of(ssl);
	SSL_SESSION *session = NULL;

	if (!attached || n_id <= 0)
		return NULL;
	if (attached->shares)
		session = get_session(attached, ssl, id, (size_t)n_id);
	if (session)
		*copy = 0;
	else if (attached->next_get)
		session = attached->next_get(ssl, id, n_id, copy);
	if (!session || bind_honours(&attached->context, ssl, session))
		return session;
	if (!*copy)
		SSL_SESSION_free(session);
	return NULL;
}

/* A client has brought a ticket. What is not honoured is treated as one that could not be read: a full handshake, and
 * a new ticket. */
static SSL_TICKET_RETURN on_ticket_read(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
                                        size_t n_name, SSL_TICKET_STATUS status, void *arg)
{
	struct attached *attached = origin_of(ssl);

	(void)name;
	(void)n_name;
	(void)arg;
	if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW)
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	if (attached &&
	    (would_fail(ssl, session) || !bind_honours(&attached->context, ssl, session)))
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}

static void on_remove(SSL_CTX *ctx, SSL_SESSION *session)
{
	const struct attached *attached = attached_of(ctx);

	if (!attached)
		return;
	if (attached->next_remove)
		attached->next_remove(ctx, session);
	if (attached->shares)
		ring_count(attached->baton->page, RING_REMOVALS_IGNORED);
}

/* ---- Attaching ---- */

static bool has_indexes(void)
{
	return CRYPTO_THREAD_run_once(&once, make_indexes) && index_attached >= 0 &&
	       once_error == 0 && index_origin >= 0 && index_notice >= 0;
}

/* Only handles that are attached have one. */
static int make_recent(struct tlsbaton *baton)
{
	int r = 0;

	handle_lock(baton);
	if (!baton->recent)
		r = recent_new(&baton->recent);
	handle_unlock(baton);
	return r;
}

static int attach(tlsbaton *baton, SSL_CTX *ctx, bool shares)
{
	const long before = SSL_CTX_get_session_cache_mode(ctx);
	const long mode =
	    shares ? (before & SSL_SESS_CACHE_CLIENT) | SSL_SESS_CACHE_SERVER : before;
	struct attached *attached;

	if (!has_indexes())
		return -ENOMEM;
	if (attached_of(ctx))
		return -EBUSY;
	if (shares && (make_recent(baton) < 0 || tlsbaton_attach_tickets(baton, ctx) < 0))
		return -ENOMEM;
	attached = attached_place(ctx, baton);
	if (!attached)
		return -ENOMEM;
	attached->shares = shares;
	attached->next_new = SSL_CTX_sess_get_new_cb(ctx);
	attached->next_get = SSL_CTX_sess_get_get_cb(ctx);
	attached->next_remove = SSL_CTX_sess_get_remove_cb(ctx);
	/* Release: pairs with the acquire in stage_of(). */
	atomic_store_explicit(&attached->stage, ATTACHING, memory_order_release);
	SSL_CTX_sess_set_new_cb(ctx, on_new);
	SSL_CTX_sess_set_get_cb(ctx, on_get);
	SSL_CTX_sess_set_remove_cb(ctx, on_remove);
	(void)SSL_CTX_set_session_ticket_cb(ctx, on_ticket, on_ticket_read, NULL);
	/* What is found in OpenSSL's own cache nobody is asked about. */
	SSL_CTX_set_session_cache_mode(ctx, mode | SSL_SESS_CACHE_NO_INTERNAL);
	/* Release: pairs with the acquire in stage_of(). */
	atomic_store_explicit(&attached->stage, ATTACHED, memory_order_release);
	return 0;
}

int tlsbaton_guard(tlsbaton *baton, SSL_CTX *ctx)
{
	return attach(baton, ctx, false);
}

int tlsbaton_attach(tlsbaton *baton, SSL_CTX *ctx)
{
	return attach(baton, ctx, true);
}

int64_t tlsbaton_ssl_expires(const SSL *ssl)
{
	SSL_SESSION *session = SSL_get_session(ssl);

	return session ? bind_expires(session) : 0;
}

/* ---- Attaching late ---- */

int attach_prepare(SSL_CTX *ctx)
{
	if (!has_indexes() || !SSL_CTX_set_ex_data(ctx, index_attached, &prepared))
		return -ENOMEM;
	return tickets_prepare(ctx);
}

int attach_state(const SSL *ssl)
{
	SSL_CTX *ctx = SSL_get_SSL_CTX(ssl);

	if (!SSL_get_ex_data(ssl, index_origin))
		return ATTACH_NOT;
	if (attached_of(ctx) && SSL_CTX_sess_get_new_cb(ctx) != on_new)
		return ATTACH_REPLACED;
	return 0;
}

int attach_ssl(struct tlsbaton *baton, SSL *ssl)
{
	SSL_CTX *ctx = SSL_get_SSL_CTX(ssl);
	int r = tlsbaton_attach(baton, ctx);

	if (r < 0 && r != -EBUSY)
		return r;
	r = tickets_attach_ssl(baton, ssl);
	if (r < 0)
		return r;
	return SSL_set_ex_data(ssl, index_origin, attached_of(ctx)) ? 0 : -ENOMEM;
}

uint64_t tlsbaton_ssl_notice(const SSL *ssl)
{
	return index_notice < 0 ? 0 : (uint64_t)(uintptr_t)SSL_get_ex_data(ssl, index_notice);
}
