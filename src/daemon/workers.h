/*
 * The daemon's side of the workers: accepts them on a Unix socket, checks their credentials, hands each a
 * ring for its notices (src/ring), the table and the ticket keys read-only, and its counters, takes notices out of the rings,
 * and publishes acks. Single-threaded, on the daemon's event loop.
 */
#ifndef TLSBATON_DAEMON_WORKERS_H
#define TLSBATON_DAEMON_WORKERS_H

#include <stdint.h>
#include <sys/types.h>
#include <event2/event.h>

#include "daemon/refusals.h"
#include "table/table.h"
#include "util/macro.h"

struct workers;

struct workers_config {
	const char
	    *socket_path;  /* made with mode 0666: who may send notices is decided by credentials */
	const uid_t *uids; /* peers with one of these user IDs (root always) … */
	size_t n_uids;
	const gid_t *gids; /* … or one of these primary group IDs may connect */
	size_t n_gids;
	size_t ring_bytes; /* room for notices, a worker */
	unsigned n_max;    /* worker processes at once; further ones are refused and counted */
	unsigned gate_deadline_ms; /* told to the workers */
};

struct workers_ops {
	/* A read-only descriptor of the table for a new worker; the worker code closes it. */
	int (*table_fd)(void *arg);
	/* The same of the page of ticket keys. On failure the worker goes without. */
	int (*tickets_fd)(void *arg);
	/* One notice, already checked for lengths. Out: the position that must be acked before its gate opens
	 * (0: at once). Pointers are borrowed for the call. */
	void (*notice)(void *arg, const struct table_record *record, uint64_t *position);
	/* The position that must be acked before all that is stored now is. */
	uint64_t (*stored)(void *arg);
	/* A batch of notices has been taken: send on what is pending. */
	void (*batch)(void *arg);
	/* workers_policies() may have changed. May be NULL. */
	void (*policies)(void *arg);
};

struct workers_stats {
	unsigned n_connected;
	uint64_t n_refused;   /* by credentials or the limit */
	uint64_t n_malformed; /* notices that did not parse; their worker is disconnected */
	/* Sums over all workers since the daemon's start, of struct tlsbaton_counters. */
	uint64_t puts, lost, hits, hits_early, misses, removals, removals_ignored, stateless,
	    tickets_issued, tickets_opened, tickets_refused, gate_waits, gate_timeouts,
	    gate_no_daemon, refused_policy;
	uint64_t gate_wait_us
	    [32]; /* how many gates waited below 2^i microseconds and at least 2^(i-1) */
};

int workers_new(struct workers **out, struct event_base *base, const struct workers_config *config,
                const struct workers_ops *ops, void *arg) MUST_CHECK;

/* Takes what stands in the rings (clean stop), then disconnects all. NULL is fine. */
void workers_free(struct workers *workers);

/* Every record that ends at or before `position` is now where the policy wants it: open those gates.
 * Cheap when nothing changes; called often. */
void workers_acked(struct workers *workers, uint64_t position);

/* Positions have started over: those of notices taken before this one stand for nothing any more. Their
 * records are gone, and their gates open with the next ack. May be called from the `notice` operation. */
void workers_restarted(struct workers *workers);

/* After a reload; applies to new connections and, for the deadline, to all. */
void workers_configure(struct workers *workers, const struct workers_config *config);

/* How many are connected: workers_stats() without the sums. */
unsigned workers_n_connected(const struct workers *workers);

void workers_stats(const struct workers *workers, struct workers_stats *out);

/* Out: the users whose workers were refused of late and are not allowed; a reload forgets them. Returns how many. */
size_t workers_refused(const struct workers *workers, struct refusal out[REFUSALS_USERS]);

/* The policies of all workers that are connected (RING_POLICY_BYTES each), sorted, each once: the first `n_max`, if
 * there are more. Returns how many. They are the workers' word. */
size_t workers_policies(const struct workers *workers, uint8_t (*out)[32], size_t n_max);

#endif
