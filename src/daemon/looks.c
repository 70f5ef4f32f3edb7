/*
 * When the rings are looked into.
 *
 * Two things cost. A wake-up is paid by the worker, in the middle of a handshake: some 5 us where the daemon
 * shares its processor, 20 to 150 us where an idle one has to be woken, most on virtual machines. A look at
 * rings that are empty is paid by everybody else on the daemon's processor: a timer, two switches, some 15 us.
 * So how it is done depends on the pace at which notices come:
 *
 * Slow: the daemon sleeps. Each busy worker's `sleeping` flag is up, and a notice adds to the worker's eventfd.
 *
 * Fast, when most looks would find something: it dozes. It looks into the rings of all busy workers every
 * WORKERS_DOZE_US, and nobody wakes it. A worker that is silent for WORKER_DOZES looks while others are not
 * goes to sleep alone, so that a look costs what is in use, and not what is connected.
 *
 * The pace is the number of notices of the last WORKERS_PACE_US, fading out linearly. It must rise above
 * PACE_DOZE for the daemon to doze and fall below PACE_SLEEP for it to sleep: the two are apart since with many
 * workers a change is expensive, each of them being asleep or not by itself.
 *
 * A doze is short beside what a notice then does on its way to a peer and back, and it is short beside the
 * time from a handshake's end to its response's start, which is when the ack is wanted. A look that found
 * a worker with more than WORKERS_LOOK notices is followed by the next at once; in between the event
 * loop polls its other sockets, so peers get their turn, and no worker starves another.
 */
#include "daemon/worker.h"
#include "util/clock.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>

#define WORKERS_LOOK 256 /* notices a worker and look */
#define WORKERS_DOZE_US 500
#define WORKER_DOZES 256
#define WORKERS_PACE_US 8000
#define PACE_ONE 256             /* one notice: the pace is a fixed-point number */
#define PACE_DOZE (8 * PACE_ONE) /* 1,000 notices a second: every other look finds one */
#define PACE_SLEEP (4 * PACE_ONE)

void worker_drop(struct worker *worker)
{
	struct workers *workers = worker->workers;

	worker_count(worker, &workers->stats);
	workers->stats.n_connected--;
	workers->dropped = true;
	if (worker->busy)
		TAILQ_REMOVE(&workers->busy, worker, busy_entry);
	TAILQ_REMOVE(&workers->all, worker, entry);
	worker_free(worker);
}

static void worker_malformed(struct worker *worker)
{
	struct workers *workers = worker->workers;

	workers->stats.n_malformed++;
	workers_warn(workers, "a worker was disconnected", "its notice is malformed");
	worker_drop(worker);
}

static void worker_sleep(struct worker *worker)
{
	struct workers *workers = worker->workers;

	/* False: a notice has come since the look. The next look finds it. */
	if (!ring_sleep(&worker->consumer))
		return;
	TAILQ_REMOVE(&workers->busy, worker, busy_entry);
	worker->busy = false;
}

/* One look into a busy worker's ring. Returns how many notices it held. */
static size_t worker_look(struct worker *worker)
{
	struct workers *workers = worker->workers;
	size_t n_taken = 0;
	int r;

	r = worker_take(worker, workers->ops, workers->arg, WORKERS_LOOK, &n_taken);
	if (n_taken > 0) {
		worker->n_empty_looks = 0;
		worker_settle(worker, workers->acked_position);
	}
	if (r < 0)
		worker_malformed(worker);
	else if (n_taken == 0 && ++worker->n_empty_looks >= WORKER_DOZES)
		worker_sleep(worker);
	return n_taken;
}

static void set_doze(struct workers *workers, bool dozing)
{
	const struct timespec interval = {.tv_nsec = dozing ? WORKERS_DOZE_US * 1000 : 0};
	const struct itimerspec timer = {.it_interval = interval, .it_value = interval};

	if (workers->dozing == dozing)
		return;
	workers->dozing = dozing;
	if (timerfd_settime(workers->doze_fd, 0, &timer, NULL) < 0)
		log_error("timerfd_settime: %s",
		          strerror(errno)); /* cannot fail with these arguments */
}

/* Counts what a look has found. Returns whether it goes on dozing, or begins to. */
static bool keep_pace(struct workers *workers, size_t n_taken)
{
	const int64_t now_us = clock_monotonic_us();
	const int64_t past_us = MIN(now_us - workers->paced_us, WORKERS_PACE_US);

	workers->pace -= workers->pace * (uint64_t)past_us / WORKERS_PACE_US;
	workers->pace += n_taken * PACE_ONE;
	workers->paced_us = now_us;
	return workers->pace >= (workers->dozing ? PACE_SLEEP : PACE_DOZE);
}

static void look_at_all(struct workers *workers)
{
	struct worker *worker, *next;
	size_t n_taken = 0;
	bool more = false;

	for (worker = TAILQ_FIRST(&workers->busy); worker; worker = next) {
		size_t n;

		next = TAILQ_NEXT(worker, busy_entry);
		n = worker_look(worker);
		n_taken += n;
		more |= n == WORKERS_LOOK;
	}
	if (n_taken > 0)
		workers->ops->batch(workers->arg);
	if (!keep_pace(workers, n_taken))
		for (worker = TAILQ_FIRST(&workers->busy); worker; worker = next) {
			next = TAILQ_NEXT(worker, busy_entry);
			worker_sleep(worker);
		}
	set_doze(workers, !TAILQ_EMPTY(&workers->busy));
	/* By timer, not event_active(): libevent would run that one before it polls any socket. */
	if (more)
		event_add(workers->look, &(struct timeval){0});
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	look_at_all(arg);
}

static void on_doze(evutil_socket_t fd, short what, void *arg)
{
	uint64_t n_expired;

	(void)what;
	if (read(fd, &n_expired, sizeof(n_expired)) > 0)
		look_at_all(arg);
}

void worker_wake(struct worker *worker)
{
	struct workers *workers = worker->workers;

	if (!worker->busy) {
		TAILQ_INSERT_TAIL(&workers->busy, worker, busy_entry);
		worker->busy = true;
		worker->n_empty_looks = 0;
		ring_stay_awake(worker->page);
	}
	event_active(workers->look, EV_TIMEOUT, 0);
}

void worker_take_last(struct worker *worker)
{
	struct workers *workers = worker->workers;
	size_t n_taken = 0;
	int r;

	r = worker_take(worker, workers->ops, workers->arg, worker->data_bytes / 32, &n_taken);
	if (n_taken > 0)
		workers->ops->batch(workers->arg);
	if (r < 0)
		workers->stats.n_malformed++;
}

void worker_on_woken(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	worker_wake(arg);
}

void worker_on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct worker *worker = arg;
	char bytes[16];
	ssize_t n;

	(void)what;
	n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
	/* It has nothing to say by its socket but its end: what it says is dropped. */
	if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR)))
		return;
	worker_take_last(worker);
	worker_drop(worker);
}

int looks_init(struct workers *workers)
{
	workers->doze_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (workers->doze_fd < 0)
		return -errno;
	workers->doze =
	    event_new(workers->base, workers->doze_fd, EV_READ | EV_PERSIST, on_doze, workers);
	workers->look = event_new(workers->base, -1, 0, on_look, workers);
	if (!workers->doze || !workers->look || event_add(workers->doze, NULL) < 0)
		return -ENOMEM;
	return 0;
}

void looks_deinit(struct workers *workers)
{
	if (workers->doze)
		event_free(workers->doze);
	if (workers->look)
		event_free(workers->look);
	closep(&workers->doze_fd);
}
