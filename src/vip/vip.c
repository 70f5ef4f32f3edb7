/*
 * Who answers for the service address.
 *
 * A node is either of two states, and both are visible with `ip` and `sysctl`:
 *
 *                     holding                        silent
 *   interface         up, ARP on                     ARP off (IFF_NOARP); down in paper mode
 *   arp_ignore        0, or what else is not 8       8: answer nothing
 *   IPv4 addresses    configured                     configured
 *   IPv6 addresses    configured                     not configured
 *
 * arp_ignore alone (the paper's mechanism) does not silence a node. A standby that sends anything to a
 * client, such as a retransmission on a connection from before the switchover, first asks for the client's
 * hardware address; that ARP request names the service address as its sender, and the client, like every
 * receiver (RFC 826), updates its entry from it: the address is back on the standby. With IFF_NOARP the
 * kernel sends no ARP and takes none in, and it drops its neighbour entries when the flag changes, so
 * nothing that was resolved before leaks either: frames of a silent node carry its own hardware address as
 * their destination and end at the first switch. The price is that the interface is mute as a whole, so it
 * must carry service addresses only.
 *
 * IPv6 has no arp_ignore, and a second node with the same address would find the first by duplicate address
 * detection and disable its own. So an IPv6 address stands only where it is held: added on take, without
 * that detection (IFA_F_NODAD: the former holder may be dead or slow, and must not be able to veto),
 * removed on release. Servers bind to [::] or set IPV6_FREEBIND.
 *
 * arp_ignore is lifted to 0 where it is 8; any other value is the operator's and stays. The kernel goes by
 * the larger of it and conf/all's, so an operator raises it for all interfaces there (check.c says when).
 *
 * What must stay true: an interface that will end up silent is silenced first, and one that will end up
 * holding is let speak last; in between it may be anything. So a failure in the middle never leaves a node
 * that answers with half of its addresses. The state is read from the kernel at every call and never
 * remembered: the truth survives a daemon that does not.
 */
#include "vip/vip_internal.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <stdio.h>

#include "vip/announce.h"

static int vip_add_address(struct vip *vip, const char *text, char *error, size_t error_size)
{
	struct netlink_address address;
	int r;

	r = vip_parse(&address, text, error, error_size);
	if (r < 0)
		return r;
	for (size_t i = 0; i < vip->n_addresses; i++)
		if (vip_same_address(&address, &vip->addresses[i]))
			return vip_fail(error, error_size, -EINVAL,
			                "address \"%s\" is given twice; remove one", text);
	vip->addresses[vip->n_addresses++] = address;
	return 0;
}

/* What the kernel says, or what it is to say, about the interface and each address of the configuration. */
struct vip_state {
	struct netlink_iface iface;
	struct netlink_address at[VIP_ADDRESSES_MAX]; /* with the prefix as found */
	bool stands[VIP_ADDRESSES_MAX];
	bool usable
	    [VIP_ADDRESSES_MAX]; /* stands, and duplicate address detection does not hold it back */
};

static int vip_read(const struct vip *vip, struct mnl_socket *nl, struct vip_state *out)
{
	_cleanup_(freep) struct netlink_address *at = NULL;
	struct vip_state state = {0};
	size_t n = 0;
	int r;

	r = netlink_iface_get(nl, vip->interface, 0, &state.iface);
	if (r < 0)
		return r;
	r = netlink_addresses(&at, &n);
	if (r < 0)
		return r;
	for (size_t i = 0; i < vip->n_addresses; i++) {
		state.at[i] = vip->addresses[i];
		state.at[i].index = state.iface.index;
		for (size_t k = 0; k < n; k++) {
			if (at[k].index != state.iface.index ||
			    at[k].family != vip->addresses[i].family ||
			    memcmp(at[k].bytes, vip->addresses[i].bytes, sizeof(at[k].bytes)) != 0)
				continue;
			state.at[i] = at[k];
			state.stands[i] = true;
			state.usable[i] = !(at[k].flags & (IFA_F_DADFAILED | IFA_F_TENTATIVE)) ||
			                  at[k].family == AF_INET;
		}
	}
	*out = state;
	return 0;
}

