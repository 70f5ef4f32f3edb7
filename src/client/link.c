/*
 * The connection to the daemon, kept by whoever happens to call.
 *
 * The library has no thread of its own: a server forks, drops rights and counts its threads. So each call
 * compares a coarse clock with `next_look_ms`, and once in a while one of them, and only one, takes a step
 * that cannot block: look for the end of the socket, connect, take a hello that has come. A failed step
 * is repeated after 50 ms, then at most every second.
 *
 * How a dead daemon is noticed: by the end of its socket, by a gate that reached its deadline and looks for
 * that, or by its heartbeat. How a hung one is: by its heartbeat alone; the connection stays, notices go into the
 * ring, gates are open.
 *
 * What is said of it. The processes of a server share a log, and learn of one and the same fault in different
 * ways: one loses its connection, one that was forked since finds nobody to connect to, a third is in the
 * midst of its hello. All of them say the same line, so that a log that leaves out repetitions has it once.
 */
#include "client/handle.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <syslog.h>

#include "ring/hello.h"
#include "util/clock.h"

#define BACKOFF_MS_MIN 50
#define BACKOFF_MS_MAX 1000
#define HELLO_MS_MAX 2000 /* a daemon that accepts and says nothing for this long is left */
#define LOOK_MS 250       /* while all is well */
#define LOOK_MS_HELLO 4
#define RETURN_MS 5 /* how long a miss may wait for the hello of a daemon that is back */

/* Relaxed throughout: a look too early or too late is all that can go wrong. */
static void look_again_in(struct tlsbaton *baton, uint64_t ms)
{
	atomic_store_explicit(&baton->next_look_ms, (uint64_t)clock_coarse_ms() + ms,
	                      memory_order_relaxed);
}

static void set_state(struct tlsbaton *baton, enum link_state state)
{
	/* Release: pairs with the acquire in handle_alive(): who sees LINK_UP sees the ring that came with
	 * it, and its heartbeat. */
	atomic_store_explicit(&baton->state, state, memory_order_release);
}

static enum link_state get_state(const struct tlsbaton *baton)
{
	return (enum link_state)atomic_load_explicit(&baton->state, memory_order_acquire);
}

void link_close(struct tlsbaton *baton)
{
	if (baton->socket >= 0)
		close(baton->socket); /* which also takes it out of gate_fd */
	baton->socket = -1;
	closep(&baton->wake_fd);
	baton->wake_fd = -1;
	set_state(baton, LINK_DOWN);
}

static void link_failed(struct tlsbaton *baton)
{
	link_close(baton);
	look_again_in(baton, baton->backoff_ms);
	baton->backoff_ms = MIN(baton->backoff_ms * 2, BACKOFF_MS_MAX);
}

static void tell_gone(struct tlsbaton *baton)
{
	handle_tell(baton, NEWS_GONE, LOG_WARNING,
	            "tlsbatond is gone: new sessions wait for its return, known ones still resume");
}

static void tell_hung(struct tlsbaton *baton)
{
	handle_tell(baton, NEWS_HUNG, LOG_WARNING,
	            "tlsbatond hangs: new sessions wait for it, no client does");
}

/* This process, or the one that it was forked from, has had a daemon. */
static bool had_daemon(const struct tlsbaton *baton)
{
	/* Relaxed: changed under the lock, which we hold. */
	return atomic_load_explicit(&baton->view, memory_order_relaxed) != NULL;
}

void link_lost(struct tlsbaton *baton)
{
	link_close(baton);
	for (size_t i = 0; i < RING_N_COUNTERS; i++)
		baton->counted_at_loss[i] =
		    atomic_load_explicit(&baton->page->counters[i], memory_order_relaxed);
	atomic_store_explicit(&baton->down_at_ms, (uint64_t)clock_coarse_ms(),
	                      memory_order_relaxed);
	baton->backoff_ms = BACKOFF_MS_MIN;
	look_again_in(baton, 0);
	tell_gone(baton);
}

void link_wake(struct tlsbaton *baton)
{
	/* EAGAIN: somebody has added some 2^64 to it. All else: the program has closed it, or has another there. */
	if (get_state(baton) == LINK_UP &&
	    write(baton->wake_fd, &(uint64_t){1}, sizeof(uint64_t)) < 0 && errno != EAGAIN &&
	    errno != EINTR)
		link_lost(baton);
}

/* ---- The hello ---- */

struct greeting {
	struct hello hello;
	int fds[HELLO_N_FDS];
};

_Static_assert(HELLO_N_FDS == 4, "try_hello() says so many times that there is none yet");

static void greeting_deinit(struct greeting *greeting)
{
	for (size_t i = 0; i < HELLO_N_FDS; i++)
		closep(&greeting->fds[i]);
}

