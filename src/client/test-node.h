/*
 * A node for tests: the daemon's side of the workers on a real table, in a process of its own (to be killed
 * and stopped) or in a thread (to be seen by ThreadSanitizer). It has no peers: acks come when the test
 * lets them.
 */
#ifndef TLSBATON_CLIENT_TEST_NODE_H
#define TLSBATON_CLIENT_TEST_NODE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "daemon/tickets.h"
#include "daemon/workers.h"

/* Shared with the node's process. */
struct node_control {
	_Atomic bool ready, stop, hold_acks;
	_Atomic uint64_t n_notices, n_batches;
	_Atomic uint64_t n_turns; /* of the node's timer: statistics are fresh after the next */
	_Atomic int error;
	_Atomic unsigned n_rekeys; /* how many the test has asked for */
	struct workers_stats stats;
};

struct node {
	char directory[64];
	char socket_path[96], table_path[96], tickets_path[96];
	struct workers_config config; /* these may be changed before node_start() */
	struct tickets_config
	    tickets; /* stateful, and a key for an hour, unless a test says otherwise */
	struct node_control *control;
	pid_t pid; /* 0: not a process, or not running */
	pthread_t thread;
	bool in_thread;
};

void node_init(struct node *node); /* makes a directory under /tmp */
void node_deinit(struct node *node);
void node_start(struct node *node); /* in a process; returns when it listens */
void node_start_thread(struct node *node);
void node_stop(struct node *node); /* a clean stop */
void node_kill(struct node *node); /* SIGKILL, and waits for its end */
void node_stats(struct node *node, struct workers_stats *out);

/* Waits until `what` is true; fails the test after a minute. */
#define node_until(what)                                                                           \
	do {                                                                                       \
		unsigned node_tries_ = 0;                                                          \
		while (!(what)) {                                                                  \
			assert_true(node_tries_++ < 120000);                                       \
			usleep(500);                                                               \
		}                                                                                  \
	} while (0)

#endif
