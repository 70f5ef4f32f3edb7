/*
 * One peer's log's way into our table. A connection begins with its hello: version first, then
 * who it is; what we will not work with gets a REFUSE with words for its operator, and the
 * connection ends. Then frames: a message is decoded and checked whole before any of it is acted
 * on, and one that does not parse ends the connection.
 *
 * What is stored is acked once for all that one read brought in, cumulatively. Storing is
 * idempotent (a record that stands already, or has expired, changes nothing), so nothing here
 * depends on how often or in which order records come. Where the sender may resume is remembered
 * by the peer, not by the connection.
 *
 * Answers are flags, not a queue: whatever a peer asks for, and however often, at most one of
 * each is pending.
 */
#include "repl/internal.h"

#include <errno.h>
#include <stdio.h>

static int receiver_refuse(struct receiver *receiver, enum wire_refusal code, const char *reason)
{
	struct repl *repl = receiver->repl;

	receiver->refuse.version = WIRE_VERSION;
	receiver->refuse.code = code;
	snprintf(receiver->refuse.reason, sizeof(receiver->refuse.reason), "%s", reason);
	receiver->refuse_due = true;
	receiver->phase = RECEIVER_REFUSED;
	repl->stats.n_refused_hello++;
	return 0;
}

static int receiver_refuse_version(struct receiver *receiver, unsigned version)
{
	char reason[WIRE_REASON_MAX];

	repl_log(receiver->repl, LOG_LEVEL_ERROR, receiver->source,
	         "the node at %s speaks protocol version %u, we speak %u: upgrade the older node",
	         receiver->source, version, WIRE_VERSION);
	snprintf(reason, sizeof(reason),
	         "you speak protocol version %u, node %s speaks %u: upgrade the older node",
	         version, receiver->repl->node, WIRE_VERSION);
	return receiver_refuse(receiver, WIRE_REFUSE_VERSION, reason);
}

/* Who may not come in, and why, in words for its operator; 0: it may. */
static enum wire_refusal receiver_judge(struct receiver *receiver, const struct wire_hello *hello,
                                        char *reason, size_t reason_size)
{
	struct repl *repl = receiver->repl;

	if (strcmp(hello->group, repl->group) != 0) {
		snprintf(reason, reason_size, "you are of group %s, node %s is of group %s",
		         hello->group, repl->node, repl->group);
		return WIRE_REFUSE_GROUP;
	}
	if (strcmp(hello->node, repl->node) == 0) {
		snprintf(reason, reason_size, "two nodes are named %s: give each its own name",
		         repl->node);
		return WIRE_REFUSE_SAME_NAME;
	}
	if (!receiver->may_be(receiver, hello->node)) {
		snprintf(reason, reason_size, "your certificate does not name %s", hello->node);
		return WIRE_REFUSE_CERTIFICATE;
	}
	if (!repl_find_peer(repl, hello->node)) {
		snprintf(reason, reason_size,
		         "node %s has no peer named %s: add it to its configuration", repl->node,
		         hello->node);
		return WIRE_REFUSE_UNKNOWN_NODE;
	}
	return 0;
}

static void receiver_attach(struct receiver *receiver, struct peer *peer,
                            const struct wire_hello *hello)
{
	struct receiver *older = peer->from;

	if (older) {
		if (repl_now_us(peer->repl) - older->link.heard_us < peer->repl->heartbeat_us)
			repl_log(peer->repl, LOG_LEVEL_WARNING, peer->name,
			         "node %s connects from %s while its connection from %s is alive: "
			         "if this "
			         "repeats, two daemons have that name; give each its own",
			         peer->name, receiver->source, older->source);
		receiver_detach(older);
		link_fail(&older->link, "a newer connection has taken its place");
	}
	receiver->peer = peer;
	receiver->phase = RECEIVER_STREAMING;
	receiver->repl->n_pending--;
	receiver->heartbeat_ms = MIN(hello->heartbeat_ms, 60000u);
	receiver->epoch = hello->epoch;
	receiver->answer_due = true;
	peer->from = receiver;
	peer->from_in_sync = false;
}