static void take_fds(struct msghdr *message, struct greeting *out)
{
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(message);

	if (!cmsg || cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
		return;
	/* The kernel was told that there is room for no more than these. */
	memcpy(out->fds, CMSG_DATA(cmsg), MIN(cmsg->cmsg_len - CMSG_LEN(0), sizeof(out->fds)));
}

/* Out: `*out`, to be deinitialised in any case. Returns 0, -EAGAIN, -ECONNRESET, -EPROTO. */
static int receive(int fd, struct greeting *out)
{
	alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(out->fds))];
	struct iovec iov = {.iov_base = &out->hello, .iov_len = sizeof(out->hello)};
	struct msghdr message = {
	    .msg_iov = &iov,
	    .msg_iovlen = 1,
	    .msg_control = control,
	    /* Not CMSG_SPACE(), whose padding is room for another descriptor, which nobody would close. What is sent
	     * beyond the kernel closes, and says MSG_CTRUNC. */
	    .msg_controllen = CMSG_LEN(sizeof(out->fds)),
	};
	ssize_t n = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? -EAGAIN : -ECONNRESET;
	take_fds(&message, out);
	if (n == 0)
		return -ECONNRESET;
	if (n != sizeof(out->hello) || message.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ||
	    out->hello.magic != HELLO_MAGIC || out->hello.version != HELLO_VERSION ||
	    out->hello.size != sizeof(out->hello))
		return -EPROTO;
	/* Ring, table and eventfd. Without a page of ticket keys sessions are shared all the same. */
	if (out->hello.status == HELLO_WELCOME && out->fds[2] < 0)
		return -EPROTO;
	return 0;
}

static int adopt(struct tlsbaton *baton, struct greeting *greeting)
{
	struct epoll_event readable = {.events = EPOLLIN};
	size_t n_carried, n_lost;
	bool has_keys;
	int r;

	r = views_take(baton, greeting->fds[1]);
	if (r < 0)
		return r;
	has_keys =
	    greeting->fds[3] >= 0 && ticket_page_map_over(baton->tickets, greeting->fds[3]) == 0;
	r = carry_over(baton, greeting->fds[0], &n_carried, &n_lost);
	if (r < 0)
		return r;
	baton->wake_fd = greeting->fds[2];
	greeting->fds[2] = -1;
	/* Without it polled gates open at their deadline: no reason to go without a daemon. */
	(void)epoll_ctl(baton->gate_fd, EPOLL_CTL_ADD, baton->socket, &readable);
	set_state(baton, LINK_UP);
	baton->backoff_ms = BACKOFF_MS_MIN;
	look_again_in(baton, LOOK_MS);
	for (size_t i = 0; i < n_lost; i++)
		ring_count(baton->page, RING_LOST);
	if (baton->ever_up)
		ring_count(baton->page, RING_RECONNECTS);
	baton->ever_up = true;
	if (ring_must_wake(baton->page))
		link_wake(baton);
	handle_tell(
	    baton, NEWS_UP, has_keys ? LOG_NOTICE : LOG_WARNING,
	    "sessions are shared through tlsbatond%s; %zu had waited for it, %zu found no room",
	    has_keys ? "" : ", which gave no ticket keys", n_carried, n_lost);
	return 0;
}

static void refused(struct tlsbaton *baton, uint32_t status)
{
	if (status == HELLO_TOO_MANY)
		handle_tell(baton, NEWS_REFUSED, LOG_WARNING,
		            "tlsbatond has as many workers as workers-max allows: sessions of this "
		            "process are not shared");
	else
		handle_tell(baton, NEWS_REFUSED, LOG_WARNING,
		            "tlsbatond refuses this process: add its user (ID %u) to worker-users; "
		            "sessions are not shared",
		            (unsigned)geteuid());
	link_failed(baton);
}

static void try_hello(struct tlsbaton *baton)
{
	__attribute__((cleanup(greeting_deinit))) struct greeting greeting = {
	    .fds = {-1, -1, -1, -1}};
	int r;

	r = receive(baton->socket, &greeting);
	if (r == 0 && greeting.hello.status != HELLO_WELCOME) {
		refused(baton, greeting.hello.status);
		return;
	}
	if (r == 0)
		r = adopt(baton, &greeting);
	if (r == 0)
		return;
	if (r == -EAGAIN &&
	    (uint64_t)clock_coarse_ms() - baton->connecting_since_ms < HELLO_MS_MAX) {
		look_again_in(baton, LOOK_MS_HELLO);
		return;
	}
	if (r == -EAGAIN)
		tell_hung(baton);
	else if (r == -ECONNRESET && had_daemon(baton))
		tell_gone(baton);
	else if (r == -EPROTO)
		handle_tell(baton, NEWS_FOREIGN, LOG_WARNING,
		            "tlsbatond at %s is of another version than this library (%s, protocol "
		            "%d): sessions are not shared until both are the same",
		            baton->address.sun_path, TLSBATON_VERSION, HELLO_VERSION);
	else
		handle_tell(
		    baton, NEWS_FAULT, LOG_WARNING,
		    "connecting to tlsbatond failed (%s): sessions are not shared until it works",
		    strerror(-r));
	link_failed(baton);
}

