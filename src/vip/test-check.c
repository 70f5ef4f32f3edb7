/* What vip_new() refuses: addresses, names, and machines on which silence would not be silent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <errno.h>

#include "vip/test-nodes.h"

static void assert_refused(const struct vip_config *config, int r, const char *text)
{
	struct vip *vip = NULL;

	assert_int_equal(test_nodes_try(&vip, config), r);
	assert_null(vip);
	test_nodes_assert_error(text);
}

static void test_bad_addresses_are_refused(void **state)
{
	static const struct {
		const char *address, *error;
	} bad[] = {
	    {"", "has no prefix length"},
	    {"/", "is not an address"},
	    {"10.77.0.10", "write 10.77.0.10/24, or the length"},
	    {"fd77::10", "write fd77::10/64"},
	    {"10.77.0.10/", "needs a prefix length; write one from 1 to 32"},
	    {"10.77.0.10/33", "needs a prefix length; write one from 1 to 32"},
	    {"10.77.0.10/0", "needs a prefix length"},
	    {"10.77.0.10/-1", "needs a prefix length"},
	    {"10.77.0.10/ 24", "needs a prefix length"},
	    {"10.77.0.10/24x", "needs a prefix length"},
	    {"10.77.0.10/18446744073709551640", "needs a prefix length"},
	    {"fd77::10/129", "needs a prefix length; write one from 1 to 128"},
	    {"10.77.0/24", "is not an address"},
	    {"10.77.0.256/24", "is not an address"},
	    {"www.example.com/24", "is not an address"},
	    {"fd77:::10/64", "is not an address"},
	    {"fd77:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0010/64", "is not an address"},
	    {"10.77.0.0/24", "is the address of the network itself"},
	    {"10.77.0.255/24", "broadcast address"},
	    {"0.0.0.0/32", "is not a unicast address"},
	    {"127.0.0.1/8", "is not a unicast address"},
	    {"224.0.0.1/32", "is not a unicast address"},
	    {"255.255.255.255/32", "is not a unicast address"},
	    {"::/64", "is not a unicast address"},
	    {"::1/128", "is not a unicast address"},
	    {"ff02::1/64", "is not a unicast address"},
	    {"::ffff:10.77.0.10/96", "is not a unicast address"},
	    {"fe80::10/64", "is link-local"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct vip_config config = {
		    .interface = "eth0", .addresses = {bad[i].address}, .n_addresses = 1};

		assert_refused(&config, -EINVAL, bad[i].error);
		test_nodes_assert_error(bad[i].address);
	}
}

static void test_good_addresses_are_not(void **state)
{
	static const struct vip_config config = {.interface = "eth0",
	                                         .addresses = {"10.77.0.10/24", "10.77.0.0/31",
	                                                       "10.77.1.255/32", "fd77::10/64",
	                                                       "2001:db8::/127"},
	                                         .n_addresses = 5};
	struct vip *vip;

	(void)state;
	assert_int_equal(test_nodes_try(&vip, &config), 0);
	vip_free(vip);
}

static void test_bad_configurations_are_refused(void **state)
{
	struct vip_config config = test_nodes_both;

	(void)state;
	config.interface = "eth7";
	assert_refused(&config, -ENODEV, "interface \"eth7\" does not exist: create it");
	config.interface = "an-interface-with-a-long-name";
	assert_refused(&config, -EINVAL, "cannot be an interface's name");
	config.interface = "";
	assert_refused(&config, -EINVAL, "cannot be an interface's name");
	config.interface = "lo";
	assert_refused(&config, -EINVAL, "\"lo\" is not Ethernet");
	config = test_nodes_both;
	config.n_addresses = 0;
	assert_refused(&config, -EINVAL, "give from 1 to 16");
	config.n_addresses = VIP_ADDRESSES_MAX + 1;
	assert_refused(&config, -EINVAL, "give from 1 to 16");
	config = test_nodes_both;
	config.addresses[1] = "10.77.0.10/32";
	assert_refused(&config, -EINVAL, "\"10.77.0.10/32\" is given twice");
	config.addresses[0] = "fd77::10/64";
	config.addresses[1] = "fd77:0:0::10/128";
	assert_refused(&config, -EINVAL, "is given twice");
}

static void test_settings_that_silence_all_interfaces_are_named(void **state)
{
	struct vip *vip;

	(void)state;
	assert_int_equal(test_nodes_try(&vip, &test_nodes_both), 0);
	test_net_run(NET_A, "echo 8 >/proc/sys/net/ipv4/conf/all/arp_ignore");
	assert_refused(&test_nodes_both, -EINVAL, "net.ipv4.conf.all.arp_ignore is 8");
	assert_int_equal(vip_take(vip, test_nodes_error, sizeof(test_nodes_error)), -EINVAL);
	test_nodes_assert_error("net.ipv4.conf.all.arp_ignore is 8");
	assert_false(test_net_has_address(NET_A, "10.77.0.10/24"));
	assert_int_equal(vip_release(vip, test_nodes_error, sizeof(test_nodes_error)), 0);
	vip_free(vip);
}

/* Linux lets any interface answer for any address of the machine. */
static void test_second_interface_on_the_network_must_keep_out(void **state)
{
	static const char *const places[] = {
	    /* Its subnet has the service address; or it is what the service interface stands on. */
	    "ip link add other type veth peer name peer && ip address add 10.77.0.99/24 dev other",
	    "ip link set eth0 name other && ip link set other up &&"
	    "ip link add eth0 link other type macvlan mode bridge",
	};
	struct vip *vip;

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		test_net_run(NET_A, "%s", places[i]);
		assert_refused(&test_nodes_both, -EINVAL,
		               "interface \"other\" is on the service network, too");
		test_net_run(NET_A, "echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore");
		assert_refused(&test_nodes_both, -EINVAL, "net.ipv4.conf.all.arp_announce=2");
		test_net_run(NET_A, "echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce");
		assert_int_equal(test_nodes_try(&vip, &test_nodes_both), 0);
		vip_free(vip);
		test_net_run(NET_A, "echo 0 >/proc/sys/net/ipv4/conf/all/arp_ignore;"
		                    "echo 0 >/proc/sys/net/ipv4/conf/all/arp_announce;"
		                    "ip link set other arp off");
		assert_int_equal(test_nodes_try(&vip, &test_nodes_both), 0);
		vip_free(vip);
		test_nodes_net_down(state);
		test_nodes_net_up(state); /* quicker than putting the interfaces back */
	}
}