static int receiver_take_hello(struct receiver *receiver, const uint8_t *payload, size_t n)
{
	struct wire_hello hello;
	char reason[WIRE_REASON_MAX];
	enum wire_refusal refusal;
	int r = wire_decode_hello(payload, n, &hello);

	if (r < 0)
		return r;
	if (r == WIRE_OTHER_VERSION)
		return receiver_refuse_version(receiver, hello.version);
	refusal = receiver_judge(receiver, &hello, reason, sizeof(reason));
	if (refusal) {
		repl_log(receiver->repl, LOG_LEVEL_ERROR, receiver->source,
		         "refused node %s (%s): it was told \"%s\"", hello.node, receiver->source,
		         reason);
		return receiver_refuse(receiver, refusal, reason);
	}
	receiver_attach(receiver, repl_find_peer(receiver->repl, hello.node), &hello);
	repl_take_hello(receiver->peer, &hello);
	push_dial_now(&receiver->peer->push); /* it is up: no back-off is worth waiting for */
	return 0;
}

static int receiver_take_start(struct receiver *receiver, const uint8_t *payload, size_t n)
{
	struct peer *peer = receiver->peer;

	if (wire_decode_number(payload, n, &receiver->position) < 0)
		return -EPROTO;
	receiver->started = true;
	peer->from_epoch = receiver->epoch;
	peer->from_position = receiver->position;
	if (peer->from_in_sync) {
		peer->from_in_sync = false;
		receiver->repl->ops->peer_changed(receiver->repl->arg, peer->index);
	}
	return 0;
}

static int receiver_take_records(struct receiver *receiver, const uint8_t *payload, size_t n)
{
	struct repl *repl = receiver->repl;
	int64_t now_s = repl_wall_ms(repl) / 1000;
	struct wire_records records;
	struct table_record record;

	if (wire_decode_records(payload, n, &records) < 0 || records.end < receiver->position)
		return -EPROTO;
	while (wire_records_next(&records, &record))
		if (table_put(repl->table, &record, now_s, NULL) < 0)
			return -EPROTO;
	receiver->n_records += records.n_records;
	receiver->peer->n_received += records.n_records;
	receiver->position = receiver->peer->from_position = records.end;
	receiver->ack_due = receiver->stored_news = true;
	return 0;
}

static int receiver_take_mark(struct receiver *receiver, const uint8_t *payload, size_t n)
{
	struct peer *peer = receiver->peer;
	uint64_t position;

	if (wire_decode_number(payload, n, &position) < 0 || position < receiver->position)
		return -EPROTO;
	receiver->position = peer->from_position = position;
	receiver->ack_due = true;
	peer->from_in_sync = true;
	receiver->repl->ops->peer_changed(receiver->repl->arg, peer->index);
	return 0;
}

static int receiver_take_tickets(struct receiver *receiver, const uint8_t *payload, size_t n)
{
	struct repl *repl = receiver->repl;
	struct ticket_state tickets = {0};
	int r = wire_decode_ticket_keys(payload, n, &tickets);

	if (r == 0 && repl->ops->hear_tickets)
		repl->ops->hear_tickets(repl->arg, receiver->peer->index, &tickets);
	explicit_bzero(&tickets, sizeof(tickets));
	return r;
}

static int receiver_take_stream(struct receiver *receiver, enum wire_type type,
                                const uint8_t *payload, size_t n)
{
	struct repl *repl = receiver->repl;
	struct wire_role role;

	switch (type) {
	case WIRE_START:
		return receiver_take_start(receiver, payload, n);
	case WIRE_RECORDS:
		return receiver->started ? receiver_take_records(receiver, payload, n) : -EPROTO;
	case WIRE_MARK:
		return receiver->started ? receiver_take_mark(receiver, payload, n) : -EPROTO;
	case WIRE_PING:
		receiver->pong_due = true;
		return wire_decode_number(payload, n, &receiver->token);
	case WIRE_ROLE:
		if (wire_decode_role(payload, n, &role) < 0)
			return -EPROTO;
		repl_take_role(receiver->peer, &role);
		return 0;
	case WIRE_TICKET_KEYS:
		return receiver_take_tickets(receiver, payload, n);
	case WIRE_POLICIES:
		return wire_decode_policies(payload, n, &receiver->peer->policies);
	case WIRE_CONTROL:
		repl->ops->control(repl->arg, receiver->peer->index, payload, n);
		return 0;
	default:
		return -EPROTO;
	}
}

