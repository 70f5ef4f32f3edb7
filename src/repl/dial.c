/*
 * The connection that a push goes over: dialled again and again, from 100 ms up to 2 s apart with
 * jitter, so that nodes that lost each other at once do not meet at once, and at once when the peer
 * has said hello to us; given up when greeting takes longer than REPL_GREETING_US or the other side
 * stays silent.
 */
#include "repl/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <event2/util.h>

#define DIAL_BACKOFF_LEAST_MS 100
#define DIAL_BACKOFF_MOST_MS 2000
#define PUMP_BUDGET (1024 * 1024) /* bytes written a turn, so that the loop's others have theirs */

static void dial_later(struct push *push)
{
	struct repl *repl = push->peer->repl;
	uint8_t jitter;

	push->backoff_ms = push->backoff_ms == 0 ? DIAL_BACKOFF_LEAST_MS
	                                         : MIN(2 * push->backoff_ms, DIAL_BACKOFF_MOST_MS);
	evutil_secure_rng_get_bytes(&jitter, sizeof(jitter));
	/* Between three and five quarters of the back-off. */
	push->due_us = repl_now_us(repl) + push->backoff_ms * (750LL + jitter * 2);
	repl_schedule(repl, push->due_us);
}

static int dial_open(void *arg)
{
	struct push *push = arg;
	struct peer *peer = push->peer;
	struct repl *repl = peer->repl;
	struct wire_hello hello;
	struct wire_writer writer;
	size_t n;
	uint8_t *room;

	if (!tls_proved(repl->tls, push->link.ssl) ||
	    !tls_may_be(repl->tls, push->link.ssl, peer->name)) {
		push_say(push, LOG_LEVEL_ERROR, "the certificate at %s is not one of node %s",
		         peer->address, peer->name);
		repl->stats.n_refused_auth++;
		push_set_state(push, REPL_REFUSED);
		return -EACCES;
	}
	if (link_grow(&push->link, LINK_SMALL_BYTES, WIRE_FRAME_MAX) < 0)
		return -ENOMEM;
	push->phase = PUSH_GREETING;
	push->told_heartbeat_us = repl->heartbeat_us;
	repl_fill_hello(repl, &hello);
	room = link_room(&push->link, &n);
	writer = wire_writer(room, n);
	wire_encode_hello(&writer, &hello);
	link_append(&push->link, (size_t)(writer.at - writer.start));
	link_flush(&push->link);
	return 0;
}

static int dial_input(void *arg, const uint8_t *bytes, size_t n, size_t *n_used)
{
	return push_input(arg, bytes, n, n_used);
}

/* Writes what is pending until the socket is full or the turn is over. */
void push_pump(struct push *push)
{
	size_t n_written = 0;

	while (push->phase == PUSH_STREAMING && !push->link.failed) {
		struct wire_writer writer;
		size_t n;
		uint8_t *room;

		link_flush(&push->link);
		if (!link_idle(&push->link))
			break; /* goes on when the socket has room */
		if (n_written >= PUMP_BUDGET) {
			link_again(&push->link);
			break;
		}
		room = link_room(&push->link, &n);
		writer = wire_writer(room, n);
		push_fill(push, &writer);
		n = (size_t)(writer.at - writer.start);
		if (n == 0)
			break;
		link_append(&push->link, n);
		n_written += n;
	}
	push_report(push);
}

static void dial_turn(void *arg)
{
	struct push *push = arg;

	if (push->phase == PUSH_STREAMING)
		repl_schedule(push->peer->repl, push->link.heard_us + push_heartbeat_us(push));
	push_pump(push);
}

/* Puts into words why there is no connection, and decides whether that is a refusal or an
 * absence. */
static enum repl_peer_state dial_explain(struct push *push, const char *why)
{
	struct peer *peer = push->peer;
	struct repl *repl = peer->repl;

