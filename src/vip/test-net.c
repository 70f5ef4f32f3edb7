#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include "vip/test-net.h"

#define MARKER 0x88b5 /* an EtherType for local experiments (IEEE 802) */
#define PATIENCE_MS 5000

static int places[NET_PLACES] = {-1, -1, -1, -1};
static int home = -1;

static int net_unshare(void)
{
	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

void test_net_or_skip(void)
{
	cpu_set_t one;

	home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	if (geteuid() != 0 || net_unshare() < 0 || system("ip -V >/dev/null 2>&1") != 0) {
		puts("skipped: needs root, network namespaces and iproute2");
		exit(77);
	}
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
}

void test_net_enter(enum test_net_place place)
{
	assert_int_equal(setns(places[place], CLONE_NEWNET), 0);
}

void test_net_run(enum test_net_place place, const char *fmt, ...)
{
	char command[1024];
	va_list args;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	test_net_enter(place);
	if (system(command) != 0)
		fail_msg("%s", command);
}

void test_net_read(enum test_net_place place, char *line, size_t size, const char *fmt, ...)
{
	char command[1024];
	va_list args;
	FILE *pipe;

	va_start(args, fmt);
	vsnprintf(command, sizeof(command), fmt, args);
	va_end(args);
	test_net_enter(place);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	line[0] = '\0';
	if (fgets(line, (int)size, pipe))
		line[strcspn(line, "\n")] = '\0';
	while (fgetc(pipe) != EOF)
		;
	assert_int_equal(pclose(pipe), 0);
}

static int net_socket(enum test_net_place place, const char *interface, unsigned protocol)
{
	struct sockaddr_ll at = {.sll_family = AF_PACKET,
	                         .sll_protocol = htons((uint16_t)protocol)};
	int fd, one = 1;

	test_net_enter(place);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one)), 0);
	at.sll_ifindex = (int)if_nametoindex(interface);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	return fd;
}

static void net_send_marker(int fd, int from)
{
	uint8_t frame[60] = {0xff,        0xff,         0xff, 0xff,
	                     0xff,        0xff,         0x06, [11] = (uint8_t)from,
	                     MARKER >> 8, MARKER & 0xff};

	assert_int_equal(send(fd, frame, sizeof(frame), 0), sizeof(frame));
}

void test_net_wait_forwarding(enum test_net_place from)
{
	int client = net_socket(NET_CLIENT, "eth0", MARKER), node = net_socket(from, "eth0", 0),
	    n = 0, tries = 0;
	struct pollfd ready = {.fd = client, .events = POLLIN};

	while (n == 0 && tries++ < PATIENCE_MS / 20) {
		net_send_marker(node, from);
		n = poll(&ready, 1, 20);
	}
	assert_int_equal(n, 1);
	close(client);
	close(node);
}

static void net_write(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, value, strlen(value)), strlen(value));
	close(fd);
}