static int receiver_take(struct receiver *receiver, enum wire_type type, const uint8_t *payload,
                         size_t n)
{
	if (receiver->phase == RECEIVER_HELLO)
		return type == WIRE_HELLO ? receiver_take_hello(receiver, payload, n) : -EPROTO;
	/* A newer connection of the same peer has taken over: what this one still holds will
	 * come there. */
	if (!receiver->peer)
		return -ECONNABORTED;
	return receiver_take_stream(receiver, type, payload, n);
}

int receiver_input(struct receiver *receiver, const uint8_t *bytes, size_t n, size_t *n_used)
{
	size_t used = 0;
	int r = 0;

	while (r == 0 && receiver->phase != RECEIVER_REFUSED) {
		struct wire_header header;

		r = wire_decode_header(bytes + used, n - used, &header);
		/* Before hello nothing long can be meant. */
		if (r == 0 && receiver->phase == RECEIVER_HELLO && header.type != WIRE_HELLO)
			r = -EPROTO;
		if (r != 0 || n - used - WIRE_HEADER_BYTES < header.n_payload)
			break;
		r = receiver_take(receiver, header.type, bytes + used + WIRE_HEADER_BYTES,
		                  header.n_payload);
		used += WIRE_HEADER_BYTES + header.n_payload;
	}
	*n_used = receiver->phase == RECEIVER_REFUSED ? n : used;
	if (r == -EPROTO) {
		receiver->repl->stats.n_malformed++;
		repl_log(receiver->repl, LOG_LEVEL_WARNING, receiver->source,
		         "malformed message from %s%s%s: connection closed", receiver->source,
		         receiver->peer ? ", node " : "",
		         receiver->peer ? receiver->peer->name : "");
	}
	return MIN(r, 0);
}

static void receiver_fill_answer(struct receiver *receiver, struct wire_writer *writer)
{
	struct wire_hello hello;

	repl_fill_hello(receiver->repl, &hello);
	hello.resume_epoch = receiver->peer->from_epoch;
	hello.resume_position = receiver->peer->from_position;
	wire_encode_hello_answer(writer, &hello);
}

/* Writes what is due; the caller gives room for one of each. */
void receiver_fill(struct receiver *receiver, struct wire_writer *writer)
{
	if (receiver->refuse_due)
		wire_encode_refuse(writer, &receiver->refuse);
	if (receiver->answer_due && receiver->peer)
		receiver_fill_answer(receiver, writer);
	if (receiver->ack_due) {
		struct wire_ack ack = {receiver->position, receiver->n_records};

		wire_encode_ack(writer, &ack);
	}
	if (receiver->pong_due)
		wire_encode_number(writer, WIRE_PONG, receiver->token);
	receiver->refuse_due = receiver->answer_due = receiver->ack_due = receiver->pong_due =
	    false;
}

/* The peer is no longer represented by this connection. */
void receiver_detach(struct receiver *receiver)
{
	struct peer *peer = receiver->peer;

	if (!peer) {
		if (receiver->phase == RECEIVER_HELLO || receiver->phase == RECEIVER_REFUSED)
			receiver->repl->n_pending--;
		return;
	}
	receiver->peer = NULL;
	peer->from = NULL;
	peer->from_in_sync = false;
}

/* How long this connection may be silent: its sender pings after each of its heartbeats without
 * an answer from us. */
int64_t receiver_silence_us(const struct receiver *receiver)
{
	return 4 * MAX(receiver->repl->heartbeat_us, receiver->heartbeat_ms * 1000LL);
}
