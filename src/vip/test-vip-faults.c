/*
 * The service address when something goes wrong in the middle of a change. The linker puts the wrappers
 * below between vip.c and what it calls, so that each of its steps can be made to fail in turn.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <cap-ng.h>
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <sys/wait.h>

#include "vip/announce.h"
#include "vip/netlink.h"
#include "vip/test-nodes.h"

static int steps_left = -1; /* until one fails; -1: none does */

/* Once a step has failed the following ones work, or nothing could be undone. */
static bool step_fails(void)
{
	return steps_left >= 0 && steps_left-- == 0;
}

#define WRAP(name, parameters, ...)                                                                \
	int __real_##name parameters;                                                              \
	int __wrap_##name parameters;                                                              \
	int __wrap_##name parameters                                                               \
	{                                                                                          \
		return step_fails() ? -EIO : __real_##name(__VA_ARGS__);                           \
	}
WRAP(netlink_iface_set,
     (struct mnl_socket * nl, int index, unsigned flags, unsigned mask, uint32_t arp_ignore), nl,
     index, flags, mask, arp_ignore)
WRAP(netlink_address_add, (struct mnl_socket * nl, const struct netlink_address *address), nl,
     address)
WRAP(netlink_address_remove, (struct mnl_socket * nl, const struct netlink_address *address), nl,
     address)
WRAP(announce_send, (int fd, int index, int family, const uint8_t *mac, const uint8_t *ip), fd,
     index, family, mac, ip)

static const struct vip_config paper = {.interface = "eth0",
                                        .addresses = {"10.77.0.10/24", "fd77::10/64"},
                                        .n_addresses = 2,
                                        .interface_down = true};

static int setup(void **state)
{
	steps_left = -1;
	return test_nodes_net_up(state);
}

static int compare_lines(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* All that vip.c may change of eth0, as text: by other means than vip.c reads it with. */
static void describe(char *text, size_t size)
{
	char lines[16][128], ip[INET6_ADDRSTRLEN], mask[INET6_ADDRSTRLEN];
	struct ifaddrs *all;
	size_t n = 0, length;
	unsigned flags = 0;

	test_net_enter(NET_A);
	assert_int_equal(getifaddrs(&all), 0);
	for (struct ifaddrs *at = all; at; at = at->ifa_next) {
		int family = at->ifa_addr ? at->ifa_addr->sa_family : AF_UNSPEC;
		socklen_t bytes =
		    family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);

		if (strcmp(at->ifa_name, "eth0") != 0)
			continue;
		flags = at->ifa_flags & (IFF_UP | IFF_NOARP);
		if (family != AF_INET && family != AF_INET6)
			continue;
		assert_int_equal(
		    getnameinfo(at->ifa_addr, bytes, ip, sizeof(ip), NULL, 0, NI_NUMERICHOST), 0);
		assert_int_equal(getnameinfo(at->ifa_netmask, bytes, mask, sizeof(mask), NULL, 0,
		                             NI_NUMERICHOST),
		                 0);
		/* The kernel's own link-local address comes and goes with the interface. */
		if (strncmp(ip, "fe80", 4) == 0)
			continue;
		assert_true(n < ARRAY_SIZE(lines));
		snprintf(lines[n++], sizeof(lines[0]), "%s mask %s", ip, mask);
	}
	freeifaddrs(all);
	qsort(lines, n, sizeof(lines[0]), compare_lines);
	length = (size_t)snprintf(text, size, "flags %x arp_ignore %d", flags,
	                          test_net_arp_ignore(NET_A));
	for (size_t i = 0; i < n; i++)
		length += (size_t)snprintf(text + length, size - length, ", %s", lines[i]);
}

/* Makes each step of `change` fail in turn, from the state that `prepare` leaves. */
static void fail_each_step(const struct vip_config *config, const char *prepare,
                           int (*change)(struct vip *, char *, size_t), int n_steps_min)
{
	char before[512], after[512];
	struct vip *vip;
	int r = -EIO, n_failed = 0;

	while (r == -EIO) {
		test_net_run(NET_A,
		             "ip link set eth0 down arp on; ip address flush dev eth0;"
		             "echo 0 >/proc/sys/net/ipv4/conf/eth0/arp_ignore;"
		             "ip link set eth0 up; %s",
		             prepare);
		assert_int_equal(test_nodes_try(&vip, config), 0);
		describe(before, sizeof(before));
		steps_left = n_failed;
		test_nodes_error[0] = '\0';
		r = change(vip, test_nodes_error, sizeof(test_nodes_error));
		steps_left = -1;
		if (r == -EIO) {
			describe(after, sizeof(after));
			assert_string_equal(before, after);
			test_nodes_assert_error("interface \"eth0\": cannot ");
			test_nodes_assert_error("Input/output error");
			assert_null(strstr(test_nodes_error, "nor could"));
			n_failed++;
		}
		vip_free(vip);
	}
	assert_int_equal(r, 0);
	assert_true(n_failed >= n_steps_min);
}

#define SILENT                                                                                     \
	"echo 8 >/proc/sys/net/ipv4/conf/eth0/arp_ignore; ip link set eth0 arp off;"               \
	"ip address add 10.77.0.10/24 dev eth0;"
#define HOLDING "ip address add 10.77.0.10/24 dev eth0; ip address add fd77::10/64 nodad dev eth0;"