static int vip_read_or_fail(const struct vip *vip, struct mnl_socket *nl, struct vip_state *out,
                            char *error, size_t error_size)
{
	int r = vip_read(vip, nl, out);

	if (r == -ENODEV)
		return vip_fail(error, error_size, r,
		                "interface \"%s\" does not exist: create it, or correct the "
		                "configuration's service section",
		                vip->interface);
	if (r < 0)
		return vip_fail(error, error_size, r,
		                "cannot read the state of interface \"%s\": %s", vip->interface,
		                vip_why(r));
	return 0;
}

/* How each function begins: opens the sockets, the caller's to close also on failure, and reads the state.
 * `fd`, for announcements, may be NULL: then there is no packet socket. */
static int vip_open(const struct vip *vip, int *fd, struct mnl_socket **nl, struct vip_state *out,
                    char *error, size_t error_size)
{
	int r;

	if (fd) {
		*fd = announce_open();
		if (*fd < 0)
			return vip_fail(error, error_size, *fd, "cannot open a packet socket: %s",
			                vip_why(*fd));
	}
	r = netlink_open(nl);
	if (r < 0)
		return vip_fail(error, error_size, r, "cannot open a netlink socket: %s",
		                vip_why(r));
	return vip_read_or_fail(vip, *nl, out, error, error_size);
}

static int vip_set_address(const struct vip_state *now, const struct vip_state *want, size_t i,
                           struct mnl_socket *nl)
{
	int r = 0;

	if (now->usable[i] == want->usable[i] && now->stands[i] == want->stands[i])
		return 0;
	if (now->stands[i])
		r = netlink_address_remove(nl, &now->at[i]);
	/* It went by itself: IPv6 addresses do when their interface goes down. */
	if (r == -EADDRNOTAVAIL)
		r = 0;
	if (r == 0 && want->usable[i])
		r = netlink_address_add(nl, &want->at[i]);
	return r == -EEXIST ? 0 : r;
}

static int vip_set_addresses(const struct vip *vip, const struct vip_state *want, int family,
                             struct mnl_socket *nl, char *error, size_t error_size)
{
	char text[VIP_TEXT_BYTES];
	struct vip_state now = {0};
	int r;

	r = vip_read_or_fail(vip, nl, &now, error, error_size);
	if (r < 0)
		return r;
	for (size_t i = 0; i < vip->n_addresses; i++) {
		if (vip->addresses[i].family != family)
			continue;
		r = vip_set_address(&now, want, i, nl);
		if (r < 0)
			return vip_fail(error, error_size, r, "interface \"%s\": cannot %s %s: %s",
			                vip->interface, want->usable[i] ? "add" : "remove",
			                vip_text(&want->at[i], text), vip_why(r));
	}
	return 0;
}

/* Makes the interface's flags in `mask` what `want` says, and with IFF_NOARP its arp_ignore as well. */
static int vip_set_iface(const struct vip *vip, const struct vip_state *want, unsigned mask,
                         const char *what, struct mnl_socket *nl, char *error, size_t error_size)
{
	struct netlink_iface now;
	uint32_t arp_ignore;
	int r;

	r = netlink_iface_get(nl, vip->interface, 0, &now);
	/* Another interface of the same name: what was read of the first does not apply to it. */
	if (r == 0 && now.index != want->iface.index)
		r = -ENODEV;
	if (r == 0) {
		arp_ignore = mask & IFF_NOARP ? want->iface.arp_ignore : now.arp_ignore;
		if (((now.flags ^ want->iface.flags) & mask) || now.arp_ignore != arp_ignore)
			r = netlink_iface_set(nl, now.index, want->iface.flags, mask, arp_ignore);
	}
	if (r < 0)
		return vip_fail(error, error_size, r, "interface \"%s\": cannot %s: %s",
		                vip->interface, what, vip_why(r));
	return 0;
}

