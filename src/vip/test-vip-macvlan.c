/*
 * The set-up that docs/service-address.md recommends: the service interface is a macvlan on the NIC that
 * carries the node's own address, too. Both are on one network, so each must mind its own addresses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "vip/test-nodes.h"

/* Hardware addresses of the macvlans. */
enum { MAC_TB_A = 0x1a, MAC_TB_B = 0x1b };
#define A (1U << NET_A)
#define B (1U << NET_B)
#define TB_A (A << NET_PLACES)
#define TB_B (B << NET_PLACES)

static const struct vip_config config = {
    .interface = "tb0", .addresses = {"10.77.0.10/32", "fd77::10/128"}, .n_addresses = 2};

/* The interfaces and settings of the page, at one node. */
static void prepare(enum test_net_place place, int mac, int own)
{
	test_net_run(
	    place,
	    "ip address add 10.77.0.%d/24 dev eth0 &&"
	    "ip address add fd77::%d/64 dev eth0 nodad &&"
	    "ip link add tb0 link eth0 address 02:00:00:00:00:%x type macvlan mode bridge &&"
	    "ip link set tb0 arp off && ip link set tb0 up &&"
	    "cd /proc/sys/net/ipv4/conf && echo 1 >all/arp_ignore && echo 2 >all/arp_announce &&"
	    "echo 1 >all/rp_filter && echo 2 >tb0/rp_filter",
	    own, own, mac);
}

static int setup(void **state)
{
	test_net_up();
	prepare(NET_A, MAC_TB_A, 5);
	prepare(NET_B, MAC_TB_B, 6);
	*state = test_nodes_up(&config);
	return 0;
}

static void assert_nobody_is_mistaken(unsigned holder, int holder_mac)
{
	assert_int_equal(test_net_who_has("10.77.0.10"), holder);
	assert_int_equal(test_net_who_has("10.77.0.5"), A);
	assert_int_equal(test_net_who_has("10.77.0.6"), B);
	assert_int_equal(test_net_neighbour("10.77.0.10"), holder_mac);
	assert_int_equal(test_net_neighbour("fd77::10"), holder_mac);
}

/* The service address serves, with reverse path filtering on; nodes talk from their own addresses. */
static void assert_all_reach_all(void)
{
	test_net_run(NET_CLIENT, "ping -q -c 1 -w 5 10.77.0.10 >/dev/null");
	test_net_run(NET_CLIENT, "ping -q -c 1 -w 5 fd77::10 >/dev/null");
	test_net_run(NET_A, "ping -q -c 1 -w 5 10.77.0.2 >/dev/null");
	test_net_run(NET_B, "ping -q -c 1 -w 5 10.77.0.2 >/dev/null");
	test_net_run(NET_A, "ping -q -c 1 -w 5 fd77::2 >/dev/null");
	test_net_run(NET_B, "ping -q -c 1 -w 5 fd77::2 >/dev/null");
}

static void test_each_interface_minds_its_own(void **state)
{
	struct test_nodes *nodes = *state;

	assert_all_reach_all();
	assert_nobody_is_mistaken(TB_A, MAC_TB_A);
	test_nodes_change(NET_A, nodes->a, vip_release);
	assert_int_equal(test_net_who_has("10.77.0.10"), 0);
	test_nodes_change(NET_B, nodes->b, vip_take);
	assert_nobody_is_mistaken(TB_B, MAC_TB_B);
	assert_all_reach_all();
	assert_nobody_is_mistaken(TB_B, MAC_TB_B);
}

/* Frames of the service address leave by the NIC, whose neighbours are asked for in the NIC's own name. */
static void test_traffic_of_the_service_address_moves_nothing(void **state)
{
	static const enum test_net_place places[] = {NET_A, NET_B};

	(void)state;
	assert_all_reach_all();
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		test_net_run(places[i],
		             "ip neighbour flush dev eth0;"
		             "ping -q -c 1 -w 1 -I 10.77.0.10 10.77.0.2 >/dev/null || :");
		test_net_fence(places[i]);
		assert_nobody_is_mistaken(TB_A, MAC_TB_A);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_each_interface_minds_its_own, setup,
	                                    test_nodes_down),
	    cmocka_unit_test_setup_teardown(test_traffic_of_the_service_address_moves_nothing,
	                                    setup, test_nodes_down),
	};

	test_net_or_skip();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
