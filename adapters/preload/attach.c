/*
 * The contexts of a program that knows nothing of us, and its handle.
 *
 * A context is attached when the first connection of its begins as a server (interpose.c says why so late). It is the thread
 * of that connection that does it; others of the same context wait for it, so none is in a handshake while the
 * callbacks change. What would be under their feet all the same, the context's table of extra data, is given its size
 * when the context is made.
 *
 * The handle is opened then, too: in the process that serves, after it was forked, and as the user that it serves as.
 * There is one a process; if it forks later, libtlsbaton looks after that. A program that calls chroot(2) before needs the
 * daemon's socket in there, under the same path.
 */
#include "second.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/un.h>
#include <syslog.h>

#include "client/handle.h"

/* How long the first connection of a process waits for a daemon that does not answer. */
#define CONNECT_MS 100

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* for opening and attaching */
static _Atomic(tlsbaton *) handle;
static bool own_cache_is_fallback;
static bool failed; /* there will be no handle; under the lock, but for on_start() */
static void (*log_line)(void *arg, int level, const char *line); /* log.c's */
static char path[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1];

/* What is said once a process. */
static _Atomic bool said_replaced, said_off, said_no_context;

static void say_once(_Atomic bool *said, const char *line)
{
	if (!atomic_exchange_explicit(said, true, memory_order_relaxed))
		log_line(NULL, LOG_WARNING, line);
}

/* ---- fork(2) ---- */

static void lock_attaching(void)
{
	pthread_mutex_lock(&lock);
}

static void unlock_attaching(void)
{
	pthread_mutex_unlock(&lock);
}

/*
 * A fork waits until nobody is attaching: the child would wait for ever for a thread that it does not have. These handlers are
 * put in place before any thread can take the lock, so that no fork goes without them, and not under it, as the C library
 * may hold a lock of its own while it runs them. And after the library's: so the lock is taken first, as it is in attach().
 */
static bool handle_forks(void)
{
	return fork_init() == 0 &&
	       pthread_atfork(lock_attaching, unlock_attaching, unlock_attaching) == 0;
}

/* ---- Attaching ---- */

static void fail(void)
{
	failed = true;
	log_line(NULL, LOG_ERR, "no handle could be opened: sessions are not shared");
}

/* Under the lock. */
static tlsbaton *open_handle(void)
{
	const struct tlsbaton_options options = {
	    .size = sizeof(options),
	    .socket_path = path[0] ? path : NULL,
	    .log = log_line,
	    .connect_ms = CONNECT_MS,
	};
	tlsbaton *baton = atomic_load_explicit(&handle, memory_order_relaxed);

	if (baton || failed)
		return baton;
	if (tlsbaton_new(&baton, &options) < 0) {
		fail();
		return NULL;
	}
	baton->own_cache_is_fallback = own_cache_is_fallback;
	/* Release: pairs with the acquire in may_write(). */
	atomic_store_explicit(&handle, baton, memory_order_release);
	return baton;
}

static void attach(SSL *ssl)
{
	tlsbaton *baton;

	pthread_mutex_lock(&lock);
	baton = open_handle();
	if (baton && attach_ssl(baton, ssl) < 0)
		log_line(NULL, LOG_ERR,
		         "no memory to attach a context: its sessions are not shared");
	pthread_mutex_unlock(&lock);
}

static void on_accepting(SSL *ssl)
{
	if (!(SSL_CTX_get_session_cache_mode(SSL_get_SSL_CTX(ssl)) & SSL_SESS_CACHE_SERVER)) {
		say_once(&said_off, "this program has switched sessions off (SSL_SESS_CACHE_OFF), "
		                    "and so they stay");
		return;
	}
	switch (attach_state(ssl)) {
	case ATTACH_NOT:
		attach(ssl);
		break;
	case ATTACH_REPLACED:
		say_once(&said_replaced,
		         "this program sets its session callbacks after its first connection: "
		         "sessions are not shared from then on");
		break;
	}
}

/* ---- The rest ---- */

static void on_made(SSL_CTX *ctx)
{
	/* Without memory for it now there may be some later, and if not, that is said then. */
	(void)!attach_prepare(ctx);
}

/* OpenSSL then makes no session that could be resumed, and tells nobody. */
static void check_context(SSL *ssl)
{
	unsigned n_context;

	if (!(SSL_get_verify_mode(ssl) & SSL_VERIFY_PEER) || !SSL_is_server(ssl) ||
	    !SSL_get_session(ssl))
		return;
	(void)SSL_SESSION_get0_id_context(SSL_get_session(ssl), &n_context);
	if (n_context == 0)
		say_once(&said_no_context,
		         "this program asks clients for certificates and sets no session ID "
		         "context: OpenSSL resumes none of these sessions");
}

static bool on_may_write(SSL *ssl)
{
	/* Acquire: pairs with the release in open_handle(). */
	tlsbaton *baton = atomic_load_explicit(&handle, memory_order_acquire);

	if (!baton)
		return true;
	if (tlsbaton_ssl_notice(ssl) != 0)
		return gate_may_write(baton, ssl);
	if (!atomic_load_explicit(&said_no_context, memory_order_relaxed))
		check_context(ssl);
	return true;
}

static void on_start(const char *socket_path, bool fallback,
                     void (*log)(void *arg, int level, const char *line))
{
	(void)snprintf(path, sizeof(path), "%s", socket_path);
	own_cache_is_fallback = fallback;
	log_line = log;
	if (!handle_forks())
		fail();
	if (!gate_init())
		log_line(NULL, LOG_ERR, "no memory: responses do not wait for the peers");
}

__attribute__((visibility("default"))) extern const struct preload_ops tlsbaton_preload_ops;
const struct preload_ops tlsbaton_preload_ops = {
    .start = on_start,
    .made = on_made,
    .accepting = on_accepting,
    .may_write = on_may_write,
};
