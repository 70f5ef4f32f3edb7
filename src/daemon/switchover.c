#include "daemon/switchover_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "util/log.h"

/*
 * A planned switchover runs on the active, whoever asked for it:
 *
 *   active a                                   target b
 *   BARRIER    wait until b has all records
 *   RELEASING  stop answering for the address
 *   OFFERED    ── TAKE (term + 1) ──────────▶  take the address, announce it, role active
 *   IDLE       ◀────────────── TAKEN, ok ────  (role standby here)
 *
 * Whatever fails before OFFERED leaves the address where it was, or puts it back (TAKING_BACK). In
 * OFFERED the fate of the address can be unknown (b took it and its answer was lost); a then takes
 * it back with a term above the one that it offered, and b, when it hears of that term, lets go:
 * two holders for a moment rather than none for ever. A TAKE that b comes to read only then is
 * refused, as its term is not above all that b knows of. And an address is not taken back from a
 * node that was promoted meanwhile. Terms settle every such conflict (role_yields()).
 *
 * A standby that is told to switch over sends REQUEST to the active and relays what it answers; the
 * TAKE reaches it in that state.
 *
 * One change at a time: while the address moves, every other command is refused. The helper that moves
 * it has a time limit (vip_helper.h), and so has the answer to an offer, so that does not last. In
 * BARRIER and REQUESTED nothing has moved, and the wait may be long: a promote or demote ends it
 * (switchover_cancel()), for that may be a failover, and whoever commands it will not ask twice.
 */

int switchover_new(struct switchover **out, const char *node, const struct switchover_ops *ops,
                   void *arg)
{
	struct switchover *sw = calloc(1, sizeof(*sw));

	if (!sw)
		return -ENOMEM;
	snprintf(sw->node, sizeof(sw->node), "%s", node);
	sw->ops = ops;
	sw->arg = arg;
	*out = sw;
	return 0;
}

void switchover_free(struct switchover *sw)
{
	free(sw);
}

bool switchover_moving(const struct switchover *sw)
{
	return sw->state > REQUESTED || sw->vip_for > VIP_FOR_CLAIM;
}

bool switchover_busy(const struct switchover *sw)
{
	return sw->state > CLAIMING || sw->vip_for > VIP_FOR_CLAIM;
}

bool switchover_claiming(const struct switchover *sw)
{
	return sw->state == CLAIMING;
}

int sw_tell(struct switchover *sw, size_t peer, enum handover_type type, bool flag, uint64_t id,
            uint64_t value, const char *text)
{
	struct handover message = {.type = type, .flag = flag, .id = id, .value = value};

	snprintf(message.text, sizeof(message.text), "%s", text ? text : "");
	return sw->ops->send(sw->arg, peer, &message);
}

void sw_progress(struct switchover *sw, const char *fmt, ...)
{
	char text[HANDOVER_TEXT_MAX + 1];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	log_notice("switchover: %s", text);
	if (!sw->remote)
		sw->ops->progress(sw->arg, text);
	else if (sw_tell(sw, sw->requester, HANDOVER_PROGRESS, true, sw->request_id, 0, text) < 0)
		log_debug("switchover: the requester is gone");
}

/* To whoever asked; `error` NULL: success. */
static void answer(struct switchover *sw, const char *error)
{
	bool remote = sw->remote;

	if (error)
		log_write(sw->quiet ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR, "switchover: %s", error);
	sw->quiet = false;
	sw->remote = false;
	if (!remote)
		sw->ops->finish(sw->arg, error);
	else if (sw_tell(sw, sw->requester, HANDOVER_DONE, !error, sw->request_id, 0, error) < 0)
		log_warning("switchover: it is over, but peer %zu who asked for it is gone",
		            sw->requester);
}

void sw_refuse(struct switchover *sw, const char *fmt, ...)
{
	char text[HANDOVER_TEXT_MAX + 1];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	answer(sw, text);
}

void sw_finish(struct switchover *sw, const char *fmt, ...)
{
	char text[HANDOVER_TEXT_MAX + 1] = "";
	va_list args;

	if (fmt) {
		va_start(args, fmt);
		vsnprintf(text, sizeof(text), fmt, args);
		va_end(args);
	}
	sw->state = IDLE;
	sw->ops->arm(sw->arg, 0);
	answer(sw, fmt ? text : NULL);
}

