/*
 * Replication between daemons. Each node dials every peer and pushes its own log over that
 * connection; acks and answers come back on it. So between two nodes there are two connections,
 * one for each direction of records, and neither side has a role. docs/protocol.md has the
 * messages to the byte.
 *
 * The table is the backlog: repl holds one position a peer, never records. Single-threaded, on
 * the daemon's event loop. Nothing that a peer sends reaches an assert or makes memory grow
 * without bound.
 */
#ifndef TLSBATON_REPL_REPL_H
#define TLSBATON_REPL_REPL_H

#include <stdbool.h>
#include <stdint.h>
#include <event2/event.h>

#include "table/table.h"
#include "ticket/keyring.h"
#include "util/macro.h"

#define REPL_PEERS_MAX 15
#define REPL_NAME_MAX 63     /* bytes of a node's or group's name, without NUL: [A-Za-z0-9._-] */
#define REPL_CONTROL_MAX 512 /* bytes of a control message's payload */
#define REPL_KEY_BYTES 32    /* the group key: an external PSK for TLS 1.3 (RFC 8446, 2.2) */

struct repl_peer_config {
	const char *name;    /* the peer's node name */
	const char *address; /* "192.0.2.7:7410" or "[2001:db8::7]:7410" */
};

/* All strings are borrowed until repl_new() returns. */
struct repl_config {
	const char *node;
	const char *group;
	const char *listen; /* address:port */
	const struct repl_peer_config *peers;
	size_t n_peers;
	/* Exactly one way to authenticate: a group key of REPL_KEY_BYTES bytes, or (NULL) X.509.
	 * The peer's certificate must chain to ca_file and carry its node name as a DNS SAN or
	 * CN. */
	const uint8_t *group_key;
	const char *certificate_file, *private_key_file, *ca_file; /* PEM */
	/* A peer that leaves a record unacked for this long is not waited for until it has
	 * caught up. */
	unsigned gate_deadline_ms;
	/* Silence after which a ping is sent; three of them without an answer: the peer is gone. */
	unsigned heartbeat_ms;
};

enum repl_peer_state {
	REPL_ABSENT,      /* no connection */
	REPL_CATCHING_UP, /* connected, has not stored all that stood in the table by then */
	REPL_IN_SYNC,
	REPL_LAGGING, /* was in sync, left a record unacked beyond the deadline: not waited for */
	REPL_REFUSED, /* it or we refuse: `error` says why and what to change */
};

/* Whether the servers of a peer ask of their clients what ours do. */
enum repl_policies {
	REPL_POLICIES_UNKNOWN, /* one of the two nodes has no server that is connected, or the peer is away */
	REPL_POLICIES_SAME,
	REPL_POLICIES_DIFFER, /* sessions of what only one has are not honoured by the other */
};

struct repl_peer_status {
	char name[REPL_NAME_MAX + 1];
	char address[64];
	enum repl_peer_state state; /* of our push to it */
	bool from_connected;        /* it pushes to us */
	bool from_in_sync;          /* and said that we hold all that it holds */
	uint64_t lag_records;       /* appended here, not yet acked by it */
	unsigned lag_ms;            /* age of the oldest of those */
	uint64_t n_sent, n_acked;   /* records over this connection */
	uint64_t n_received;        /* records it pushed to us */
	uint64_t n_connects,
	    n_gate_lagging;      /* connections made; times it was set aside at the deadline */
	int64_t clock_offset_ms; /* its wall clock less ours, at hello */
	enum repl_policies policies;
	uint64_t term; /* its role, as last said (see repl_set_role()) */
	bool active, has_service, has_workers, refuses_workers;
	char error[160]; /* last failure in words; "" if none */
};

static inline bool repl_is_connected(const struct repl_peer_status *peer)
{
	return peer->state != REPL_ABSENT && peer->state != REPL_REFUSED;
}

struct repl_stats {
	uint64_t n_refused_auth; /* TLS handshakes that failed: wrong key, plaintext, garbage … */
	uint64_t n_refused_hello; /* version, group, node name */
	uint64_t n_malformed;     /* messages that did not parse; their connection is closed */
	uint64_t n_refused_limit; /* connections beyond the limit */
	uint64_t bytes_sent, bytes_received;
};

