/* A node "a" of group "g" with one peer "b", without sockets, keys or a loop, on a clock that
 * stands still. */
#ifndef TLSBATON_FUZZ_REPL_FIXTURE_H
#define TLSBATON_FUZZ_REPL_FIXTURE_H

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fuzz.h"
#include "repl/internal.h"

#define FIXTURE_NOW_S 1700000000

static inline int64_t fixture_mono_us(void *arg)
{
	(void)arg;
	return 1000000;
}

static inline int64_t fixture_wall_ms(void *arg)
{
	(void)arg;
	return FIXTURE_NOW_S * 1000LL;
}

static inline void fixture_event(void *arg)
{
	(void)arg;
}

static inline void fixture_peer_changed(void *arg, size_t peer)
{
	(void)arg;
	FUZZ_CHECK(peer == 0);
}

static inline void fixture_control(void *arg, size_t peer, const uint8_t *payload, size_t n_payload)
{
	(void)arg;
	(void)payload;
	FUZZ_CHECK(peer == 0 && n_payload >= 1 && n_payload <= REPL_CONTROL_MAX);
}

static const struct repl_clock fixture_clock = {fixture_mono_us, fixture_wall_ms, NULL};
/* A ring with a key, as a node has one. */
static inline void fixture_say_tickets(void *arg, struct ticket_state *out)
{
	(void)arg;
	*out = (struct ticket_state){
	    .resumption = TICKET_BOTH,
	    .rotation_ms = TICKET_ROTATION_MS_MIN,
	    .ring = {.n = 1, .keys = {{.name = "fixture", .use_until_ms = 1, .not_after_ms = 2}}},
	};
}

static inline void fixture_hear_tickets(void *arg, size_t peer, const struct ticket_state *tickets)
{
	static struct keyring ring;
	const struct keyring_sender sender = {
	    .number = (uint8_t)(peer + 1), .n_peers = 1, .rotation_ms = TICKET_ROTATION_MS_MIN};
	const struct keyring_time now = {.wall_ms = 1, .boot_ms = 1};

	(void)arg;
	FUZZ_CHECK(peer < REPL_PEERS_MAX && tickets->ring.n <= KEYRING_KEYS_MAX);
	FUZZ_CHECK(keyring_merge(&ring, &tickets->ring, &sender, &now) >= 0);
	FUZZ_CHECK(ring.n <= KEYRING_KEYS_MAX - KEYRING_KEYS_OWN);
}

static const struct repl_ops fixture_ops = {
    .acked = fixture_event,
    .control = fixture_control,
    .peer_changed = fixture_peer_changed,
    .say_tickets = fixture_say_tickets,
    .hear_tickets = fixture_hear_tickets,
};

static inline struct table *fixture_table(void)
{
	char path[64], why[128];
	struct table *table;
	int r;

	snprintf(path, sizeof(path), "/tmp/tlsbaton-fuzz-%d", (int)getpid());
	unlink(path);
	r = table_open(&table, path, TABLE_SIZE_MIN, false, FIXTURE_NOW_S, why, sizeof(why));
	FUZZ_CHECK(r == TABLE_CREATED);
	unlink(path);
	return table;
}

static inline void fixture_repl(struct repl *repl, struct table *table)
{
	struct repl_peer_config peer = {"b", "127.0.0.1:1"};
	struct repl_config config = {.node = "a",
	                             .group = "g",
	                             .peers = &peer,
	                             .n_peers = 1,
	                             .gate_deadline_ms = 20,
	                             .heartbeat_ms = 500};
	char error[256];

	memset(repl, 0, sizeof(*repl));
	log_open("fuzz", LOG_TARGET_STDERR, LOG_LEVEL_ERROR - 1);
	FUZZ_CHECK(repl_init(repl, &config, table, &fixture_ops, NULL, &fixture_clock, error,
	                     sizeof(error)) == 0);
}

#endif
