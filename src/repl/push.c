/*
 * Our log's way to one peer. The table is the backlog: a push is a position in it, and nothing is
 * kept for a peer that is slow or away but that number.
 *
 * A stream begins with START: at the position that the peer named in its hello answer, if that
 * still lies in our log, else at the tail, which sends every live record. Up to the head as it
 * was then (`catch_up_to`), records of any origin go out; there a MARK says "you now hold all
 * that I hold", and from there on only this node's own records go, for the others' origins push
 * theirs. When the peer's ack reaches the mark, it is in sync. If the log's tail overtakes
 * `position`, the stream starts again from the tail, within the connection.
 *
 * Acks are cumulative. `acked` is what the gate may rely on: every record of ours that ends there
 * or before is stored at the peer. Records that were passed over count as acked once all that was
 * sent before them is.
 */
#include "repl/internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

void push_init(struct push *push, struct peer *peer)
{
	push->peer = peer;
	push->phase = PUSH_WAITING;
	push->state = REPL_ABSENT;
	push->told_heartbeat_us = peer->repl->heartbeat_us;
}

/* A heartbeat that was made longer meanwhile is so from the next connection on: on this one the
 * peer would take it for silence. */
int64_t push_heartbeat_us(const struct push *push)
{
	return MIN(push->peer->repl->heartbeat_us, push->told_heartbeat_us);
}

void push_set_state(struct push *push, enum repl_peer_state state)
{
	if (push->state == state)
		return;
	push->state = state;
	push->acked_news = push->state_news = true;
}

/* Tells the user what has changed. Apart from the changes themselves, so that the user may call
 * anything. */
void push_report(struct push *push)
{
	struct repl *repl = push->peer->repl;
	bool state_news = push->state_news, acked_news = push->acked_news;

	push->state_news = push->acked_news = false;
	if (acked_news)
		repl->ops->acked(repl->arg);
	if (state_news)
		repl->ops->peer_changed(repl->arg, push->peer->index);
}

/* Works out what is acked after an ack came in, or records were passed over. */
void push_settle(struct push *push)
{
	struct repl *repl = push->peer->repl;
	uint64_t acked = push->acked_end == push->sent_end ? push->position : push->acked_end;
	int64_t now_us;

	if (acked > push->acked) {
		push->acked = acked;
		push->acked_news = true;
	}
	push_forget_acked(push);
	if (push->synced && push->state == REPL_CATCHING_UP) {
		/* What was appended while it caught up is not late: its time counts from here. */
		push->n_ages = 0;
		push_note_head(push, repl_now_us(repl));
		push_set_state(push, REPL_IN_SYNC);
		repl_schedule(repl, repl_now_us(repl) + repl->gate_deadline_us);
	} else if (push->state == REPL_LAGGING) {
		now_us = repl_now_us(repl);
		if (push_age_us(push, now_us) < repl->gate_deadline_us / 2) {
			push_set_state(push, REPL_IN_SYNC);
			repl_schedule(repl, now_us + repl->gate_deadline_us);
		}
	}
}

/* Deadlines of an open stream. Returns when to look again. */
int64_t push_stream_tick(struct push *push, int64_t now_us)
{
	struct repl *repl = push->peer->repl;
	int64_t silent_us = now_us - push->link.heard_us, due_us;
	int64_t heartbeat_us = push_heartbeat_us(push);

	/* Both: after a pause of this whole process the peer still gets its three chances. */
	if (silent_us >= 4 * heartbeat_us && push->n_pings >= 3) {
		link_fail(&push->link, "no answer to three pings");
		return INT64_MAX;
	}
	if (silent_us >= (push->n_pings + 1) * heartbeat_us) {
		push->n_pings++;
		push->token++;
		push->ping_due = true;
	}
	due_us = push->link.heard_us + (push->n_pings + 1) * heartbeat_us;
	if (push->state == REPL_IN_SYNC && push->n_ages > 0) {
		if (push_age_us(push, now_us) >= repl->gate_deadline_us) {
			push->n_gate_lagging++;
			push_set_state(push, REPL_LAGGING);
		} else {
			due_us =
			    MIN(due_us, push->ages[push->first_age].us + repl->gate_deadline_us);
		}
	}
	return due_us;
}