struct repl_ops {
	/* Acks or the set of peers waited for have changed: ask repl_acked(). */
	void (*acked)(void *arg);
	/* A control message from peer `peer` (index in config). `payload` is borrowed for the
	 * call. */
	void (*control)(void *arg, size_t peer, const uint8_t *payload, size_t n_payload);
	/* A peer's state, role or term has changed. */
	void (*peer_changed)(void *arg, size_t peer);
	/* What this node has to say of its ticket keys. Out: `*out`, wiped by the caller. NULL: nothing, and
	 * what peers say is not heard. */
	void (*say_tickets)(void *arg, struct ticket_state *out);
	/* What a peer says. `tickets` is borrowed, and wiped after the call. */
	void (*hear_tickets)(void *arg, size_t peer, const struct ticket_state *tickets);
};

struct repl;

/* Listens and starts dialling; SIGPIPE is ignored in the process from then on. `table` is
 * borrowed and must outlive it. `error` (of `error_size`) says in words what failed. Returns 0
 * or a negated errno. */
int repl_new(struct repl **out, struct event_base *base, const struct repl_config *config,
             struct table *table, const struct repl_ops *ops, void *arg, char *error,
             size_t error_size) MUST_CHECK;

/* Of what runs, from now on; no connection ends. A longer heartbeat is one to a peer from the next
 * connection to it on. */
void repl_set_times(struct repl *repl, unsigned gate_deadline_ms, unsigned heartbeat_ms);

/*
 * Takes over what `config` changes, for a reload; `node` and `group` must be what they were. Ends
 * connections only where it must: of a peer that is gone from the list or has another address,
 * and all when the group key or the authority is another. A renewed certificate is for new
 * connections. Peers are numbered anew, so it calls none of the caller's operations: those count in what the
 * caller has of peers, which repl_report() is for, once that is the new one. Each file is read once. On failure nothing
 * has changed, and `error` says what failed: a negated errno.
 */
int repl_configure(struct repl *repl, const struct repl_config *config, char *error,
                   size_t error_size) MUST_CHECK;
/* Tells what repl_configure() has changed: acked(), and peer_changed() for each peer whose state is another. */
void repl_report(struct repl *repl);

/* Clean stop: tries to flush what is pending for at most `flush_ms`, running the event loop; so
 * not to be called from one of its callbacks. */
void repl_flush(struct repl *repl, unsigned flush_ms);
void repl_free(struct repl *repl);

/* The table's head has moved: push what is pending. Cheap; called after each batch of notices. */
void repl_push(struct repl *repl);

/* The position up to which every in-sync peer has stored all; the table's head when there is
 * none to wait for (`*waited_for` is then 0). */
uint64_t repl_acked(const struct repl *repl, unsigned *waited_for);

/* Tells the peers what this node is: whether it answers for the service address, the term, a number that
 * grows with every take-over in the group, whether it has an address to answer for, and servers, and whether it
 * refuses some. Sent in hello and whenever it changes. */
struct wire_role;
void repl_set_role(struct repl *repl, const struct wire_role *role);

/* The peer is told what say_tickets() says: at once, or when it is connected. */
void repl_tell_tickets(struct repl *repl, size_t peer);
/* Tells the peers which policies this node's servers have: `n` fingerprints, at most 64, sorted, each once. Sent in
 * hello and whenever they change. */
void repl_set_policies(struct repl *repl, const uint8_t (*policies)[32], size_t n);

/* Sends a control message to a peer over the connection that we dialled. -ENOTCONN, -EMSGSIZE,
 * -ENOBUFS (eight long ones wait already: the peer does not read). */
int repl_control(struct repl *repl, size_t peer, const uint8_t *payload,
                 size_t n_payload) MUST_CHECK;

size_t repl_n_peers(const struct repl *repl);
void repl_peer_status(const struct repl *repl, size_t peer, struct repl_peer_status *out);
void repl_stats(const struct repl *repl, struct repl_stats *out);

#endif