/* Brings the kernel from whatever state it is in to `want`, in the order that the essay asks for. */
static int vip_reach(const struct vip *vip, struct mnl_socket *nl, const struct vip_state *want,
                     char *error, size_t error_size)
{
	bool silent = want->iface.flags & IFF_NOARP;
	const char *up = want->iface.flags & IFF_UP ? "bring it up" : "take it down";
	int r = 0;

	if (silent)
		r = vip_set_iface(vip, want, IFF_NOARP, "silence it", nl, error, error_size);
	if (r == 0)
		r = vip_set_addresses(vip, want, AF_INET, nl, error, error_size);
	/* Before IPv6 addresses: those that stand while it goes down are lost. */
	if (r == 0)
		r = vip_set_iface(vip, want, IFF_UP, up, nl, error, error_size);
	if (r == 0)
		r = vip_set_addresses(vip, want, AF_INET6, nl, error, error_size);
	if (r == 0 && !silent)
		r = vip_set_iface(vip, want, IFF_NOARP, "let it answer", nl, error, error_size);
	return r;
}

/* After a failure: back to what was found, as far as the machine lets us. `error` has the first failure. */
static void vip_restore(const struct vip *vip, struct mnl_socket *nl, const struct vip_state *found,
                        char *error, size_t error_size)
{
	char again[256];
	size_t n = strlen(error);

	if (vip_reach(vip, nl, found, again, sizeof(again)) < 0)
		snprintf(error + n, error_size - n, "; nor could the former state be restored: %s",
		         again);
}

static int vip_announce_iface(const struct vip *vip, int fd, const struct netlink_iface *iface,
                              char *error, size_t error_size)
{
	char text[VIP_TEXT_BYTES];
	int r;

	for (size_t i = 0; i < vip->n_addresses; i++) {
		r = announce_send(fd, iface->index, vip->addresses[i].family, iface->mac,
		                  vip->addresses[i].bytes);
		if (r < 0)
			return vip_fail(error, error_size, r,
			                "interface \"%s\": cannot announce %s: %s", vip->interface,
			                vip_text(&vip->addresses[i], text), vip_why(r));
	}
	return 0;
}

int vip_new(struct vip **out, const struct vip_config *config, char *error, size_t error_size)
{
	_cleanup_(netlink_closep) struct mnl_socket *nl = NULL;
	_cleanup_(vip_freep) struct vip *vip = NULL;
	struct vip_state state = {0};
	int r;

	if (config->n_addresses < 1 || config->n_addresses > VIP_ADDRESSES_MAX)
		return vip_fail(error, error_size, -EINVAL, "give from 1 to %d service addresses",
		                VIP_ADDRESSES_MAX);
	vip = calloc(1, sizeof(*vip));
	if (!vip)
		return vip_fail(error, error_size, -ENOMEM, "out of memory");
	if (strlen(config->interface) < 1 || strlen(config->interface) >= sizeof(vip->interface))
		return vip_fail(error, error_size, -EINVAL,
		                "\"%s\" cannot be an interface's name: it has 1 to %zu characters",
		                config->interface, sizeof(vip->interface) - 1);
	memcpy(vip->interface, config->interface, strlen(config->interface) + 1);
	vip->interface_down = config->interface_down;
	for (size_t i = 0; i < config->n_addresses; i++) {
		r = vip_add_address(vip, config->addresses[i], error, error_size);
		if (r < 0)
			return r;
	}
	r = vip_open(vip, NULL, &nl, &state, error, error_size);
	if (r < 0)
		return r;
	if (!state.iface.is_ethernet || state.iface.flags & IFF_LOOPBACK)
		return vip_fail(error, error_size, -EINVAL,
		                "interface \"%s\" is not Ethernet: it has no ARP to answer",
		                vip->interface);
	r = vip_check_machine(vip, nl, &state.iface, error, error_size);
	if (r < 0)
		return r;
	*out = vip;
	vip = NULL;
	return 0;
}

