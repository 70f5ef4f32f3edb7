/*
 * What a node does about the service address without being told.
 *
 * At its start a node that is to be active leaves the address as it finds it until it knows that no
 * peer holds it by right: all have answered, or SWITCHOVER_GRACE_MS have passed. The node that
 * crashed and comes back must not take the address from the one that serves. A command, or a TAKE,
 * that comes meanwhile decides in its stead: what an operator was told is done must not be undone.
 *
 * Two nodes that are active settle it by their terms (role_yields()). Therefore a take-over must have
 * a later term than any before it, also those that this node only heard of: each later one is
 * recorded when it is heard, so that a node that starts again, and is promoted with nobody there to
 * ask, does not begin below the others.
 *
 * Where letting go fails (a helper that has died), it is tried again every SETTLE_AGAIN_S, and said
 * once.
 */
#include "daemon/switchover_internal.h"

#include "util/log.h"

#define SETTLE_AGAIN_S 10

/* ---- The start ---- */

static bool yields_to(struct switchover *sw, const struct repl_peer_status *peer)
{
	const struct role mine = sw->ops->role(sw->arg);
	const struct role theirs = {.active = peer->active, .term = peer->term};

	return role_yields(&mine, sw->node, &theirs, peer->name);
}

/* Whether every peer has answered. Out: whether one of them is active, by right. */
static bool all_answered(struct switchover *sw, bool *one_is_active)
{
	bool all = true, is_active = sw->ops->role(sw->arg).active;
	struct repl_peer_status peer;

	*one_is_active = false;
	for (size_t i = 0; i < sw->ops->n_peers(sw->arg); i++) {
		sw->ops->peer(sw->arg, i, &peer);
		if (!repl_is_connected(&peer))
			all = false;
		else if (peer.active && (!is_active || yields_to(sw, &peer)))
			*one_is_active = true;
	}
	return all;
}

void settle_claim(struct switchover *sw)
{
	bool one_is_active, all;

	if (sw->state != CLAIMING || sw->vip_for != VIP_FOR_NOBODY)
		return;
	all = all_answered(sw, &one_is_active);
	if (!all && !one_is_active && !sw->grace_is_over)
		return;
	sw->state = IDLE;
	sw->ops->arm(sw->arg, 0);
	if (!one_is_active) {
		sw_promote(sw);
		return;
	}
	log_notice("a peer is active: this node stands by");
	sw_demote(sw);
}

void settle_released(struct switchover *sw, int result, const char *error)
{
	if (result < 0)
		log_error("could not release the address: %s", error);
	settle_claim(sw);
}

void switchover_claim(struct switchover *sw)
{
	sw->state = CLAIMING;
	sw->grace_is_over = false;
	sw->ops->arm(sw->arg, SWITCHOVER_GRACE_MS);
	/* It may answer for the address from the machine's start on. */
	if (!sw->ops->role(sw->arg).active && sw_ask_vip(sw, VIP_RELEASE, VIP_FOR_CLAIM) < 0)
		log_error("could not release the address: the helper that moves it is gone");
	settle_claim(sw); /* without peers there is nothing to wait for */
}

/* ---- Rivals ---- */

int settle_later_active(struct switchover *sw)
{
	struct repl_peer_status peer;

	for (size_t i = 0; i < sw->ops->n_peers(sw->arg); i++) {
		sw->ops->peer(sw->arg, i, &peer);
		if (repl_is_connected(&peer) && peer.active &&
		    peer.term > sw->ops->role(sw->arg).term)
			return (int)i;
	}
	return -1;
}

static void let_go(struct switchover *sw, const struct repl_peer_status *rival)
{
	char why[HANDOVER_TEXT_MAX + 1];

	if (sw->settle_in > 0)
		return;
	snprintf(why, sizeof(why),
	         "%s is active too, by a later take-over (term %llu, ours is %llu)", rival->name,
	         (unsigned long long)rival->term, (unsigned long long)sw->ops->role(sw->arg).term);
	if (!sw->is_vain)
		log_warning("%s: letting go of the address", why);
	sw->settle_in = SETTLE_AGAIN_S; /* first: to cancel can bring news of peers */
	switchover_cancel(sw, why);
	sw->contested = false;
	sw->quiet = sw->is_vain;
	sw->is_vain = true; /* until there is nobody to let go for */
	sw_demote(sw);
}

void settle_rivals(struct switchover *sw)
{
	bool rival = false, active = sw->ops->role(sw->arg).active;
	struct repl_peer_status peer;

	if (sw->state == CLAIMING || switchover_moving(sw))
		return;
	for (size_t i = 0; i < sw->ops->n_peers(sw->arg); i++) {
		sw->ops->peer(sw->arg, i, &peer);
		if (!repl_is_connected(&peer))
			continue;
		rival |= peer.active;
		if (yields_to(sw, &peer)) {
			let_go(sw, &peer);
			return;
		}
	}
	sw->settle_in = 0;
	sw->is_vain = false;
	if (sw->state != IDLE)
		return;
	/* A rival has let go: the last announcement that clients heard may have been its own. */
	if (sw->contested && !rival && active)
		sw_promote(sw);
	sw->contested = rival && active;
}

void switchover_tick(struct switchover *sw)
{
	if (sw->settle_in > 0)
		sw->settle_in--;
	settle_rivals(sw);
}

/* ---- Terms ---- */

void settle_note_term(struct switchover *sw)
{
	const struct role role = sw->ops->role(sw->arg);
	struct role noted = role;

	noted.latest = sw_highest_term(sw);
	/* An active's term is that of its own take-over. A standby passes on what it heard. */
	if (!role.active && !switchover_moving(sw))
		noted.term = noted.latest;
	if (noted.latest != role.latest || noted.term != role.term)
		sw->ops->set_role(sw->arg, noted);
}
