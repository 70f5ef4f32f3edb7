/* One worker of the daemon's: its socket and ring. Internal to workers.c and worker.c. */
#ifndef TLSBATON_DAEMON_WORKER_H
#define TLSBATON_DAEMON_WORKER_H

#include <sys/queue.h>

#include "daemon/workers.h"
#include "ring/ring.h"

#define WORKER_BATCHES 64

struct worker {
	TAILQ_ENTRY(worker) entry;
	TAILQ_ENTRY(worker) busy_entry;
	struct workers *workers;
	int fd;
	struct event *readable;
	struct ring_page *page;
	uint8_t *data;
	size_t data_bytes;
	struct ring_consumer consumer;
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

/* A worker without a socket yet. Out: `*ring_fd`, its ring, the caller's to send and close. `copy` is
 * borrowed (ring_consumer_init()). */
int worker_new(struct worker **out, struct workers *workers, size_t ring_bytes,
               uint8_t copy[RING_COPY_BYTES], int *ring_fd) MUST_CHECK;
void worker_free(struct worker *worker); /* closes its socket; NULL is fine */

/* Takes at most `n_max` notices. Returns 0 or -EPROTO; in both cases `*n_taken` says how many. */
int worker_take(struct worker *worker, const struct workers_ops *ops, void *arg, size_t n_max,
                size_t *n_taken) MUST_CHECK;

/* Opens the gates of the batches whose position is at or before `position`. */
void worker_settle(struct worker *worker, uint64_t position);

/* Adds the worker's counters to `stats`. */
void worker_count(const struct worker *worker, struct workers_stats *stats);

DEFINE_CLEANUP(struct worker *, worker_free)

#endif
