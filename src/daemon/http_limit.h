/* How many connections evhttp may have at once, and for how long. Used by http.c only. */
#ifndef TLSBATON_DAEMON_HTTP_LIMIT_H
#define TLSBATON_DAEMON_HTTP_LIMIT_H

#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/listener.h>

#include "util/macro.h"

#define HTTP_CONNECTIONS_MAX 16
#define HTTP_LOOKS_MAX 40 /* 250 ms apart: what a connection may last, 10 s */

struct http_limit {
	struct evconnlistener *listener; /* borrowed; stopped while there are as many as may be */
	struct event *again;
	struct bufferevent *open[HTTP_CONNECTIONS_MAX]; /* a reference to each */
	unsigned n_looks[HTTP_CONNECTIONS_MAX];         /* how often `again` has met it */
};

/* Starts to count the connections that `listener` gives to `evhttp`. 0 or -ENOMEM. */
int http_limit_init(struct http_limit *limit, struct event_base *base, struct evhttp *evhttp,
                    struct evconnlistener *listener) MUST_CHECK;

/* After evhttp_free(). All zeros is fine. */
void http_limit_deinit(struct http_limit *limit);

#endif
