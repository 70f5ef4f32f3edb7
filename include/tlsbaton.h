/*
 * libtlsbaton: share a TLS server's sessions with the other nodes of its group.
 *
 * A server process (a "worker") opens one handle. New sessions go as notices to tlsbatond on the same
 * node, which stores them in the node's session table and replicates them to its peers; lookups read
 * that table in shared memory, without a lock, a system call or a message.
 *
 * Two ways to use it:
 *  - a server that leaves sessions to OpenSSL: tlsbaton_attach() on each SSL_CTX, then tlsbaton_gate_*()
 *    with tlsbaton_ssl_notice() just before the first response bytes of a connection;
 *  - a server with session callbacks of its own (Apache's socache): tlsbaton_session_put/get/remove(),
 *    and tlsbaton_attach_tickets() on each SSL_CTX.
 *
 * Whether sessions are kept on the nodes, or in stateless tickets under keys that the nodes share, is the
 * group's choice (`resumption` in tlsbaton.conf(5)); a server takes it over when it attaches.
 *
 * Nothing here fails a handshake. With the daemon absent, hung or restarting, new sessions wait in the
 * worker's ring until it returns (those that do not fit are counted as lost), lookups go on in the table
 * as it was last mapped, and gates open at once. The worst outcome of any fault is a full handshake.
 *
 * Threads: every function may be called from any thread at any time, except tlsbaton_new() and
 * tlsbaton_free(). fork(2): a handle goes on working in the child, which connects to the daemon by
 * itself on first use. No function blocks, except tlsbaton_new(), tlsbaton_session_get() after a miss (see
 * there) and tlsbaton_gate_wait().
 *
 * Errors: 0 is done, a negative value is a negated errno, a positive one is an outcome listed at the
 * function. Outputs are untouched unless the function says 0.
 *
 * Secrets: the DER of a session holds its master secret. Buffers that this library makes are wiped; the
 * caller wipes its own (OPENSSL_cleanse()).
 */
#ifndef TLSBATON_H
#define TLSBATON_H

#include <stddef.h>
#include <stdint.h>
#include <openssl/ssl.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Longest session ID (RFC 5246, 7.4.1.2) and longest DER of an SSL_SESSION, in bytes. */
#define TLSBATON_ID_MAX 32
#define TLSBATON_DER_MAX 16384

/* Where tlsbatond listens for workers unless told otherwise. */
#define TLSBATON_SOCKET_DEFAULT "/run/tlsbaton/worker.sock"

/* Outcomes. */
enum tlsbaton_outcome {
	TLSBATON_MISS = 1, /* no live session has this ID */
	TLSBATON_LOST =
	    2, /* the notice found no room, or there is no daemon: this session is not shared */
	TLSBATON_TIMEOUT = 3, /* the deadline passed before all peers had stored the record */
	TLSBATON_CLOSED = 4,  /* the gate is still closed: poll tlsbaton_gate_fd() */
};

typedef struct tlsbaton tlsbaton;

struct tlsbaton_options {
	size_t size;             /* sizeof(struct tlsbaton_options): lets the struct grow */
	const char *socket_path; /* NULL: TLSBATON_SOCKET_DEFAULT; copied */
	/* Optional: receives one line when sharing starts, stops or resumes; never one a handshake. May be
	 * called from any thread that uses the handle. `level` is a syslog(3) priority. */
	void (*log)(void *arg, int level, const char *message);
	void *log_arg;
	unsigned connect_ms; /* how long tlsbaton_new() may wait for the daemon; 0: 200 */
};

/* What a worker process has counted since it started; all but `reconnects` are also summed up by the daemon. */
struct tlsbaton_counters {
	uint64_t puts;             /* notices sent */
	uint64_t lost;             /* notices without room or daemon */
	uint64_t hits;             /* lookups that found a live session */
	uint64_t hits_early;       /* of these, before the session was where the policy wants it */
	uint64_t misses;           /* lookups that did not */
	uint64_t removals;         /* tlsbaton_session_remove() */
	uint64_t removals_ignored; /* OpenSSL's own removals at unclean ends: not replicated */
	uint64_t stateless;        /* sessions whose state is in the client's ticket: not stored */
	uint64_t tickets_issued;   /* stateless tickets sealed with a key of the group */
	uint64_t tickets_opened;   /* clients' tickets whose key was known */
	uint64_t tickets_refused; /* … or was not: void by a rekey, too old, or of somebody else */
	uint64_t gate_waits;      /* gates that were closed when first asked */
	uint64_t gate_timeouts;   /* gates that opened at the deadline */
	uint64_t gate_no_daemon;  /* gates that opened because the daemon hung or was gone */
	uint64_t reconnects;      /* connections to the daemon after the first */
	uint64_t
	    refused_policy; /* sessions not honoured: of another policy or name, or beyond their end */
};

