/* The insides of a node, for node.c (what flows), roles.c (the service address) and status.c (what
 * is shown), keys.c (ticket keys). */
#ifndef TLSBATON_DAEMON_PARTS_H
#define TLSBATON_DAEMON_PARTS_H

#include "daemon/advice.h"
#include "daemon/control.h"
#include "daemon/http.h"
#include "daemon/node.h"
#include "daemon/resumptions.h"
#include "daemon/role.h"
#include "daemon/switchover.h"
#include "daemon/tickets.h"
#include "daemon/workers.h"
#include "repl/repl.h"
#include "table/table.h"

struct node {
	struct event_base *base;
	struct config *config;
	struct table *table;
	uint64_t epoch; /* its, as last seen */
	struct tickets *tickets;
	struct resumptions resumptions;
	struct control_request *rekey; /* whose command waits for the peers; NULL: nobody's */
	struct event *rekey_timer;     /* for how long it waits */
	struct workers *workers;
	struct repl *repl;
	struct control *control;
	struct http *http;
	struct event *tick;  /* once a second: clock, conflicts of role */
	struct event *sweep; /* expiry, in slices */
	int64_t started_ms;
	int64_t clock_skew_ms;   /* wall clock less monotonic clock, when last looked */
	unsigned n_waited_for;   /* peers that gates wait for */
	uint64_t n_gate_no_peer; /* notices whose gate had no peer to wait for */
	unsigned n_differs
	    [REPL_PEERS_MAX]; /* for how many seconds the policies of a peer have differed */

	/* The service address (roles.c). */
	struct vip_helper *helper; /* borrowed; NULL: this node has no service address */
	struct switchover *switchover;
	struct event *switchover_timer;
	struct control_request *request; /* whose command the switchover works on; NULL: nobody's */
	struct role role;
	bool held; /* whether this node answers for the address, as last read from the system */
	bool asked_held;         /* the question is with the helper */
	char advice[ADVICE_MAX]; /* what the operator should do about the roles; "" nothing */
	unsigned n_advised;      /* for how many seconds there has been something */
	char service_error[256]; /* the last failure of the helper or of a take-over; "" if none */
};

/* node.c */
void node_tell_role(struct node *node); /* to the peers, if it has changed */
/* What the configuration means to the parts. Strings are its own, or in `path`. */
struct repl_config node_repl_config(const struct config *config);
struct workers_config node_workers_config(const struct config *config, char *path,
                                          size_t path_size);
/* Out: `*out`, NULL where the configuration has no HTTP. `error` says in words what failed. */
int node_open_http(struct node *node, const struct config *config, struct http **out, char *error,
                   size_t error_size) MUST_CHECK;

/* roles.c */
int roles_init(struct node *node) MUST_CHECK;
void roles_deinit(struct node *node);
void roles_start(struct node *node); /* once replication runs: finds out what this node is */
void roles_peer_changed(struct node *node, size_t peer);
void roles_message(struct node *node, size_t peer, const uint8_t *payload, size_t n_payload);
void roles_command(struct node *node, struct control_request *request, const char *name,
                   const json_t *args);
void roles_tick(struct node *node); /* once a second */

/* keys.c: the group's ticket keys. */
int keys_start(struct node *node, char *error, size_t error_size) MUST_CHECK;
void keys_stop(struct node *node);
void keys_configure(struct node *node);
int keys_fd(void *node); /* for a worker */
void keys_say(void *node, struct ticket_state *out);
void keys_hear(void *node, size_t peer, const struct ticket_state *tickets);
void keys_rekey(struct node *node, struct control_request *request);
void keys_compare(struct node *node); /* once a second: whether peers resume in another way */
void keys_look(struct node *node); /* a peer has come, gone or said something: is a rekey over? */
void keys_request_gone(struct node *node, const struct control_request *request);

#endif