/* ---- The stream ---- */

/* How many of the records ever appended stand before `position`: exact at both ends, between
 * them by bytes. */
static uint64_t push_count_before(const struct push *push, uint64_t position)
{
	const struct table *table = push->peer->repl->table;
	uint64_t head = table_head(table), tail = table_tail(table);
	struct table_stats stats;
	double share = head > tail ? (double)(head - position) / (double)(head - tail) : 0;

	table_stats(table, &stats);
	return stats.n_appended - MIN((uint64_t)(share * (double)stats.n_in_log), stats.n_appended);
}

static void push_start_at(struct push *push, uint64_t position)
{
	push->position = position;
	push->sent_end = push->acked_end = push->acked = position;
	push->catch_up_to = table_head(push->peer->repl->table);
	push->marked = push->synced = false;
	push->n_seen = push_count_before(push, position);
	push->start_due = true;
	push_set_state(push, REPL_CATCHING_UP);
}

/* The log's tail has overtaken us, or the position was none: every live record, from the tail. */
static void push_start_again(struct push *push)
{
	struct repl *repl = push->peer->repl;

	repl_log(repl, LOG_LEVEL_WARNING, push->peer->address,
	         "peer %s is too far behind: it gets every live session again (a larger table "
	         "keeps more "
	         "for a peer that is slow or away)",
	         push->peer->name);
	push_start_at(push, table_tail(repl->table));
}

/* Records from `position` on, into one frame. Returns true if there may be more than fitted. */
static bool push_fill_records(struct push *push, struct wire_writer *writer)
{
	struct table *table = push->peer->repl->table;
	uint8_t *frame = wire_records_begin(writer);
	uint64_t n = 0;
	bool full = false;

	if (!frame)
		return true;
	while (push->marked || push->position < push->catch_up_to) {
		uint64_t position = push->position, n_seen = push->n_seen;
		struct table_record record;
		int r = table_next(table, &push->position, &record, &push->n_seen);

		if (r == TABLE_END) {
			push->position = table_head(table);
			push->n_seen = push_count_before(push, push->position);
			break;
		}
		if (r != 0) {
			push_start_again(push);
			break;
		}
		if (push->marked && !(record.flags & TABLE_LOCAL))
			continue;
		if (!wire_records_add(writer, &record)) {
			push->position = position;
			push->n_seen = n_seen;
			full = true;
			break;
		}
		n++;
	}
	if (n > 0) {
		wire_records_end(writer, frame, push->position);
		push->sent_end = push->position;
		push->n_sent += n;
	} else {
		writer->at = frame;
	}
	return full;
}

static void push_fill_mark(struct push *push, struct wire_writer *writer)
{
	wire_encode_number(writer, WIRE_MARK, push->position);
	push->mark = push->sent_end = push->position;
	push->marked = true;
}

#define PUSH_NUMBER_FRAME (WIRE_HEADER_BYTES + 16)

/* The longest frame of them fits into a buffer that is empty. */
static void push_fill_tickets(struct push *push, struct wire_writer *writer)
{
	struct repl *repl = push->peer->repl;
	struct ticket_state tickets = {0};

	if (wire_room(writer) < WIRE_TICKET_KEYS_FRAME)
		return;
	repl->ops->say_tickets(repl->arg, &tickets);
	wire_encode_ticket_keys(writer, &tickets);
	explicit_bzero(&tickets, sizeof(tickets));
	push->tickets_due = false;
}

