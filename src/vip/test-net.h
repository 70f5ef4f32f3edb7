/*
 * A network for tests: a switch (a bridge) with a client and the nodes a and b on it, each in a network
 * namespace without a name. They go when the test's process does, however it ends.
 *
 *     client eth0 10.77.0.2/24  fd77::2/64 ── switch ── a eth0 (no address), b eth0 (no address)
 *
 * Hardware addresses are fixed: 02:00:00:00:00:0c for the client, …:0a and …:0b for the nodes. The process
 * is bound to one CPU: then frames are handled in the order in which they were sent, and a marker frame
 * that has arrived says that all before it has been seen and answered (test_net_fence()). So no test has to
 * wait to learn that something does not come.
 */
#ifndef TLSBATON_VIP_TEST_NET_H
#define TLSBATON_VIP_TEST_NET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/macro.h"

enum test_net_place { NET_SWITCH, NET_CLIENT, NET_A, NET_B, NET_PLACES };

/* The last byte of a place's hardware address, as who answered. 0: nobody. */
enum { MAC_NOBODY = 0, MAC_A = 0x0a, MAC_B = 0x0b, MAC_CLIENT = 0x0c };

/* Ends the process with 77 (skipped) without root or the ability to make namespaces. */
void test_net_or_skip(void);

void test_net_up(void);
void test_net_down(void);

/* From now on the process (and what it starts) is there. */
void test_net_enter(enum test_net_place place);

/* Runs a shell command at a place, where the process is then; fails the test if it fails. */
void test_net_run(enum test_net_place place, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* The same, for its first line of output. */
void test_net_read(enum test_net_place place, char *line, size_t size, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

/* net.ipv4.conf.eth0.arp_ignore there. */
int test_net_arp_ignore(enum test_net_place place);

/* Whether a flag ("NOARP", "UP") is shown for eth0 there, or `address` stands on it. */
bool test_net_has_flag(enum test_net_place place, const char *flag);
bool test_net_has_address(enum test_net_place place, const char *address);

/* Which hardware address the client's kernel has for `ip`. */
int test_net_neighbour(const char *ip);

/* Makes the client's kernel ask anew for `ip`, and says whom it believes. */
int test_net_resolve(const char *ip);

/* Asks, as the client, who has `ip`. Returns all that answered: 1 << NET_A for a's eth0, that << NET_PLACES
 * for an interface of a whose hardware address ends in 1a; likewise b. */
unsigned test_net_who_has(const char *ip);

/* Returns when the switch forwards what the node sends: some time after its interface has come up. */
void test_net_wait_forwarding(enum test_net_place from);

/* Everything that arrives at the client from now on; the descriptor is the caller's to close. */
int test_net_capture(void);

/* Takes the next frame captured before `from`'s marker, which is sent by test_net_fence(): its length, or
 * 0 at the marker. Fails the test if the marker does not come. */
ssize_t test_net_next(int capture, uint8_t *frame, size_t size);
void test_net_fence(enum test_net_place from);

#endif
