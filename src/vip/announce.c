/*
 * Gratuitous ARP and unsolicited neighbour advertisements.
 *
 * IPv4: both forms of a gratuitous ARP go out, sender and target protocol address equal, to the broadcast
 * address. The request form is RFC 5227's ARP Announcement (target hardware address zero); some stacks
 * take only a reply as a reason to change an entry, and for those the reply form follows. In a reply the
 * target hardware address must be the sender's: Linux takes a reply as gratuitous only then, and only a
 * gratuitous one overrides an entry that is younger than its locktime (1 s).
 *
 * IPv6: RFC 4861, 7.2.6: a neighbour advertisement to ff02::1, not solicited, with the override flag and
 * the target link-layer address option. Its source is the address itself. The hop limit must be 255, or
 * receivers drop it. The router flag is clear: a service address is nobody's gateway.
 *
 * Neither makes new entries in a receiver; they change those that exist, which is all that is wanted.
 */
#include "vip/announce.h"

#include <errno.h>
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static uint8_t *announce_put(uint8_t *to, const void *from, size_t n)
{
	memcpy(to, from, n);
	return to + n;
}

static uint8_t *announce_put16(uint8_t *to, unsigned value)
{
	to[0] = (uint8_t)(value >> 8);
	to[1] = (uint8_t)value;
	return to + 2;
}

void announce_arp(uint8_t frame[ANNOUNCE_ARP_BYTES], enum announce_arp_form form,
                  const uint8_t *mac, const uint8_t *ip)
{
	static const uint8_t broadcast[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, zero[6];
	uint8_t *p = frame;

	p = announce_put(p, broadcast, 6);
	p = announce_put(p, mac, 6);
	p = announce_put16(p, ETH_P_ARP);
	p = announce_put16(p, 1); /* hardware type: Ethernet */
	p = announce_put16(p, ETH_P_IP);
	*p++ = 6;
	*p++ = 4;
	p = announce_put16(p, form);
	p = announce_put(p, mac, 6);
	p = announce_put(p, ip, 4);
	p = announce_put(p, form == ANNOUNCE_REPLY ? mac : zero, 6);
	announce_put(p, ip, 4);
}

/* The Internet checksum (RFC 1071), not yet folded: sums `n` bytes, n even. */
static uint32_t announce_sum(uint32_t sum, const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i += 2)
		sum += (uint32_t)bytes[i] << 8 | bytes[i + 1];
	return sum;
}

void announce_na(uint8_t frame[ANNOUNCE_NA_BYTES], const uint8_t *mac, const uint8_t *ip)
{
	enum { NA_BYTES = 32, NA = 136, OVERRIDE = 0x20, TARGET_LINK_ADDRESS = 2 };
	static const uint8_t all_nodes_mac[6] = {0x33, 0x33, 0, 0, 0, 1};
	static const uint8_t all_nodes[16] = {0xff, 0x02, [15] = 1};
	uint8_t *p = frame, *ip6, *na;
	uint32_t sum;

	memset(frame, 0, ANNOUNCE_NA_BYTES);
	p = announce_put(p, all_nodes_mac, 6);
	p = announce_put(p, mac, 6);
	p = announce_put16(p, ETH_P_IPV6);

	ip6 = p;
	*p = 6 << 4; /* version; traffic class and flow label 0 */
	p = announce_put16(p + 4, NA_BYTES);
	*p++ = IPPROTO_ICMPV6;
	*p++ = 255;
	p = announce_put(p, ip, 16);
	p = announce_put(p, all_nodes, 16);

	na = p;
	*p = NA;
	p[4] = OVERRIDE;
	p = announce_put(p + 8, ip, 16);
	*p++ = TARGET_LINK_ADDRESS;
	*p++ = 1; /* units of 8 bytes */
	announce_put(p, mac, 6);

	/* Pseudo-header (RFC 8200, 8.1): addresses, length, next header. */
	sum = announce_sum(NA_BYTES + IPPROTO_ICMPV6, ip6 + 8, 32);
	sum = announce_sum(sum, na, NA_BYTES);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	announce_put16(na + 2, ~sum & 0xffff);
}

int announce_open(void)
{
	/* Protocol 0: no frame of the network is ever queued on it. */
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

static int announce_send_frame(int fd, int index, const uint8_t *frame, size_t n)
{
	struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = index, .sll_halen = 6};

	memcpy(to.sll_addr, frame, 6);
	memcpy(&to.sll_protocol, frame + 12, 2);
	if (sendto(fd, frame, n, 0, (const struct sockaddr *)&to, sizeof(to)) < 0)
		return -errno;
	return 0;
}

int announce_send(int fd, int index, int family, const uint8_t *mac, const uint8_t *ip)
{
	uint8_t arp[ANNOUNCE_ARP_BYTES], na[ANNOUNCE_NA_BYTES];
	int r;

	if (family == AF_INET6) {
		announce_na(na, mac, ip);
		return announce_send_frame(fd, index, na, sizeof(na));
	}
	announce_arp(arp, ANNOUNCE_REQUEST, mac, ip);
	r = announce_send_frame(fd, index, arp, sizeof(arp));
	if (r < 0)
		return r;
	announce_arp(arp, ANNOUNCE_REPLY, mac, ip);
	return announce_send_frame(fd, index, arp, sizeof(arp));
}
