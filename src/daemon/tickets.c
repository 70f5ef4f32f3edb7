/*
 * Keys by the clock: one timer, for whatever comes next. src/ticket/keyring.c has the rules; what is added here is the
 * start. A node that has no key and has peers waits until each has said what it has, for TICKETS_HOLD_US at most: a key
 * of its own would be one that nobody else holds yet. After that it goes on alone, and the rings merge when the nodes
 * meet.
 *
 * The wall clock decides, since the nodes share it; it may jump, so the timer looks at least once a second.
 */
#include "daemon/tickets.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>

#include "ticket/store.h"
#include "util/clock.h"
#include "util/log.h"

#define TICKETS_HOLD_US 3000000 /* longer than the longest back-off of a peer that dials us */
#define TICKETS_LOOK_MS 1000

struct tickets {
	struct keyring ring;
	struct ticket_store *store;
	char *path;
	struct tickets_config config;
	struct event *timer;
	void (*changed)(void *arg);
	void *arg;
	int64_t hold_until_us; /* of the monotonic clock: no key is made before */
	uint32_t heard;        /* which peers have said something, by number */
	uint64_t n_made, n_heard;
	struct log_limit limit;
};

const char *tickets_word(enum ticket_resumption resumption)
{
	static const char *const words[] = {
	    [TICKET_STATEFUL] = "stateful",
	    [TICKET_TICKETS] = "tickets",
	    [TICKET_BOTH] = "both",
	};

	return words[resumption];
}

static void PRINTF_LIKE(3, 4)
    warn_limited(struct tickets *tickets, const char *source, const char *fmt, ...)
{
	char line[512];
	unsigned n_held;
	va_list args;

	if (!log_limit_pass(&tickets->limit, source, clock_coarse_ms(), &n_held))
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	log_warning("%s", line);
}

/* ---- The timer ---- */

static int64_t due_ms(const struct tickets *tickets, int64_t now_ms)
{
	return keyring_due_ms(&tickets->ring, now_ms, tickets->config.rotation_ms,
	                      tickets->config.rank);
}

/* One that found nothing to do, or could not do it, looks again in a second. */
static void arm(struct tickets *tickets, int64_t now_ms)
{
	int64_t next_ms = MIN(due_ms(tickets, now_ms), keyring_expires_ms(&tickets->ring));
	int64_t left_ms =
	    next_ms > now_ms ? MIN(next_ms - now_ms, TICKETS_LOOK_MS) : TICKETS_LOOK_MS;
	int64_t hold_us = tickets->hold_until_us - clock_monotonic_us();
	struct timeval left;

	if (hold_us > 0)
		left_ms = MIN(left_ms, hold_us / 1000 + 1);
	left = (struct timeval){.tv_sec = left_ms / 1000, .tv_usec = left_ms % 1000 * 1000};
	event_add(tickets->timer, &left);
}

/* Makes the key that is due. True: there is one more. */
static bool make(struct tickets *tickets, int64_t now_ms)
{
	int r;

	if (due_ms(tickets, now_ms) > now_ms || clock_monotonic_us() < tickets->hold_until_us)
		return false;
	r = keyring_make(&tickets->ring, now_ms, tickets->config.rotation_ms);
	if (r == 0)
		tickets->n_made++;
	else if (r == KEYRING_FULL)
		warn_limited(tickets, "full",
		             "there are %d ticket keys, and room for no more: no new one is made "
		             "until one of them expires",
		             KEYRING_KEYS_MAX);
	else
		warn_limited(tickets, "random",
		             "there are no random bytes for a new ticket key; trying again");
	return r == 0;
}