int sw_ask_vip(struct switchover *sw, enum vip_op op, enum vip_for who)
{
	int r = sw->ops->vip(sw->arg, op);

	if (r < 0)
		return r;
	sw->drop_answer = sw->vip_for == VIP_FOR_CLAIM;
	sw->vip_for = who;
	return 0;
}

uint64_t sw_highest_term(struct switchover *sw)
{
	struct role role = sw->ops->role(sw->arg);
	uint64_t term = MAX(role.term, role.latest);
	struct repl_peer_status peer;

	for (size_t i = 0; i < sw->ops->n_peers(sw->arg); i++) {
		sw->ops->peer(sw->arg, i, &peer);
		term = MAX(term, peer.term);
	}
	return term;
}

uint64_t sw_next_term(struct switchover *sw)
{
	return MIN(sw_highest_term(sw), ROLE_TERM_MAX - 1) + 1;
}

void sw_become(struct switchover *sw, bool active, uint64_t term)
{
	uint64_t latest = sw->ops->role(sw->arg).latest;

	sw->ops->set_role(sw->arg, (struct role){
	                               .active = active,
	                               .term = term,
	                               .latest = MAX(latest, term),
	                           });
}

/* ---- Commands ---- */

/* Readies the machine for a command of this node's operator, or says why not now. */
static bool begin(struct switchover *sw)
{
	if (switchover_busy(sw)) {
		sw->ops->finish(sw->arg, "another change of the service address is under way; try "
		                         "again when it is over");
		return false;
	}
	sw->remote = false;
	return true;
}

/* A standby's: asks the active. */
static void request(struct switchover *sw, bool force, unsigned timeout_ms)
{
	struct repl_peer_status peer;

	for (size_t i = 0; i < sw->ops->n_peers(sw->arg); i++) {
		sw->ops->peer(sw->arg, i, &peer);
		if (!peer.active || !repl_is_connected(&peer))
			continue;
		sw->state = REQUESTED;
		sw->target = i;
		sw->ops->arm(sw->arg, timeout_ms + 2 * SWITCHOVER_TAKEN_MS);
		if (sw_tell(sw, i, HANDOVER_REQUEST, force, ++sw->last_id, timeout_ms, NULL) < 0)
			sw_finish(sw, "the active node %s cannot be reached", peer.name);
		return;
	}
	sw_refuse(
	    sw, "no connected node is active: if those that are not connected are not either, use "
	        "`tlsbaton promote` on the node that shall be");
}

void switchover_start(struct switchover *sw, const char *to, bool force, unsigned timeout_ms)
{
	if (!begin(sw))
		return;
	sw->force = force;
	if (!timeout_ms)
		timeout_ms = SWITCHOVER_TIMEOUT_MS;
	if (sw->ops->role(sw->arg).active)
		give_start(sw, to, timeout_ms);
	else if (to && strcmp(to, sw->node) != 0)
		sw_refuse(sw, "%s is not active: give this command on the active node", sw->node);
	else
		request(sw, force, timeout_ms);
}

static void move(struct switchover *sw, enum state state, enum vip_op op)
{
	sw->state = state;
	sw->ops->arm(sw->arg, 0);
	if (sw_ask_vip(sw, op, VIP_FOR_OPERATION) < 0)
		sw_finish(sw, "the helper that moves the address is gone; restart tlsbatond");
}

void sw_promote(struct switchover *sw)
{
	move(sw, PROMOTING, VIP_TAKE);
}

void sw_demote(struct switchover *sw)
{
	move(sw, DEMOTING, VIP_RELEASE);
}

void switchover_promote(struct switchover *sw)
{
	if (begin(sw))
		sw_promote(sw);
}

void switchover_demote(struct switchover *sw)
{
	if (begin(sw))
		sw_demote(sw);
}

void switchover_cancel(struct switchover *sw, const char *why)
{
	enum state was = sw->state;

	if (switchover_moving(sw) || (was != BARRIER && was != REQUESTED))
		return;
	sw_finish(sw, "the switchover was given up: %s", why);
	/* Else the active would send a TAKE that nobody wants any more. */
	if (was == REQUESTED &&
	    sw_tell(sw, sw->target, HANDOVER_CANCEL, false, sw->last_id, 0, why) < 0)
		log_debug("switchover: the active is gone");
}