void vip_free(struct vip *vip)
{
	free(vip);
}

int vip_take(struct vip *vip, char *error, size_t error_size)
{
	_cleanup_(netlink_closep) struct mnl_socket *nl = NULL;
	_cleanup_(closep) int fd = -1;
	struct vip_state found = {0}, want;
	int r;

	r = vip_open(vip, &fd, &nl, &found, error, error_size);
	if (r < 0)
		return r;
	r = vip_check_all(error, error_size);
	if (r < 0)
		return r;
	want = found;
	want.iface.flags = (found.iface.flags | IFF_UP) & ~(unsigned)IFF_NOARP;
	if (found.iface.arp_ignore == VIP_ARP_IGNORE_ALL)
		want.iface.arp_ignore = 0;
	for (size_t i = 0; i < vip->n_addresses; i++)
		want.stands[i] = want.usable[i] = true;
	r = vip_reach(vip, nl, &want, error, error_size);
	if (r == 0)
		r = vip_announce_iface(vip, fd, &want.iface, error, error_size);
	if (r < 0)
		vip_restore(vip, nl, &found, error, error_size);
	return r;
}

int vip_release(struct vip *vip, char *error, size_t error_size)
{
	_cleanup_(netlink_closep) struct mnl_socket *nl = NULL;
	struct vip_state found = {0}, want;
	int r;

	r = vip_open(vip, NULL, &nl, &found, error, error_size);
	if (r < 0)
		return r;
	want = found;
	want.iface.flags |= IFF_NOARP;
	if (vip->interface_down)
		want.iface.flags &= ~(unsigned)IFF_UP;
	want.iface.arp_ignore = VIP_ARP_IGNORE_ALL;
	for (size_t i = 0; i < vip->n_addresses; i++)
		want.stands[i] = want.usable[i] = vip->addresses[i].family == AF_INET;
	r = vip_reach(vip, nl, &want, error, error_size);
	if (r < 0)
		vip_restore(vip, nl, &found, error, error_size);
	return r;
}

int vip_announce(struct vip *vip, char *error, size_t error_size)
{
	_cleanup_(netlink_closep) struct mnl_socket *nl = NULL;
	_cleanup_(closep) int fd = -1;
	struct vip_state state = {0};
	int r;

	r = vip_open(vip, &fd, &nl, &state, error, error_size);
	if (r < 0)
		return r;
	return vip_announce_iface(vip, fd, &state.iface, error, error_size);
}

int vip_held(struct vip *vip)
{
	_cleanup_(netlink_closep) struct mnl_socket *nl = NULL;
	struct vip_state state = {0};
	uint32_t ignore = 0;
	int r;

	r = netlink_open(&nl);
	if (r == 0)
		r = vip_read(vip, nl, &state);
	if (r == 0)
		r = vip_effective("arp_ignore", state.iface.arp_ignore, &ignore);
	if (r < 0)
		return r;
	if (!(state.iface.flags & IFF_UP) || state.iface.flags & IFF_NOARP ||
	    ignore == VIP_ARP_IGNORE_ALL)
		return 0;
	for (size_t i = 0; i < vip->n_addresses; i++)
		if (!state.usable[i])
			return 0;
	return 1;
}

bool vip_has_carrier(const struct vip *vip)
{
	_cleanup_(netlink_closep) struct mnl_socket *nl = NULL;
	struct netlink_iface iface;

	return netlink_open(&nl) == 0 && netlink_iface_get(nl, vip->interface, 0, &iface) == 0 &&
	       (iface.flags & IFF_RUNNING);
}