/* Somebody may have removed the file. */
static void look_at_store(struct tickets *tickets)
{
	int r = ticket_store_look(tickets->store, &tickets->ring);

	if (r == TICKET_REBUILT)
		warn_limited(tickets, "removed",
		             "%s was removed, and is there again: the next tlsbatond needs it",
		             tickets->path);
	if (r < 0)
		warn_limited(tickets, "removed",
		             "%s was removed, and cannot be made again (%s): a restart of "
		             "tlsbatond would void the tickets of this node",
		             tickets->path, strerror(-r));
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct tickets *tickets = arg;
	int64_t now_ms = clock_wall_ms();
	bool expired, made;

	(void)fd, (void)what;
	look_at_store(tickets);
	expired = keyring_expire(&tickets->ring, now_ms);
	made = make(tickets, now_ms);
	if (expired || made)
		ticket_store_publish(tickets->store, &tickets->ring);
	/* Peers see by their own clocks what has expired. */
	if (made)
		tickets->changed(tickets->arg);
	arm(tickets, now_ms);
}

/* ---- Life ---- */

static int open_store(struct tickets *tickets, char *error, size_t error_size)
{
	char why[128];
	const int64_t now_ms = clock_wall_ms();
	int r = ticket_store_open(&tickets->store, tickets->path, now_ms, &tickets->ring, why,
	                          sizeof(why));

	if (r == 0 && keyring_is_ahead(&tickets->ring, now_ms))
		log_warning("%s: the last rekey of this node lies in the future, so the clock went "
		            "back: nodes that have not heard of that rekey will not take ticket keys "
		            "of this one; set the clock by NTP",
		            tickets->path);
	if (r == TICKET_REBUILT)
		log_warning("%s: %s: new ticket keys take its place, and those of the peers",
		            tickets->path, why);
	if (r < 0)
		snprintf(error, error_size, "%s: %s", tickets->path, strerror(-r));
	return MIN(r, 0);
}

DEFINE_CLEANUP(struct tickets *, tickets_free)

int tickets_new(struct tickets **out, struct event_base *base, const char *path,
                const struct tickets_config *config, void (*changed)(void *arg), void *arg,
                char *error, size_t error_size)
{
	_cleanup_(tickets_freep) struct tickets *tickets = calloc(1, sizeof(*tickets));
	int r;

	snprintf(error, error_size, "%s: %s", path, strerror(ENOMEM));
	if (!tickets)
		return -ENOMEM;
	/* As with the page: a limit that forbids it is no reason to go without keys. */
	(void)mlock(tickets, sizeof(*tickets));
	tickets->config = *config;
	tickets->changed = changed;
	tickets->arg = arg;
	tickets->path = strdup(path);
	tickets->timer = event_new(base, -1, 0, on_timer, tickets);
	if (!tickets->path || !tickets->timer)
		return -ENOMEM;
	r = open_store(tickets, error, error_size);
	if (r < 0)
		return r;
	ticket_store_configure(tickets->store, config->resumption);
	if (config->n_peers > 0 && !keyring_current(&tickets->ring, clock_wall_ms()))
		tickets->hold_until_us = clock_monotonic_us() + TICKETS_HOLD_US;
	on_timer(-1, 0, tickets);
	*out = tickets;
	tickets = NULL;
	return 0;
}

void tickets_free(struct tickets *tickets)
{
	if (!tickets)
		return;
	if (tickets->timer)
		event_free(tickets->timer);
	ticket_store_close(tickets->store);
	keyring_wipe(&tickets->ring);
	(void)munlock(tickets, sizeof(*tickets));
	free(tickets->path);
	free(tickets);
}

void tickets_configure(struct tickets *tickets, const struct tickets_config *config)
{
	bool news = config->resumption != tickets->config.resumption ||
	            config->rotation_ms != tickets->config.rotation_ms;

	tickets->config = *config;
	if (!news)
		return;
	ticket_store_configure(tickets->store, config->resumption);
	tickets->changed(tickets->arg);
	arm(tickets, clock_wall_ms());
}

int tickets_fd(const struct tickets *tickets)
{
	return ticket_store_fd(tickets->store);
}

/* ---- Peers ---- */

void tickets_say(const struct tickets *tickets, struct ticket_state *out)
{
	*out = (struct ticket_state){
	    .resumption = tickets->config.resumption,
	    .rotation_ms = tickets->config.rotation_ms,
	};
	out->ring = tickets->ring;
}

