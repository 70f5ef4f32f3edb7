/*
 * What src/vip asks of rtnetlink: an interface's state, its addresses, and changes to both. Everything is
 * read anew at each call; nothing is cached. Blocks for as long as the kernel takes (it answers at once
 * unless another process holds its configuration lock). All functions return 0 or a negated errno.
 */
#ifndef TLSBATON_VIP_NETLINK_H
#define TLSBATON_VIP_NETLINK_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <libmnl/libmnl.h>

#include "util/macro.h"

struct netlink_iface {
	int index;
	int parent; /* the interface of this namespace whose network it shares (of a macvlan); 0: none */
	char name[IF_NAMESIZE];
	unsigned flags;   /* IFF_UP, IFF_NOARP … */
	bool is_ethernet; /* six-byte addresses and Ethernet's framing */
	uint8_t mac[6];
	/* Of the interface alone: conf/all is not in them. */
	uint32_t arp_ignore, arp_announce, rp_filter;
};

struct netlink_address {
	int family;        /* AF_INET or AF_INET6 */
	uint8_t bytes[16]; /* network byte order; the first 4 for AF_INET */
	uint8_t prefix;
	uint32_t flags; /* IFA_F_… */
	int index;      /* of its interface */
};

/* A socket for the calls below. */
int netlink_open(struct mnl_socket **out) MUST_CHECK;
void netlink_close(struct mnl_socket *nl); /* NULL is fine */

/* A socket that becomes readable when anything about any interface changes, for poll(2). netlink_drain()
 * takes what has come, never blocking: what it said is to be read anew, if it matters. */
int netlink_watch(struct mnl_socket **out) MUST_CHECK;
void netlink_drain(struct mnl_socket *nl);

/* Finds an interface by `name`, or by `index` when that is NULL. -ENODEV: there is none. */
int netlink_iface_get(struct mnl_socket *nl, const char *name, int index,
                      struct netlink_iface *out) MUST_CHECK;

/*
 * Sets those of the interface's flags that are in `mask` to their value in `flags`, and its arp_ignore,
 * in one request. A failure can leave the flags changed: read again.
 */
int netlink_iface_set(struct mnl_socket *nl, int index, unsigned flags, unsigned mask,
                      uint32_t arp_ignore) MUST_CHECK;

/* Out: the IPv4 and IPv6 addresses of all interfaces; free(3) them. `*out` is NULL when there is none. */
int netlink_addresses(struct netlink_address **out, size_t *n_out) MUST_CHECK;

/* Out: whether a default route of the main table, of IPv4 or IPv6, leads out of the interface. */
int netlink_has_default_route(int index, bool *out) MUST_CHECK;

/* IPv6 addresses are usable at once: no duplicate address detection. -EEXIST, -EADDRNOTAVAIL. */
int netlink_address_add(struct mnl_socket *nl, const struct netlink_address *address) MUST_CHECK;
int netlink_address_remove(struct mnl_socket *nl, const struct netlink_address *address) MUST_CHECK;

DEFINE_CLEANUP(struct mnl_socket *, netlink_close)

#endif
