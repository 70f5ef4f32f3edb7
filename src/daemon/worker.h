/* Inside the workers: workers.c has their connections, looks.c when their rings are looked into, worker.c one
 * worker. */
#ifndef TLSBATON_DAEMON_WORKER_H
#define TLSBATON_DAEMON_WORKER_H

#include <sys/queue.h>

#include "daemon/workers.h"
#include "ring/ring.h"
#include "util/log.h"

#define WORKER_BATCHES 64

struct worker {
	TAILQ_ENTRY(worker) entry;
	TAILQ_ENTRY(worker) busy_entry;
	struct workers *workers;
	int fd, wake_fd; /* its socket, and the eventfd that it wakes us by */
	struct event *readable, *woken;
	struct ring_page *page;
	uint8_t *data;
	size_t data_bytes;
	struct ring_consumer consumer;
	uint32_t policies_turn;
	size_t n_policies;
	uint8_t policies[RING_POLICIES_MAX][RING_POLICY_BYTES];
	bool malformed;         /* a notice was: its ring is of no more use */
	bool busy;              /* on the busy list: looked at, so notices do not wake us */
	unsigned n_empty_looks; /* in a row */
	/* Batches whose records are stored and not yet acked, oldest first: a ring of its own. */
	struct {
		uint64_t seq;      /* of the batch's last notice */
		uint64_t position; /* to be acked before its gates open */
	} batches[WORKER_BATCHES];
	unsigned first_batch, n_batches;
};
TAILQ_HEAD(worker_list, worker);

struct workers {
	struct workers_config config; /* points to these copies: */
	char *socket_path;
	uid_t *uids;
	gid_t *gids;
	const struct workers_ops *ops;
	void *arg;
	struct event_base *base;
	int listener;
	bool lock_failed; /* a ring could not be locked; it was said */
	bool bound;       /* the socket file is ours to unlink */
	int doze_fd;      /* a timerfd: libevent's own timers count in milliseconds */
	bool dozing;      /* it is armed */
	uint64_t pace;    /* notices of late (looks.c), as of: */
	int64_t paced_us;
	struct event *acceptable, *look, *doze, *heartbeat;
	bool accepting;
	bool dropped;    /* a worker is gone since the last heartbeat */
	unsigned n_told; /* refusals since then */
	struct worker_list all, busy;
	uint64_t acked_position;
	struct workers_stats stats; /* of workers that are gone */
	struct log_limit limit;
	struct refusals refusals;
	uint8_t copy[RING_COPY_BYTES];
};

/* A worker without a socket yet. Out: `*ring_fd`, its ring, the caller's to send and close. `copy` is
 * borrowed (ring_consumer_init()). Its `wake_fd` is to be sent, too, and is its own. */
int worker_new(struct worker **out, struct workers *workers, size_t ring_bytes,
               uint8_t copy[RING_COPY_BYTES], int *ring_fd) MUST_CHECK;
void worker_free(struct worker *worker); /* closes its descriptors; NULL is fine */

/* Takes at most `n_max` notices. Returns 0 or -EPROTO; in both cases `*n_taken` says how many. */
int worker_take(struct worker *worker, const struct workers_ops *ops, void *arg, size_t n_max,
                size_t *n_taken) MUST_CHECK;

/* Opens the gates of the batches whose position is at or before `position`. */
void worker_settle(struct worker *worker, uint64_t position);

/* Looks whether the worker's policies have changed. */
bool worker_look_at_policies(struct worker *worker) MUST_CHECK;

/* Adds the worker's counters to `stats`. */
void worker_count(const struct worker *worker, struct workers_stats *stats);

/* Logs "what: why", one line a minute and `why`, and how many were held back since the last. */
void workers_warn(struct workers *workers, const char *what, const char *why);

/* looks.c: to be called once, before and after all else. */
int looks_init(struct workers *workers) MUST_CHECK;
void looks_deinit(struct workers *workers);

/* Looks into this worker's ring soon, and then until it is silent. */
void worker_wake(struct worker *worker);
/* Takes what a worker has left. It may still be writing: then at most what a full ring holds. */
void worker_take_last(struct worker *worker);
/* Forgets a worker, but not its counters. */
void worker_drop(struct worker *worker);
/* Its events, with the worker as `arg`: a wake-up; its end. */
void worker_on_woken(evutil_socket_t fd, short what, void *arg);
void worker_on_readable(evutil_socket_t fd, short what, void *arg);

DEFINE_CLEANUP(struct worker *, worker_free)

#endif
