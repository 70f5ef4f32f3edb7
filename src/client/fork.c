/*
 * fork(2). A server opens its handle before it forks, or forks while other threads use it. The child must
 * not touch what is its parent's: the ring has one producer, and what is added to the eventfd wakes the daemon
 * for the parent's ring. So around fork all handles are locked, which makes them whole in the child, and there
 * each gets a private ring and no socket, and connects by itself when it is used. Lookups go on in the
 * parent's mapping of the table, which is read-only and shared by its nature.
 *
 * pthread_atfork(3) and not a comparison of process IDs: that would be a system call in every lookup.
 * A process made without the C library's fork() (a bare clone()) must exec, as most else fails there too.
 */
#include "client/bind.h"
#include "client/recent.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>

static LIST_HEAD(, tlsbaton) handles = LIST_HEAD_INITIALIZER(handles);
static pthread_mutex_t handles_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_error;
static bool registered;

static void before_fork(void)
{
	struct tlsbaton *baton;

	pthread_mutex_lock(&handles_lock);
	LIST_FOREACH (baton, &handles, entry) {
		pthread_mutex_lock(&baton->contexts_lock);
		pthread_mutex_lock(&baton->lock);
		if (baton->recent)
			recent_lock_all(baton->recent);
	}
}

static void after_fork(void)
{
	struct tlsbaton *baton;

	LIST_FOREACH (baton, &handles, entry) {
		if (baton->recent)
			recent_unlock_all(baton->recent);
		pthread_mutex_unlock(&baton->lock);
		pthread_mutex_unlock(&baton->contexts_lock);
	}
	pthread_mutex_unlock(&handles_lock);
}

/* An epoll instance is shared with the parent, so the child needs its own, under the same number. */
static void renew_gate_fd(struct tlsbaton *baton)
{
	_cleanup_(closep) int fd = epoll_create1(EPOLL_CLOEXEC);

	/* Failing that, polled gates of this child open at their deadline. */
	if (fd < 0 || dup3(fd, baton->gate_fd, O_CLOEXEC) < 0)
		close(baton->gate_fd);
}

static int renew_ring(struct tlsbaton *baton)
{
	const unsigned gate_deadline_ms = tlsbaton_gate_deadline_ms(baton);
	const size_t data_bytes = baton->ring.data_bytes;
	struct ring_page *page;
	uint8_t *data;
	int r;

	/* Unmapped, not wiped: it is the parent's. */
	ring_unmap_data(baton->ring.data, data_bytes, false);
	baton->ring.data = NULL;
	r = ring_map_private(data_bytes, &page, &data);
	if (r < 0)
		return r;
	r = ring_move_page(page, baton->page);
	if (r < 0) {
		ring_unmap_data(data, data_bytes, false);
		ring_unmap_page(page);
		return r;
	}
	ring_producer_init(&baton->ring, baton->page, data);
	known_tell(baton, baton->page);
	/* The parent's notices are the parent's to wait for. */
	atomic_store_explicit(&baton->page->acked, baton->seq, memory_order_relaxed);
	atomic_store_explicit(&baton->page->gate_deadline_ms, gate_deadline_ms,
	                      memory_order_relaxed);
	return 0;
}

static void in_child(void)
{
	struct tlsbaton *baton;

	LIST_FOREACH (baton, &handles, entry) {
		link_close(baton);
		link_end_wait(baton);
		renew_gate_fd(baton);
		/* Failing that, there is a ring without room until a daemon brings one. The page is then still
		 * the parent's: counting in it harms nobody. */
		(void)!renew_ring(baton);
		memset(baton->counted_before, 0, sizeof(baton->counted_before));
		memset(baton->counted_at_loss, 0, sizeof(baton->counted_at_loss));
		memset(baton->polled, 0, sizeof(baton->polled));
		baton->ever_up = false;
		atomic_store_explicit(&baton->down_at_ms, 0, memory_order_relaxed);
		atomic_store_explicit(&baton->next_look_ms, 0, memory_order_relaxed);
	}
	registered = true;
	after_fork();
}

/* Again in a child that was forked while another thread was in here; if these handlers ran at that fork, it has them. */
static void register_handlers(void)
{
	if (!registered)
		once_error = pthread_atfork(before_fork, after_fork, in_child);
}

int fork_init(void)
{
	pthread_once(&once, register_handlers);
	return -once_error;
}

int fork_register(struct tlsbaton *baton)
{
	int r = fork_init();

	if (r < 0)
		return r;
	pthread_mutex_lock(&handles_lock);
	LIST_INSERT_HEAD(&handles, baton, entry);
	pthread_mutex_unlock(&handles_lock);
	return 0;
}

void fork_unregister(struct tlsbaton *baton)
{
	pthread_mutex_lock(&handles_lock);
	LIST_REMOVE(baton, entry);
	pthread_mutex_unlock(&handles_lock);
}
