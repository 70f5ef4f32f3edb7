/*
 * What a standby sends must not take the address back, and what the network hears must be well-formed.
 * The first test shows the hazard where nothing is done about it: if it fails, the others prove nothing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include "vip/announce.h"
#include "vip/test-nodes.h"

#define PORT 4433
#define PATIENCE_MS 5000

static const uint8_t service4[4] = {10, 77, 0, 10};
static const uint8_t service6[16] = {0xfd, 0x77, [15] = 0x10};

/* A holds the address, b stands by, the client knows. */
static int setup(void **state)
{
	test_net_up();
	*state = test_nodes_up(&test_nodes_both);
	assert_int_equal(test_net_resolve("10.77.0.10"), MAC_A);
	assert_int_equal(test_net_resolve("fd77::10"), MAC_A);
	return 0;
}

static void switch_over(struct test_nodes *nodes)
{
	test_nodes_change(NET_A, nodes->a, vip_release);
	test_nodes_change(NET_B, nodes->b, vip_take);
}

/* Frames from a node's hardware address that speak of addresses: all of ARP, and neighbour discovery that
 * names the service address. */
static unsigned count_claims(int capture, int mac)
{
	uint8_t frame[1600];
	unsigned n = 0;
	ssize_t size;

	while ((size = test_net_next(capture, frame, sizeof(frame))) > 0) {
		if (frame[6] != 0x02 || frame[11] != mac)
			continue;
		if (frame[12] == 0x08 && frame[13] == 0x06)
			n++;
		else if (frame[12] == 0x86 && frame[13] == 0xdd && size >= 78 && frame[20] == 58 &&
		         (frame[54] == 135 || frame[54] == 136) &&
		         (memcmp(frame + 22, service6, 16) == 0 ||
		          memcmp(frame + 62, service6, 16) == 0))
			n++;
	}
	return n;
}

/* What a program on the node would do: a datagram and the first packet of a connection, from the service
 * address to the client. */
static void send_from_service(enum test_net_place place)
{
	struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
	static const int types[] = {SOCK_DGRAM, SOCK_STREAM};

	memcpy(&from.sin_addr, service4, 4);
	to.sin_addr.s_addr = htonl(0x0a4d0002);
	to.sin_port = htons(9);
	test_net_enter(place);
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		int fd = socket(AF_INET, types[i] | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
		if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
			assert_int_equal(errno, EINPROGRESS);
		if (types[i] == SOCK_DGRAM)
			assert_int_equal(send(fd, "x", 1, 0), 1);
		close(fd);
	}
}

static void test_arp_ignore_alone_lets_a_standby_steal(void **state)
{
	int capture = test_net_capture();

	(void)state;
	test_net_run(NET_B, "ip link set eth0 arp on");
	assert_int_equal(test_net_arp_ignore(NET_B), 8);
	assert_int_equal(test_net_who_has("10.77.0.10"), 1U << NET_A);
	send_from_service(NET_B);
	test_net_fence(NET_B);
	assert_int_equal(test_net_neighbour("10.77.0.10"), MAC_B);
	close(capture);
}

static void test_standby_that_sends_does_not(void **state)
{
	int capture = test_net_capture();

	(void)state;
	send_from_service(NET_B);
	test_net_run(NET_B, "ping -q -c 1 -w 1 -i 0.2 10.77.0.2 >/dev/null; [ $? = 1 ]");
	test_net_fence(NET_B);
	assert_int_equal(count_claims(capture, MAC_B), 0);
	assert_int_equal(test_net_neighbour("10.77.0.10"), MAC_A);
	close(capture);
}

/* One listener for both families, as a server that wants to hold an IPv6 address must do it. */
static int listen_at(enum test_net_place place)
{
	struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
	int fd, one = 1;

	test_net_enter(place);
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static int connect_client(int family)
{
	const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
	struct sockaddr_in at4 = {.sin_family = AF_INET, .sin_port = htons(PORT)};
	struct sockaddr_in6 at6 = {.sin6_family = AF_INET6, .sin6_port = htons(PORT)};
	int fd, r;

	memcpy(&at4.sin_addr, service4, 4);
	memcpy(&at6.sin6_addr, service6, 16);
	test_net_enter(NET_CLIENT);
	fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)), 0);
	r = family == AF_INET ? connect(fd, (struct sockaddr *)&at4, sizeof(at4))
	                      : connect(fd, (struct sockaddr *)&at6, sizeof(at6));
	assert_int_equal(r, 0);
	return fd;
}

static int accept_from(int listener)
{
	struct pollfd ready = {.fd = listener, .events = POLLIN};

	assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
	return accept(listener, NULL, NULL);
}

/* Until the kernel has tried `n` times to get through what was sent: again, or, where no packet could be
 * made since its source address is gone, by probes. */
static void wait_for_retries(int fd, unsigned n)
{
	struct tcp_info info = {0};
	socklen_t size = sizeof(info);

	for (int i = 0; i < PATIENCE_MS / 10 && info.tcpi_retransmits + info.tcpi_probes < n; i++) {
		poll(NULL, 0, 10);
		size = sizeof(info);
		assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size), 0);
	}
	assert_true(info.tcpi_retransmits + info.tcpi_probes >= n);
}