/*
 * Opens a handle. `options` is borrowed and may be NULL. Waits at most connect_ms for the daemon, and
 * succeeds also without one (the handle connects when it can). `*out` is the caller's to free.
 * Returns 0, -EINVAL (socket_path too long, wrong size), -ENOMEM.
 */
int tlsbaton_new(tlsbaton **out, const struct tlsbaton_options *options);

/* Closes a handle (NULL is fine). No other call on it may be under way; contexts that it was attached
 * to must be freed before. Notices already sent are still taken by the daemon. */
void tlsbaton_free(tlsbaton *baton);

/*
 * Makes the server-side context `ctx` use the shared sessions: sets SSL_SESS_CACHE_SERVER with
 * SSL_SESS_CACHE_NO_INTERNAL and the new/get/remove callbacks. Callbacks that were set before are kept
 * and called first (new, remove) or after a miss (get). Where the context is also used for connections to other
 * servers, their sessions are left to those callbacks alone, and SSL_SESS_CACHE_CLIENT stays as it was. A context with SSL_VERIFY_PEER needs a session ID
 * context from its user (SSL_CTX_set_session_id_context(3)), or OpenSSL resumes nothing.
 * Includes what tlsbaton_attach_tickets() and tlsbaton_guard() do. Sessions that OpenSSL put into a stateless ticket
 * are counted, not stored. Returns 0, -EBUSY (attached already), -ENOMEM.
 */
int tlsbaton_attach(tlsbaton *baton, SSL_CTX *ctx);

/*
 * Makes the stateless tickets of `ctx` ones that every node of the group opens: sets its ticket key callback
 * (SSL_CTX_set_tlsext_ticket_key_evp_cb(3); one that was set before is not called any more). Where the group's
 * resumption is stateful, or nobody has said yet, sets SSL_OP_NO_TICKET, so that sessions stay on the nodes. A
 * context that has SSL_OP_NO_TICKET keeps it. Without a key of the group no client gets a ticket that
 * could be used, and no handshake fails. Call it before the first connection; `baton` must outlive `ctx`.
 * Returns 0 or -ENOMEM.
 */
int tlsbaton_attach_tickets(tlsbaton *baton, SSL_CTX *ctx);

/* How the group keeps what a client resumes, as the daemon said last: for servers that do not use
 * tlsbaton_attach(). With TLSBATON_TICKETS nothing is to be put for a connection without SSL_OP_NO_TICKET. */
enum tlsbaton_resumption {
	TLSBATON_UNKNOWN,  /* there was no daemon yet: as TLSBATON_STATEFUL */
	TLSBATON_STATEFUL, /* on the nodes */
	TLSBATON_TICKETS,  /* in tickets */
	TLSBATON_BOTH,     /* in tickets; on the nodes for clients that take none */
};
int tlsbaton_resumption(tlsbaton *baton);

/*
 * Sees to it that sessions are resumed only where they would have been made: under the same policy towards clients
 * (session ID context, client certificates, trust store), for the same server name, and before the lifetime of
 * their first handshake or the client's certificate has ended. That holds for session IDs, TLS 1.3 and stateless
 * tickets, on all nodes. What is refused is a full handshake. By itself for servers that have a cache of their own
 * and use tlsbaton_session_put(); tlsbaton_attach() includes it.
 *
 * Call it when the context is configured and before its first connection, for each context that a client's name can
 * lead to: sessions made under one that is not guarded are not honoured. Keeps what it needs at the end of the
 * session's application data, puts OpenSSL's internal cache out of use, and takes
 * SSL_CTX_set_session_ticket_cb(3), which has no getter: a server that sets these callbacks itself must not guard
 * its contexts. Returns 0, -EBUSY (guarded already), -ENOMEM.
 */
int tlsbaton_guard(tlsbaton *baton, SSL_CTX *ctx);

/* When the session of `ssl` and all that come of it end, in seconds since 1970; 0: never resumed. Only for contexts
 * given to tlsbaton_guard() or tlsbaton_attach(), once their new-session callback was called. */
int64_t tlsbaton_ssl_expires(const SSL *ssl);

