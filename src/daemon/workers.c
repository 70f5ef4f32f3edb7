/*
 * The workers of this node: their connections.
 *
 * Who may connect is decided by SO_PEERCRED, which the kernel vouches for, not by the socket's mode: the
 * refused one gets a reason it can log. What comes over the socket afterwards is not even read for its
 * contents.
 *
 * So any user of this machine may knock, as often as he likes. To be told why costs the daemon several times what a
 * look at who it is does, so only so many are told between two heartbeats. The others are closed at once: the queue
 * that they fill drains the faster, and who is admitted finds a place in it.
 */
#include "daemon/workers.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "daemon/worker.h"
#include "ring/hello.h"
#include "util/clock.h"

#define WORKERS_HEARTBEAT_MS 100 /* a tenth of RING_DEAD_MS */
#define WORKERS_BACKLOG 128
#define WORKERS_ACCEPTS 64 /* connections a turn of the loop */
#define WORKERS_TOLD 16    /* refusals with a reason, a heartbeat */

static void on_heartbeat(evutil_socket_t fd, short what, void *arg)
{
	struct workers *workers = arg;
	struct worker *worker;
	uint64_t now = (uint64_t)clock_coarse_ms();
	bool news = workers->dropped;

	(void)fd;
	(void)what;
	workers->dropped = false;
	workers->n_told = 0;
	TAILQ_FOREACH (worker, &workers->all, entry) {
		/* Relaxed: it says only that we ran at this time. */
		atomic_store_explicit(&worker->page->heartbeat_ms, now, memory_order_relaxed);
		news |= worker_look_at_policies(worker);
	}
	if (news && workers->ops->policies)
		workers->ops->policies(workers->arg);
	if (!workers->accepting)
		workers->accepting = event_add(workers->acceptable, NULL) == 0;
}

/* ---- Connections ---- */

static enum hello_status judge(const struct workers *workers, int fd)
{
	const struct workers_config *config = &workers->config;
	struct ucred peer;
	socklen_t n_peer = sizeof(peer);
	bool allowed;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n_peer) < 0)
		return HELLO_NOT_ALLOWED;
	allowed = peer.uid == 0;
	for (size_t i = 0; i < config->n_uids; i++)
		allowed |= peer.uid == config->uids[i];
	for (size_t i = 0; i < config->n_gids; i++)
		allowed |= peer.gid == config->gids[i];
	if (!allowed)
		return HELLO_NOT_ALLOWED;
	return workers->stats.n_connected < config->n_max ? HELLO_WELCOME : HELLO_TOO_MANY;
}

static int send_hello(int fd, enum hello_status status, const int *fds, size_t n_fds)
{
	struct hello hello = {
	    .magic = HELLO_MAGIC,
	    .version = HELLO_VERSION,
	    .size = sizeof(hello),
	    .status = status,
	};
	struct iovec iov = {.iov_base = &hello, .iov_len = sizeof(hello)};
	alignas(struct cmsghdr) char control[CMSG_SPACE(HELLO_N_FDS * sizeof(int))] = {0};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n_fds > 0) {
		struct cmsghdr *cmsg = (struct cmsghdr *)control;

		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, n_fds * sizeof(int));
	}
	return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

void workers_warn(struct workers *workers, const char *what, const char *why)
{
	unsigned n_held;

	if (!log_limit_pass(&workers->limit, why, clock_coarse_ms(), &n_held))
		return;
	if (n_held > 0)
		log_warning("%s: %s (%u more were)", what, why, n_held);
	else
		log_warning("%s: %s", what, why);
}

static void refuse(struct workers *workers, int fd, enum hello_status status)
{
	struct ucred peer = {.uid = (uid_t)-1};
	socklen_t n_peer = sizeof(peer);
	char why[128];

	workers->stats.n_refused++;
	if (workers->n_told++ >= WORKERS_TOLD)
		return;
	/* It says why; if it cannot be told, it is gone, or will see the end. */
	(void)send_hello(fd, status, NULL, 0);
	(void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n_peer);
	if (status == HELLO_TOO_MANY) {
		snprintf(why, sizeof(why), "there are %u already; raise workers-max",
		         workers->config.n_max);
	} else {
		refusals_note(&workers->refusals, peer.uid, clock_coarse_ms());
		snprintf(why, sizeof(why),
		         "user ID %u is not allowed; add its user to worker-users",
		         (unsigned)peer.uid);
	}
	workers_warn(workers, "a worker was refused", why);
}