static void compare(struct tickets *tickets, const char *name, const struct ticket_state *theirs)
{
	char source[96];

	if (theirs->resumption == tickets->config.resumption)
		return;
	snprintf(source, sizeof(source), "resumption of %s", name);
	warn_limited(
	    tickets, source,
	    "resumption is %s here and %s at peer %s: a client whom one of them gave a "
	    "ticket, or a session of its own, may not resume at the other; set the same in "
	    "both configurations",
	    tickets_word(tickets->config.resumption), tickets_word(theirs->resumption), name);
}

/* Nobody is left who might have keys. */
static bool all_are_heard(struct tickets *tickets, unsigned peer)
{
	const uint32_t all = (UINT32_C(1) << tickets->config.n_peers) - 1;

	tickets->heard |= UINT32_C(1) << peer;
	return (tickets->heard & all) == all;
}

void tickets_hear(struct tickets *tickets, unsigned peer, const char *name,
                  const struct ticket_state *theirs)
{
	const int64_t now_ms = clock_wall_ms();
	const uint64_t generation = tickets->ring.generation;
	const size_t n_before = tickets->ring.n;
	int r = keyring_merge(&tickets->ring, &theirs->ring, now_ms);

	compare(tickets, name, theirs);
	if (r == KEYRING_FUTURE)
		warn_limited(tickets, name,
		             "peer %s has ticket keys of a rekey that lies in our future: they are "
		             "not taken; set both clocks by NTP",
		             name);
	if (r == KEYRING_FULL)
		warn_limited(tickets, name,
		             "peer %s has more ticket keys than there is room for: tickets of some "
		             "cannot be opened here",
		             name);
	if (tickets->hold_until_us > 0 &&
	    (all_are_heard(tickets, peer) || keyring_current(&tickets->ring, now_ms))) {
		tickets->hold_until_us = 0;
		event_active(tickets->timer, EV_TIMEOUT, 0);
	}
	/* A full ring that took nothing has nothing to tell: two of them would go on telling each other. */
	if (tickets->ring.generation == generation && tickets->ring.n == n_before)
		return;
	if (tickets->ring.generation != generation) {
		log_notice("all tickets of before are void: %s has new ticket keys after a rekey",
		           name);
		tickets->n_heard += tickets->ring.n;
	} else {
		tickets->n_heard += tickets->ring.n - n_before;
	}
	ticket_store_publish(tickets->store, &tickets->ring);
	/* Others may not be connected to this peer. It ends: a ring that has nothing new for anybody tells nobody. */
	tickets->changed(tickets->arg);
	arm(tickets, now_ms);
}

int tickets_rekey(struct tickets *tickets)
{
	const int64_t now_ms = clock_wall_ms();
	int r = keyring_rekey(&tickets->ring, now_ms, tickets->config.rotation_ms);

	if (r < 0)
		return r;
	tickets->hold_until_us = 0;
	tickets->n_made++;
	ticket_store_publish(tickets->store, &tickets->ring);
	log_notice("rekey: there are new ticket keys, and all tickets of before are void");
	tickets->changed(tickets->arg);
	arm(tickets, now_ms);
	return 0;
}

/* ---- What is shown ---- */

void tickets_stats(const struct tickets *tickets, struct tickets_stats *out)
{
	const int64_t now_ms = clock_wall_ms();
	const struct ticket_key *current = keyring_current(&tickets->ring, now_ms);
	int64_t next_ms = INT64_MAX;

	*out = (struct tickets_stats){
	    .resumption = tickets->config.resumption,
	    .rotation_ms = tickets->config.rotation_ms,
	    .n_keys = (unsigned)tickets->ring.n,
	    .generation = tickets->ring.generation,
	    .n_made = tickets->n_made,
	    .n_heard = tickets->n_heard,
	};
	if (!current)
		return;
	for (size_t i = 0; i < tickets->ring.n; i++)
		if (tickets->ring.keys[i].not_before_ms > now_ms)
			next_ms = MIN(next_ms, tickets->ring.keys[i].not_before_ms);
	out->encrypts = true;
	out->staged = next_ms != INT64_MAX;
	out->current_age_ms = now_ms - current->not_before_ms;
	out->next_ms = MIN(next_ms, current->use_until_ms) - now_ms;
}
