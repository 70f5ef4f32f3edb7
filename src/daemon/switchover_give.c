/* The active's side of a planned switchover. The essay is in switchover.c. */
#include "daemon/switchover_internal.h"

#include <stdarg.h>
#include <stdio.h>

#include "daemon/serving.h"
#include "daemon/target.h"
#include "util/log.h"

/* Somebody has been promoted while this node was about to give the address away, or hung: what it had
 * been asked to do is stale, and to take the address back would undo the later take-over. */
static bool stands_by(struct switchover *sw)
{
	int later = settle_later_active(sw);
	struct repl_peer_status peer;

	if (later < 0)
		return false;
	sw->ops->peer(sw->arg, (size_t)later, &peer);
	sw_become(sw, false, sw->ops->role(sw->arg).latest);
	sw_finish(sw, "%s took the address over meanwhile", peer.name);
	return true;
}

static void take_back(struct switchover *sw, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void take_back(struct switchover *sw, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(sw->failure, sizeof(sw->failure), fmt, args);
	va_end(args);
	/* The state first: to tell somebody can bring news of other peers. */
	sw->state = TAKING_BACK;
	sw_progress(sw, "%s; taking the address back", sw->failure);
	sw->term = sw_next_term(sw);
	if (sw_ask_vip(sw, VIP_TAKE, VIP_FOR_OPERATION) < 0)
		sw_finish(sw,
		          "%s, and the helper that moves the address is gone: no node answers for "
		          "it now; restart tlsbatond",
		          sw->failure);
}

static void release(struct switchover *sw, const struct repl_peer_status *target)
{
	sw->state = RELEASING;
	sw->ops->arm(sw->arg, 0);
	if (target->state == REPL_IN_SYNC && sw->ops->acked(sw->arg) >= sw->barrier)
		sw_progress(sw, "%s releases the address to %s", sw->node, target->name);
	else /* forced */
		sw_progress(sw,
		            "%s releases the address to %s, which lacks %llu records: clients of "
		            "these sessions make full handshakes",
		            sw->node, target->name, (unsigned long long)target->lag_records);
	if (sw_ask_vip(sw, VIP_RELEASE, VIP_FOR_OPERATION) < 0)
		sw_finish(sw, "the helper that moves the address is gone; restart tlsbatond on %s",
		          sw->node);
}

/* The term that is offered is recorded, not told: told, it would be known to the target, which takes
 * the address for a term that is new. */
static void offer(struct switchover *sw)
{
	struct role role = sw->ops->role(sw->arg);
	struct repl_peer_status peer;

	sw->ops->peer(sw->arg, sw->target, &peer);
	sw->term = sw_next_term(sw);
	role.active = false;
	role.latest = sw->term;
	sw->ops->set_role(sw->arg, role);
	sw->state = OFFERED;
	sw->ops->arm(sw->arg, SWITCHOVER_TAKEN_MS);
	if (sw_tell(sw, sw->target, HANDOVER_TAKE, true, ++sw->last_id, sw->term, NULL) < 0)
		take_back(sw, "%s is not connected any more", peer.name);
}

/* Whatever is forced: to release the address for nobody would be an outage. */
static bool target_is_gone(struct switchover *sw, const struct repl_peer_status *target)
{
	if (repl_is_connected(target))
		return false;
	sw_finish(sw, "%s is not connected any more; the address stays on %s", target->name,
	          sw->node);
	return true;
}

void give_check_barrier(struct switchover *sw)
{
	struct repl_peer_status peer;

	if (sw->state != BARRIER)
		return;
	sw->ops->peer(sw->arg, sw->target, &peer);
	if (target_is_gone(sw, &peer))
		return;
	if (peer.state == REPL_IN_SYNC ? sw->ops->acked(sw->arg) >= sw->barrier : sw->force)
		release(sw, &peer);
}

void give_start(struct switchover *sw, const char *to, unsigned timeout_ms)
{
	struct repl_peer_status peers[REPL_PEERS_MAX];
	size_t n_peers = sw->ops->n_peers(sw->arg);
	char reason[HANDOVER_TEXT_MAX + 1], doubt[HANDOVER_TEXT_MAX + 1];
	int target;

	if (to && strcmp(to, sw->node) == 0) {
		sw_refuse(sw, "%s is active already", sw->node);
		return;
	}
	for (size_t i = 0; i < n_peers; i++)
		sw->ops->peer(sw->arg, i, &peers[i]);
	target = target_choose(peers, n_peers, to, sw->force, reason);
	if (target < 0) {
		sw_refuse(sw, "%s", reason);
		return;
	}
	sw->target = (size_t)target;
	sw->state = BARRIER;
	sw->is_cancelled = false;
	sw->barrier = sw->ops->head(sw->arg);
	sw->ops->arm(sw->arg, timeout_ms);
	if (serving_doubt(&peers[target], doubt))
		sw_progress(sw, "%s", doubt);
	if (peers[target].state == REPL_IN_SYNC)
		sw_progress(sw, "waiting until %s holds every session (%llu records to go)",
		            peers[target].name, (unsigned long long)peers[target].lag_records);
	give_check_barrier(sw);
}

void give_requested(struct switchover *sw, size_t from, const struct handover *message)
{
	struct repl_peer_status peer;
	const char *refusal = NULL;

	if (switchover_busy(sw))
		refusal = "another change of the service address is under way";
	else if (!sw->ops->role(sw->arg).active)
		refusal = "this node is not active any more";
	if (refusal) {
		if (sw_tell(sw, from, HANDOVER_DONE, false, message->id, 0, refusal) < 0)
			log_debug("switchover: the requester is gone");
		return;
	}
	sw->remote = true;
	sw->requester = from;
	sw->request_id = message->id;
	sw->force = message->flag;
	sw->ops->peer(sw->arg, from, &peer);
	give_start(sw, peer.name,
	           message->value && message->value <= 3600000 ? (unsigned)message->value
	                                                       : SWITCHOVER_TIMEOUT_MS);
}

/* Once the address is offered it is too late. */
void give_cancelled(struct switchover *sw, size_t from, const struct handover *message)
{
	if (!sw->remote || sw->requester != from || sw->request_id != message->id)
		return;
	if (sw->state == BARRIER)
		switchover_cancel(sw, message->text);
	else
		sw->is_cancelled = true;
}

static void handed_over(struct switchover *sw)
{
	struct repl_peer_status peer;

	sw->ops->peer(sw->arg, sw->target, &peer);
	sw_become(sw, false, sw->term);
	sw_progress(sw, "%s answers for the address", peer.name);
	sw_finish(sw, NULL);
}

void give_taken(struct switchover *sw, const struct handover *message)
{
	if (sw->state != OFFERED)
		return;
	if (message->flag)
		handed_over(sw);
	else if (!stands_by(sw))
		take_back(sw, "the other node could not take the address (%s)", message->text);
}

void give_released(struct switchover *sw, int result, const char *error)
{
	if (result == 0 && stands_by(sw))
		return;
	if (result == 0 && sw->is_cancelled)
		take_back(sw, "the switchover was given up");
	else if (result == 0)
		offer(sw);
	else
		take_back(sw, "could not release the address: %s", error);
}

void give_taken_back(struct switchover *sw, int result, const char *error)
{
	if (result == 0) {
		sw_become(sw, true, sw->term);
		sw_finish(sw, "%s; the address is back on %s", sw->failure, sw->node);
	} else {
		sw_finish(sw,
		          "%s, and it could not be taken back (%s): no node answers for it now; "
		          "run `tlsbaton promote` where it can be",
		          sw->failure, error);
	}
}

/* Its role may reach us before its answer, or instead of it. */
void give_peer_changed(struct switchover *sw, const struct repl_peer_status *target)
{
	if (sw->state == OFFERED && target->active && target->term == sw->term)
		handed_over(sw);
}

void give_deadline(struct switchover *sw)
{
	struct repl_peer_status peer;

	sw->ops->peer(sw->arg, sw->target, &peer);
	if (sw->state == OFFERED) {
		if (!stands_by(sw))
			take_back(sw, "%s did not answer in %d ms", peer.name, SWITCHOVER_TAKEN_MS);
		return;
	}
	if (sw->state != BARRIER || target_is_gone(sw, &peer))
		return;
	if (sw->force)
		release(sw, &peer);
	else
		sw_finish(sw,
		          "%s did not store all sessions in time (%llu records to go); the address "
		          "stays on %s; use --timeout or --force",
		          peer.name, (unsigned long long)peer.lag_records, sw->node);
}