/* Takes the worker that connected on `fd`. On failure `fd` stays the caller's. */
static int welcome(struct workers *workers, int fd)
{
	_cleanup_(worker_freep) struct worker *worker = NULL;
	_cleanup_(closep) int ring_fd = -1, table_fd = -1, tickets_fd = -1;
	int r;

	table_fd = workers->ops->table_fd(workers->arg);
	if (table_fd < 0)
		return table_fd;
	tickets_fd = workers->ops->tickets_fd(workers->arg);
	if (tickets_fd < 0)
		workers_warn(workers, "a worker was given no ticket keys", strerror(-tickets_fd));
	r = worker_new(&worker, workers, workers->config.ring_bytes, workers->copy, &ring_fd);
	if (r < 0)
		return r;
	worker->readable =
	    event_new(workers->base, fd, EV_READ | EV_PERSIST, worker_on_readable, worker);
	worker->woken = event_new(workers->base, worker->wake_fd, EV_READ | EV_PERSIST | EV_ET,
	                          worker_on_woken, worker);
	if (!worker->readable || !worker->woken || event_add(worker->readable, NULL) < 0 ||
	    event_add(worker->woken, NULL) < 0)
		return -ENOMEM;
	atomic_store_explicit(&worker->page->heartbeat_ms, (uint64_t)clock_coarse_ms(),
	                      memory_order_relaxed);
	atomic_store_explicit(&worker->page->gate_deadline_ms, workers->config.gate_deadline_ms,
	                      memory_order_relaxed);
	r = send_hello(fd, HELLO_WELCOME,
	               (int[HELLO_N_FDS]){ring_fd, table_fd, worker->wake_fd, tickets_fd},
	               tickets_fd < 0 ? HELLO_N_FDS - 1 : HELLO_N_FDS);
	if (r < 0)
		return r;
	worker->fd = fd;
	TAILQ_INSERT_TAIL(&workers->all, worker, entry);
	workers->stats.n_connected++;
	worker_wake(worker);
	worker = NULL;
	return 0;
}

static void on_acceptable(evutil_socket_t listener, short what, void *arg)
{
	struct workers *workers = arg;

	(void)what;
	for (unsigned i = 0; i < WORKERS_ACCEPTS; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		enum hello_status status;
		int r = 0;

		if (fd < 0) {
			/* Out of descriptors or memory: it stays readable, so look away until the heartbeat. */
			if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
				event_del(workers->acceptable);
				workers->accepting = false;
			}
			return;
		}
		status = judge(workers, fd);
		if (status != HELLO_WELCOME) {
			refuse(workers, fd, status);
			close(fd);
			continue;
		}
		r = welcome(workers, fd);
		if (r < 0) {
			workers_warn(workers, "a worker could not be taken", strerror(-r));
			close(fd);
		}
	}
}

/* ---- Life ---- */

static int take_config(struct workers *workers, const struct workers_config *config)
{
	_cleanup_(freep) uid_t *uids = calloc(config->n_uids + 1, sizeof(*uids));
	_cleanup_(freep) gid_t *gids = calloc(config->n_gids + 1, sizeof(*gids));

	if (!uids || !gids)
		return -ENOMEM;
	if (config->n_uids > 0)
		memcpy(uids, config->uids, config->n_uids * sizeof(*uids));
	if (config->n_gids > 0)
		memcpy(gids, config->gids, config->n_gids * sizeof(*gids));
	free(workers->uids);
	free(workers->gids);
	workers->config = *config;
	workers->config.uids = workers->uids = uids;
	workers->config.gids = workers->gids = gids;
	workers->config.socket_path = workers->socket_path;
	uids = NULL;
	gids = NULL;
	return 0;
}