/* What goes ahead of records. */
static void push_fill_urgent(struct push *push, struct wire_writer *writer)
{
	struct repl *repl = push->peer->repl;

	if (push->role_due && wire_room(writer) >= PUSH_NUMBER_FRAME) {
		wire_encode_role(writer, &repl->role);
		push->role_due = false;
	}
	if (push->policies_due && wire_room(writer) >= WIRE_POLICIES_FRAME_MAX) {
		wire_encode_policies(writer, &repl->policies);
		push->policies_due = false;
	}
	if (push->ping_due && wire_room(writer) >= PUSH_NUMBER_FRAME) {
		wire_encode_number(writer, WIRE_PING, push->token);
		push->ping_due = false;
	}
	if (push->tickets_due)
		push_fill_tickets(push, writer);
	if (push->n_control > 0 && wire_room(writer) >= push->n_control) {
		wire_put(writer, push->control, push->n_control);
		explicit_bzero(push->control, push->n_control);
		push->n_control = 0;
	}
}

/* Writes what is pending, as far as there is room. The user hears of changes at push_report(). */
void push_fill(struct push *push, struct wire_writer *writer)
{
	if (push->phase != PUSH_STREAMING)
		return;
	push_fill_urgent(push, writer);
	while (wire_room(writer) >= PUSH_NUMBER_FRAME) {
		if (push->start_due) {
			wire_encode_number(writer, WIRE_START, push->position);
			push->start_due = false;
		} else if (!push->marked && push->position >= push->catch_up_to) {
			push_fill_mark(push, writer);
		} else if (push_fill_records(push, writer) ||
		           (push->marked && !push->start_due /* at the head */)) {
			break;
		}
	}
	push_settle(push);
}

/* ---- What comes back ---- */

/* Puts the last failure into words: for the status, and for the log. */
void push_say(struct push *push, enum log_level level, const char *fmt, ...)
{
	char source[160];
	va_list args;

	va_start(args, fmt);
	vsnprintf(push->error, sizeof(push->error), fmt, args);
	va_end(args);
	push->explained = true;
	/* Each kind of failure of a peer is a source of its own: one must not hide the other. */
	snprintf(source, sizeof(source), "%s %s", push->peer->name, fmt);
	repl_log(push->peer->repl, level, source, "%s", push->error);
}

static int push_refuse(struct push *push)
{
	push_set_state(push, REPL_REFUSED);
	return -ECONNREFUSED;
}

static int push_refuse_version(struct push *push, unsigned version)
{
	push_say(push, LOG_LEVEL_ERROR,
	         "peer %s speaks protocol version %u, we speak %u: upgrade the older node",
	         push->peer->name, version, WIRE_VERSION);
	return push_refuse(push);
}

static int push_take_answer(struct push *push, const uint8_t *payload, size_t n)
{
	struct peer *peer = push->peer;
	struct repl *repl = peer->repl;
	uint64_t tail = table_tail(repl->table), head = table_head(repl->table);
	struct wire_hello hello;
	int r = wire_decode_hello_answer(payload, n, &hello);

	if (r < 0)
		return r;
	if (r == WIRE_OTHER_VERSION)
		return push_refuse_version(push, hello.version);
	if (strcmp(hello.group, repl->group) != 0 || strcmp(hello.node, peer->name) != 0) {
		push_say(
		    push, LOG_LEVEL_ERROR,
		    "%s is node %s of group %s, not peer %s: correct the peer's name or address",
		    peer->address, hello.node, hello.group, peer->name);
		return push_refuse(push);
	}
	repl_take_hello(peer, &hello);
	push->phase = PUSH_STREAMING;
	push->error[0] = '\0';
	push->backoff_ms = 0;
	push->n_connects++;
	push->tickets_due = repl->ops->say_tickets != NULL;
	if (hello.resume_epoch == table_epoch(repl->table) && hello.resume_position >= tail &&
	    hello.resume_position <= head)
		push_start_at(push, hello.resume_position);
	else
		push_start_at(push, tail);
	return 0;
}

