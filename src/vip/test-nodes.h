/* What the tests of vip.h share on top of test-net.h: the one node a, or a that holds the address and b that stands by. */
#ifndef TLSBATON_VIP_TEST_NODES_H
#define TLSBATON_VIP_TEST_NODES_H

#include "vip/test-net.h"
#include "vip/vip.h"

/* eth0 with 10.77.0.10/24 and fd77::10/64. */
extern const struct vip_config test_nodes_both;

extern char test_nodes_error[512]; /* what the last call left there */

/* For cmocka: the network, and the process at a. */
int test_nodes_net_up(void **state);
int test_nodes_net_down(void **state);

/* vip_new() at a, into test_nodes_error. */
int test_nodes_try(struct vip **out, const struct vip_config *config) MUST_CHECK;
void test_nodes_assert_error(const char *text);

/* vip_new(), vip_take(), vip_release() … at a place; a failure fails the test. */
struct vip *test_nodes_new(enum test_net_place place, const struct vip_config *config);
void test_nodes_change(enum test_net_place place, struct vip *vip,
                       int (*what)(struct vip *, char *, size_t));

struct test_nodes {
	struct vip *a, *b;
};

/* On a network that is up, where both have an interface for it: a holds the address, b stands by. The test's
 * state, for test_nodes_down(). */
struct test_nodes *test_nodes_up(const struct vip_config *config);
int test_nodes_down(void **state);

#endif
