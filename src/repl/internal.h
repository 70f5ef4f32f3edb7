/*
 * What the files of src/repl share. A peer has two halves that know little of each other: `push`,
 * our connection to it, over which our log goes out, and `from`, its connection to us. Both are
 * state machines over bytes, without sockets (push.c, receive.c), driven by the files that have
 * the sockets (dial.c, accept.c). repl.c owns them and has the clock's tick.
 */
#ifndef TLSBATON_REPL_INTERNAL_H
#define TLSBATON_REPL_INTERNAL_H

#include <sys/queue.h>
#include <sys/socket.h>
#include <event2/listener.h>

#include "repl/clock.h"
#include "repl/link.h"
#include "repl/repl.h"
#include "repl/tls.h"
#include "util/log.h"
#include "wire/message.h"

#define REPL_GREETING_US 5000000 /* for connect, TLS handshake and hello together */
#define REPL_CLOCK_WARN_MS 2000
#define REPL_PENDING_SPARE 16 /* connections without a hello: 4 a peer, and these */
#define REPL_SOURCE_MAX 80
#define PUSH_AGES 64
#define PUSH_CONTROL_BYTES (8 * (REPL_CONTROL_MAX + WIRE_HEADER_BYTES))

struct peer;

enum push_phase {
	PUSH_WAITING,  /* no connection; dials at due_us */
	PUSH_DIALLING, /* TCP and TLS; gives up at due_us */
	PUSH_GREETING, /* hello is out; gives up at due_us */
	PUSH_STREAMING,
};

struct push {
	struct peer *peer;
	enum push_phase phase;
	enum repl_peer_state state;
	struct link link;
	int64_t due_us;
	unsigned backoff_ms;
	int64_t told_heartbeat_us; /* what our hello said: the peer measures our silence by it */

	/* The stream. */
	uint64_t position;    /* of our log: the next record to look at */
	uint64_t catch_up_to; /* below it records of any origin are sent, then only our own */
	uint64_t sent_end;    /* position that the last frame sent completes */
	uint64_t acked_end;   /* position that the last ack named */
	uint64_t acked; /* all before it is stored there, or was none of our business to send */
	uint64_t mark;  /* position of the mark sent, once `marked` */
	bool marked, synced; /* the mark is sent; the mark is acked */
	uint64_t n_sent, n_acked;
	uint64_t n_seen; /* of the records ever appended: how many stand before `position` */
	/* When the log's head stood where, for what is unacked: [first_age, first_age + n_ages)
	 * mod PUSH_AGES. */
	struct {
		uint64_t position;
		int64_t us;
	} ages[PUSH_AGES];
	unsigned first_age, n_ages;

	bool start_due, role_due, policies_due, ping_due, tickets_due;
	unsigned n_pings; /* since bytes last came in */
	uint64_t token;
	uint8_t control[PUSH_CONTROL_BYTES]; /* whole frames that wait for room */
	size_t n_control;

	uint64_t n_connects, n_gate_lagging;
	bool acked_news, state_news; /* to be told by push_report() */
	bool explained;              /* `error` says already why this connection ends */
	char error[160];
};

enum receiver_phase { RECEIVER_HELLO, RECEIVER_STREAMING, RECEIVER_REFUSED };

struct receiver {
	TAILQ_ENTRY(receiver) entry;
	struct repl *repl;
	struct peer *peer; /* NULL before hello, and once a newer connection has taken over */
	enum receiver_phase phase;
	struct link link;
	int64_t due_us;     /* without hello, or refused: gives up */
	int64_t suspect_us; /* when it was found silent; counts while later than what was heard */
	char source[REPL_SOURCE_MAX]; /* its address */
	bool (*may_be)(struct receiver *receiver, const char *node);
	uint64_t epoch, position; /* of the sender's log: what is stored up to where */
	bool started;
	uint64_t n_records;
	unsigned heartbeat_ms; /* as the sender said */
	bool answer_due, refuse_due, ack_due, pong_due;
	uint64_t token;
	struct wire_refuse refuse;
	bool stored_news;
};

struct peer {
	struct repl *repl;
	size_t index;
	char name[REPL_NAME_MAX + 1];
	char address[64];
	struct sockaddr_storage sockaddr;
	int n_sockaddr;
	struct push push;
	struct receiver *from; /* its connection to us; NULL: none */
	bool from_in_sync;
	uint64_t from_epoch, from_position; /* where it may resume */
	uint64_t n_received;
	int64_t clock_offset_ms;
	struct wire_role role;
	struct wire_policies policies;
};