	if (push->explained)
		return push->state == REPL_REFUSED ? REPL_REFUSED : REPL_ABSENT;
	if (push->phase == PUSH_STREAMING) {
		push_say(push, LOG_LEVEL_WARNING, "lost peer %s: %s", peer->name, why);
		return REPL_ABSENT;
	}
	if (push->link.phase == LINK_CONNECTING || repl_now_us(repl) >= push->due_us) {
		push_say(push, LOG_LEVEL_WARNING, "cannot reach peer %s at %s: %s", peer->name,
		         peer->address, why);
		return REPL_ABSENT;
	}
	if (push->link.phase == LINK_HANDSHAKE && !push->link.refused) {
		push_say(push, LOG_LEVEL_WARNING, "peer %s at %s ended the connection: %s",
		         peer->name, peer->address, why);
		return REPL_ABSENT;
	}
	repl->stats.n_refused_auth++;
	if (tls_has_key(repl->tls))
		push_say(push, LOG_LEVEL_ERROR,
		         "peer %s has another key or `group` than we, or certificates (%s): all "
		         "nodes need one `group` and one key-file (tlsbaton keygen)",
		         peer->name, why);
	else
		push_say(push, LOG_LEVEL_ERROR,
		         "peer %s has a key, or a certificate of another authority (%s): ca must "
		         "name the one that signed those of all nodes",
		         peer->name, why);
	return REPL_REFUSED;
}

static void dial_closed(void *arg, const char *why)
{
	struct push *push = arg;
	enum repl_peer_state state = dial_explain(push, why);

	link_deinit(&push->link);
	push_stop(push, state);
	dial_later(push);
	push_report(push);
}

static const struct link_ops dial_ops = {
    .open = dial_open,
    .input = dial_input,
    .turn = dial_turn,
    .closed = dial_closed,
};

/* A socket on its way to the peer. Whether it got there is asked when it is writable, also where
 * that was quick. */
static int dial_socket(const struct peer *peer)
{
	int fd, one = 1, r;

	fd = socket(peer->sockaddr.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	r = connect(fd, (const struct sockaddr *)&peer->sockaddr, (socklen_t)peer->n_sockaddr);
	if (r < 0 && errno != EINPROGRESS) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

void push_dial(struct push *push)
{
	struct peer *peer = push->peer;
	struct repl *repl = peer->repl;
	int fd = dial_socket(peer), r = fd;

	if (fd >= 0) {
		memset(&push->link, 0, sizeof(push->link));
		push->link.ops = &dial_ops;
		push->link.arg = push;
		push->link.clock = repl->clock;
		push->link.bytes_sent = &repl->stats.bytes_sent;
		push->link.bytes_received = &repl->stats.bytes_received;
		r = link_init(&push->link, repl->base, fd, tls_dial(repl->tls, fd), true);
	}
	if (r < 0) {
		snprintf(push->error, sizeof(push->error), "cannot reach peer %s at %s: %s",
		         peer->name, peer->address, strerror(-r));
		repl_log(repl, LOG_LEVEL_WARNING, peer->name, "%s", push->error);
		dial_later(push);
		return;
	}
	push->phase = PUSH_DIALLING;
	push->explained = false;
	push->due_us = repl_now_us(repl) + REPL_GREETING_US;
	repl_schedule(repl, push->due_us);
}

/* Deadlines of this push. Returns when to look again. */
int64_t push_tick(struct push *push, int64_t now_us)
{
	int64_t due_us;

	if (push->phase == PUSH_STREAMING) {
		due_us = push_stream_tick(push, now_us);
		push_pump(push);
		return due_us;
	}
	if (now_us < push->due_us)
		return push->due_us;
	if (push->phase == PUSH_WAITING)
		push_dial(push);
	else
		link_fail(&push->link, "no answer within 5 s");
	return push->due_us > now_us ? push->due_us : INT64_MAX;
}

void push_dial_now(struct push *push)
{
	if (push->phase != PUSH_WAITING)
		return;
	push->backoff_ms = 0;
	push->due_us = repl_now_us(push->peer->repl);
	repl_schedule(push->peer->repl, push->due_us);
}

void push_redial(struct push *push, const char *why)
{
	if (push->phase != PUSH_WAITING) {
		push_say(push, LOG_LEVEL_NOTICE, "peer %s is dialled anew: %s", push->peer->name,
		         why);
		link_deinit(&push->link);
		push_stop(push, REPL_ABSENT);
	}
	push_dial_now(push);
}

void push_close(struct push *push)
{
	if (push->phase != PUSH_WAITING)
		link_deinit(&push->link);
	push->phase = PUSH_WAITING;
	explicit_bzero(push->control, sizeof(push->control));
}
