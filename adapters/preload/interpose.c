/*
 * The functions of libssl that a program calls through us. Each is found in libssl when it is called first:
 * libssl may come with a module that the program loads late (Apache's mod_ssl), and visible to that module alone
 * (Python's _ssl).
 *
 *   SSL_CTX_new, SSL_CTX_new_ex       the second object is loaded (preload.h), and told of the context
 *   SSL_set_accept_state, SSL_accept, the connection's context is attached. So late because programs set their session
 *                                     callbacks and options after they made the context, and because a context that
 *                                     is only used to connect to other servers is never touched
 *   SSL_read_early_data               the same, where it is a server's first call
 *   SSL_write, SSL_write_ex,          the gate
 *   SSL_write_ex2, SSL_sendfile
 *   SSL_write_early_data              the gate of the session that the client brought. A new one is not made before the
 *                                     handshake is over, so nothing of it could be lost; the handshake is left alone
 *   SSL_stateless, DTLSv1_listen      passed on: they answer a client hello, and make no session. The connection's
 *                                     context is attached by what goes on with it
 *   SSL_get_error, SSL_want           say of a write that the gate held what they say of one that found the socket full
 *   all others                        end that
 *
 * A program may have several libssls: each call goes to its own, and one is served (other.c).
 *
 * `held` is that write: OpenSSL wants SSL_get_error() to be called by the thread whose call it is about, before its
 * next one. So one pointer a thread is enough.
 *
 * The symbols have libssl's version (interpose.map): a program with OpenSSL 1.1 does not come here. One with an unversioned
 * LibreSSL does, and is passed on as another libssl.
 *
 * What libssl calls itself depends on how it was linked: with -Bsymbolic, as OpenSSL does it, past us; Debian's comes here, so
 * each of these functions must do no harm when it runs within another. Connections that are used through BIO_f_ssl() may
 * or may not be held at the gate.
 */
#include "preload.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

#include "log.h"
#include "other.h"

#define LIBSSL "libssl.so.3"
#define LIBSSL_VERSION "OPENSSL_3.0.0"
#define LIBSSL_VERSION_EX2 "OPENSSL_3.3.0" /* SSL_write_ex2()'s */

/* By which a search is told from another: no preload library that we know of stands before it. */
#define PROBE "SSL_get_shutdown"

#define INTERPOSED __attribute__((visibility("default")))

static char socket_path[128]; /* longer than any that the library takes */
static bool own_cache_is_fallback;
/* Set once the second object is there. */
static _Atomic(const struct preload_ops *) second;
/* Set early, in all threads' first block: no allocation at its first use. */
static _Thread_local const SSL *held __attribute__((tls_model("initial-exec")));

/* The program may clear or overwrite its environment before it makes its first context. */
__attribute__((constructor)) static void start(void)
{
	const char *path = getenv(PRELOAD_SOCKET_VARIABLE);

	if (path)
		(void)snprintf(socket_path, sizeof(socket_path), "%s", path);
	own_cache_is_fallback = getenv(PRELOAD_FALLBACK_VARIABLE) != NULL;
}

/* ---- libssl ---- */

/* OpenSSL 3's, which the second object is linked to, in whatever scope; NULL: the program has none yet. */
static void *openssl_3(void)
{
	/* Relaxed: the C library's handle, and two threads that open it get the same. */
	static _Atomic(void *) kept;
	void *handle = atomic_load_explicit(&kept, memory_order_relaxed);

	if (!handle) {
		handle = dlopen(LIBSSL, RTLD_LAZY | RTLD_NOLOAD);
		atomic_store_explicit(&kept, handle, memory_order_relaxed);
	}
	return handle;
}

/* Whether the program as a whole sees libssl.so.3, or only some object of its; there is one. Decided once: a libssl that is loaded
 * later with RTLD_GLOBAL stands before one that is not global in each search. */
static bool is_global(void)
{
	enum { UNKNOWN, GLOBAL, LOCAL };
	/* Relaxed: a word by itself. */
	static atomic_int kept = UNKNOWN;
	int is = atomic_load_explicit(&kept, memory_order_relaxed);

	if (is == UNKNOWN) {
		is = dlsym(RTLD_NEXT, PROBE) == dlsym(openssl_3(), PROBE) ? GLOBAL : LOCAL;
		atomic_store_explicit(&kept, is, memory_order_relaxed);
	}
	return is == GLOBAL;
}

static void *look_up(const char *name, const char *version)
{
	void *found = NULL;

	/* The next in the search: another library that is preloaded, or libssl. */
	if (!openssl_3() || is_global())
		found = dlvsym(RTLD_NEXT, name, version);
	if (!found && openssl_3())
		found = dlvsym(openssl_3(), name, version);
	return found ? found : dlsym(RTLD_NEXT, name);
}

