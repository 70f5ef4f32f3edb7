/* Handles, and what a server with session callbacks of its own calls. tlsbaton.h has the contract. */
#include "client/handle.h"
#include "client/recent.h"
#include "util/clock.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#define PRIVATE_RING_BYTES (1024 * 1024)
#define CONNECT_MS_DEFAULT 200
#define GATE_DEADLINE_MS_DEFAULT 20
/* How long a removal outlives its session's last possible use, which the worker does not know: RFC 5246,
 * F.1.4, suggests 24 hours as the upper limit of a session ID's life. */
#define REMOVAL_S (24 * 3600)

_Static_assert(sizeof(struct tlsbaton_counters) == RING_N_COUNTERS * sizeof(uint64_t),
               "enum ring_counter follows struct tlsbaton_counters");
_Static_assert(RING_ID_MAX == TLSBATON_ID_MAX && RING_DER_MAX == TLSBATON_DER_MAX,
               "the ring takes what the interface promises");

/* ---- What all files of the handle use ---- */

bool handle_alive(const struct tlsbaton *baton)
{
	int64_t age_ms;

	/* Acquire: pairs with the release in link.c's set_state(). */
	if (atomic_load_explicit(&baton->state, memory_order_acquire) != LINK_UP)
		return false;
	/* Relaxed: a time by itself. It may be a little ahead of our reading of the clock. */
	age_ms = (int64_t)((uint64_t)clock_coarse_ms() -
	                   atomic_load_explicit(&baton->page->heartbeat_ms, memory_order_relaxed));
	return age_ms <= (int64_t)baton->dead_ms;
}

void handle_lock(struct tlsbaton *baton)
{
	pthread_mutex_lock(&baton->lock);
}

void handle_unlock(struct tlsbaton *baton)
{
	char message[sizeof(baton->message)];
	int level = baton->message_level;

	memcpy(message, baton->message, sizeof(message));
	baton->message[0] = '\0';
	pthread_mutex_unlock(&baton->lock);
	if (message[0] && baton->log)
		baton->log(baton->log_arg, level, message);
}

void handle_tell(struct tlsbaton *baton, enum link_news news, int level, const char *format, ...)
{
	va_list args;

	if (baton->told == news)
		return;
	baton->told = news;
	baton->message_level = level;
	va_start(args, format);
	vsnprintf(baton->message, sizeof(baton->message), format, args);
	va_end(args);
}

/* ---- Life ---- */

static int handle_init(struct tlsbaton *baton, const struct tlsbaton_options *options)
{
	const char *path = options->socket_path ? options->socket_path : TLSBATON_SOCKET_DEFAULT;
	uint8_t *data;
	int r;

	if (strlen(path) >= sizeof(baton->address.sun_path))
		return -EINVAL;
	baton->address.sun_family = AF_UNIX;
	memcpy(baton->address.sun_path, path, strlen(path) + 1);
	baton->log = options->log;
	baton->log_arg = options->log_arg;
	r = ring_map_private(PRIVATE_RING_BYTES, &baton->page, &data);
	if (r < 0)
		return -ENOMEM;
	ring_producer_init(&baton->ring, baton->page, data);
	atomic_store_explicit(&baton->page->gate_deadline_ms, GATE_DEADLINE_MS_DEFAULT,
	                      memory_order_relaxed);
	r = ticket_page_map_empty(&baton->tickets);
	if (r < 0)
		return r;
	baton->gate_fd = epoll_create1(EPOLL_CLOEXEC);
	if (baton->gate_fd < 0)
		return -ENOMEM;
	r = fork_register(baton);
	return r < 0 ? -ENOMEM : 0;
}

