/*
 * evhttp (2.1) takes every connection, and tells nobody when one that never made a request ends. So any user of
 * this machine could take all of the daemon's descriptors, and leave it none for peers and workers.
 *
 * What it lets us do is make each connection's bufferevent. We keep a reference to it. evhttp drops its own when
 * the connection ends, and bufferevent_free() takes the callbacks off first: a bufferevent without an event
 * callback is one that only we still hold. A timer looks for those while there are any connections, and lets go
 * of them, which closes the descriptor. With all places taken the listener stops, and further connections wait in
 * the kernel's backlog.
 *
 * evhttp's timeout is one of silence: a byte now and then would keep a place for ever, and a few such connections keep
 * all from everybody. So the timer also counts how often it has met a connection, and ends one whose time is over by
 * shutting its socket down, which evhttp sees as any other end.
 *
 * It must be the bufferevent that closes (BEV_OPT_CLOSE_ON_FREE), not evhttp: while we hold on to it libevent
 * watches its descriptor. Closed under it, the next descriptor of that number would be taken for one that is
 * watched already, and a peer's or worker's connection would be deaf.
 */
#include "daemon/http_limit.h"

#include <errno.h>
#include <stdbool.h>
#include <sys/socket.h>

/* What an ended connection may still send us until it is closed stays in its socket beyond this. */
#define HTTP_INPUT_MAX 32768

static const struct timeval again_after = {.tv_usec = 250000};

static bool has_ended(struct bufferevent *bev)
{
	bufferevent_event_cb on_event = NULL;

	bufferevent_getcb(bev, NULL, NULL, &on_event, NULL);
	return on_event == NULL;
}

/* Lets go of those that have ended. The number of free places. */
static size_t limit_sweep(struct http_limit *limit)
{
	size_t n_free = 0;

	for (size_t i = 0; i < HTTP_CONNECTIONS_MAX; i++) {
		if (limit->open[i] && has_ended(limit->open[i])) {
			bufferevent_decref(limit->open[i]);
			limit->open[i] = NULL;
		}
		n_free += !limit->open[i];
	}
	return n_free;
}

/* It is let go of at the next look. */
static void limit_end_old(struct http_limit *limit)
{
	for (size_t i = 0; i < HTTP_CONNECTIONS_MAX; i++)
		if (limit->open[i] && ++limit->n_looks[i] >= HTTP_LOOKS_MAX)
			(void)shutdown(bufferevent_getfd(limit->open[i]), SHUT_RDWR);
}

/* evhttp has accepted a connection and wants a bufferevent for it. */
static struct bufferevent *on_connection(struct event_base *base, void *arg)
{
	struct http_limit *limit = arg;
	struct bufferevent *bev = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	size_t n_free = limit_sweep(limit), place = 0;

	/* There is a place: the listener stops when the last one is taken. */
	while (place < HTTP_CONNECTIONS_MAX && limit->open[place])
		place++;
	if (!bev || place == HTTP_CONNECTIONS_MAX || event_add(limit->again, &again_after) < 0)
		return bev;
	bufferevent_setwatermark(bev, EV_READ, 0, HTTP_INPUT_MAX);
	bufferevent_incref(bev);
	limit->open[place] = bev;
	limit->n_looks[place] = 0;
	if (n_free == 1)
		evconnlistener_disable(limit->listener);
	return bev;
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	struct http_limit *limit = arg;
	size_t n_free = limit_sweep(limit);

	(void)fd, (void)what;
	limit_end_old(limit);
	if (n_free > 0 && evconnlistener_enable(limit->listener) < 0)
		n_free = 0;
	if (n_free < HTTP_CONNECTIONS_MAX)
		(void)event_add(limit->again, &again_after);
}

int http_limit_init(struct http_limit *limit, struct event_base *base, struct evhttp *evhttp,
                    struct evconnlistener *listener)
{
	limit->again = event_new(base, -1, 0, on_again, limit);
	if (!limit->again)
		return -ENOMEM;
	limit->listener = listener;
	evhttp_set_bevcb(evhttp, on_connection, limit);
	return 0;
}

void http_limit_deinit(struct http_limit *limit)
{
	if (limit->again)
		event_free(limit->again);
	for (size_t i = 0; i < HTTP_CONNECTIONS_MAX; i++)
		if (limit->open[i])
			bufferevent_decref(limit->open[i]);
}