/* Whether the other end has reset the connection, or will. */
static bool is_reset(int fd)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	char byte;

	(void)!send(fd, "x", 1, MSG_NOSIGNAL);
	return poll(&ready, 1, PATIENCE_MS) == 1 && recv(fd, &byte, 1, 0) < 0 &&
	       errno == ECONNRESET;
}

static void connections_open_across_the_switchover(struct test_nodes *nodes, int family,
                                                   const char *ip)
{
	int at_a = listen_at(NET_A), at_b = listen_at(NET_B), capture;
	int client = connect_client(family), old = accept_from(at_a), again, accepted;

	switch_over(nodes);
	capture = test_net_capture();
	/* The former holder goes on sending on a connection that it believes in. */
	test_net_enter(NET_A);
	assert_int_equal(send(old, "hello", 5, 0), 5);
	wait_for_retries(old, 2);
	test_net_fence(NET_A);
	assert_int_equal(count_claims(capture, MAC_A), 0);
	assert_int_equal(test_net_neighbour(ip), MAC_B);
	/* Its client learns at once that the connection is gone, and gets the new holder. */
	assert_true(is_reset(client));
	again = connect_client(family);
	accepted = accept_from(at_b);
	assert_true(accepted >= 0);
	assert_int_equal(test_net_neighbour(ip), MAC_B);
	close(client);
	close(old);
	close(again);
	close(accepted);
	close(at_a);
	close(at_b);
	close(capture);
}

static void test_ipv4_connections_open_across_the_switchover(void **state)
{
	connections_open_across_the_switchover(*state, AF_INET, "10.77.0.10");
}

static void test_ipv6_connections_open_across_the_switchover(void **state)
{
	connections_open_across_the_switchover(*state, AF_INET6, "fd77::10");
}

/* There and back: what a node resolved while it was silent must not stay with it. */
static void test_node_that_comes_back_can_reach_clients(void **state)
{
	struct test_nodes *nodes = *state;

	send_from_service(NET_B);
	switch_over(nodes);
	test_net_run(NET_B, "ping -q -c 1 -w 5 10.77.0.2 >/dev/null");
	test_net_run(NET_B, "ping -q -c 1 -w 5 -I fd77::10 fd77::2 >/dev/null");
	test_nodes_change(NET_B, nodes->b, vip_release);
	test_nodes_change(NET_A, nodes->a, vip_take);
	test_net_run(NET_A, "ping -q -c 1 -w 5 10.77.0.2 >/dev/null");
	test_net_run(NET_A, "ping -q -c 1 -w 5 -I fd77::10 fd77::2 >/dev/null");
}

static void test_announcement_is_on_the_wire_as_built(void **state)
{
	static const uint8_t mac_b[6] = {0x02, [5] = MAC_B};
	uint8_t request[ANNOUNCE_ARP_BYTES], reply[ANNOUNCE_ARP_BYTES], na[ANNOUNCE_NA_BYTES];
	unsigned n_request = 0, n_reply = 0, n_na = 0;
	struct test_nodes *nodes = *state;
	uint8_t frame[1600];
	int capture;
	ssize_t size;

	announce_arp(request, ANNOUNCE_REQUEST, mac_b, service4);
	announce_arp(reply, ANNOUNCE_REPLY, mac_b, service4);
	announce_na(na, mac_b, service6);
	test_nodes_change(NET_A, nodes->a, vip_release);
	capture = test_net_capture();
	test_nodes_change(NET_B, nodes->b, vip_take);
	test_net_fence(NET_B);
	while ((size = test_net_next(capture, frame, sizeof(frame))) > 0) {
		n_request += size >= (ssize_t)sizeof(request) &&
		             memcmp(frame, request, sizeof(request)) == 0;
		n_reply +=
		    size >= (ssize_t)sizeof(reply) && memcmp(frame, reply, sizeof(reply)) == 0;
		n_na += size == (ssize_t)sizeof(na) && memcmp(frame, na, sizeof(na)) == 0;
	}
	assert_int_equal(n_request, 1);
	assert_int_equal(n_reply, 1);
	assert_int_equal(n_na, 1);
	close(capture);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_arp_ignore_alone_lets_a_standby_steal, setup,
	                                    test_nodes_down),
	    cmocka_unit_test_setup_teardown(test_standby_that_sends_does_not, setup,
	                                    test_nodes_down),
	    cmocka_unit_test_setup_teardown(test_ipv4_connections_open_across_the_switchover, setup,
	                                    test_nodes_down),
	    cmocka_unit_test_setup_teardown(test_ipv6_connections_open_across_the_switchover, setup,
	                                    test_nodes_down),
	    cmocka_unit_test_setup_teardown(test_node_that_comes_back_can_reach_clients, setup,
	                                    test_nodes_down),
	    cmocka_unit_test_setup_teardown(test_announcement_is_on_the_wire_as_built, setup,
	                                    test_nodes_down),
	};

	test_net_or_skip();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
