/*
 * Status and metrics over HTTP, for monitoring on this machine: GET /status (JSON, as `tlsbaton status
 * --json`) and GET /metrics (Prometheus' text format). Read-only, loopback only, no secrets.
 */
#ifndef TLSBATON_DAEMON_HTTP_H
#define TLSBATON_DAEMON_HTTP_H

#include <event2/event.h>
#include <jansson.h>

#include "util/macro.h"

struct http;

/*
 * Listens at `address` ("127.0.0.1:7411"; -EINVAL if it is not a loopback address). `status` gives the
 * daemon's state, the caller's to json_decref(), or NULL without memory. `error` says what failed.
 */
int http_new(struct http **out, struct event_base *base, const char *address,
             json_t *(*status)(void *arg), void *arg, char *error, size_t error_size) MUST_CHECK;

/* NULL is fine. */
void http_free(struct http *http);

DEFINE_CLEANUP(struct http *, http_free)

#endif