static void test_take_undoes_what_it_did(void **state)
{
	(void)state;
	fail_each_step(&test_nodes_both, SILENT, vip_take, 4);
	fail_each_step(&test_nodes_both, ":", vip_take, 4);
	fail_each_step(&paper, SILENT "ip link set eth0 down", vip_take, 5);
	/* Of the operator's: another prefix, another arp_ignore. */
	fail_each_step(&test_nodes_both,
	               "ip address add 10.77.0.10/32 dev eth0; ip link set eth0 arp off;"
	               "echo 2 >/proc/sys/net/ipv4/conf/eth0/arp_ignore",
	               vip_take, 4);
}

static void test_release_undoes_what_it_did(void **state)
{
	(void)state;
	fail_each_step(&test_nodes_both, HOLDING, vip_release, 2);
	fail_each_step(&test_nodes_both, ":", vip_release, 2);
	fail_each_step(&paper, HOLDING, vip_release, 2);
	fail_each_step(&test_nodes_both, "ip address add fd77::10/80 nodad dev eth0", vip_release,
	               3);
}

/* A fault of the machine's own, late in the take: IPv6 addresses come after all else but the ARP. */
static void test_disabled_ipv6_is_named(void **state)
{
	char before[512], after[512];
	struct vip *vip;

	(void)state;
	assert_int_equal(test_nodes_try(&vip, &test_nodes_both), 0);
	test_net_run(NET_A, SILENT "echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6");
	describe(before, sizeof(before));
	assert_int_equal(vip_take(vip, test_nodes_error, sizeof(test_nodes_error)), -EACCES);
	test_nodes_assert_error("cannot add fd77::10/64: IPv6 is disabled there");
	describe(after, sizeof(after));
	assert_string_equal(before, after);
	assert_int_equal(test_net_who_has("10.77.0.10"), 0);
	vip_free(vip);
}

static void test_interface_that_goes_and_comes_back(void **state)
{
	struct vip *vip;

	(void)state;
	assert_int_equal(test_nodes_try(&vip, &test_nodes_both), 0);
	assert_int_equal(vip_take(vip, test_nodes_error, sizeof(test_nodes_error)), 0);
	test_net_run(NET_A, "ip link set eth0 down; ip link set eth0 name away");
	assert_int_equal(vip_take(vip, test_nodes_error, sizeof(test_nodes_error)), -ENODEV);
	test_nodes_assert_error("interface \"eth0\" does not exist");
	assert_int_equal(vip_release(vip, test_nodes_error, sizeof(test_nodes_error)), -ENODEV);
	assert_int_equal(vip_announce(vip, test_nodes_error, sizeof(test_nodes_error)), -ENODEV);
	assert_int_equal(vip_held(vip), -ENODEV);
	/* Another of that name: what counts is the name in the configuration. */
	test_net_run(NET_A, "ip link add eth0 type veth peer name peer; ip link set peer up");
	assert_int_equal(vip_take(vip, test_nodes_error, sizeof(test_nodes_error)), 0);
	assert_int_equal(vip_held(vip), 1);
	vip_free(vip);
}

static void test_announcing_needs_an_interface_that_is_up(void **state)
{
	struct vip *vip;

	(void)state;
	assert_int_equal(test_nodes_try(&vip, &test_nodes_both), 0);
	test_net_run(NET_A, "ip link set eth0 down");
	assert_int_equal(vip_announce(vip, test_nodes_error, sizeof(test_nodes_error)), -ENETDOWN);
	test_nodes_assert_error(
	    "interface \"eth0\": cannot announce 10.77.0.10/24: the interface is down");
	vip_free(vip);
}

/* In a child, without one capability: the exit status says what went wrong, 0 for nothing. */
static int run_without(unsigned capability, int (*change)(struct vip *, char *, size_t))
{
	struct vip *vip = NULL;
	int status, r;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		capng_get_caps_process();
		capng_update(CAPNG_DROP, (capng_type_t)(CAPNG_EFFECTIVE | CAPNG_PERMITTED),
		             capability);
		if (capng_apply(CAPNG_SELECT_CAPS) != 0 ||
		    test_nodes_try(&vip, &test_nodes_both) < 0)
			_exit(2);
		r = change(vip, test_nodes_error, sizeof(test_nodes_error));
		vip_free(vip);
		_exit(r == -EPERM && strstr(test_nodes_error,
		                            "not permitted: tlsbatond needs CAP_NET_ADMIN "
		                            "and CAP_NET_RAW")
		          ? 0
		          : 3);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WEXITSTATUS(status);
}

static void test_missing_capabilities_are_named(void **state)
{
	char before[512], after[512];

	(void)state;
	describe(before, sizeof(before));
	assert_int_equal(run_without(CAP_NET_ADMIN, vip_take), 0);
	assert_int_equal(run_without(CAP_NET_RAW, vip_take), 0);
	assert_int_equal(run_without(CAP_NET_ADMIN, vip_release), 0);
	assert_int_equal(run_without(CAP_NET_RAW, vip_announce), 0);
	describe(after, sizeof(after));
	assert_string_equal(before, after);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_take_undoes_what_it_did, setup,
	                                    test_nodes_net_down),
	    cmocka_unit_test_setup_teardown(test_release_undoes_what_it_did, setup,
	                                    test_nodes_net_down),
	    cmocka_unit_test_setup_teardown(test_disabled_ipv6_is_named, setup,
	                                    test_nodes_net_down),
	    cmocka_unit_test_setup_teardown(test_interface_that_goes_and_comes_back, setup,
	                                    test_nodes_net_down),
	    cmocka_unit_test_setup_teardown(test_announcing_needs_an_interface_that_is_up, setup,
	                                    test_nodes_net_down),
	    cmocka_unit_test_setup_teardown(test_missing_capabilities_are_named, setup,
	                                    test_nodes_net_down),
	};

	test_net_or_skip();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
