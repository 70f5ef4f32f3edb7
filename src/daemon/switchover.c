#include "daemon/switchover.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "daemon/target.h"
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
 * two holders for a moment rather than none for ever. Terms settle every such conflict
 * (role_yields()).
 *
 * A standby that is told to switch over sends REQUEST to the active and relays what it answers; the
 * TAKE reaches it in that state.
 */
enum state { IDLE, BARRIER, RELEASING, OFFERED, TAKING_BACK, REQUESTED, PROMOTING, DEMOTING };

/* Whose request the helper is working on. */
enum vip_for { VIP_FOR_NOBODY, VIP_FOR_OPERATION, VIP_FOR_OFFER };

struct switchover {
	char node[REPL_NAME_MAX + 1];
	const struct switchover_ops *ops;
	void *arg;
	enum state state;
	bool remote;         /* asked for by a peer, not by this node's operator … */
	size_t requester;    /* … by this one … */
	uint64_t request_id; /* … under this number */
	size_t target; /* peer that is to be active; in REQUESTED: the active that was asked */
	bool force;
	uint64_t barrier;                    /* table position that the target must have stored */
	uint64_t last_id;                    /* numbers our requests and offers */
	uint64_t term;                       /* that goes with the take-over under way */
	char failure[HANDOVER_TEXT_MAX + 1]; /* why the address is being taken back */
	enum vip_for vip_for;
	struct { /* a TAKE that this node was sent */
		size_t from;
		uint64_t id, term;
	} offer;
};

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

bool switchover_busy(const struct switchover *sw)
{
	return sw->state != IDLE || sw->vip_for != VIP_FOR_NOBODY;
}

static int tell(struct switchover *sw, size_t peer, enum handover_type type, bool flag, uint64_t id,
                uint64_t value, const char *text)
{
	struct handover message = {.type = type, .flag = flag, .id = id, .value = value};

	snprintf(message.text, sizeof(message.text), "%s", text ? text : "");
	return sw->ops->send(sw->arg, peer, &message);
}

