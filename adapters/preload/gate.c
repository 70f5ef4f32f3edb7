/*
 * The gate of a program that knows nothing of it: SSL_write() waits for the peers, or says that it cannot write now.
 *
 * Sleep or say so? Depends on what the program would do with the answer:
 *
 *  a blocking socket          the thread sleeps in SSL_write(), as it would if the socket's buffer were full
 *  a non-blocking TCP socket  its event loop must go on: SSL_ERROR_WANT_WRITE, and the loop comes back as soon as it
 *                             finds the socket writable. That it is already. A loop with edge-triggered events would
 *                             wait for ever, so the socket is made to report it again (nudge())
 *  HAProxy                    has a BIO of its own, without a descriptor for us to see. Its loop knows WANT_WRITE, and does not
 *                             take a socket for full unless the kernel said so, also with tune.fd.edge-triggered
 *  anything else              (memory BIOs, as in Apache's mod_ssl and in Python's asyncio) sleeps. Such programs take it
 *                             for granted that a write to memory succeeds: mod_ssl and asyncio close the connection
 *
 * A loop that is told "writable" and then WANT_WRITE would run hot, and stunnel closes a connection on which a hundred rounds
 * moved nothing. So each such call first waits for the ack: a moment, SLICE_US, within which most come; later, with a peer
 * that hangs, an eighth of what it has waited. But a thread that has just waited for one connection does not
 * wait for the next: however many gates are closed, a round of its loop is late by one slice.
 *
 * Nothing waits beyond the daemon's deadline, counted from the first time that a connection asked.
 */
#include "second.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include "client/handle.h"
#include "util/clock.h"
#include "util/macro.h"

#define SLICE_US 1000
#define SLICE_US_MAX 50000
#define HAPROXY_BIO 0x666

enum manner { MANNER_SLEEP, MANNER_COME_BACK };

static int index_opened = -1; /* of SSL: the number of the last notice whose gate is open */
static int index_since =
    -1; /* of SSL: when the gate that is closed was first asked; monotonic, in us */

bool gate_init(void)
{
	index_opened = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	index_since = SSL_get_ex_new_index(0, NULL, NULL, NULL, NULL);
	return index_opened >= 0 && index_since >= 0;
}

static uint64_t get(const SSL *ssl, int index)
{
	return (uint64_t)(uintptr_t)SSL_get_ex_data(ssl, index);
}

static bool set(SSL *ssl, int index, uint64_t value)
{
	return SSL_set_ex_data(ssl, index, (void *)(uintptr_t)value);
}

/* Out: `*fd`, the socket, or -1 where none is known. */
static enum manner manner_of(const SSL *ssl, int *fd)
{
	int flags;

	*fd = SSL_get_wfd(ssl);
	if (*fd < 0)
		return SSL_get_wbio(ssl) && BIO_method_type(SSL_get_wbio(ssl)) == HAPROXY_BIO
		           ? MANNER_COME_BACK
		           : MANNER_SLEEP;
	flags = fcntl(*fd, F_GETFL);
	return flags >= 0 && flags & O_NONBLOCK ? MANNER_COME_BACK : MANNER_SLEEP;
}

/*
 * Makes a socket that is writable report so anew, also to who waits for a change. Linux wakes a socket's writers
 * whenever TCP_NOTSENT_LOWAT is set, be it to what it was. False: it is not TCP.
 */
static bool nudge(int fd)
{
	socklen_t n = sizeof(int);
	int value;

	return getsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &value, &n) == 0 &&
	       setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &value, sizeof(value)) == 0;
}

/* Sleeps for the ack, at most `us`; not if this thread has just done so for another connection. HAProxy may run one
 * connection many times before it looks at the others, so there not for the same one, either. */
static void wait_slice(tlsbaton *baton, const SSL *ssl, uint64_t notice, int fd, uint64_t us)
{
	static _Thread_local struct {
		const SSL *ssl; /* compared only */
		uint64_t end_us, us;
	} last;
	const uint64_t now_us = (uint64_t)clock_monotonic_us();

	if (now_us - last.end_us < last.us && (last.ssl != ssl || fd < 0))
		return;
	(void)ring_wait(baton->page, notice, now_us + us);
	last.ssl = ssl;
	last.us = us;
	last.end_us = (uint64_t)clock_monotonic_us();
}

static uint64_t slice_us(uint64_t waited_us, uint64_t limit_us)
{
	const uint64_t us = MIN(MAX(waited_us / 8, SLICE_US), SLICE_US_MAX);

	return MIN(us, limit_us - waited_us);
}

/* One step of a wait in which the program comes back. False: not yet. */
static bool step(tlsbaton *baton, SSL *ssl, uint64_t notice, int fd)
{
	const uint64_t now_us = (uint64_t)clock_monotonic_us();
	const uint64_t limit_us = 1000ULL * tlsbaton_gate_deadline_ms(baton);
	uint64_t since_us = get(ssl, index_since);
	const bool is_first = since_us == 0;

	if (gate_look(baton, notice))
		return true;
	if (is_first) {
		since_us = now_us;
		/* Without memory for it nobody would know when to stop. */
		if (!set(ssl, index_since, since_us))
			return true;
		ring_count(baton->page, RING_GATE_WAITS);
	}
	if (now_us - since_us >= limit_us) {
		tlsbaton_gate_expired(baton);
		return true;
	}
	wait_slice(baton, ssl, notice, fd, slice_us(now_us - since_us, limit_us));
	if (gate_look(baton, notice))
		return true;
	/* Perhaps the daemon is gone, or another one. */
	if (is_first)
		link_look(baton);
	if (fd < 0 || nudge(fd))
		return false;
	(void)!tlsbaton_gate_wait(baton, notice);
	return true;
}

bool gate_may_write(tlsbaton *baton, SSL *ssl)
{
	const uint64_t notice = tlsbaton_ssl_notice(ssl);
	uint64_t since_us;
	int fd;

	if (index_since < 0 || get(ssl, index_opened) == notice)
		return true;
	if (manner_of(ssl, &fd) == MANNER_SLEEP)
		(void)!tlsbaton_gate_wait(baton, notice);
	else if (!step(baton, ssl, notice, fd))
		return false;
	(void)set(ssl, index_opened, notice);
	since_us = get(ssl, index_since);
	if (since_us != 0) {
		ring_count_wait(baton->page, (uint64_t)clock_monotonic_us() - since_us);
		(void)set(ssl, index_since, 0);
	}
	return true;
}
