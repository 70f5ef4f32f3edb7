/*
 * Connections that peers make to us. Until a connection has said hello it is `pending`, and there
 * are at most 4 a peer and REPL_PENDING_SPARE of those: beyond that the oldest pending one gives
 * way to the newest. So a flood of silent connections costs bounded memory, and cannot keep a
 * peer out, which needs its place for a few milliseconds. Each peer has one connection beyond
 * hello: a newer one replaces the older.
 */
#include "repl/internal.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>

/* The most that is ever due at once: a refusal or an answer, an ack and a pong. */
#define RECEIVER_OUT_MIN (WIRE_HELLO_MAX + 64)

static int accept_opened(void *arg)
{
	struct receiver *receiver = arg;

	if (!tls_proved(receiver->repl->tls, receiver->link.ssl))
		return -EACCES;
	return link_grow(&receiver->link, LINK_IN_BYTES, LINK_SMALL_BYTES);
}

static int accept_input(void *arg, const uint8_t *bytes, size_t n, size_t *n_used)
{
	return receiver_input(arg, bytes, n, n_used);
}

static void accept_turn(void *arg)
{
	struct receiver *receiver = arg;
	struct repl *repl = receiver->repl;
	bool refuse = receiver->refuse_due;
	struct wire_writer writer;
	size_t n;
	uint8_t *room = link_room(&receiver->link, &n);

	/* A peer that does not read its acks gets no more of them, and the latest when it reads
	 * again. */
	if (n >= RECEIVER_OUT_MIN) {
		writer = wire_writer(room, n);
		receiver_fill(receiver, &writer);
		link_append(&receiver->link, (size_t)(writer.at - writer.start));
		if (refuse)
			link_half_close(&receiver->link);
		else
			link_flush(&receiver->link);
	}
	if (!receiver->stored_news)
		return;
	receiver->stored_news = false;
	repl_watch_epoch(repl);
	/* The head has moved: our pushes pass over what is not theirs to send, and stay ahead of
	 * the tail. */
	for (size_t i = 0; i < repl->n_peers; i++)
		push_pump(&repl->peers[i]->push);
}

static void receiver_free(struct receiver *receiver)
{
	TAILQ_REMOVE(&receiver->repl->receivers, receiver, entry);
	link_deinit(&receiver->link);
	free(receiver);
}

static void accept_closed(void *arg, const char *why)
{
	struct receiver *receiver = arg;
	struct repl *repl = receiver->repl;
	struct peer *peer = receiver->peer;
	char goodbye[REPL_NAME_MAX + 16];

	if (receiver->link.phase == LINK_HANDSHAKE) {
		repl->stats.n_refused_auth++;
		repl_log(
		    repl, LOG_LEVEL_WARNING, receiver->source,
		    "refused a connection from %s: %s: not TLS with the key or a certificate of "
		    "group %s",
		    receiver->source, why, repl->group);
	} else if (peer) {
		/* A source of its own: it must not silence a refusal from the same address. */
		snprintf(goodbye, sizeof(goodbye), "goodbye %s", peer->name);
		repl_log(repl, LOG_LEVEL_NOTICE, goodbye, "peer %s no longer pushes to us: %s",
		         peer->name, why);
	}
	receiver_detach(receiver);
	receiver_free(receiver);
	if (peer)
		repl->ops->peer_changed(repl->arg, peer->index);
}

static const struct link_ops accept_ops = {
    .open = accept_opened,
    .input = accept_input,
    .turn = accept_turn,
    .closed = accept_closed,
};

static bool accept_may_be(struct receiver *receiver, const char *node)
{
	return tls_may_be(receiver->repl->tls, receiver->link.ssl, node);
}

/* Numbers only; an IPv4 address that came in through an IPv6 socket is shown as what it is. */
static void accept_name_source(char source[REPL_SOURCE_MAX], const struct sockaddr *address, int n)
{
	const char *mapped = "::ffff:";
	char host[REPL_SOURCE_MAX];

	if (getnameinfo(address, (socklen_t)n, host, sizeof(host), NULL, 0, NI_NUMERICHOST) != 0)
		snprintf(host, sizeof(host), "an unknown address");
	snprintf(source, REPL_SOURCE_MAX, "%s",
	         strncmp(host, mapped, strlen(mapped)) == 0 ? host + strlen(mapped) : host);
}

/* The oldest connection that has not said hello gives way. */
static void accept_evict(struct repl *repl)
{
	struct receiver *receiver;

	TAILQ_FOREACH (receiver, &repl->receivers, entry)
		if (!receiver->peer && receiver->phase != RECEIVER_STREAMING)
			break;
	repl->stats.n_refused_limit++;
	if (!receiver)
		return;
	repl_log(
	    repl, LOG_LEVEL_WARNING, "connections beyond the limit",
	    "more than %zu connections without a hello, the latest from %s: closing the oldest",
	    repl->n_pending, receiver->source);
	receiver_detach(receiver);
	receiver_free(receiver);
}

