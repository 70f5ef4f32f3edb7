/* Taking and releasing the service address, seen from a client on the same network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>

#include "vip/test-nodes.h"

#define A (1U << NET_A)
#define B (1U << NET_B)

static const struct vip_config v4 = {
    .interface = "eth0", .addresses = {"10.77.0.10/24"}, .n_addresses = 1};

static int take(enum test_net_place place, struct vip *vip)
{
	test_net_enter(place);
	test_nodes_error[0] = '\0';
	return vip_take(vip, test_nodes_error, sizeof(test_nodes_error));
}

static int release(enum test_net_place place, struct vip *vip)
{
	test_net_enter(place);
	test_nodes_error[0] = '\0';
	return vip_release(vip, test_nodes_error, sizeof(test_nodes_error));
}

static int held(enum test_net_place place, struct vip *vip)
{
	test_net_enter(place);
	return vip_held(vip);
}

static void test_moves_from_a_to_b_and_back(void **state)
{
	struct vip *a = test_nodes_new(NET_A, &v4), *b = test_nodes_new(NET_B, &v4);

	(void)state;
	assert_int_equal(release(NET_B, b), 0);
	assert_int_equal(take(NET_A, a), 0);
	assert_int_equal(test_net_who_has("10.77.0.10"), A);
	assert_int_equal(test_net_resolve("10.77.0.10"), MAC_A);
	assert_int_equal(held(NET_A, a), 1);
	assert_int_equal(held(NET_B, b), 0);

	assert_int_equal(release(NET_A, a), 0);
	assert_int_equal(test_net_who_has("10.77.0.10"), 0);
	assert_int_equal(held(NET_A, a), 0);
	/* The client's entry is a second old at most, and still taken over. */
	assert_int_equal(take(NET_B, b), 0);
	assert_int_equal(test_net_neighbour("10.77.0.10"), MAC_B);
	assert_int_equal(test_net_who_has("10.77.0.10"), B);
	assert_int_equal(test_net_resolve("10.77.0.10"), MAC_B);

	assert_int_equal(release(NET_B, b), 0);
	assert_int_equal(take(NET_A, a), 0);
	assert_int_equal(test_net_neighbour("10.77.0.10"), MAC_A);
	assert_int_equal(test_net_who_has("10.77.0.10"), A);
	vip_free(a);
	vip_free(b);
}

static void test_states_are_as_documented(void **state)
{
	struct vip *b = test_nodes_new(NET_B, &test_nodes_both);

	(void)state;
	test_net_run(NET_B, "ip address add fd77::10/64 dev eth0 nodad");
	assert_int_equal(release(NET_B, b), 0);
	assert_int_equal(test_net_arp_ignore(NET_B), 8);
	assert_true(test_net_has_flag(NET_B, "NOARP"));
	assert_true(test_net_has_flag(NET_B, "UP"));
	assert_true(test_net_has_address(NET_B, "10.77.0.10/24"));
	assert_false(test_net_has_address(NET_B, "fd77::10/64"));

	assert_int_equal(take(NET_B, b), 0);
	assert_int_equal(test_net_arp_ignore(NET_B), 0);
	assert_false(test_net_has_flag(NET_B, "NOARP"));
	assert_true(test_net_has_address(NET_B, "10.77.0.10/24"));
	assert_true(test_net_has_address(NET_B, "fd77::10/64"));
	vip_free(b);
}

static void test_take_and_release_are_idempotent(void **state)
{
	struct vip *a = test_nodes_new(NET_A, &test_nodes_both);

	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(take(NET_A, a), 0);
		assert_int_equal(held(NET_A, a), 1);
	}
	assert_int_equal(test_net_who_has("10.77.0.10"), A);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(release(NET_A, a), 0);
		assert_int_equal(held(NET_A, a), 0);
	}
	assert_int_equal(test_net_who_has("10.77.0.10"), 0);
	vip_free(a);
}

static void test_another_process_finds_the_truth(void **state)
{
	struct vip *a = test_nodes_new(NET_A, &test_nodes_both), *again;

	(void)state;
	assert_int_equal(take(NET_A, a), 0);
	vip_free(a);
	again = test_nodes_new(NET_A, &test_nodes_both);
	assert_int_equal(held(NET_A, again), 1);
	/* Each of what makes a node silent, by another's hand. */
	test_net_run(NET_A, "echo 8 >/proc/sys/net/ipv4/conf/eth0/arp_ignore");
	assert_int_equal(held(NET_A, again), 0);
	test_net_run(NET_A, "echo 1 >/proc/sys/net/ipv4/conf/eth0/arp_ignore");
	assert_int_equal(held(NET_A, again), 1);
	test_net_run(NET_A, "echo 8 >/proc/sys/net/ipv4/conf/all/arp_ignore");
	assert_int_equal(held(NET_A, again), 0);
	test_net_run(NET_A,
	             "echo 0 >/proc/sys/net/ipv4/conf/all/arp_ignore; ip link set eth0 arp off");
	assert_int_equal(held(NET_A, again), 0);
	test_net_run(NET_A, "ip link set eth0 arp on; ip address del fd77::10/64 dev eth0");
	assert_int_equal(held(NET_A, again), 0);
	assert_int_equal(take(NET_A, again), 0);
	test_net_run(NET_A, "ip address del 10.77.0.10/24 dev eth0");
	assert_int_equal(held(NET_A, again), 0);
	test_net_run(NET_A, "ip address add 10.77.0.10/32 dev eth0");
	assert_int_equal(held(NET_A, again), 1);
	test_net_run(NET_A, "ip link set eth0 down");
	assert_int_equal(held(NET_A, again), 0);
	test_net_run(NET_A, "ip link del eth0");
	assert_int_equal(held(NET_A, again), -ENODEV);
	vip_free(again);
}

