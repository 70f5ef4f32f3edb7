/*
 * A node: the daemon's parts and what flows between them.
 *
 *   workers ──notice──▶ table ──push──▶ repl ──▶ peers
 *      ▲                                 │
 *      └──────────── acked ◀─────────────┘          switchover ──▶ vip helper
 *
 * All on one event loop.
 */
#ifndef TLSBATON_DAEMON_NODE_H
#define TLSBATON_DAEMON_NODE_H

#include <event2/event.h>
#include <jansson.h>

#include "daemon/config.h"
#include "util/macro.h"
#include "vip/vip_helper.h"

struct node;

/*
 * Opens the table, listens, and starts. Takes `config` over on success (and its group key's
 * wiping). `helper` is borrowed; NULL without a service address. `error` says in words what failed.
 */
int node_new(struct node **out, struct event_base *base, struct config *config,
             struct vip_helper *helper, char *error, size_t error_size) MUST_CHECK;

/* Takes a new configuration over as far as a running daemon can; logs what needs a restart. On
 * failure (logged) the old one stays in force and `config` is freed. */
void node_reload(struct node *node, struct config *config);

/* Clean stop: takes what stands in the workers' rings and pushes it to the peers, for at most
 * `flush_ms`. */
void node_stop(struct node *node, unsigned flush_ms);
void node_free(struct node *node);

/* The node's state as `tlsbaton status --json` shows it. The caller's to json_decref(). */
json_t *node_status(struct node *node);

#endif