/* An interface can name another one (IFLA_LINK) and not be on its network: so does a VLAN, which not every
 * kernel that runs tests has, and an end of a pair. */
static void test_other_kinds_of_links_need_no_settings(void **state)
{
	struct vip *vip;

	(void)state;
	test_net_run(NET_A, "ip link del eth0; ip link add eth0 type veth peer name other;"
	                    "ip link set other up; ip address add 192.0.2.5/24 dev other");
	assert_int_equal(test_nodes_try(&vip, &test_nodes_both), 0);
	vip_free(vip);
	/* Unless it has an address there. */
	test_net_run(NET_A, "ip address add 10.77.0.99/24 dev other");
	assert_refused(&test_nodes_both, -EINVAL,
	               "interface \"other\" is on the service network, too");
}

/* Silence mutes the whole interface. */
static void test_interface_carries_nothing_else(void **state)
{
	static const struct {
		const char *made, *undone, *error;
	} others[] = {
	    {"ip address add 10.77.0.11/24 dev eth0", "ip address del 10.77.0.11/24 dev eth0",
	     "interface \"eth0\" has the address 10.77.0.11/24, which is no service address"},
	    {"ip address add 192.0.2.1/32 dev eth0", "ip address del 192.0.2.1/32 dev eth0",
	     "a macvlan on \"eth0\": docs/service-address.md"},
	    {"ip address add fd77::11/64 dev eth0 nodad", "ip address del fd77::11/64 dev eth0",
	     "has the address fd77::11/64"},
	    /* As one that a router's advertisement made. */
	    {"ip address add fd77::12/64 dev eth0 nodad valid_lft 1000 preferred_lft 1000",
	     "ip address del fd77::12/64 dev eth0",
	     "has configured fd77::12/64 by itself, and must carry service addresses only"},
	    {"ip route add default via 10.77.0.1 dev eth0 onlink", "ip route del default",
	     "interface \"eth0\" carries the default route"},
	    {"ip route add default nexthop via 10.77.0.1 dev eth0 onlink nexthop via 10.77.0.3 dev "
	     "eth0 "
	     "onlink",
	     "ip route del default", "carries the default route"},
	    {"ip -6 route add default via fe80::1 dev eth0", "ip -6 route del default",
	     "carries the default route"},
	};
	struct vip *vip;

	(void)state;
	/* What a node that holds has, and link-local addresses, are fine; so is a route of the service's own. */
	test_net_run(NET_A, "ip link set eth0 up; ip address add 10.77.0.10/24 dev eth0;"
	                    "ip address add fd77::10/64 dev eth0 nodad;"
	                    "ip address add 169.254.7.7/16 dev eth0;"
	                    "ip address add fe80::7/64 dev eth0 nodad;"
	                    "ip route add default via 10.77.0.1 dev eth0 onlink table 77");
	assert_int_equal(test_nodes_try(&vip, &test_nodes_both), 0);
	vip_free(vip);
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		test_net_run(NET_A, "%s", others[i].made);
		assert_refused(&test_nodes_both, -EINVAL, others[i].error);
		test_net_run(NET_A, "%s", others[i].undone);
	}
	assert_int_equal(test_nodes_try(&vip, &test_nodes_both), 0);
	vip_free(vip);
}