static int push_take_refusal(struct push *push, const uint8_t *payload, size_t n)
{
	struct wire_refuse refuse;

	if (wire_decode_refuse(payload, n, &refuse) < 0)
		return -EPROTO;
	if (refuse.version != WIRE_VERSION)
		return push_refuse_version(push, refuse.version);
	push_say(push, LOG_LEVEL_ERROR, "peer %s refuses us: %s", push->peer->name, refuse.reason);
	return push_refuse(push);
}

static int push_take_ack(struct push *push, const uint8_t *payload, size_t n)
{
	struct wire_ack ack;

	if (wire_decode_ack(payload, n, &ack) < 0)
		return -EPROTO;
	/* After a new start, acks for frames that were sent before it may still come in. */
	if (ack.position > push->sent_end || ack.n_records > push->n_sent ||
	    ack.n_records < push->n_acked)
		return -EPROTO;
	push->n_acked = ack.n_records;
	push->acked_end = MAX(push->acked_end, ack.position);
	if (push->marked && ack.position >= push->mark)
		push->synced = true;
	push_settle(push);
	return 0;
}

static int push_take(struct push *push, enum wire_type type, const uint8_t *payload, size_t n)
{
	uint64_t token;

	if (type == WIRE_HELLO_ANSWER && push->phase == PUSH_GREETING)
		return push_take_answer(push, payload, n);
	if (type == WIRE_REFUSE && push->phase == PUSH_GREETING)
		return push_take_refusal(push, payload, n);
	if (type == WIRE_ACK && push->phase == PUSH_STREAMING)
		return push_take_ack(push, payload, n);
	if (type == WIRE_PONG && push->phase == PUSH_STREAMING)
		return wire_decode_number(payload, n, &token);
	return -EPROTO;
}

int push_input(struct push *push, const uint8_t *bytes, size_t n, size_t *n_used)
{
	size_t used = 0;
	int r = 0;

	push->n_pings = 0;
	while (r == 0) {
		struct wire_header header;

		r = wire_decode_header(bytes + used, n - used, &header);
		if (r == 0 && (header.type == WIRE_RECORDS || header.type == WIRE_CONTROL ||
		               header.type == WIRE_TICKET_KEYS))
			r = -EPROTO;
		if (r != 0 || n - used - WIRE_HEADER_BYTES < header.n_payload)
			break;
		r = push_take(push, header.type, bytes + used + WIRE_HEADER_BYTES,
		              header.n_payload);
		used += WIRE_HEADER_BYTES + header.n_payload;
	}
	*n_used = used;
	if (r == -EPROTO) {
		push->peer->repl->stats.n_malformed++;
		push_say(push, LOG_LEVEL_ERROR, "peer %s sent a malformed message",
		         push->peer->name);
	}
	return MIN(r, 0);
}

/* The connection is gone. */
void push_stop(struct push *push, enum repl_peer_state state)
{
	if (push->phase == PUSH_STREAMING)
		push->n_seen -= MIN(push->n_seen, push->n_sent - push->n_acked);
	push->phase = PUSH_WAITING;
	push->marked = push->synced = false;
	push->start_due = push->role_due = push->policies_due = push->ping_due = false;
	push->tickets_due = false;
	push->n_sent = push->n_acked = 0;
	push->n_ages = push->n_pings = 0;
	explicit_bzero(push->control, push->n_control);
	push->n_control = 0;
	push_set_state(push, state);
}

uint64_t push_lag_records(const struct push *push)
{
	struct table_stats stats;
	uint64_t n_unseen;

	table_stats(push->peer->repl->table, &stats);
	n_unseen = stats.n_appended - MIN(push->n_seen, stats.n_appended);
	/* What has left the log will not be sent. */
	return push->n_sent - push->n_acked + MIN(n_unseen, stats.n_in_log);
}
