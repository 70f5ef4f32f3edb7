/*
 * Keys by the clock: one timer, for whatever comes next. src/ticket/keyring.c has the rules; what is added here is the
 * start. A node that has no key and has peers waits until each has said what it has, for TICKETS_HOLD_US at most: a key
 * of its own would be one that nobody else holds yet. After that it goes on alone, and the rings merge when the nodes
 * meet.
 *
 * The wall clock decides, since the nodes share it; it may jump, so the timer looks at least once a second.
 *
 * Telling. What is new is told at once, but no peer is told more often than once a TICKETS_TELL_MS: what one peer says, a
 * lot of it, is no reason to flood the others. Who has said that it is behind a rekey is told again each second, until it
 * says otherwise: it may have refused it while a clock was wrong. And all are told now and then, for what they had no room
 * for may have found some. A peer's generations are taken once a TICKETS_TELL_MS, too; it tells us again.
 */
#include "daemon/tickets.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/mman.h>

#include "ticket/store.h"
#include "util/clock.h"
#include "util/log.h"

#define TICKETS_HOLD_MS 3000 /* longer than the longest back-off of a peer that dials us */
#define TICKETS_LOOK_MS 1000
#define TICKETS_TELL_MS 1000
#define TICKETS_TELL_AGAIN_MS 60000
#define TICKETS_REKEYS 3 /* how often a rekey is made over a later one, see tickets_rekey() */

/* Times are those of the boot clock. */
struct tickets_peer {
	bool known; /* it has said what it has: */
	uint64_t generation;
	int64_t told_ms;  /* when it was last told */
	int64_t taken_ms; /* when a generation of its was */
};

struct tickets {
	struct keyring ring;
	struct ticket_store *store;
	char *path;
	struct tickets_config config;
	struct event *timer;
	const struct tickets_ops *ops;
	void *arg;
	int64_t hold_until_ms; /* of the boot clock: no key is made before */
	struct tickets_peer peers[TICKETS_PEERS_MAX];
	uint32_t untold;   /* peers that are to be told as soon as it is time, a bit each */
	unsigned n_rekeys; /* that may be made over a peer's */
	uint64_t n_made, n_heard;
	struct log_limit limit;
};

static int64_t system_wall_ms(void *arg)
{
	(void)arg;
	return clock_wall_ms();
}

static int64_t system_boot_ms(void *arg)
{
	(void)arg;
	return clock_boot_ms();
}

static const struct tickets_clock system_clock = {system_wall_ms, system_boot_ms, NULL};

static struct keyring_time time_of(const struct tickets *tickets)
{
	const struct tickets_clock *clock =
	    tickets->ops->clock ? tickets->ops->clock : &system_clock;

	return (struct keyring_time){
	    .wall_ms = clock->wall_ms(clock->arg),
	    .boot_ms = clock->boot_ms(clock->arg),
	};
}

const char *tickets_word(enum ticket_resumption resumption)
{
	static const char *const words[] = {
	    [TICKET_STATEFUL] = "stateful",
	    [TICKET_TICKETS] = "tickets",
	    [TICKET_BOTH] = "both",
	};

	return words[resumption];
}

static void PRINTF_LIKE(4, 5) say_limited(struct tickets *tickets, enum log_level level,
                                          const char *source, const char *fmt, ...)
{
	char line[512];
	unsigned n_held;
	va_list args;

	if (!log_limit_pass(&tickets->limit, source, time_of(tickets).boot_ms, &n_held))
		return;
	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	log_write(level, "%s", line);
}

#define warn_limited(tickets, ...) say_limited(tickets, LOG_LEVEL_WARNING, __VA_ARGS__)

/* ---- Telling ---- */

static uint32_t bit(unsigned peer)
{
	return UINT32_C(1) << peer;
}

static uint32_t all_peers(const struct tickets *tickets)
{
	return bit(tickets->config.n_peers) - 1;
}

