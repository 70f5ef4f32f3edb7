/*
 * The daemon's part in the group's ticket keys: makes the next one when it is this node's turn, takes over what peers
 * have, wipes those whose time is over, and shows them to the workers on a page (src/ticket). On the daemon's event
 * loop; never blocks.
 */
#ifndef TLSBATON_DAEMON_TICKETS_H
#define TLSBATON_DAEMON_TICKETS_H

#include <event2/event.h>

#include "ticket/keyring.h"
#include "util/macro.h"

struct tickets;

#define TICKETS_PEERS_MAX 31

struct tickets_config {
	enum ticket_resumption resumption;
	unsigned rotation_ms; /* TICKET_ROTATION_MS_MIN to TICKET_ROTATION_MS_MAX */
	unsigned rank;        /* of this node among those of its group */
	/* At most TICKETS_PEERS_MAX; who may have keys: a first start waits a moment for theirs. */
	unsigned n_peers;
};

struct tickets_clock {
	int64_t (*wall_ms)(void *arg);
	int64_t (*boot_ms)(void *arg); /* CLOCK_BOOTTIME */
	void *arg;
};

struct tickets_ops {
	/* Peers that are to hear what tickets_say() says, a bit each by their number: from the event loop, and from
	 * within any call but tickets_say(). */
	void (*tell)(void *arg, uint32_t peers);
	const struct tickets_clock *clock; /* NULL: the system's */
};

struct tickets_stats {
	enum ticket_resumption resumption;
	unsigned rotation_ms;
	unsigned n_keys;
	bool encrypts;          /* there is a key that encrypts now: */
	int64_t current_age_ms; /* since it took over */
	int64_t next_ms;    /* until another takes over; until its end, where there is none yet */
	bool staged;        /* there is one */
	uint64_t rekeyed_s; /* since 1970, the last rekey; 0: none */
	uint64_t n_made, n_heard; /* keys: by this node, taken over from peers */
};

/*
 * Opens the page at `path` (the keys on it stay in use) and starts. `ops` and what it points to must outlive it.
 * `error` in words. Returns 0 or a negated errno.
 */
int tickets_new(struct tickets **out, struct event_base *base, const char *path,
                const struct tickets_config *config, const struct tickets_ops *ops, void *arg,
                char *error, size_t error_size) MUST_CHECK;
/* Wipes this process's copies; the page's file stays for the next daemon. NULL is fine. */
void tickets_free(struct tickets *tickets);

/* Peers have new numbers from now on, and are told what there is. */
void tickets_configure(struct tickets *tickets, const struct tickets_config *config);

/* Does what is due. The timer calls it, once a second at least; so does a test whose clock is another. */
void tickets_look(struct tickets *tickets);

/* A read-only descriptor of the page, the caller's, for a worker. -errno. */
int tickets_fd(const struct tickets *tickets) MUST_CHECK;

/* What peers are to know. Out: `*out`, the caller's to wipe. */
void tickets_say(const struct tickets *tickets, struct ticket_state *out);
/* What peer number `peer`, `name`, says. Logs where the two nodes cannot work together. */
void tickets_hear(struct tickets *tickets, unsigned peer, const char *name,
                  const struct ticket_state *theirs);

/*
 * All tickets so far are void, on every node that hears of it. Until tickets_rekey_end() a later generation that a peer
 * comes up with is not put up with: it may be older than this one in truth. Returns 0 or -EIO: nothing has changed.
 */
int tickets_rekey(struct tickets *tickets) MUST_CHECK;
void tickets_rekey_end(struct tickets *tickets);
/* Whether peer number `peer` has said that it holds the generation that this node holds. */
bool tickets_agrees(const struct tickets *tickets, unsigned peer);

void tickets_stats(const struct tickets *tickets, struct tickets_stats *out);

/* "stateful", "tickets", "both". */
const char *tickets_word(enum ticket_resumption resumption);

#endif
