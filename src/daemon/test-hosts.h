/*
 * Two switchover machines, a and b, with messages in flight between them, an address that each can
 * be made unable to take or release, and a link that can break. Time passes when a test says so.
 */
#ifndef TLSBATON_DAEMON_TEST_HOSTS_H
#define TLSBATON_DAEMON_TEST_HOSTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "daemon/switchover.h"

#define HOST_QUEUE 64

struct host {
	const char *name;
	struct host *other;
	struct switchover *sw;
	struct role role;
	bool holds;
	int vip_result[4]; /* by enum vip_op: what the helper answers */
	enum vip_op asked[8];
	size_t n_asked;
	unsigned n_asked_ever, n_set_role;
	struct handover inbox[HOST_QUEUE];
	size_t n_inbox;
	enum repl_peer_state state; /* of our push to the other */
	uint64_t head, acked, lag;
	unsigned armed_ms;
	unsigned n_finished;
	char error[256]; /* of the last finish(); "" for success */
	bool connected;
	struct role heard; /* the other's role, as last said over the link */
};

struct pair {
	struct host a, b;
};

/* a is active, of term 1; b is a standby that is in sync. */
int pair_set_up(void **state);
int pair_tear_down(void **state);

/* Breaks the link, or heals it. Neither has been told yet. */
void pair_connect(struct pair *p, bool connected);

/* The daemon of one starts again: it knows what it has recorded. */
void host_restart(struct host *h);

/* Delivers one event to a host: an answer of its helper, else a message. False: nothing is pending. */
bool host_step(struct host *h);
/* All that are pending. */
void host_run(struct host *h);

/* Events and seconds pass on both until nothing more happens. */
void pair_run(struct pair *p);

/* The one answers for the address and is active, the other is neither. */
void assert_active(const struct host *yes, const struct host *no);

#define pair_test(f) cmocka_unit_test_setup_teardown(f, pair_set_up, pair_tear_down)

#endif