/* The function that has number `i` here, in `other`, or if that is NULL in the libssl that is served. */
static void *find(struct libssl *other, size_t i, const char *name, const char *version)
{
	static _Atomic(void *) functions[OTHER_FUNCTIONS_MAX];
	_Atomic(void *) *place = other ? &other->functions[i] : &functions[i];
	/* Relaxed: an address by itself. Two threads that look it up find the same. */
	void *found = atomic_load_explicit(place, memory_order_relaxed);

	if (found)
		return found;
	found = other ? dlsym(other->handle, name) : look_up(name, version);
	if (!found) {
		/* The program was linked to it, so it would not have started without us. */
		(void)fprintf(stderr, "tlsbaton: no %s in this program\n", name);
		abort();
	}
	atomic_store_explicit(place, found, memory_order_relaxed);
	return found;
}

/* libssl's own `function`. */
#define REAL(function, other) REAL_OF(function, LIBSSL_VERSION, other)
#define REAL_OF(function, version, other)                                                          \
	((__typeof__(&(function)))find(other, __COUNTER__, #function, version))

#if !OPENSSL_VERSION_PREREQ(3, 3)
/* A program that calls it has an OpenSSL that does. */
extern int SSL_write_ex2(SSL *ssl, const void *bytes, size_t n, uint64_t flags, size_t *n_written);
#endif

/* ---- The second object ---- */

static const struct preload_ops *ops(void)
{
	/* Acquire: pairs with the release in load(). */
	return atomic_load_explicit(&second, memory_order_acquire);
}

/* It stands beside this one. Runs once; and again in a child that was forked while another thread was in here, whose
 * loader may be in any state. */
static void load(void)
{
	static bool begun;
	const struct preload_ops *found = NULL;
	char path[4096];
	const char *slash;
	Dl_info self;
	void *object;
	int n;

	if (begun && !ops())
		log_line(NULL, LOG_ERR,
		         "this process was forked too early: its sessions are not shared");
	if (begun)
		return;
	begun = true;
	/* The second object would be bound to the one that is global. */
	if (!is_global() && dlsym(RTLD_NEXT, PROBE)) {
		log_line(NULL, LOG_WARNING,
		         "this program has another libssl before " LIBSSL
		         ": sessions are not shared");
		return;
	}
	if (!dladdr(socket_path, &self))
		return;
	slash = strrchr(self.dli_fname, '/');
	n = snprintf(path, sizeof(path), "%.*s%s", slash ? (int)(slash + 1 - self.dli_fname) : 0,
	             self.dli_fname, PRELOAD_SECOND);
	if (n < 0 || (size_t)n >= sizeof(path))
		return;
	object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (object)
		found = dlsym(object, PRELOAD_SECOND_OPS);
	if (!found) {
		(void)snprintf(path, sizeof(path), "%s: sessions are not shared", dlerror());
		log_line(NULL, LOG_ERR, path);
		return;
	}
	found->start(socket_path, own_cache_is_fallback, log_line);
	atomic_store_explicit(&second, found, memory_order_release);
}

/* Something of the libssl that can be served; NULL: there is none yet. */
static const void *served(void)
{
	return openssl_3() ? (const void *)REAL(SSL_get_ssl_method, NULL) : NULL;
}

/* A context of `method` is about to be made. Out: `*other`, whose. False: it cannot be made. */
static bool making(const SSL_METHOD *method, struct libssl **other)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, log_init);
	/* A caller's mistake, and nobody who could say so. */
	if (!method && !openssl_3())
		return false;
	return other_of_method(method, served, other) == 0;
}

static SSL_CTX *made(const struct libssl *other, SSL_CTX *ctx)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	/* Without OpenSSL 3's libssl the second object would load it. */
	if (!ctx || other || !openssl_3())
		return ctx;
	pthread_once(&once, load);
	if (ops())
		ops()->made(ctx);
	return ctx;
}

INTERPOSED SSL_CTX *SSL_CTX_new(const SSL_METHOD *method)
{
	struct libssl *other;

	return making(method, &other) ? made(other, REAL(SSL_CTX_new, other)(method)) : NULL;
}

INTERPOSED SSL_CTX *SSL_CTX_new_ex(OSSL_LIB_CTX *library, const char *properties,
                                   const SSL_METHOD *method)
{
	struct libssl *other;

	if (!making(method, &other))
		return NULL;
	return made(other, REAL(SSL_CTX_new_ex, other)(library, properties, method));
}

/* ---- Attaching ---- */

/* `other` is whose `ssl` is, as other_of() says. Returns it. */
static struct libssl *accepting(struct libssl *other, SSL *ssl)
{
	if (other)
		other_serves(other);
	else if (ops())
		ops()->accepting(ssl);
	return other;
}

/* A call on `ssl` begins, which ends a held write. Of another libssl's only where that is free and this has its address. Returns
 * other_of(). */
static struct libssl *begin(const SSL *ssl)
{
	struct libssl *other = other_of(ssl);

	if (!other || ssl == held)
		held = NULL;
	return other;
}

INTERPOSED void SSL_set_accept_state(SSL *ssl)
{
	REAL(SSL_set_accept_state, accepting(other_of(ssl), ssl))(ssl);
}

INTERPOSED int SSL_accept(SSL *ssl)
{
	return REAL(SSL_accept, accepting(begin(ssl), ssl))(ssl);
}

/* ---- The gate ---- */