/* ---- Events ---- */

static void promoted(struct switchover *sw, int result, const char *error)
{
	struct role role = sw->ops->role(sw->arg);

	if (result < 0) {
		sw_finish(sw, "could not take the address: %s", error);
		return;
	}
	/* A node that is active already keeps its term: keepalived repeats its notifications. */
	sw_become(sw, true, role.active ? role.term : sw_next_term(sw));
	sw_finish(sw, NULL);
}

static void demoted(struct switchover *sw, int result, const char *error)
{
	if (result < 0) {
		sw_finish(sw, "could not release the address: %s", error);
		return;
	}
	sw_become(sw, false, sw->ops->role(sw->arg).latest);
	sw_finish(sw, NULL);
}

static void operation_done(struct switchover *sw, int result, const char *error)
{
	switch (sw->state) {
	case RELEASING:
		give_released(sw, result, error);
		break;
	case TAKING_BACK:
		give_taken_back(sw, result, error);
		break;
	case PROMOTING:
		promoted(sw, result, error);
		break;
	case DEMOTING:
		demoted(sw, result, error);
		break;
	case IDLE:
	case CLAIMING:
	case BARRIER:
	case OFFERED:
	case REQUESTED:
		break;
	}
}

void switchover_vip_done(struct switchover *sw, enum vip_op op, int result, const char *error)
{
	enum vip_for who = sw->vip_for;

	(void)op;
	if (sw->drop_answer) {
		sw->drop_answer = false;
		return;
	}
	sw->vip_for = VIP_FOR_NOBODY;
	switch (who) {
	case VIP_FOR_NOBODY:
		break;
	case VIP_FOR_CLAIM:
		settle_released(sw, result, error);
		break;
	case VIP_FOR_OPERATION:
		operation_done(sw, result, error);
		break;
	case VIP_FOR_OFFER:
		take_done(sw, result, error);
		break;
	case VIP_FOR_UNDO:
		take_undone(sw, result, error);
		break;
	}
}

void switchover_message(struct switchover *sw, size_t from, const struct handover *message)
{
	bool mine = message->id == sw->last_id && from == sw->target;

	switch (message->type) {
	case HANDOVER_REQUEST:
		give_requested(sw, from, message);
		break;
	case HANDOVER_CANCEL:
		give_cancelled(sw, from, message);
		break;
	case HANDOVER_TAKE:
		take_offered(sw, from, message);
		break;
	case HANDOVER_TAKEN:
		if (mine)
			give_taken(sw, message);
		break;
	case HANDOVER_PROGRESS:
		if (sw->state == REQUESTED && mine)
			sw_progress(sw, "%s", message->text);
		break;
	case HANDOVER_DONE:
		if (sw->state != REQUESTED || !mine)
			break;
		if (message->flag)
			sw_finish(sw, NULL);
		else
			sw_finish(sw, "%s", message->text);
		break;
	}
}

void switchover_acked(struct switchover *sw)
{
	give_check_barrier(sw);
}

void switchover_peer_changed(struct switchover *sw, size_t changed)
{
	struct repl_peer_status peer;

	settle_note_term(sw);
	give_check_barrier(sw);
	if (changed == sw->target) {
		sw->ops->peer(sw->arg, changed, &peer);
		give_peer_changed(sw, &peer);
		if (sw->state == REQUESTED && !repl_is_connected(&peer))
			sw_finish(sw,
			          "the connection to %s broke; see `tlsbaton status` on both nodes",
			          peer.name);
	}
	settle_claim(sw);
	settle_rivals(sw);
}

void switchover_deadline(struct switchover *sw)
{
	struct repl_peer_status peer;

	give_deadline(sw);
	if (sw->state == CLAIMING) {
		sw->grace_is_over = true;
		settle_claim(sw);
	} else if (sw->state == REQUESTED) {
		sw->ops->peer(sw->arg, sw->target, &peer);
		sw_finish(sw, "%s did not answer in time; see `tlsbaton status` on both nodes",
		          peer.name);
	}
}
