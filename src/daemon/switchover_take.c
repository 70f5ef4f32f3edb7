/* The new active's side of a planned switchover. The essay is in switchover.c. */
#include "daemon/switchover_internal.h"

#include "util/log.h"

static const char too_late[] = "a later take-over is known there";

static void answer_take(struct switchover *sw, size_t from, uint64_t id, const char *refusal)
{
	if (sw_tell(sw, from, HANDOVER_TAKEN, !refusal, id, 0, refusal) < 0)
		log_warning("switchover: the node that offered the address is gone");
}

void take_offered(struct switchover *sw, size_t from, const struct handover *message)
{
	const char *refusal = NULL;

	if (switchover_moving(sw) || sw->state == BARRIER)
		refusal = "another change of the service address is under way there";
	else if (message->value <= sw_highest_term(sw))
		refusal = too_late;
	else if (sw_ask_vip(sw, VIP_TAKE, VIP_FOR_OFFER) < 0)
		refusal = "the helper that moves the address is gone there; restart tlsbatond";
	if (refusal) {
		answer_take(sw, from, message->id, refusal);
		return;
	}
	sw->offer.from = from;
	sw->offer.id = message->id;
	sw->offer.term = message->value;
	if (sw->state == CLAIMING) {
		sw->state = IDLE;
		sw->ops->arm(sw->arg, 0);
	}
}

/* Meanwhile the node that offered the address may have taken it back, and said so. */
void take_done(struct switchover *sw, int result, const char *error)
{
	if (result < 0) {
		log_error("switchover: could not take the address: %s", error);
		answer_take(sw, sw->offer.from, sw->offer.id, error);
	} else if (sw->offer.term > sw_highest_term(sw)) {
		sw_become(sw, true, sw->offer.term);
		answer_take(sw, sw->offer.from, sw->offer.id, NULL);
	} else {
		log_warning("switchover: the address was taken too late, as a later take-over is "
		            "known by now: letting go of it");
		if (sw_ask_vip(sw, VIP_RELEASE, VIP_FOR_UNDO) < 0)
			log_error("switchover: the helper that moves the address is gone; restart "
			          "tlsbatond");
	}
}

void take_undone(struct switchover *sw, int result, const char *error)
{
	if (result < 0)
		log_error("switchover: could not release the address: %s", error);
	answer_take(sw, sw->offer.from, sw->offer.id, too_late);
}