/* Who has been told a moment ago has to wait. */
static void tell(struct tickets *tickets, uint32_t peers, int64_t boot_ms)
{
	uint32_t due = 0;

	tickets->untold |= peers;
	for (unsigned i = 0; i < tickets->config.n_peers; i++) {
		struct tickets_peer *peer = &tickets->peers[i];

		if (!(tickets->untold & bit(i)) || boot_ms - peer->told_ms < TICKETS_TELL_MS)
			continue;
		peer->told_ms = boot_ms;
		due |= bit(i);
	}
	tickets->untold &= ~due;
	if (due)
		tickets->ops->tell(tickets->arg, due);
}

static uint32_t who_is_to_be_told_again(const struct tickets *tickets, int64_t boot_ms)
{
	uint32_t peers = 0;

	for (unsigned i = 0; i < tickets->config.n_peers; i++) {
		const struct tickets_peer *peer = &tickets->peers[i];

		if ((peer->known && peer->generation < tickets->ring.generation) ||
		    boot_ms - peer->told_ms >= TICKETS_TELL_AGAIN_MS)
			peers |= bit(i);
	}
	return peers;
}

/* Nobody has said anything, and each may be told at once. */
static void reset_peers(struct tickets *tickets)
{
	const int64_t boot_ms = time_of(tickets).boot_ms;

	for (unsigned i = 0; i < TICKETS_PEERS_MAX; i++)
		tickets->peers[i] = (struct tickets_peer){
		    .told_ms = boot_ms - TICKETS_TELL_MS,
		    .taken_ms = boot_ms - TICKETS_TELL_MS,
		};
	tickets->untold = 0;
}

/* ---- The timer ---- */

static int64_t due_ms(const struct tickets *tickets, int64_t now_ms)
{
	return keyring_due_ms(&tickets->ring, now_ms, tickets->config.rotation_ms,
	                      tickets->config.rank);
}

/* One that found nothing to do, or could not do it, looks again in a second. */
static void arm(struct tickets *tickets, const struct keyring_time *now)
{
	int64_t next_ms = MIN(due_ms(tickets, now->wall_ms), keyring_expires_ms(&tickets->ring));
	int64_t left_ms =
	    next_ms > now->wall_ms ? MIN(next_ms - now->wall_ms, TICKETS_LOOK_MS) : TICKETS_LOOK_MS;
	int64_t hold_ms = tickets->hold_until_ms - now->boot_ms;
	struct timeval left;

	if (hold_ms > 0)
		left_ms = MIN(left_ms, hold_ms);
	for (unsigned i = 0; i < tickets->config.n_peers; i++)
		if (tickets->untold & bit(i))
			left_ms =
			    MIN(left_ms,
			        MAX(tickets->peers[i].told_ms + TICKETS_TELL_MS - now->boot_ms, 1));
	left = (struct timeval){.tv_sec = left_ms / 1000, .tv_usec = left_ms % 1000 * 1000};
	event_add(tickets->timer, &left);
}

