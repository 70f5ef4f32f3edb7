/*
 * Moving the service address between nodes: planned (switchover), by hand or from keepalived after
 * a crash (promote, demote), and by itself: at the start of a node, and where two find that both
 * hold it. A pure state machine: it is told what happens and acts through its ops, so that every
 * order of events can be tested.
 */
#ifndef TLSBATON_DAEMON_SWITCHOVER_H
#define TLSBATON_DAEMON_SWITCHOVER_H

#include "daemon/handover.h"
#include "daemon/role.h"
#include "repl/repl.h"
#include "vip/vip_helper.h"

#define SWITCHOVER_TIMEOUT_MS 10000 /* unless the request says otherwise */
/* For the new active to take the address; then it is taken back. */
#define SWITCHOVER_TAKEN_MS 5000
#define SWITCHOVER_GRACE_MS 3000 /* for peers to answer a node that starts */

struct switchover_ops {
	size_t (*n_peers)(void *arg);
	void (*peer)(void *arg, size_t peer, struct repl_peer_status *out);
	int (*send)(void *arg, size_t peer, const struct handover *message);
	/* Asks the helper; the answer comes through switchover_vip_done(), in order. Negated errno:
	 * not asked. */
	int (*vip)(void *arg, enum vip_op op);
	/* The role as it is (as recorded, at first), and what it becomes (recorded and told to the
	 * peers). */
	struct role (*role)(void *arg);
	void (*set_role)(void *arg, struct role role);
	uint64_t (*head)(void *arg);  /* position of the table's head */
	uint64_t (*acked)(void *arg); /* position that all in-sync peers have stored */
	void (*arm)(void *arg,
	            unsigned ms); /* call switchover_deadline() then; 0: never; replaces the last */
	/* To whoever gave the command under way. finish: `error` is NULL for success. */
	void (*progress)(void *arg, const char *text);
	void (*finish)(void *arg, const char *error);
};

struct switchover;

int switchover_new(struct switchover **out, const char *node, const struct switchover_ops *ops,
                   void *arg) MUST_CHECK;
void switchover_free(struct switchover *sw);

/* Commands. Each ends with one finish(), at once or later. `to` names the new active; NULL: the
 * fittest peer (target.h). */
void switchover_start(struct switchover *sw, const char *to, bool force, unsigned timeout_ms);
void switchover_promote(struct switchover *sw);
void switchover_demote(struct switchover *sw);

/* At the start, for a node that is to be active: takes the address unless a peer holds it by right, as
 * soon as that is known. A command that is accepted, or an offer that is taken, decides instead. */
void switchover_claim(struct switchover *sw);

/* Ends a wait in which nothing has moved, with finish() and `why` in it; else does nothing. For a
 * promote or demote, which are refused while another command is under way. */
void switchover_cancel(struct switchover *sw, const char *why);

/* Events. */
void switchover_message(struct switchover *sw, size_t peer, const struct handover *message);
void switchover_vip_done(struct switchover *sw, enum vip_op op, int result, const char *error);
void switchover_acked(struct switchover *sw);
void switchover_peer_changed(struct switchover *sw, size_t peer);
void switchover_deadline(struct switchover *sw);
void switchover_tick(struct switchover *sw); /* once a second */

/* A command is under way: it moves the address, or waits until it may. */
bool switchover_busy(const struct switchover *sw);
bool switchover_moving(const struct switchover *sw);
bool switchover_claiming(const struct switchover *sw);

#endif
