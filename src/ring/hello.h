/*
 * What the daemon says to a worker that connected: one message on a SOCK_SEQPACKET socket, with four
 * descriptors beside it (SCM_RIGHTS) if, and only if, the status is HELLO_WELCOME:
 *   1. the ring (ring.h), readable and writable, sealed;  2. the session table, read-only;
 *   3. an eventfd(2), which the worker adds to when it must wake the daemon;
 *   4. the page of ticket keys (ticket/page.h), read-only; left out if it cannot be had.
 * The worker says nothing: the daemon knows it by its credentials. After that the socket carries the
 * daemon's bytes, each a wake-up for a worker that polls its gates, and its end says that the other side is gone.
 *
 * The daemon never reads or writes the eventfd, which a worker could make a blocking one and hold the daemon
 * with: each addition is an edge (EPOLLET), and that is all it wants to know.
 */
#ifndef TLSBATON_RING_HELLO_H
#define TLSBATON_RING_HELLO_H

#include <stdint.h>

#define HELLO_MAGIC 0x74626174 /* "tbat" */
#define HELLO_VERSION                                                                              \
	2 /* of this message, the ring, the table and the page of ticket keys together */
#define HELLO_N_FDS 4

enum hello_status {
	HELLO_WELCOME,
	HELLO_NOT_ALLOWED, /* neither user nor group is in the daemon's configuration */
	HELLO_TOO_MANY,    /* as many workers as the daemon's configuration allows are connected */
};

struct hello {
	uint32_t magic;
	uint16_t version;
	uint16_t size; /* sizeof(struct hello) */
	uint32_t status;
};
_Static_assert(sizeof(struct hello) == 12, "no padding: all bytes of it are sent");

#endif