static void progress(struct switchover *sw, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void progress(struct switchover *sw, const char *fmt, ...)
{
	char text[HANDOVER_TEXT_MAX + 1];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	log_notice("switchover: %s", text);
	if (!sw->remote)
		sw->ops->progress(sw->arg, text);
	else if (tell(sw, sw->requester, HANDOVER_PROGRESS, true, sw->request_id, 0, text) < 0)
		log_debug("switchover: the requester is gone");
}

/* Ends the operation under way; `fmt` NULL: success. */
static void finish(struct switchover *sw, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void finish(struct switchover *sw, const char *fmt, ...)
{
	char text[HANDOVER_TEXT_MAX + 1] = "";
	bool remote = sw->remote;
	va_list args;

	if (fmt) {
		va_start(args, fmt);
		vsnprintf(text, sizeof(text), fmt, args);
		va_end(args);
		log_error("switchover: %s", text);
	}
	sw->state = IDLE;
	sw->remote = false;
	sw->ops->arm(sw->arg, 0);
	if (!remote)
		sw->ops->finish(sw->arg, fmt ? text : NULL);
	else if (tell(sw, sw->requester, HANDOVER_DONE, fmt == NULL, sw->request_id, 0, text) < 0)
		log_warning("switchover: it is over, but peer %zu who asked for it is gone",
		            sw->requester);
}

static int ask_vip(struct switchover *sw, enum vip_op op, enum vip_for who)
{
	int r = sw->ops->vip(sw->arg, op);

	if (r == 0)
		sw->vip_for = who;
	return r;
}

static uint64_t highest_term(struct switchover *sw)
{
	uint64_t term = sw->ops->role(sw->arg).term;
	struct repl_peer_status peer;

	for (size_t i = 0; i < sw->ops->n_peers(sw->arg); i++) {
		sw->ops->peer(sw->arg, i, &peer);
		term = MAX(term, peer.term);
	}
	return MAX(term, sw->term);
}

/* ---- The active's side ---- */

static void take_back(struct switchover *sw, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void take_back(struct switchover *sw, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(sw->failure, sizeof(sw->failure), fmt, args);
	va_end(args);
	/* The state first: to tell somebody can bring news of other peers. */
	sw->state = TAKING_BACK;
	progress(sw, "%s; taking the address back", sw->failure);
	sw->term = highest_term(sw) + 1;
	if (ask_vip(sw, VIP_TAKE, VIP_FOR_OPERATION) < 0)
		finish(sw,
		       "%s, and the helper that moves the address is gone: no node answers for it "
		       "now; restart tlsbatond",
		       sw->failure);
}

static void release(struct switchover *sw)
{
	struct repl_peer_status peer;

	sw->ops->peer(sw->arg, sw->target, &peer);
	sw->state = RELEASING;
	sw->ops->arm(sw->arg, 0);
	if (peer.state == REPL_IN_SYNC && sw->ops->acked(sw->arg) >= sw->barrier)
		progress(sw, "%s releases the address to %s", sw->node, peer.name);
	else /* forced */
		progress(
		    sw,
		    "%s releases the address to %s, which lacks %llu records: clients of these "
		    "sessions make full handshakes",
		    sw->node, peer.name, (unsigned long long)peer.lag_records);
	if (ask_vip(sw, VIP_RELEASE, VIP_FOR_OPERATION) < 0)
		finish(sw, "the helper that moves the address is gone; restart tlsbatond on %s",
		       sw->node);
}

static void offer(struct switchover *sw)
{
	struct role role = sw->ops->role(sw->arg);
	struct repl_peer_status peer;

	sw->ops->peer(sw->arg, sw->target, &peer);
	sw->term = highest_term(sw) + 1;
	role.active = false;
	sw->ops->set_role(sw->arg, role);
	sw->state = OFFERED;
	sw->ops->arm(sw->arg, SWITCHOVER_TAKEN_MS);
	if (tell(sw, sw->target, HANDOVER_TAKE, true, ++sw->last_id, sw->term, NULL) < 0)
		take_back(sw, "%s is not connected any more", peer.name);
}

static void check_barrier(struct switchover *sw)
{
	struct repl_peer_status peer;

	if (sw->state != BARRIER)
		return;
	sw->ops->peer(sw->arg, sw->target, &peer);
	if (peer.state == REPL_IN_SYNC ? sw->ops->acked(sw->arg) >= sw->barrier : sw->force)
		release(sw);
	else if (peer.state == REPL_ABSENT || peer.state == REPL_REFUSED)
		finish(sw, "%s is not connected any more; the address stays on %s", peer.name,
		       sw->node);
}

static void hand_over(struct switchover *sw, const char *to, unsigned timeout_ms)
{
	struct repl_peer_status peers[REPL_PEERS_MAX];
	size_t n_peers = sw->ops->n_peers(sw->arg);
	char reason[HANDOVER_TEXT_MAX + 1];
	int target;

	if (to && strcmp(to, sw->node) == 0) {
		finish(sw, "%s is active already", sw->node);
		return;
	}
	for (size_t i = 0; i < n_peers; i++)
		sw->ops->peer(sw->arg, i, &peers[i]);
	target = target_choose(peers, n_peers, to, sw->force, reason);
	if (target < 0) {
		finish(sw, "%s", reason);
		return;
	}
	sw->target = (size_t)target;
	sw->state = BARRIER;
	sw->barrier = sw->ops->head(sw->arg);
	sw->ops->arm(sw->arg, timeout_ms);
	if (peers[target].state == REPL_IN_SYNC)
		progress(sw, "waiting until %s holds every session (%llu records to go)",
		         peers[target].name, (unsigned long long)peers[target].lag_records);
	check_barrier(sw);
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

void switchover_start(struct switchover *sw, const char *to, bool force, unsigned timeout_ms)
{
	struct repl_peer_status peer;

	if (!begin(sw))
		return;
	sw->force = force;
	if (!timeout_ms)
		timeout_ms = SWITCHOVER_TIMEOUT_MS;
	if (sw->ops->role(sw->arg).active) {
		hand_over(sw, to, timeout_ms);
		return;
	}
	if (to && strcmp(to, sw->node) != 0) {
		finish(sw, "%s is not active: give this command on the active node", sw->node);
		return;
	}
	for (size_t i = 0; i < sw->ops->n_peers(sw->arg); i++) {
		sw->ops->peer(sw->arg, i, &peer);
		if (!peer.active || peer.state == REPL_ABSENT || peer.state == REPL_REFUSED)
			continue;
		sw->state = REQUESTED;
		sw->target = i;
		sw->ops->arm(sw->arg, timeout_ms + 2 * SWITCHOVER_TAKEN_MS);
		if (tell(sw, i, HANDOVER_REQUEST, force, ++sw->last_id, timeout_ms, NULL) < 0)
			finish(sw, "the active node %s cannot be reached", peer.name);
		return;
	}
	finish(sw,
	       "no connected node is active: if those that are not connected are not either, use "
	       "`tlsbaton promote` on the node that shall be");
}

void switchover_promote(struct switchover *sw)
{
	if (!begin(sw))
		return;
	sw->state = PROMOTING;
	if (ask_vip(sw, VIP_TAKE, VIP_FOR_OPERATION) < 0)
		finish(sw, "the helper that moves the address is gone; restart tlsbatond");
}

void switchover_demote(struct switchover *sw)
{
	if (!begin(sw))
		return;
	sw->state = DEMOTING;
	if (ask_vip(sw, VIP_RELEASE, VIP_FOR_OPERATION) < 0)
		finish(sw, "the helper that moves the address is gone; restart tlsbatond");
}

/* ---- Events ---- */

static void message_request(struct switchover *sw, size_t from, const struct handover *message)
{
	struct repl_peer_status peer;
	const char *refusal = NULL;

	if (switchover_busy(sw))
		refusal = "another change of the service address is under way";
	else if (!sw->ops->role(sw->arg).active)
		refusal = "this node is not active any more";
	if (refusal) {
		if (tell(sw, from, HANDOVER_DONE, false, message->id, 0, refusal) < 0)
			log_debug("switchover: the requester is gone");
		return;
	}
	sw->remote = true;
	sw->requester = from;
	sw->request_id = message->id;
	sw->force = message->flag;
	sw->ops->peer(sw->arg, from, &peer);
	hand_over(sw, peer.name,
	          message->value && message->value <= 3600000 ? (unsigned)message->value
	                                                      : SWITCHOVER_TIMEOUT_MS);
}

static void message_take(struct switchover *sw, size_t from, const struct handover *message)
{
	const char *refusal = NULL;

	if (sw->vip_for != VIP_FOR_NOBODY || (sw->state != IDLE && sw->state != REQUESTED))
		refusal = "another change of the service address is under way there";
	else if (ask_vip(sw, VIP_TAKE, VIP_FOR_OFFER) < 0)
		refusal = "the helper that moves the address is gone there; restart tlsbatond";
	if (!refusal) {
		sw->offer.from = from;
		sw->offer.id = message->id;
		sw->offer.term = message->value;
	} else if (tell(sw, from, HANDOVER_TAKEN, false, message->id, 0, refusal) < 0) {
		log_debug("switchover: who offered the address is gone");
	}
}

static void handed_over(struct switchover *sw)
{
	struct repl_peer_status peer;

	sw->ops->peer(sw->arg, sw->target, &peer);
	sw->ops->set_role(sw->arg, (struct role){.active = false, .term = sw->term});
	progress(sw, "%s answers for the address", peer.name);
	finish(sw, NULL);
}

void switchover_message(struct switchover *sw, size_t from, const struct handover *message)
{
	bool mine = message->id == sw->last_id && from == sw->target;

	switch (message->type) {
	case HANDOVER_REQUEST:
		message_request(sw, from, message);
		break;
	case HANDOVER_TAKE:
		message_take(sw, from, message);
		break;
	case HANDOVER_PROGRESS:
		if (sw->state == REQUESTED && mine)
			progress(sw, "%s", message->text);
		break;
	case HANDOVER_DONE:
		if (sw->state != REQUESTED || !mine)
			break;
		if (message->flag)
			finish(sw, NULL);
		else
			finish(sw, "%s", message->text);
		break;
	case HANDOVER_TAKEN:
		if (sw->state != OFFERED || !mine)
			break;
		if (message->flag)
			handed_over(sw);
		else
			take_back(sw, "the other node could not take the address (%s)",
			          message->text);
		break;
	}
}

static void offer_done(struct switchover *sw, int result, const char *error)
{
	if (result == 0)
		sw->ops->set_role(sw->arg, (struct role){.active = true, .term = sw->offer.term});
	else
		log_error("switchover: could not take the address: %s", error);
	if (tell(sw, sw->offer.from, HANDOVER_TAKEN, result == 0, sw->offer.id, 0, error) < 0)
		log_warning("switchover: the node that offered the address is gone");
}

static void operation_done(struct switchover *sw, int result, const char *error)
{
	struct role role = sw->ops->role(sw->arg);

	switch (sw->state) {
	case RELEASING:
		if (result == 0)
			offer(sw);
		else
			take_back(sw, "could not release the address: %s", error);
		break;
	case TAKING_BACK:
		if (result == 0) {
			sw->ops->set_role(sw->arg, (struct role){.active = true, .term = sw->term});
			finish(sw, "%s; the address is back on %s", sw->failure, sw->node);
		} else {
			finish(sw,
			       "%s, and it could not be taken back (%s): no node answers for it "
			       "now; run `tlsbaton promote` where it can be",
			       sw->failure, error);
		}
		break;
	case PROMOTING:
		if (result < 0) {
			finish(sw, "could not take the address: %s", error);
			break;
		}
		/* A node that is active already keeps its term: keepalived repeats its
		 * notifications. */
		if (!role.active)
			role.term = highest_term(sw) + 1;
		role.active = true;
		sw->ops->set_role(sw->arg, role);
		finish(sw, NULL);
		break;
	case DEMOTING:
		if (result < 0) {
			finish(sw, "could not release the address: %s", error);
			break;
		}
		role.active = false;
		sw->ops->set_role(sw->arg, role);
		finish(sw, NULL);
		break;
	case IDLE:
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
	sw->vip_for = VIP_FOR_NOBODY;
	if (who == VIP_FOR_OFFER)
		offer_done(sw, result, error);
	else if (who == VIP_FOR_OPERATION)
		operation_done(sw, result, error);
}

void switchover_acked(struct switchover *sw)
{
	check_barrier(sw);
}

void switchover_peer_changed(struct switchover *sw, size_t changed)
{
	struct repl_peer_status peer;

	check_barrier(sw);
	if (changed != sw->target)
		return;
	sw->ops->peer(sw->arg, changed, &peer);
	/* Its role may reach us before its answer, or instead of it. */
	if (sw->state == OFFERED && peer.active && peer.term == sw->term)
		handed_over(sw);
	else if (sw->state == REQUESTED &&
	         (peer.state == REPL_ABSENT || peer.state == REPL_REFUSED))
		finish(sw, "the connection to %s broke; see `tlsbaton status` on both nodes",
		       peer.name);
}

void switchover_deadline(struct switchover *sw)
{
	struct repl_peer_status peer;

	sw->ops->peer(sw->arg, sw->target, &peer);
	if (sw->state == BARRIER && sw->force)
		release(sw);
	else if (sw->state == BARRIER)
		finish(sw,
		       "%s did not store all sessions in time (%llu records to go); the address "
		       "stays on %s; use --timeout or --force",
		       peer.name, (unsigned long long)peer.lag_records, sw->node);
	else if (sw->state == OFFERED)
		take_back(sw, "%s did not answer in %d ms", peer.name, SWITCHOVER_TAKEN_MS);
	else if (sw->state == REQUESTED)
		finish(sw, "%s did not answer in time; see `tlsbaton status` on both nodes",
		       peer.name);
}