enum write { WRITE_GO, WRITE_HELD, WRITE_FAILED };

static enum write pass_gate(SSL *ssl, int *r)
{
	if (ops()->may_write(ssl))
		return WRITE_GO;
	held = ssl;
	errno = EAGAIN;
	*r = -1;
	return WRITE_HELD;
}

/* Before a write. WRITE_FAILED: its handshake has not come to its end, or to none; `*r` is what it said. */
static enum write before_write(const struct libssl *other, SSL *ssl, int *r)
{
	if (other || !ops())
		return WRITE_GO;
	/* libssl would go on with the handshake and send the bytes in one call: the session is made in between. */
	if (REAL(SSL_in_init, NULL)(ssl)) {
		*r = REAL(SSL_do_handshake, NULL)(ssl);
		if (*r <= 0)
			return WRITE_FAILED;
	}
	return pass_gate(ssl, r);
}

INTERPOSED int SSL_write(SSL *ssl, const void *bytes, int n)
{
	struct libssl *other = begin(ssl);
	int r;

	if (before_write(other, ssl, &r) != WRITE_GO)
		return r;
	return REAL(SSL_write, other)(ssl, bytes, n);
}

INTERPOSED int SSL_write_ex(SSL *ssl, const void *bytes, size_t n, size_t *n_written)
{
	struct libssl *other = begin(ssl);
	int r;

	if (before_write(other, ssl, &r) != WRITE_GO)
		return 0;
	return REAL(SSL_write_ex, other)(ssl, bytes, n, n_written);
}

INTERPOSED int SSL_write_ex2(SSL *ssl, const void *bytes, size_t n, uint64_t flags,
                             size_t *n_written)
{
	struct libssl *other = begin(ssl);
	int r;

	if (before_write(other, ssl, &r) != WRITE_GO)
		return 0;
	return REAL_OF(SSL_write_ex2, LIBSSL_VERSION_EX2, other)(ssl, bytes, n, flags, n_written);
}

/* A client's passes: it has no notice. */
INTERPOSED int SSL_write_early_data(SSL *ssl, const void *bytes, size_t n, size_t *n_written)
{
	struct libssl *other = begin(ssl);
	int r;

	if (!other && ops() && pass_gate(ssl, &r) != WRITE_GO)
		return 0;
	return REAL(SSL_write_early_data, other)(ssl, bytes, n, n_written);
}

INTERPOSED ossl_ssize_t SSL_sendfile(SSL *ssl, int fd, off_t offset, size_t n, int flags)
{
	struct libssl *other = begin(ssl);
	int r;

	if (before_write(other, ssl, &r) != WRITE_GO)
		return r;
	return REAL(SSL_sendfile, other)(ssl, fd, offset, n, flags);
}

INTERPOSED int SSL_get_error(const SSL *ssl, int r)
{
	if (ssl == held && r <= 0)
		return SSL_ERROR_WANT_WRITE;
	return REAL(SSL_get_error, other_of(ssl))(ssl, r);
}

INTERPOSED int SSL_want(const SSL *ssl)
{
	return ssl == held ? SSL_WRITING : REAL(SSL_want, other_of(ssl))(ssl);
}

/* ---- What ends a held write ---- */

INTERPOSED int SSL_read(SSL *ssl, void *bytes, int n)
{
	return REAL(SSL_read, begin(ssl))(ssl, bytes, n);
}

INTERPOSED int SSL_read_ex(SSL *ssl, void *bytes, size_t n, size_t *n_read)
{
	return REAL(SSL_read_ex, begin(ssl))(ssl, bytes, n, n_read);
}

INTERPOSED int SSL_read_early_data(SSL *ssl, void *bytes, size_t n, size_t *n_read)
{
	/* Again and again until it has all: attached once. */
	return REAL(SSL_read_early_data, accepting(begin(ssl), ssl))(ssl, bytes, n, n_read);
}

INTERPOSED int SSL_peek(SSL *ssl, void *bytes, int n)
{
	return REAL(SSL_peek, begin(ssl))(ssl, bytes, n);
}

INTERPOSED int SSL_peek_ex(SSL *ssl, void *bytes, size_t n, size_t *n_read)
{
	return REAL(SSL_peek_ex, begin(ssl))(ssl, bytes, n, n_read);
}

INTERPOSED int SSL_stateless(SSL *ssl)
{
	return REAL(SSL_stateless, begin(ssl))(ssl);
}

INTERPOSED int DTLSv1_listen(SSL *ssl, BIO_ADDR *client)
{
	return REAL(DTLSv1_listen, begin(ssl))(ssl, client);
}

INTERPOSED int SSL_connect(SSL *ssl)
{
	return REAL(SSL_connect, begin(ssl))(ssl);
}

INTERPOSED int SSL_do_handshake(SSL *ssl)
{
	return REAL(SSL_do_handshake, begin(ssl))(ssl);
}

INTERPOSED int SSL_shutdown(SSL *ssl)
{
	return REAL(SSL_shutdown, begin(ssl))(ssl);
}

_Static_assert(__COUNTER__ < OTHER_FUNCTIONS_MAX, "each use of REAL() has a number");
