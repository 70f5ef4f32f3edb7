/* What the tests of the library's handle share: a node, a handle, and what the handle's user was told. */
#ifndef TLSBATON_CLIENT_TEST_FIXTURE_H
#define TLSBATON_CLIENT_TEST_FIXTURE_H

#include "client/test-node.h"
#include "tlsbaton.h"

#define LINES_MAX 8

struct fixture {
	struct node node;
	struct tlsbaton_options options; /* may be changed before the handle is opened */
	tlsbaton *baton;
	unsigned n_lines; /* that the user's log got */
	char lines[LINES_MAX][256], last_line[256];
};

/* cmocka's. Neither the daemon is started nor the handle opened. */
int fixture_set_up(void **state);
int fixture_tear_down(void **state);

/* Opens the handle, which has all patience with its daemon: one that gets no processor for a second does not hang. */
void open_handle(struct fixture *f);
/* Starts the daemon, opens the handle, and waits for the hello. */
void start_both(struct fixture *f);
/* A daemon that is silent for RING_DEAD_MS hangs after all: what a real handle has to find. */
void end_patience(struct fixture *f);

/* Records by number. */
void make_id(unsigned char id[32], uint32_t i);
int put(struct fixture *f, uint32_t i, uint64_t *notice);
int get(struct fixture *f, uint32_t i); /* checks what it gets */
int get_noticed(struct fixture *f, uint32_t i, uint64_t *notice);

struct tlsbaton_counters count(struct fixture *f);

#endif