static void handle_deinit(struct tlsbaton *baton)
{
	/* What stands in the ring is still taken by the daemon, if there is one. */
	const bool wipe = atomic_load_explicit(&baton->state, memory_order_relaxed) != LINK_UP;

	link_close(baton);
	closep(&baton->gate_fd);
	views_free(baton);
	ticket_page_unmap(baton->tickets);
	recent_free(baton->recent);
	ring_unmap_data(baton->ring.data, baton->ring.data_bytes, wipe);
	ring_unmap_page(baton->page);
	pthread_mutex_destroy(&baton->lock);
	pthread_mutex_destroy(&baton->contexts_lock);
	free(baton);
}

int tlsbaton_new(tlsbaton **out, const struct tlsbaton_options *options)
{
	static const struct tlsbaton_options defaults = {.size = sizeof(defaults)};
	struct tlsbaton *baton;
	int r;

	if (!options)
		options = &defaults;
	if (options->size != sizeof(*options))
		return -EINVAL;
	baton = calloc(1, sizeof(*baton));
	if (!baton)
		return -ENOMEM;
	baton->socket = -1;
	baton->wake_fd = -1;
	baton->waiting_fd = -1;
	baton->gate_fd = -1;
	baton->dead_ms = RING_DEAD_MS;
	/* Neither can fail on Linux. */
	r = -(pthread_mutex_init(&baton->contexts_lock, NULL)
	          ?: pthread_mutex_init(&baton->lock, NULL));
	if (r < 0) {
		free(baton);
		return -ENOMEM;
	}
	r = handle_init(baton, options);
	if (r < 0) {
		handle_deinit(baton);
		return r;
	}
	link_start(baton, options->connect_ms ? options->connect_ms : CONNECT_MS_DEFAULT);
	*out = baton;
	return 0;
}

void tlsbaton_free(tlsbaton *baton)
{
	if (!baton)
		return;
	fork_unregister(baton);
	handle_deinit(baton);
}

/* ---- Sessions ---- */

/* Under the lock. */
static void wake_if_owed(struct tlsbaton *baton)
{
	if (!atomic_load_explicit(&baton->unwoken, memory_order_relaxed))
		return;
	atomic_store_explicit(&baton->unwoken, false, memory_order_relaxed);
	if (ring_must_wake(baton->page))
		link_wake(baton);
}

void handle_wake(struct tlsbaton *baton)
{
	/* Relaxed: who waits for a notice sent it itself, or came by its number later. */
	if (!atomic_load_explicit(&baton->unwoken, memory_order_relaxed))
		return;
	handle_lock(baton);
	wake_if_owed(baton);
	handle_unlock(baton);
}

int handle_send(struct tlsbaton *baton, struct ring_notice *notice, enum wake wake, uint64_t *out)
{
	uint64_t seq = 0;
	int r;

	link_tick(baton);
	handle_lock(baton);
	notice->seq = baton->seq + 1;
	r = ring_put(&baton->ring, notice);
	if (r == 0) {
		seq = ++baton->seq;
		if (notice->kind != RING_MARK)
			ring_count(baton->page,
			           notice->kind == RING_PUT ? RING_PUTS : RING_REMOVALS);
		atomic_store_explicit(&baton->unwoken, true, memory_order_relaxed);
	} else if (r == RING_FULL && notice->kind != RING_MARK) {
		ring_count(baton->page, RING_LOST);
	}
	/* One that found no room owes what those before it left to it. */
	if (r != 0 || wake == WAKE_NOW)
		wake_if_owed(baton);
	handle_unlock(baton);
	if (r < 0)
		return r;
	if (r == RING_FULL)
		return TLSBATON_LOST;
	if (out)
		*out = seq;
	return 0;
}

int tlsbaton_session_put(tlsbaton *baton, const unsigned char *id, size_t id_len,
                         const unsigned char *der, size_t der_len, int64_t expires_s,
                         uint64_t *notice)
{
	struct ring_notice put = {
	    .kind = RING_PUT,
	    .expires_s = expires_s,
	    .id = id,
	    .n_id = id_len,
	    .der = der,
	    .n_der = der_len,
	};

	return handle_send(baton, &put, WAKE_NOW, notice);
}