void test_net_up(void)
{
	static const char *const nodes[] = {
	    [NET_CLIENT] = "address add 10.77.0.2/24 dev eth0\n"
	                   "address add fd77::2/64 dev eth0 nodad\n",
	    [NET_A] = "",
	    [NET_B] = "",
	};
	static const int macs[] = {[NET_CLIENT] = MAC_CLIENT, [NET_A] = MAC_A, [NET_B] = MAC_B};

	for (int i = 0; i < NET_PLACES; i++) {
		places[i] = net_unshare();
		assert_true(places[i] >= 0);
		/* Quiet: no detection of duplicates, no router solicitations. */
		net_write("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
		net_write("/proc/sys/net/ipv6/conf/default/router_solicitations", "0");
	}
	/* Each link is made at its place; the switch's end is then sent there, named by a descriptor of ours.
	 * Were the indices of both ends the same, the kernel would take a second to see the carrier. */
	for (int i = NET_CLIENT; i < NET_PLACES; i++)
		test_net_run(i,
		             "ip -batch - <<EOF\n"
		             "link set lo up\n"
		             "link add eth0 index 7 address 02:00:00:00:00:%02x type veth"
		             " peer name port%d index %d\n"
		             "link set port%d netns /proc/%d/fd/%d\n"
		             "link set eth0 up\n"
		             "%s"
		             "EOF",
		             macs[i], i, 100 + i, i, (int)getpid(), places[NET_SWITCH], nodes[i]);
	test_net_run(NET_SWITCH,
	             "ip -batch - <<EOF\n"
	             "link set lo up\n"
	             "link add switch type bridge forward_delay 0 mcast_snooping 0\n"
	             "link set port%d master switch up\n"
	             "link set port%d master switch up\n"
	             "link set port%d master switch up\n"
	             "link set switch up\n"
	             "EOF",
	             NET_CLIENT, NET_A, NET_B);
	test_net_wait_forwarding(NET_A);
	test_net_wait_forwarding(NET_B);
}

void test_net_down(void)
{
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
	for (int i = 0; i < NET_PLACES; i++) {
		close(places[i]);
		places[i] = -1;
	}
}

int test_net_arp_ignore(enum test_net_place place)
{
	char line[32];

	test_net_read(place, line, sizeof(line),
	              "read n </proc/sys/net/ipv4/conf/eth0/arp_ignore; echo $n");
	return (int)strtol(line, NULL, 10);
}

bool test_net_has_flag(enum test_net_place place, const char *flag)
{
	char line[256];

	test_net_read(place, line, sizeof(line),
	              "ip link show eth0 | grep -c '[<,]%s[,>]' || :", flag);
	return strtol(line, NULL, 10) > 0;
}

bool test_net_has_address(enum test_net_place place, const char *address)
{
	char line[256];

	test_net_read(place, line, sizeof(line),
	              "ip address show eth0 | grep -c ' %s ' || :", address);
	return strtol(line, NULL, 10) > 0;
}

int test_net_neighbour(const char *ip)
{
	char line[256], *at;

	test_net_read(NET_CLIENT, line, sizeof(line), "ip neighbour show %s dev eth0", ip);
	at = strstr(line, "lladdr ");
	return at ? (int)strtol(at + strlen("lladdr 02:00:00:00:00:"), NULL, 16) : MAC_NOBODY;
}

int test_net_resolve(const char *ip)
{
	test_net_run(NET_CLIENT,
	             "ip neighbour flush to %s; ping -q -c 1 -w 5 %s >/dev/null || :", ip, ip);
	return test_net_neighbour(ip);
}

int test_net_capture(void)
{
	return net_socket(NET_CLIENT, "eth0", ETH_P_ALL);
}

void test_net_fence(enum test_net_place from)
{
	int fd = net_socket(from, "eth0", 0);

	net_send_marker(fd, 0);
	close(fd);
}

ssize_t test_net_next(int capture, uint8_t *frame, size_t size)
{
	struct pollfd ready = {.fd = capture, .events = POLLIN};
	ssize_t n;

	if (poll(&ready, 1, PATIENCE_MS) != 1)
		fail_msg("no frame within %d ms", PATIENCE_MS);
	n = recv(capture, frame, size, 0);
	assert_true(n >= 14);
	return frame[12] == MARKER >> 8 && frame[13] == (MARKER & 0xff) ? 0 : n;
}

/* Hears the marker last of all interfaces of a node: a macvlan gets what is for all from a queue. */
static int net_ear(enum test_net_place place)
{
	test_net_enter(place);
	return net_socket(place, if_nametoindex("tb0") ? "tb0" : "eth0", MARKER);
}

unsigned test_net_who_has(const char *ip)
{
	uint8_t frame[1600],
	    ask[60] = {
	        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, [11] = MAC_CLIENT, 0x08, 0x06, 0, 1,
	        8,    0,    6,    4,    0,    1,    0x02, [27] = MAC_CLIENT, 10,   77,   0, 2};
	int at[] = {net_ear(NET_A), net_ear(NET_B)};
	int client = test_net_capture();
	unsigned who = 0;
	ssize_t n;

	assert_int_equal(inet_pton(AF_INET, ip, ask + 38), 1);
	assert_int_equal(send(client, ask, sizeof(ask), 0), sizeof(ask));
	net_send_marker(client, 1);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(test_net_next(at[i], frame, sizeof(frame)), 0);
		net_send_marker(at[i], 2);
		while ((n = test_net_next(client, frame, sizeof(frame))) > 0)
			if (n >= 42 && frame[12] == 8 && frame[13] == 6 && frame[21] == 2 &&
			    memcmp(frame + 28, ask + 38, 4) == 0)
				who |= ((frame[27] & 0x0f) == MAC_A ? 1U << NET_A : 1U << NET_B)
				       << (frame[27] & 0x10 ? NET_PLACES : 0);
		close(at[i]);
	}
	close(client);
	return who;
}
