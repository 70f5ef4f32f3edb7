/*
 * One worker: taking its notices, and acking them.
 *
 * Notices are numbered by the worker, records are placed in the table by us, and peers ack positions of
 * the table. What joins them is a short queue of batches {last notice, position}: when all that ends at
 * or before the position is acked, so are the notices up to that number. The queue has a limit; a batch
 * that finds it full is merged into the newest one, whose gates then open a little later, never earlier.
 */
#include "daemon/worker.h"

#include <errno.h>
#include <event2/event.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

_Static_assert(RING_ID_MAX == TABLE_ID_MAX && RING_DER_MAX == TABLE_DER_MAX,
               "what the ring lets through is what the table takes");

static void lock_ring(struct worker *worker)
{
	int r = ring_lock(worker->data, worker->data_bytes);

	if (r == 0 || worker->workers->lock_failed)
		return;
	worker->workers->lock_failed = true;
	log_warning(
	    "a worker's ring cannot be locked in memory (%s): sessions may be swapped to disk; "
	    "raise RLIMIT_MEMLOCK, or give a container CAP_IPC_LOCK",
	    strerror(-r));
}

int worker_new(struct worker **out, struct workers *workers, size_t ring_bytes,
               uint8_t copy[RING_COPY_BYTES], int *ring_fd)
{
	_cleanup_(worker_freep) struct worker *worker = NULL;
	_cleanup_(closep) int memory = -1;
	int r;

	worker = calloc(1, sizeof(*worker));
	if (!worker)
		return -ENOMEM;
	worker->fd = -1;
	worker->workers = workers;
	worker->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (worker->wake_fd < 0)
		return -errno;
	r = ring_create(ring_bytes, &memory);
	if (r < 0)
		return r;
	r = ring_map(memory, &worker->page, &worker->data);
	if (r < 0)
		return r;
	worker->data_bytes = worker->page->data_bytes;
	lock_ring(worker);
	r = ring_consumer_init(&worker->consumer, worker->page, worker->data, worker->data_bytes,
	                       copy);
	if (r < 0)
		return r;
	*ring_fd = memory;
	memory = -1;
	*out = worker;
	worker = NULL;
	return 0;
}

void worker_free(struct worker *worker)
{
	if (!worker)
		return;
	if (worker->readable)
		event_free(worker->readable);
	if (worker->woken)
		event_free(worker->woken);
	/* Not wiped while the worker lives: it carries over what we have not taken. worker_take() wiped the
	 * rest, and the memory itself goes with its last user. A malformed ring has nothing to carry over, and its
	 * worker, which lives, may keep it for long. */
	ring_unmap_data(worker->data, worker->data_bytes, worker->malformed);
	ring_unmap_page(worker->page);
	closep(&worker->fd);
	closep(&worker->wake_fd);
	free(worker);
}

static void batch_add(struct worker *worker, uint64_t seq, uint64_t position)
{
	unsigned last = (worker->first_batch + worker->n_batches - 1) % WORKER_BATCHES;

	if (worker->n_batches < WORKER_BATCHES) {
		last = (worker->first_batch + worker->n_batches) % WORKER_BATCHES;
		worker->batches[last].position = 0;
		worker->n_batches++;
	}
	worker->batches[last].seq = seq;
	/* Positions grow, unless the table started over: then only the later one means anything. 0: none. */
	if (position)
		worker->batches[last].position = position;
}

int worker_take(struct worker *worker, const struct workers_ops *ops, void *arg, size_t n_max,
                size_t *n_taken)
{
	struct ring_notice notice;
	uint64_t latest = 0;
	size_t n = 0;
	int r = 0;

	while (n < n_max && (r = ring_next(&worker->consumer, &notice)) == 0) {
		struct table_record record = {
		    .id = notice.id,
		    .n_id = notice.n_id,
		    .der = notice.der,
		    .n_der = notice.n_der,
		    .expires_s = notice.expires_s,
		    .flags = TABLE_LOCAL | (notice.kind == RING_REMOVE ? TABLE_TOMBSTONE : 0),
		};
		uint64_t position = 0;

		if (notice.kind == RING_MARK)
			position = ops->stored(arg);
		else
			ops->notice(arg, &record, &position);
		if (position)
			latest = position;
		n++;
	}
	if (n > 0) {
		batch_add(worker, worker->consumer.seq, latest);
		ring_release(&worker->consumer);
	}
	*n_taken = n;
	worker->malformed = r < 0;
	return r < 0 ? r : 0;
}

static void tell_poller(const struct worker *worker)
{
	/* Non-blocking whatever the worker does to its end. A full socket holds a wake-up already, and a
	 * broken one will be reported to the event loop. */
	(void)send(worker->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

void worker_settle(struct worker *worker, uint64_t position)
{
	uint64_t seq = 0;

	while (worker->n_batches > 0 && worker->batches[worker->first_batch].position <= position) {
		seq = worker->batches[worker->first_batch].seq;
		worker->first_batch = (worker->first_batch + 1) % WORKER_BATCHES;
		worker->n_batches--;
	}
	if (seq > 0 && ring_ack(worker->page, seq))
		tell_poller(worker);
}

bool worker_look_at_policies(struct worker *worker)
{
	return ring_look_at_policies(worker->page, &worker->policies_turn, worker->policies,
	                             &worker->n_policies);
}

void worker_count(const struct worker *worker, struct workers_stats *stats)
{
	uint64_t *const sums[RING_N_COUNTERS] = {
	    [RING_PUTS] = &stats->puts,
	    [RING_LOST] = &stats->lost,
	    [RING_HITS] = &stats->hits,
	    [RING_HITS_EARLY] = &stats->hits_early,
	    [RING_MISSES] = &stats->misses,
	    [RING_REMOVALS] = &stats->removals,
	    [RING_REMOVALS_IGNORED] = &stats->removals_ignored,
	    [RING_STATELESS] = &stats->stateless,
	    [RING_TICKETS_ISSUED] = &stats->tickets_issued,
	    [RING_TICKETS_OPENED] = &stats->tickets_opened,
	    [RING_TICKETS_REFUSED] = &stats->tickets_refused,
	    [RING_GATE_WAITS] = &stats->gate_waits,
	    [RING_GATE_TIMEOUTS] = &stats->gate_timeouts,
	    [RING_GATE_NO_DAEMON] = &stats->gate_no_daemon,
	    [RING_REFUSED_POLICY] = &stats->refused_policy,
	};
	const struct ring_page *page = worker->page;

	/* Relaxed: sums, ordered with nothing. A worker that lies spoils the figures, and only them. */
	for (size_t i = 0; i < RING_N_COUNTERS; i++)
		if (sums[i])
			*sums[i] += atomic_load_explicit(&page->counters[i], memory_order_relaxed);
	for (size_t i = 0; i < RING_WAIT_BUCKETS; i++)
		stats->gate_wait_us[i] +=
		    atomic_load_explicit(&page->gate_wait_us[i], memory_order_relaxed);
}
