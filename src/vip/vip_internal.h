/* What the files that implement vip.h share. */
#ifndef TLSBATON_VIP_VIP_INTERNAL_H
#define TLSBATON_VIP_VIP_INTERNAL_H

#include "vip/netlink.h"
#include "vip/vip.h"

struct vip {
	char interface[IF_NAMESIZE];
	struct netlink_address addresses[VIP_ADDRESSES_MAX];
	size_t n_addresses;
	bool interface_down;
};

/* arp_ignore's value for "answer nothing"; all smaller and larger ones answer at least for addresses of
 * the interface that was asked. */
#define VIP_ARP_IGNORE_ALL 8

/* Writes a line to `error` and returns `r`. */
int vip_fail(char *error, size_t error_size, int r, const char *fmt, ...) PRINTF_LIKE(4, 5);

/* Why a step failed with the negated errno `r`, with its remedy, for the end of a line. */
const char *vip_why(int r);

/* Whether frames can leave the interface: it is up and has a carrier. */
bool vip_has_carrier(const struct vip *vip);

#define VIP_TEXT_BYTES 64
/* Writes the address as "192.0.2.1/24" to `text`, and returns it. */
const char *vip_text(const struct netlink_address *address, char text[VIP_TEXT_BYTES]);

/* Parses "192.0.2.1/24"; -EINVAL with a line in `error`. */
int vip_parse(struct netlink_address *out, const char *text, char *error,
              size_t error_size) MUST_CHECK;

/* Whatever their prefixes. */
bool vip_same_address(const struct netlink_address *a, const struct netlink_address *b);

/* The larger of net.ipv4.conf.all.`name` and `own` is what the kernel goes by. */
int vip_effective(const char *name, uint32_t own, uint32_t *out) MUST_CHECK;

/* Whether conf/all lets interfaces answer ARP at all. */
int vip_check_all(char *error, size_t error_size) MUST_CHECK;

/* That, and whether another interface of this machine would answer in the place of `iface`. */
int vip_check_machine(const struct vip *vip, struct mnl_socket *nl,
                      const struct netlink_iface *iface, char *error, size_t error_size) MUST_CHECK;

#endif