/* Makes the key that is due. True: there is one more. */
static bool make(struct tickets *tickets, const struct keyring_time *now)
{
	int r;

	if (due_ms(tickets, now->wall_ms) > now->wall_ms || now->boot_ms < tickets->hold_until_ms)
		return false;
	r = keyring_make(&tickets->ring, now, tickets->config.rotation_ms);
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

void tickets_look(struct tickets *tickets)
{
	const struct keyring_time now = time_of(tickets);
	bool expired, made;

	look_at_store(tickets);
	expired = keyring_expire(&tickets->ring, &now);
	made = make(tickets, &now);
	if (expired || made)
		ticket_store_publish(tickets->store, &tickets->ring);
	/* Peers see by their own clocks what has expired. */
	tell(tickets, made ? all_peers(tickets) : who_is_to_be_told_again(tickets, now.boot_ms),
	     now.boot_ms);
	arm(tickets, &now);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	tickets_look(arg);
}

/* ---- Life ---- */

static int open_store(struct tickets *tickets, char *error, size_t error_size)
{
	char why[128];
	const struct keyring_time now = time_of(tickets);
	int r = ticket_store_open(&tickets->store, tickets->path, &now, &tickets->ring, why,
	                          sizeof(why));

	if (r == 0 && keyring_is_ahead(&tickets->ring, now.wall_ms))
		log_warning(
		    "%s: the last rekey of this node lies in the future, so the clock went "
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
                const struct tickets_config *config, const struct tickets_ops *ops, void *arg,
                char *error, size_t error_size)
{
	_cleanup_(tickets_freep) struct tickets *tickets = calloc(1, sizeof(*tickets));
	struct keyring_time now;
	int r;

	snprintf(error, error_size, "%s: %s", path, strerror(ENOMEM));
	if (!tickets)
		return -ENOMEM;
	/* As with the page: a limit that forbids it is no reason to go without keys. */
	(void)mlock(tickets, sizeof(*tickets));
	tickets->config = *config;
	tickets->ops = ops;
	tickets->arg = arg;
	tickets->path = strdup(path);
	tickets->timer = event_new(base, -1, 0, on_timer, tickets);
	if (!tickets->path || !tickets->timer)
		return -ENOMEM;
	r = open_store(tickets, error, error_size);
	if (r < 0)
		return r;
	ticket_store_configure(tickets->store, config->resumption);
	reset_peers(tickets);
	now = time_of(tickets);
	if (config->n_peers > 0 && !keyring_current(&tickets->ring, now.wall_ms))
		tickets->hold_until_ms = now.boot_ms + TICKETS_HOLD_MS;
	tickets_look(tickets);
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
	const struct keyring_time now = time_of(tickets);

	tickets->config = *config;
	keyring_forget_senders(&tickets->ring);
	reset_peers(tickets);
	ticket_store_configure(tickets->store, config->resumption);
	/* Also when nothing else is new: somebody may have been waiting for a rekey. */
	tell(tickets, all_peers(tickets), now.boot_ms);
	arm(tickets, &now);
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

/* What is not the same there. */
static void compare(struct tickets *tickets, const char *name, const struct ticket_state *theirs)
{
	char source[96];

	if (theirs->rotation_ms / 2 > tickets->config.rotation_ms) {
		snprintf(source, sizeof(source), "rotation of %s", name);
		warn_limited(tickets, source,
		             "ticket-rotation is %u s here and %u s at peer %s, more than twice as "
		             "long: its ticket keys are not taken; set the same in both "
		             "configurations",
		             tickets->config.rotation_ms / 1000, theirs->rotation_ms / 1000, name);
	}
}

/* Nobody is left who might have keys. */
static bool all_are_heard(const struct tickets *tickets)
{
	for (unsigned i = 0; i < tickets->config.n_peers; i++)
		if (!tickets->peers[i].known)
			return false;
	return true;
}

/* Takes what there is to take. */
static void merge(struct tickets *tickets, unsigned number, const char *name,
                  const struct keyring *theirs, const struct keyring_time *now)
{
	struct tickets_peer *peer = &tickets->peers[number];
	const struct keyring_sender sender = {
	    .number = (uint8_t)(number + 1),
	    .n_peers = tickets->config.n_peers,
	    .rotation_ms = tickets->config.rotation_ms,
	};
	const uint64_t before = tickets->ring.generation;
	int r;

	/* It has heard, or will, that we are behind, and says it again. */
	if (theirs->generation > before && now->boot_ms - peer->taken_ms < TICKETS_TELL_MS)
		return;
	r = keyring_merge(&tickets->ring, theirs, &sender, now);
	if (tickets->ring.generation != before)
		peer->taken_ms = now->boot_ms;
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
}

/* A rekey that the operator has just made is not to be undone by one that a member made ahead of its time. */
static void rekey_again(struct tickets *tickets, const struct keyring_time *now)
{
	if (tickets->n_rekeys == 0)
		return;
	tickets->n_rekeys--;
	if (keyring_rekey(&tickets->ring, now, tickets->config.rotation_ms) == 0)
		tickets->n_made++;
}

/* Something of `name` has been taken. Others may not be connected to it. It ends: a ring that has nothing new for
 * anybody tells nobody. */
static void take_over(struct tickets *tickets, const char *name, size_t n_before, bool rekeyed,
                      const struct keyring_time *now)
{
	char source[96];

	tickets->n_heard += tickets->ring.n - (rekeyed ? 0 : n_before);
	if (rekeyed) {
		snprintf(source, sizeof(source), "rekey of %s", name);
		say_limited(tickets, LOG_LEVEL_NOTICE, source,
		            "all tickets of before are void: %s has new ticket keys after a rekey",
		            name);
		rekey_again(tickets, now);
	}
	ticket_store_publish(tickets->store, &tickets->ring);
	tell(tickets, all_peers(tickets), now->boot_ms);
	arm(tickets, now);
}

void tickets_hear(struct tickets *tickets, unsigned number, const char *name,
                  const struct ticket_state *theirs)
{
	const struct keyring_time now = time_of(tickets);
	const uint64_t generation = tickets->ring.generation;
	const size_t n_before = tickets->ring.n;

	compare(tickets, name, theirs);
	tickets->peers[number].known = true;
	tickets->peers[number].generation = theirs->ring.generation;
	merge(tickets, number, name, &theirs->ring, &now);
	if (tickets->hold_until_ms > 0 &&
	    (all_are_heard(tickets) || keyring_current(&tickets->ring, now.wall_ms))) {
		tickets->hold_until_ms = 0;
		event_active(tickets->timer, EV_TIMEOUT, 0);
	}
	/* A full ring that took nothing has nothing to tell: two of them would go on telling each other. */
	if (tickets->ring.generation != generation || tickets->ring.n != n_before)
		take_over(tickets, name, n_before, tickets->ring.generation != generation, &now);
}

int tickets_rekey(struct tickets *tickets)
{
	const struct keyring_time now = time_of(tickets);
	int r = keyring_rekey(&tickets->ring, &now, tickets->config.rotation_ms);

	if (r < 0)
		return r;
	tickets->hold_until_ms = 0;
	tickets->n_rekeys = TICKETS_REKEYS - 1;
	tickets->n_made++;
	ticket_store_publish(tickets->store, &tickets->ring);
	log_notice("rekey: there are new ticket keys, and all tickets of before are void");
	/* The operator does not wait. */
	for (unsigned i = 0; i < TICKETS_PEERS_MAX; i++)
		tickets->peers[i].told_ms = now.boot_ms - TICKETS_TELL_MS;
	tell(tickets, all_peers(tickets), now.boot_ms);
	arm(tickets, &now);
	return 0;
}

void tickets_rekey_end(struct tickets *tickets)
{
	tickets->n_rekeys = 0;
}

bool tickets_agrees(const struct tickets *tickets, unsigned peer)
{
	return tickets->peers[peer].known &&
	       tickets->peers[peer].generation == tickets->ring.generation;
}

/* ---- What is shown ---- */

void tickets_stats(const struct tickets *tickets, struct tickets_stats *out)
{
	const int64_t now_ms = time_of(tickets).wall_ms;
	const struct ticket_key *current = keyring_current(&tickets->ring, now_ms);
	int64_t next_ms = INT64_MAX;

	*out = (struct tickets_stats){
	    .resumption = tickets->config.resumption,
	    .rotation_ms = tickets->config.rotation_ms,
	    .n_keys = (unsigned)tickets->ring.n,
	    .rekeyed_s = keyring_rekeyed_s(tickets->ring.generation),
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