static int listen_at(struct workers *workers, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat st;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path) + 1);
	workers->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (workers->listener < 0)
		return -errno;
	/* A socket that a killed daemon left behind. That no other is running is what the table's lock says. */
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && unlink(path) < 0)
		return -errno;
	if (bind(workers->listener, (struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	workers->bound = true;
	if (chmod(path, 0666) < 0 || listen(workers->listener, WORKERS_BACKLOG) < 0)
		return -errno;
	return 0;
}

static int add_events(struct workers *workers)
{
	const struct timeval beat = {.tv_usec = WORKERS_HEARTBEAT_MS * 1000};

	workers->acceptable = event_new(workers->base, workers->listener, EV_READ | EV_PERSIST,
	                                on_acceptable, workers);
	workers->heartbeat = event_new(workers->base, -1, EV_PERSIST, on_heartbeat, workers);
	if (!workers->acceptable || !workers->heartbeat)
		return -ENOMEM;
	if (event_add(workers->acceptable, NULL) < 0 || event_add(workers->heartbeat, &beat) < 0)
		return -ENOMEM;
	workers->accepting = true;
	return 0;
}

DEFINE_CLEANUP(struct workers *, workers_free)

int workers_new(struct workers **out, struct event_base *base, const struct workers_config *config,
                const struct workers_ops *ops, void *arg)
{
	_cleanup_(workers_freep) struct workers *workers = NULL;
	int r;

	workers = calloc(1, sizeof(*workers));
	if (!workers)
		return -ENOMEM;
	TAILQ_INIT(&workers->all);
	TAILQ_INIT(&workers->busy);
	workers->base = base;
	workers->ops = ops;
	workers->arg = arg;
	workers->listener = -1;
	workers->doze_fd = -1;
	workers->socket_path = strdup(config->socket_path);
	if (!workers->socket_path)
		return -ENOMEM;
	r = take_config(workers, config);
	if (r < 0)
		return r;
	r = listen_at(workers, workers->socket_path);
	if (r < 0)
		return r;
	r = looks_init(workers);
	if (r < 0)
		return r;
	r = add_events(workers);
	if (r < 0)
		return r;
	*out = workers;
	workers = NULL;
	return 0;
}

void workers_free(struct workers *workers)
{
	struct worker *worker;

	if (!workers)
		return;
	while ((worker = TAILQ_FIRST(&workers->all))) {
		worker_take_last(worker);
		worker_drop(worker);
	}
	if (workers->acceptable)
		event_free(workers->acceptable);
	if (workers->heartbeat)
		event_free(workers->heartbeat);
	looks_deinit(workers);
	closep(&workers->listener);
	if (workers->bound)
		unlink(workers->socket_path);
	free(workers->socket_path);
	free(workers->uids);
	free(workers->gids);
	explicit_bzero(workers->copy, sizeof(workers->copy));
	free(workers);
}

void workers_acked(struct workers *workers, uint64_t position)
{
	struct worker *worker;

	if (position <= workers->acked_position)
		return;
	workers->acked_position = position;
	TAILQ_FOREACH (worker, &workers->all, entry)
		worker_settle(worker, position);
}

void workers_restarted(struct workers *workers)
{
	struct worker *worker;

	workers->acked_position = 0;
	TAILQ_FOREACH (worker, &workers->all, entry)
		for (unsigned i = 0; i < worker->n_batches; i++)
			worker->batches[(worker->first_batch + i) % WORKER_BATCHES].position = 0;
}

void workers_configure(struct workers *workers, const struct workers_config *config)
{
	struct worker *worker;

	if (take_config(workers, config) < 0) {
		log_error("out of memory: the workers' configuration stays as it was");
		return;
	}
	workers->refusals = (struct refusals){0};
	/* Relaxed: a number by itself; each gate reads it once. */
	TAILQ_FOREACH (worker, &workers->all, entry)
		atomic_store_explicit(&worker->page->gate_deadline_ms, config->gate_deadline_ms,
		                      memory_order_relaxed);
}

unsigned workers_n_connected(const struct workers *workers)
{
	return workers->stats.n_connected;
}

static int compare_policies(const void *a, const void *b)
{
	return memcmp(a, b, RING_POLICY_BYTES);
}

size_t workers_policies(const struct workers *workers, uint8_t (*out)[RING_POLICY_BYTES],
                        size_t n_max)
{
	const struct worker *worker;
	size_t n = 0;

	TAILQ_FOREACH (worker, &workers->all, entry)
		for (size_t i = 0; i < worker->n_policies && n < n_max; i++)
			if (!bsearch(worker->policies[i], out, n, RING_POLICY_BYTES,
			             compare_policies)) {
				memcpy(out[n++], worker->policies[i], RING_POLICY_BYTES);
				qsort(out, n, RING_POLICY_BYTES, compare_policies);
			}
	return n;
}

void workers_stats(const struct workers *workers, struct workers_stats *out)
{
	const struct worker *worker;

	*out = workers->stats;
	TAILQ_FOREACH (worker, &workers->all, entry)
		worker_count(worker, out);
}

size_t workers_refused(const struct workers *workers, struct refusal out[REFUSALS_USERS])
{
	return refusals_list(&workers->refusals, clock_coarse_ms(), out);
}