static void accept_connection(struct evconnlistener *listener, evutil_socket_t fd,
                              struct sockaddr *address, int n_address, void *arg)
{
	struct repl *repl = arg;
	struct receiver *receiver;
	int one = 1;

	(void)listener;
	if (repl->n_pending >= 4 * repl->n_peers + REPL_PENDING_SPARE)
		accept_evict(repl);
	receiver = calloc(1, sizeof(*receiver));
	if (!receiver) {
		close(fd);
		return;
	}
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	receiver->repl = repl;
	receiver->may_be = accept_may_be;
	accept_name_source(receiver->source, address, n_address);
	receiver->due_us = repl_now_us(repl) + REPL_GREETING_US;
	receiver->link.ops = &accept_ops;
	receiver->link.arg = receiver;
	receiver->link.clock = repl->clock;
	receiver->link.bytes_sent = &repl->stats.bytes_sent;
	receiver->link.bytes_received = &repl->stats.bytes_received;
	if (link_init(&receiver->link, repl->base, fd, tls_accept(repl->tls, fd), false) < 0) {
		free(receiver);
		return;
	}
	TAILQ_INSERT_TAIL(&repl->receivers, receiver, entry);
	repl->n_pending++;
	repl_schedule(repl, receiver->due_us);
}

/* Out of descriptors or memory: accepting rests until the next tick, for the socket would
 * announce itself at once. */
static void accept_failed(struct evconnlistener *listener, void *arg)
{
	struct repl *repl = arg;

	repl_log(repl, LOG_LEVEL_ERROR, "accept", "cannot accept connections: %s", strerror(errno));
	evconnlistener_disable(listener);
	repl_schedule(repl, repl_now_us(repl) + 100000);
}

/* Listens also on an address that no interface has yet (IP_FREEBIND, ip(7)): a node may start before its network.
 * tlsbatond --check warns of one. Returns the descriptor, or <0. */
static int listen_on(const struct sockaddr *address, int n_address)
{
	static const int one = 1;
	int level = address->sa_family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
	int option = address->sa_family == AF_INET6 ? IPV6_FREEBIND : IP_FREEBIND;
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, level, option, &one, sizeof(one)) < 0 ||
	    bind(fd, address, (socklen_t)n_address) < 0 || listen(fd, 64) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	return fd;
}

int accept_open(struct repl *repl, const char *address, char *error, size_t error_size)
{
	struct sockaddr_storage sockaddr;
	struct evconnlistener *listener;
	int n = sizeof(sockaddr), fd;

	if (strlen(address) >= sizeof(repl->listen) ||
	    evutil_parse_sockaddr_port(address, (struct sockaddr *)&sockaddr, &n) < 0) {
		snprintf(error, error_size,
		         "listen: \"%s\" is no address and port, like \"[::]:7410\" or "
		         "\"192.0.2.7:7410\"",
		         address);
		return -EINVAL;
	}
	fd = listen_on((struct sockaddr *)&sockaddr, n);
	if (fd < 0) {
		snprintf(error, error_size, "cannot listen on %s: %s", address, strerror(-fd));
		return fd;
	}
	listener = evconnlistener_new(repl->base, accept_connection, repl,
	                              LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (!listener) {
		close(fd);
		snprintf(error, error_size, "cannot listen on %s: out of memory", address);
		return -ENOMEM;
	}
	evconnlistener_set_error_cb(listener, accept_failed);
	repl->listener = listener;
	return 0;
}

void accept_close(struct repl *repl)
{
	struct receiver *receiver;

	if (repl->listener)
		evconnlistener_free(repl->listener);
	repl->listener = NULL;
	while ((receiver = TAILQ_FIRST(&repl->receivers))) {
		receiver_detach(receiver);
		receiver_free(receiver);
	}
}

/*
 * Deadlines of this connection. Returns when to look again. One that has been silent for too long
 * gets another heartbeat: after a pause of this whole process its bytes may stand unread in the
 * socket.
 */
int64_t receiver_tick(struct receiver *receiver, int64_t now_us)
{
	int64_t due_us = receiver->due_us;

	if (receiver->phase == RECEIVER_STREAMING)
		due_us = receiver->link.heard_us + receiver_silence_us(receiver);
	if (receiver->suspect_us > receiver->link.heard_us)
		due_us = receiver->suspect_us + receiver->repl->heartbeat_us;
	if (now_us < due_us)
		return due_us;
	if (receiver->phase == RECEIVER_STREAMING &&
	    receiver->suspect_us <= receiver->link.heard_us) {
		receiver->suspect_us = now_us;
		return now_us + receiver->repl->heartbeat_us;
	}
	link_fail(&receiver->link,
	          receiver->phase == RECEIVER_STREAMING ? "it is silent" : "no hello within 5 s");
	return INT64_MAX;
}
