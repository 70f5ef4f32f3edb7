/*
 * What is unacked since when.
 *
 * A peer that leaves something unacked for longer than the gate's deadline is LAGGING: not waited
 * for. `ages` remembers, in steps of a 32nd of the deadline, when the log's head stood where;
 * when it is full, its last entry is stretched, which can make something look older than it is,
 * never younger.
 */
#include "repl/internal.h"

/* The log's head has moved: remembers when. */
void push_note_head(struct push *push, int64_t now_us)
{
	struct repl *repl = push->peer->repl;
	uint64_t head = table_head(repl->table);
	int64_t step_us = repl->gate_deadline_us / 32;

	if (push->phase != PUSH_STREAMING || head == push->acked)
		return;
	if (push->n_ages > 0) {
		unsigned last = (push->first_age + push->n_ages - 1) % PUSH_AGES;

		if (push->ages[last].position == head)
			return;
		if (push->n_ages == PUSH_AGES || now_us - push->ages[last].us < step_us) {
			push->ages[last].position = head;
			return;
		}
	}
	push->ages[(push->first_age + push->n_ages) % PUSH_AGES].position = head;
	push->ages[(push->first_age + push->n_ages) % PUSH_AGES].us = now_us;
	push->n_ages++;
	if (push->n_ages == 1 && push->state == REPL_IN_SYNC)
		repl_schedule(repl, now_us + repl->gate_deadline_us);
}

/* How long the oldest unacked record has waited; 0: nothing is unacked. */
int64_t push_age_us(const struct push *push, int64_t now_us)
{
	return push->n_ages > 0 ? now_us - push->ages[push->first_age].us : 0;
}

/* Drops what is acked by now. */
void push_forget_acked(struct push *push)
{
	while (push->n_ages > 0 && push->ages[push->first_age].position <= push->acked) {
		push->first_age = (push->first_age + 1) % PUSH_AGES;
		push->n_ages--;
	}
}
