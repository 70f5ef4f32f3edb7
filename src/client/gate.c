/*
 * The gate: no client gets the first byte of a response on a new session before the peers have stored it,
 * or the deadline has passed. Who resumes a session that another connection has just made waits for it, too:
 * tlsbaton_session_get() sends a mark for it, a notice of its own with nothing to store.
 *
 * Usually the ack is there before the response is, and asking costs one load. Otherwise a thread sleeps
 * on a futex in the ring's page, and an event loop polls a descriptor.
 *
 * When the daemon is not there the gate is open, with one exception: for as long as the deadline after
 * its end was noticed, it stays closed for what was not acked. The daemon may have been the first of a
 * dying node's processes to go, and a client answered now would not be known anywhere else.
 */
#include "client/handle.h"
#include "util/clock.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

/* Of a longer wait, which is done in steps: to see a daemon that is gone, the first time early, and one that hangs. */
#define FIRST_STEP_US (5 * 1000)
#define STEP_US (100 * 1000)

bool gate_is_moot(struct tlsbaton *baton)
{
	/* Acquire: pairs with the release in link.c's set_state(). */
	int state = atomic_load_explicit(&baton->state, memory_order_acquire);
	uint64_t down_at_ms;

	if (state == LINK_UP)
		return !handle_alive(baton);
	/* Relaxed: a time by itself. */
	down_at_ms = atomic_load_explicit(&baton->down_at_ms, memory_order_relaxed);
	return (uint64_t)clock_coarse_ms() - down_at_ms >= tlsbaton_gate_deadline_ms(baton);
}

/* The gate is open, and nobody knows whether any peer has the record. */
static int open_without_daemon(struct tlsbaton *baton)
{
	ring_count(baton->page, RING_GATE_NO_DAEMON);
	return 0;
}

int tlsbaton_gate_wait(tlsbaton *baton, uint64_t notice)
{
	uint64_t start_us, now, until_us, step_us = FIRST_STEP_US;
	bool open;

	if (notice == 0 || ring_acked(baton->page, notice))
		return 0;
	link_tick(baton);
	if (gate_is_moot(baton))
		return open_without_daemon(baton);
	handle_wake(baton);
	ring_count(baton->page, RING_GATE_WAITS);
	start_us = now = (uint64_t)clock_monotonic_us();
	until_us = start_us + 1000ULL * tlsbaton_gate_deadline_ms(baton);
	for (;;) {
		open = ring_wait(baton->page, notice, MIN(until_us, now + step_us));
		now = (uint64_t)clock_monotonic_us();
		if (open || now >= until_us)
			break;
		link_look(baton);
		if (gate_is_moot(baton))
			break;
		step_us = STEP_US;
	}
	ring_count_wait(baton->page, now - start_us);
	if (open)
		return 0;
	if (now < until_us)
		return open_without_daemon(baton);
	ring_count(baton->page, RING_GATE_TIMEOUTS);
	link_look(baton);
	return TLSBATON_TIMEOUT;
}

/* ---- For event loops ---- */

/* Takes the bytes that made gate_fd readable. Several loops of one process share it: a loop whose byte
 * another one took learns of its ack at the next one, or at its deadline. */
static void drain(struct tlsbaton *baton)
{
	char bytes[64];
	ssize_t n;

	if (pthread_mutex_trylock(&baton->lock) != 0)
		return;
	if (atomic_load_explicit(&baton->state, memory_order_relaxed) == LINK_UP) {
		do
			n = recv(baton->socket, bytes, sizeof(bytes), MSG_DONTWAIT);
		while (n > 0);
		if (n == 0)
			link_lost(baton);
	}
	handle_unlock(baton);
}

static void poll_starts(struct tlsbaton *baton, uint64_t notice)
{
	size_t i = notice % POLLED_GATES;

	if (atomic_exchange_explicit(&baton->polled[i].notice, notice, memory_order_relaxed) ==
	    notice)
		return;
	atomic_store_explicit(&baton->polled[i].since_us, (uint64_t)clock_monotonic_us(),
	                      memory_order_relaxed);
	ring_count(baton->page, RING_GATE_WAITS);
}

static void poll_ends(struct tlsbaton *baton, uint64_t notice)
{
	size_t i = notice % POLLED_GATES;
	uint64_t expected = notice, since_us;

	/* Relaxed: statistics. Two gates that share a place cost a figure. */
	if (atomic_load_explicit(&baton->polled[i].notice, memory_order_relaxed) != notice)
		return;
	since_us = atomic_load_explicit(&baton->polled[i].since_us, memory_order_relaxed);
	if (!atomic_compare_exchange_strong_explicit(&baton->polled[i].notice, &expected, 0,
	                                             memory_order_relaxed, memory_order_relaxed))
		return;
	ring_count_wait(baton->page, (uint64_t)clock_monotonic_us() - since_us);
	drain(baton);
}

bool gate_look(struct tlsbaton *baton, uint64_t notice)
{
	if (notice == 0 || ring_acked(baton->page, notice))
		return true;
	link_tick(baton);
	if (gate_is_moot(baton))
		return open_without_daemon(baton) == 0;
	handle_wake(baton);
	return false;
}

int tlsbaton_gate_poll(tlsbaton *baton, uint64_t notice)
{
	if (notice == 0)
		return 0;
	if (gate_look(baton, notice)) {
		poll_ends(baton, notice);
		return 0;
	}
	poll_starts(baton, notice);
	drain(baton);
	return ring_poll(baton->page, notice) ? 0 : TLSBATON_CLOSED;
}

int tlsbaton_gate_fd(tlsbaton *baton)
{
	return tlsbaton_connected(baton) ? baton->gate_fd : -1;
}

unsigned tlsbaton_gate_deadline_ms(tlsbaton *baton)
{
	/* Relaxed: a number by itself. */
	return atomic_load_explicit(&baton->page->gate_deadline_ms, memory_order_relaxed);
}

void tlsbaton_gate_expired(tlsbaton *baton)
{
	ring_count(baton->page, RING_GATE_TIMEOUTS);
	link_look(baton);
}