/* The number of the last notice that was sent for a session of `ssl` (for the gate): one that it made, or one that
 * it resumes and that was not yet where the policy wants it; 0: none. Only for contexts given to
 * tlsbaton_attach(). */
uint64_t tlsbaton_ssl_notice(const SSL *ssl);

/*
 * Sends a notice: the session `id` (1 to TLSBATON_ID_MAX bytes) has the DER `der` (i2d_SSL_SESSION(3),
 * 1 to TLSBATON_DER_MAX bytes) until `expires_s` (seconds since 1970). Copies, never blocks.
 * Out: `*notice`, for the gate; may be NULL. Returns 0, TLSBATON_LOST, -EINVAL (a length out of range).
 */
int tlsbaton_session_put(tlsbaton *baton, const unsigned char *id, size_t id_len,
                         const unsigned char *der, size_t der_len, int64_t expires_s,
                         uint64_t *notice);

/*
 * Looks a session up in the node's table. Out: its DER in `der` (of `der_size` bytes; TLSBATON_DER_MAX
 * always does; what follows the DER in it may be overwritten) and its length, and `*expires_s` (may be NULL), when it expires: with TLS 1.3 each
 * resumption makes a new session, which must not outlive the one it came from, so put it with this expiry
 * at the latest. The record is a copy: wipe it after use. `*notice` (may be NULL), for the gate: mostly 0; else the
 * session was made on this node a moment ago, by another connection, and is not yet where the policy wants it, so
 * that a response on its resumption has to wait like one on a new session. Bounded time, without a lock; no system
 * call but, for such a session, the daemon's wake-up, and a few times a second a look after the connection, which does
 * not block. A miss without a daemon may wait for one that has just come back with another table: 5 ms at most, one
 * thread at a time, and no more than once an attempt to connect, which are 50 ms to 1 s apart.
 * Returns 0, TLSBATON_MISS, -EINVAL, -ENOBUFS (der_size is too small).
 */
int tlsbaton_session_get(tlsbaton *baton, const unsigned char *id, size_t id_len,
                         unsigned char *der, size_t der_size, size_t *der_len, int64_t *expires_s,
                         uint64_t *notice);

/*
 * Removes a session on all nodes, for good: for removals that security asks for (a log-out, a revoked
 * certificate), not for connections that ended uncleanly. Returns 0, TLSBATON_LOST, -EINVAL.
 */
int tlsbaton_session_remove(tlsbaton *baton, const unsigned char *id, size_t id_len,
                            uint64_t *notice);

/*
 * The gate: blocks the calling thread until every peer that the policy names has stored the record of
 * `notice`, or the daemon's deadline (20 ms unless configured) has passed since it was first asked for.
 * Opens at once for notice 0, without a daemon and without a peer. Returns 0 or TLSBATON_TIMEOUT.
 */
int tlsbaton_gate_wait(tlsbaton *baton, uint64_t notice);

/*
 * The gate for event loops: 0 when open, TLSBATON_CLOSED when not. Never blocks. While closed, wait for
 * tlsbaton_gate_fd() to be readable or for the loop's own deadline of tlsbaton_gate_deadline_ms(), then
 * ask again; after the deadline answer the client all the same and call tlsbaton_gate_expired().
 * A call may take the wake-up that was meant for an earlier notice: a loop with several closed gates
 * then asks for these again, too.
 */
int tlsbaton_gate_poll(tlsbaton *baton, uint64_t notice);
int tlsbaton_gate_fd(
    tlsbaton *baton); /* borrowed, non-blocking; -1 without a daemon; reading is not needed */
unsigned tlsbaton_gate_deadline_ms(tlsbaton *baton);
void tlsbaton_gate_expired(tlsbaton *baton);

/* 1 while a live daemon is connected, else 0. Never blocks. */
int tlsbaton_connected(tlsbaton *baton);

/*
 * For servers that have OpenSSL's callbacks to themselves, and so do not use tlsbaton_attach(): counts what
 * they saw and did not pass on, a session in a stateless ticket, or a removal at a connection's unclean end,
 * so that the sums which the daemon shows are whole. Never block; any thread.
 */
void tlsbaton_note_stateless(tlsbaton *baton);
void tlsbaton_note_removal_ignored(tlsbaton *baton);

/* Out: this process's counters. */
void tlsbaton_count(tlsbaton *baton, struct tlsbaton_counters *out);

/* The library's version, "MAJOR.MINOR.PATCH". */
const char *tlsbaton_version(void);

#ifdef __cplusplus
}
#endif

#endif