/* ---- Steps ---- */

static void tell_unreachable(struct tlsbaton *baton, int error)
{
	if (error == EAGAIN) /* its backlog is full: it accepts nobody */
		tell_hung(baton);
	else if (had_daemon(baton))
		tell_gone(baton);
	else
		handle_tell(baton, NEWS_ABSENT, LOG_WARNING,
		            "no tlsbatond at %s (%s): sessions are not shared until there is",
		            baton->address.sun_path, strerror(error));
}

static void try_connect(struct tlsbaton *baton)
{
	const struct sockaddr *address = (const struct sockaddr *)&baton->address;

	carry_expire(baton);
	baton->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (baton->socket < 0 || connect(baton->socket, address, sizeof(baton->address)) < 0) {
		tell_unreachable(baton, errno);
		link_failed(baton);
		return;
	}
	baton->connecting_since_ms = (uint64_t)clock_coarse_ms();
	set_state(baton, LINK_WAITING);
	try_hello(baton);
}

static void check_alive(struct tlsbaton *baton)
{
	struct pollfd end = {.fd = baton->socket};

	if (poll(&end, 1, 0) > 0 && end.revents & (POLLHUP | POLLERR | POLLNVAL)) {
		link_lost(baton);
		return;
	}
	if (handle_alive(baton)) {
		if (baton->told == NEWS_HUNG)
			handle_tell(baton, NEWS_UP, LOG_NOTICE, "tlsbatond answers again");
	} else {
		tell_hung(baton);
	}
	look_again_in(baton, LOOK_MS);
}

static void step(struct tlsbaton *baton)
{
	switch (get_state(baton)) {
	case LINK_DOWN:
		try_connect(baton);
		break;
	case LINK_WAITING:
		try_hello(baton);
		break;
	case LINK_UP:
		check_alive(baton);
		break;
	}
}

void link_look(struct tlsbaton *baton)
{
	if (pthread_mutex_trylock(&baton->lock) != 0)
		return;
	step(baton);
	handle_unlock(baton);
}

void link_tick(struct tlsbaton *baton)
{
	if ((uint64_t)clock_coarse_ms() >=
	    atomic_load_explicit(&baton->next_look_ms, memory_order_relaxed))
		link_look(baton);
}

/* Under the lock: a descriptor of the socket to wait for its hello with, for one thread at a time; -1: there is nothing
 * to wait for, or somebody does already. */
static int begin_to_wait(struct tlsbaton *baton)
{
	if (get_state(baton) != LINK_WAITING || baton->waiting_fd >= 0 ||
	    (uint64_t)clock_coarse_ms() - baton->connecting_since_ms >= RETURN_MS)
		return -1;
	/* Its own: another thread may close the socket meanwhile. */
	baton->waiting_fd = fcntl(baton->socket, F_DUPFD_CLOEXEC, 0);
	return baton->waiting_fd;
}

void link_end_wait(struct tlsbaton *baton)
{
	closep(&baton->waiting_fd);
	baton->waiting_fd = -1;
}

/* Without the lock, so that the others go on; it is taken again for the hello. */
static void wait_for_return(struct tlsbaton *baton, int fd)
{
	struct pollfd hello = {.fd = fd, .events = POLLIN};
	bool has_come = poll(&hello, 1, RETURN_MS) > 0;

	handle_lock(baton);
	link_end_wait(baton);
	if (has_come && get_state(baton) == LINK_WAITING)
		try_hello(baton);
	handle_unlock(baton);
}

bool link_returned(struct tlsbaton *baton)
{
	const struct table_view *before;
	int fd;

	if (get_state(baton) == LINK_UP || pthread_mutex_trylock(&baton->lock) != 0)
		return false;
	before =
	    atomic_load_explicit(&baton->view, memory_order_relaxed); /* changed under the lock */
	if (get_state(baton) == LINK_DOWN &&
	    (uint64_t)clock_coarse_ms() >=
	        atomic_load_explicit(&baton->next_look_ms, memory_order_relaxed))
		try_connect(baton);
	fd = begin_to_wait(baton);
	handle_unlock(baton);
	if (fd >= 0)
		wait_for_return(baton, fd);
	/* Relaxed: only whether it is another; who uses it loads it again. */
	return atomic_load_explicit(&baton->view, memory_order_relaxed) != before;
}

/* The lock is nobody else's yet, so here it may be held while we wait. */
void link_start(struct tlsbaton *baton, unsigned wait_ms)
{
	handle_lock(baton);
	baton->backoff_ms = BACKOFF_MS_MIN;
	try_connect(baton);
	if (get_state(baton) == LINK_WAITING) {
		struct pollfd hello = {.fd = baton->socket, .events = POLLIN};

		if (poll(&hello, 1, (int)wait_ms) > 0)
			try_hello(baton);
	}
	handle_unlock(baton);
}