static void test_operators_arp_ignore_stays(void **state)
{
	struct vip *a = test_nodes_new(NET_A, &v4);

	(void)state;
	test_net_run(NET_A, "echo 1 >/proc/sys/net/ipv4/conf/eth0/arp_ignore");
	assert_int_equal(take(NET_A, a), 0);
	assert_int_equal(test_net_arp_ignore(NET_A), 1);
	assert_int_equal(test_net_who_has("10.77.0.10"), A);
	vip_free(a);
}

static void test_paper_mode_takes_the_interface_down(void **state)
{
	struct vip_config paper = test_nodes_both;
	struct vip *a;

	(void)state;
	paper.interface_down = true;
	a = test_nodes_new(NET_A, &paper);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(take(NET_A, a), 0);
		assert_true(test_net_has_flag(NET_A, "UP"));
		assert_true(test_net_has_address(NET_A, "fd77::10/64"));
		assert_int_equal(held(NET_A, a), 1);
		test_net_wait_forwarding(NET_A);
		assert_int_equal(test_net_who_has("10.77.0.10"), A);

		assert_int_equal(release(NET_A, a), 0);
		assert_false(test_net_has_flag(NET_A, "UP"));
		assert_true(test_net_has_address(NET_A, "10.77.0.10/24"));
		assert_int_equal(held(NET_A, a), 0);
	}
	/* Brought up by hand it is still silent. */
	test_net_run(NET_A, "ip link set eth0 up");
	test_net_wait_forwarding(NET_A);
	assert_int_equal(test_net_who_has("10.77.0.10"), 0);
	vip_free(a);
}

static void test_ipv6_moves_with_an_advertisement(void **state)
{
	struct vip *a = test_nodes_new(NET_A, &test_nodes_both),
	           *b = test_nodes_new(NET_B, &test_nodes_both);

	(void)state;
	assert_int_equal(release(NET_B, b), 0);
	assert_int_equal(take(NET_A, a), 0);
	assert_int_equal(test_net_resolve("fd77::10"), MAC_A);
	/* A holder that has died does not let go: the next one takes the address all the same. */
	assert_int_equal(take(NET_B, b), 0);
	assert_int_equal(test_net_neighbour("fd77::10"), MAC_B);
	assert_int_equal(release(NET_A, a), 0);
	assert_int_equal(test_net_resolve("fd77::10"), MAC_B);
	assert_int_equal(release(NET_B, b), 0);
	assert_int_equal(take(NET_A, a), 0);
	assert_int_equal(test_net_neighbour("fd77::10"), MAC_A);
	vip_free(a);
	vip_free(b);
}

/* An address that duplicate address detection has disabled stands, but cannot be used. */
static void test_address_that_failed_detection_is_made_usable(void **state)
{
	struct vip *a = test_nodes_new(NET_A, &test_nodes_both),
	           *b = test_nodes_new(NET_B, &test_nodes_both);
	char line[256] = "";

	(void)state;
	assert_int_equal(take(NET_A, a), 0);
	assert_int_equal(release(NET_B, b), 0);
	test_net_run(NET_B, "ip link set eth0 arp on;"
	                    "echo 1 >/proc/sys/net/ipv6/conf/eth0/accept_dad;"
	                    "ip address add fd77::10/64 dev eth0");
	for (int i = 0; i < 1000 && !line[0]; i++)
		test_net_read(NET_B, line, sizeof(line), "ip address show dev eth0 dadfailed");
	assert_true(line[0]);
	assert_int_equal(held(NET_B, b), 0);
	assert_int_equal(release(NET_A, a), 0);
	assert_int_equal(take(NET_B, b), 0);
	assert_int_equal(held(NET_B, b), 1);
	assert_int_equal(test_net_resolve("fd77::10"), MAC_B);
	vip_free(a);
	vip_free(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_moves_from_a_to_b_and_back, test_nodes_net_up,
	                                    test_nodes_net_down),
	    cmocka_unit_test_setup_teardown(test_states_are_as_documented, test_nodes_net_up,
	                                    test_nodes_net_down),
	    cmocka_unit_test_setup_teardown(test_take_and_release_are_idempotent, test_nodes_net_up,
	                                    test_nodes_net_down),
	    cmocka_unit_test_setup_teardown(test_another_process_finds_the_truth, test_nodes_net_up,
	                                    test_nodes_net_down),
	    cmocka_unit_test_setup_teardown(test_operators_arp_ignore_stays, test_nodes_net_up,
	                                    test_nodes_net_down),
	    cmocka_unit_test_setup_teardown(test_paper_mode_takes_the_interface_down,
	                                    test_nodes_net_up, test_nodes_net_down),
	    cmocka_unit_test_setup_teardown(test_ipv6_moves_with_an_advertisement,
	                                    test_nodes_net_up, test_nodes_net_down),
	    cmocka_unit_test_setup_teardown(test_address_that_failed_detection_is_made_usable,
	                                    test_nodes_net_up, test_nodes_net_down),
	};

	test_net_or_skip();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
