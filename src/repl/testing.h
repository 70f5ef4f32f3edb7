/*
 * For tests of replication: nodes with a table in a temporary directory and real TLS over
 * loopback, all in one event loop; and ways to stand in for a peer that does not behave.
 */
#ifndef TLSBATON_REPL_TESTING_H
#define TLSBATON_REPL_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <time.h>
#include <cmocka.h>

#include "repl/internal.h"
#include "util/reserve_port.h"

struct node {
	struct event_base *base; /* borrowed */
	struct table *table;
	struct repl *repl;
	char name[REPL_NAME_MAX + 1];
	char directory[64];
	char path[96];
	uint16_t port;
	struct repl_config config;
	struct repl_peer_config peers[REPL_PEERS_MAX];
	char listen[32], addresses[REPL_PEERS_MAX][32];
	unsigned n_acked, n_changed;
	size_t control_from;
	uint8_t control[REPL_CONTROL_MAX];
	size_t n_control;
	struct ticket_state says, heard; /* of ticket keys */
	unsigned n_heard;
};

extern const uint8_t testing_key[REPL_KEY_BYTES];
extern const struct repl_ops testing_ops; /* `arg` is a struct node */

/* A node of group "g" with testing_key, a table of `table_bytes`, not started. */
void node_init(struct node *node, struct event_base *base, const char *name, uint64_t table_bytes);
void node_add_peer(struct node *node, const char *name, uint16_t port);
void node_start(struct node *node);
void node_stop(struct node *node);
/* Throws the table away and opens a new one; the node must be stopped. */
void node_new_table(struct node *node, uint64_t table_bytes);
void node_deinit(struct node *node);

/* Puts `n` records, numbered from `first`, of this node's own workers, and pushes them. */
void node_put(struct node *node, unsigned first, unsigned n);
void node_put_flags(struct node *node, unsigned first, unsigned n, unsigned flags);
void node_remove(struct node *node, unsigned number);
bool node_has(const struct node *node, unsigned number);
unsigned node_count(const struct node *node, unsigned first, unsigned n);
enum repl_peer_state node_state(const struct node *node, size_t peer);
struct repl_peer_status node_status(const struct node *node, size_t peer);
struct repl_stats node_stats(const struct node *node);

/* Runs the loop until `condition` holds; fails the test when it does not within ten seconds. */
#define run_until(base, condition)                                                                 \
	do {                                                                                       \
		int64_t until_us_ = testing_now_us() + 10000000;                                   \
		while (!(condition)) {                                                             \
			assert_true(testing_now_us() < until_us_);                                 \
			testing_run(base);                                                         \
		}                                                                                  \
	} while (0)

/* From here on this node's time is the real one and what node_pass_ms() adds. One node a test. */
void node_control_time(struct node *node);
void node_pass_ms(struct node *node, int64_t ms);

int64_t testing_now_us(void);
/* One turn of the loop, of at most 10 ms. */
void testing_run(struct event_base *base);

int testing_connect(uint16_t port); /* a blocking socket */
int testing_listen(uint16_t port);

#endif
