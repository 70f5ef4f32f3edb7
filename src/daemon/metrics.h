/* The status JSON as Prometheus' text exposition format, version 0.0.4. Knows no daemon: JSON in, text out. */
#ifndef TLSBATON_DAEMON_METRICS_H
#define TLSBATON_DAEMON_METRICS_H

#include <event2/buffer.h>
#include <jansson.h>

#include "util/macro.h"

#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Appends the metrics of `status` (borrowed) to `out`. Members that are missing or of another type are
 * left out. Returns 0 or -ENOMEM (`out` may then hold a part). */
int metrics_write(struct evbuffer *out, const json_t *status) MUST_CHECK;

#endif