int tlsbaton_session_remove(tlsbaton *baton, const unsigned char *id, size_t id_len,
                            uint64_t *notice)
{
	struct ring_notice remove = {
	    .kind = RING_REMOVE,
	    .expires_s = clock_coarse_wall_s() + REMOVAL_S,
	    .id = id,
	    .n_id = id_len,
	};

	return handle_send(baton, &remove, WAKE_NOW, notice);
}

/* What a lookup gives: the outputs of tlsbaton_session_get(), borrowed. */
struct found {
	unsigned char *der;
	size_t der_size;
	size_t *der_len;
	int64_t *expires_s;
	bool acked;
};

static int look_up(const struct tlsbaton *baton, const unsigned char *id, size_t id_len,
                   struct found *found)
{
	/* Acquire: pairs with the release in views_take(). */
	const struct table_view *view = atomic_load_explicit(&baton->view, memory_order_acquire);
	uint64_t position;
	int r;

	if (!view)
		return TABLE_MISS;
	r = table_view_get(view, id, id_len, clock_coarse_wall_s(), found->der, found->der_size,
	                   found->der_len, found->expires_s, &position);
	if (r == 0)
		found->acked = table_view_is_acked(view, position);
	return r;
}

/* The gate of a session that was found before the peers had it. Another worker's notice of it, or an earlier one of
 * ours, is on its way to them; the mark's ack comes when that has arrived. Without room for it the gate is open: the
 * client is answered before the peers have its session, as at a deadline. That is no loss: the session's own notice is
 * in a ring or in the table. */
static uint64_t mark(struct tlsbaton *baton)
{
	struct ring_notice mark = {.kind = RING_MARK};
	uint64_t notice = 0;

	ring_count(baton->page, RING_HITS_EARLY);
	if (!gate_is_moot(baton))
		(void)!handle_send(baton, &mark, WAKE_NOW, &notice);
	return notice;
}

int tlsbaton_session_get(tlsbaton *baton, const unsigned char *id, size_t id_len,
                         unsigned char *der, size_t der_size, size_t *der_len, int64_t *expires_s,
                         uint64_t *notice)
{
	struct found found = {
	    .der = der, .der_size = der_size, .der_len = der_len, .expires_s = expires_s};
	int r;

	if (id_len < 1 || id_len > TLSBATON_ID_MAX)
		return -EINVAL;
	link_tick(baton);
	r = look_up(baton, id, id_len, &found);
	if (r == TABLE_MISS && link_returned(baton))
		r = look_up(baton, id, id_len, &found);
	if (r < 0)
		return r;
	ring_count(baton->page, r == 0 ? RING_HITS : RING_MISSES);
	if (r == TABLE_MISS)
		return TLSBATON_MISS;
	if (notice)
		*notice = found.acked ? 0 : mark(baton);
	return 0;
}

/* ---- The rest ---- */

int tlsbaton_connected(tlsbaton *baton)
{
	link_tick(baton);
	return handle_alive(baton);
}

void tlsbaton_note_stateless(tlsbaton *baton)
{
	ring_count(baton->page, RING_STATELESS);
}

void tlsbaton_note_removal_ignored(tlsbaton *baton)
{
	ring_count(baton->page, RING_REMOVALS_IGNORED);
}

void tlsbaton_count(tlsbaton *baton, struct tlsbaton_counters *out)
{
	uint64_t counters[RING_N_COUNTERS];

	handle_lock(baton);
	for (size_t i = 0; i < RING_N_COUNTERS; i++)
		counters[i] = baton->counted_before[i] +
		              atomic_load_explicit(&baton->page->counters[i], memory_order_relaxed);
	handle_unlock(baton);
	memcpy(out, counters, sizeof(*out));
}

const char *tlsbaton_version(void)
{
	return TLSBATON_VERSION;
}