static void test_strict_filter_is_warned_of(void **state)
{
	const char *all = "/proc/sys/net/ipv4/conf/all/rp_filter";
	struct vip_config config = test_nodes_both;
	char text[512] = "";
	struct vip *vip;

	(void)state;
	test_net_run(NET_A, "echo 1 >%s", all);
	/* Answers leave by eth0. */
	assert_int_equal(test_nodes_try(&vip, &test_nodes_both), 0);
	assert_int_equal(vip_warning(vip, text, sizeof(text)), 0);
	vip_free(vip);
	test_net_run(NET_A, "echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore;"
	                    "echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce;"
	                    "ip link set eth0 name other && ip link set other up &&"
	                    "ip link add eth0 link other type macvlan mode bridge");
	assert_int_equal(test_nodes_try(&vip, &test_nodes_both), 0);
	assert_int_equal(vip_warning(vip, text, sizeof(text)), VIP_WARNS);
	assert_non_null(strstr(text, "set net.ipv4.conf.all.rp_filter=2"));
	test_net_run(NET_A, "echo 0 >%s; echo 1 >/proc/sys/net/ipv4/conf/eth0/rp_filter", all);
	assert_int_equal(vip_warning(vip, text, sizeof(text)), VIP_WARNS);
	test_net_run(NET_A, "echo 2 >%s", all);
	assert_int_equal(vip_warning(vip, text, sizeof(text)), 0);
	test_net_run(NET_A, "echo 0 >%s; echo 0 >/proc/sys/net/ipv4/conf/eth0/rp_filter", all);
	assert_int_equal(vip_warning(vip, text, sizeof(text)), 0);
	vip_free(vip);
	/* IPv6 has no such filter. */
	test_net_run(NET_A, "echo 1 >%s", all);
	config.addresses[0] = "fd77::10/64";
	config.n_addresses = 1;
	assert_int_equal(test_nodes_try(&vip, &config), 0);
	assert_int_equal(vip_warning(vip, text, sizeof(text)), 0);
	vip_free(vip);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_bad_addresses_are_refused, test_nodes_net_up,
	                                    test_nodes_net_down),
	    cmocka_unit_test_setup_teardown(test_good_addresses_are_not, test_nodes_net_up,
	                                    test_nodes_net_down),
	    cmocka_unit_test_setup_teardown(test_bad_configurations_are_refused, test_nodes_net_up,
	                                    test_nodes_net_down),
	    cmocka_unit_test_setup_teardown(test_settings_that_silence_all_interfaces_are_named,
	                                    test_nodes_net_up, test_nodes_net_down),
	    cmocka_unit_test_setup_teardown(test_second_interface_on_the_network_must_keep_out,
	                                    test_nodes_net_up, test_nodes_net_down),
	    cmocka_unit_test_setup_teardown(test_other_kinds_of_links_need_no_settings,
	                                    test_nodes_net_up, test_nodes_net_down),
	    cmocka_unit_test_setup_teardown(test_interface_carries_nothing_else, test_nodes_net_up,
	                                    test_nodes_net_down),
	    cmocka_unit_test_setup_teardown(test_strict_filter_is_warned_of, test_nodes_net_up,
	                                    test_nodes_net_down),
	};

	test_net_or_skip();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