struct repl {
	struct event_base *base;
	struct table *table;
	uint64_t epoch; /* of the table, whose positions all pushes count in */
	const struct repl_ops *ops;
	void *arg;
	const struct repl_clock *clock;
	struct tls *tls;
	char node[REPL_NAME_MAX + 1], group[REPL_NAME_MAX + 1];
	struct peer
	    *peers[REPL_PEERS_MAX]; /* owned; what else points to one stays while it is here */
	size_t n_peers;
	int64_t gate_deadline_us, heartbeat_us;
	struct evconnlistener *listener;
	char listen[64];                  /* its address */
	TAILQ_HEAD(, receiver) receivers; /* oldest first */
	size_t n_pending;                 /* of those, without a hello */
	struct event *tick;
	int64_t tick_us; /* when it is due; INT64_MAX: not set */
	struct wire_role role;
	struct wire_policies policies;
	struct repl_stats stats;
	struct log_limit log_limit;
};

/* repl.c */
static inline int64_t repl_now_us(const struct repl *repl)
{
	return repl->clock->mono_us(repl->clock->arg);
}

static inline int64_t repl_wall_ms(const struct repl *repl)
{
	return repl->clock->wall_ms(repl->clock->arg);
}

/* Fills in all of `repl` that needs no socket, loop or keys. For repl_new() and tests. */
int repl_init(struct repl *repl, const struct repl_config *config, struct table *table,
              const struct repl_ops *ops, void *arg, const struct repl_clock *clock, char *error,
              size_t error_size) MUST_CHECK;
void repl_deinit(struct repl *repl);
/* configure.c: the peers of `config`, without connections; then, in place of the list that was, which
 * takes them over: one that was on it stays what it was. */
int repl_make_peers(struct repl *repl, const struct repl_config *config,
                    struct peer *next[REPL_PEERS_MAX], char *error, size_t error_size) MUST_CHECK;
void repl_use_peers(struct repl *repl, struct peer *next[REPL_PEERS_MAX], size_t n);
/* A peer that is on no list yet. `error` in words: -EINVAL, -ENOMEM. */
int peer_new(struct peer **out, struct repl *repl, const struct repl_peer_config *config,
             char *error, size_t error_size) MUST_CHECK;
void peer_free(
    struct peer *peer); /* ends its connections; not from their callbacks; NULL is fine */
/* One line a source and minute; later ones of that source are counted in the next. */
void repl_log(struct repl *repl, enum log_level level, const char *source, const char *fmt, ...)
    PRINTF_LIKE(4, 5);
/* After records were stored: a table whose positions have started over is one that every peer has to be told
 * of in a new hello, for positions of two epochs do not compare. */
void repl_watch_epoch(struct repl *repl);
/* Makes sure that the tick comes no later than `due_us`. */
void repl_schedule(struct repl *repl, int64_t due_us);
/* Looks at every deadline that has passed at `now_us`, and sets the next tick. */
void repl_tick(struct repl *repl, int64_t now_us);
void repl_fill_hello(const struct repl *repl, struct wire_hello *hello);
/* What a hello from either direction tells about a peer. */
void repl_take_hello(struct peer *peer, const struct wire_hello *hello);
void repl_take_role(struct peer *peer, const struct wire_role *role);
struct peer *repl_find_peer(struct repl *repl, const char *name);

/* push.c: our log's way to one peer */
void push_init(struct push *push, struct peer *peer);
int push_input(struct push *push, const uint8_t *bytes, size_t n, size_t *n_used) MUST_CHECK;
void push_fill(struct push *push, struct wire_writer *writer);
void push_settle(struct push *push);
int64_t push_heartbeat_us(const struct push *push);
int64_t push_stream_tick(struct push *push, int64_t now_us);
void push_stop(struct push *push, enum repl_peer_state state);
uint64_t push_lag_records(const struct push *push);
void push_set_state(struct push *push, enum repl_peer_state state);
void push_report(struct push *push);
void push_say(struct push *push, enum log_level level, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* ages.c: what is unacked since when */
void push_note_head(struct push *push, int64_t now_us);
void push_forget_acked(struct push *push);
int64_t push_age_us(const struct push *push, int64_t now_us);

/* dial.c: its connection */
void push_dial(struct push *push);
void push_pump(struct push *push);
int64_t push_tick(struct push *push, int64_t now_us);
void push_close(struct push *push);
/* Ends a back-off. */
void push_dial_now(struct push *push);
/* Ends the connection, if there is one, and dials at once. The user hears of it at push_report(). */
void push_redial(struct push *push, const char *why);

/* receive.c: one peer's log's way into our table */
int receiver_input(struct receiver *receiver, const uint8_t *bytes, size_t n,
                   size_t *n_used) MUST_CHECK;
void receiver_fill(struct receiver *receiver, struct wire_writer *writer);
void receiver_detach(struct receiver *receiver);
int64_t receiver_silence_us(const struct receiver *receiver);

/* accept.c: its connections */
/* Changes the listener on success only. */
int accept_open(struct repl *repl, const char *address, char *error, size_t error_size) MUST_CHECK;
void accept_close(struct repl *repl);
int64_t receiver_tick(struct receiver *receiver, int64_t now_us);

#endif
