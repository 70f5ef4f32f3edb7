/*
 * The service address: holding it, letting go of it, telling the network. Linux only: rtnetlink (libmnl),
 * /proc/sys/net/ipv4/conf, packet sockets. Needs CAP_NET_ADMIN and CAP_NET_RAW.
 *
 * IPv4 addresses stand on the interface of every node; the node that holds them answers ARP, the others have
 * arp_ignore = 8 and their ARP turned off (IFF_NOARP), since a standby's own ARP requests, with the service
 * address as their sender, would move the address to it. A silent interface is mute as a whole, so it must
 * carry service addresses only: a NIC, VLAN or macvlan of its own (docs/service-address.md). IPv6 addresses
 * stand only where they are held.
 *
 * Functions here block for a few milliseconds: they run in the daemon's privileged helper process
 * (vip_helper.h), not in its event loop. Single-threaded.
 */
#ifndef TLSBATON_VIP_VIP_H
#define TLSBATON_VIP_VIP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/macro.h"

#define VIP_ADDRESSES_MAX 16

struct vip_config {
	const char *interface;
	const char *addresses[VIP_ADDRESSES_MAX]; /* "10.77.0.10/24", "2001:db8::10/64" */
	size_t n_addresses;
	bool
	    interface_down; /* paper mode: letting go takes the interface down, taking brings it up */
};

/* Whether `text` can be one more address of `config`: a host's address in its network, and none that is there already.
 * 0, or -EINVAL with a line in `error`. */
int vip_check_address(const struct vip_config *config, const char *text, char *error,
                      size_t error_size) MUST_CHECK;

/* Whether the address, whatever its port, is one of `config`'s, which parse. */
struct sockaddr_storage;
bool vip_is_moving(const struct vip_config *config, const struct sockaddr_storage *address);

struct vip;

/* Checks the configuration against the machine (interface exists and carries service addresses only, addresses
 * parse and are given once; check.c has the rest). `error` says in words what is wrong and what to change: -EINVAL if
 * the machine as it is cannot work. Changes nothing. */
int vip_new(struct vip **out, const struct vip_config *config, char *error,
            size_t error_size) MUST_CHECK;
void vip_free(struct vip *vip); /* leaves the network as it is */

enum vip_outcome {
	VIP_WARNS =
	    1, /* clients may not be served as the machine is: `text` says why, and what to change */
};

/* What is no reason to refuse a machine that vip_new() took. Returns 0, VIP_WARNS or a negated errno. */
int vip_warning(const struct vip *vip, char *text, size_t text_size) MUST_CHECK;

/* Makes sure that the addresses stand on the interface and that this node answers for them, then announces
 * them. Idempotent. On failure everything is as before, and `error` says which step failed. */
int vip_take(struct vip *vip, char *error, size_t error_size) MUST_CHECK;

/* Makes sure that this node does not answer for the addresses; those of IPv4 stand on the interface then,
 * those of IPv6 do not. Idempotent. On failure everything is as before. */
int vip_release(struct vip *vip, char *error, size_t error_size) MUST_CHECK;

/* Sends one round of gratuitous ARP (request and reply forms, RFC 5227) and unsolicited neighbour
 * advertisements (RFC 4861, 7.2.6) for all addresses. */
int vip_announce(struct vip *vip, char *error, size_t error_size) MUST_CHECK;

/* Whether this node answers for the addresses, read from the system (not remembered): 0 or 1, or a negated errno. */
int vip_held(struct vip *vip) MUST_CHECK;

DEFINE_CLEANUP(struct vip *, vip_free)

#endif
