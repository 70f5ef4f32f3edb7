/*
 * The insides of the switchover's machine: switchover.c (commands and events), switchover_give.c and
 * switchover_take.c (the two sides of a planned one), switchover_settle.c (what a node does without
 * being told).
 */
#ifndef TLSBATON_DAEMON_SWITCHOVER_INTERNAL_H
#define TLSBATON_DAEMON_SWITCHOVER_INTERNAL_H

#include "daemon/switchover.h"

/* The first four wait, with the address as it is; the others move it. */
enum state {
	IDLE,
	CLAIMING,  /* at the start: whether a peer holds the address by right */
	BARRIER,   /* for the target's acks */
	REQUESTED, /* for the active, which was asked to hand over */
	RELEASING,
	OFFERED,
	TAKING_BACK,
	PROMOTING,
	DEMOTING,
};

/* Whose request the helper is working on. */
enum vip_for {
	VIP_FOR_NOBODY,
	VIP_FOR_CLAIM, /* other requests need not wait for it: its answer is dropped then */
	VIP_FOR_OPERATION,
	VIP_FOR_OFFER,
	VIP_FOR_UNDO, /* of an offer that came too late */
};

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
	bool is_cancelled;                   /* while the address was being released */
	uint64_t barrier;                    /* table position that the target must have stored */
	uint64_t last_id;                    /* numbers our requests and offers */
	uint64_t term;                       /* that goes with the take-over under way */
	char failure[HANDOVER_TEXT_MAX + 1]; /* why the address is being taken back */
	enum vip_for vip_for;
	bool drop_answer; /* the helper's next one is nobody's any more */
	struct {          /* a TAKE that this node was sent */
		size_t from;
		uint64_t id, term;
	} offer;
	bool grace_is_over; /* in CLAIMING: absent peers are not waited for any more */
	bool contested;     /* a peer was active, too, when last looked */
	unsigned settle_in; /* seconds until this node tries again to let go for a rival */
	bool is_vain;       /* it has tried, and still holds the address: has been said */
	bool quiet;         /* the error that comes was said before */
};

/* ---- switchover.c ---- */

int sw_tell(struct switchover *sw, size_t peer, enum handover_type type, bool flag, uint64_t id,
            uint64_t value, const char *text) MUST_CHECK;
void sw_progress(struct switchover *sw, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Ends the operation under way, with one answer to whoever asked for it; `fmt` NULL: success. */
void sw_finish(struct switchover *sw, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The same for one that has not begun: what the node was doing (CLAIMING) goes on. */
void sw_refuse(struct switchover *sw, const char *fmt, ...) PRINTF_LIKE(2, 3);

int sw_ask_vip(struct switchover *sw, enum vip_op op, enum vip_for who) MUST_CHECK;
/* Takes or lets go of the address, and ends with sw_finish(). Nothing is under way. */
void sw_promote(struct switchover *sw);
void sw_demote(struct switchover *sw);

/* Records the role, and that its term is known. */
void sw_become(struct switchover *sw, bool active, uint64_t term);
/* The latest term that this node knows of, its own or said by anybody. */
uint64_t sw_highest_term(struct switchover *sw);
uint64_t sw_next_term(struct switchover *sw);

/* ---- switchover_give.c ---- */

/* Starts it on the active. `to` and `timeout_ms` as for switchover_start(). */
void give_start(struct switchover *sw, const char *to, unsigned timeout_ms);
void give_requested(struct switchover *sw, size_t from, const struct handover *message);
void give_cancelled(struct switchover *sw, size_t from, const struct handover *message);
void give_taken(struct switchover *sw, const struct handover *message);
void give_released(struct switchover *sw, int result, const char *error);
void give_taken_back(struct switchover *sw, int result, const char *error);
void give_check_barrier(struct switchover *sw);
void give_peer_changed(struct switchover *sw, const struct repl_peer_status *target);
void give_deadline(struct switchover *sw);

/* ---- switchover_take.c ---- */

void take_offered(struct switchover *sw, size_t from, const struct handover *message);
void take_done(struct switchover *sw, int result, const char *error);
void take_undone(struct switchover *sw, int result, const char *error);

/* ---- switchover_settle.c ---- */

/* In CLAIMING: takes the address, or stands by, if it can be told which. */
void settle_claim(struct switchover *sw);
/* Its release, at a first start, is done. */
void settle_released(struct switchover *sw, int result, const char *error);
/* The index of a connected peer that is active by a later take-over than this node's last; -1: none. */
int settle_later_active(struct switchover *sw);
/* Between two nodes that are both active. */
void settle_rivals(struct switchover *sw);
/* Records what the peers have said, if there is a later term in it. */
void settle_note_term(struct switchover *sw);

#endif
