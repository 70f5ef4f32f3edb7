/*
 * rtnetlink, as far as the service address needs it.
 *
 * arp_ignore is read and written here rather than in /proc/sys: RTM_SETLINK carries it (IFLA_AF_SPEC,
 * AF_INET, IFLA_INET_CONF) together with the interface's flags. So silencing an interface is one request;
 * it needs CAP_NET_ADMIN and nothing else, no writable /proc/sys (systemd's ProtectKernelTunables= may
 * stay on), and names with dots or slashes need no care. `sysctl net.ipv4.conf.IF.arp_ignore` shows the
 * same number.
 *
 * A dump gets a socket of its own: one that was interrupted (addresses changed meanwhile) leaves the rest
 * of its messages behind, and they must not be taken for the answer to the next request.
 */
#include "vip/netlink.h"

#include <errno.h>
#include <linux/if_arp.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>

/* An interface with many virtual functions or queues is described in more than a page. */
#define NETLINK_BUFFER 32768
/* A dump that changes keep interrupting is given up after this many tries. */
#define NETLINK_TRIES 16
#define NETLINK_TIMEOUT_S 10

int netlink_open(struct mnl_socket **out)
{
	const struct timeval timeout = {.tv_sec = NETLINK_TIMEOUT_S};
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC);
	int r;

	if (!nl)
		return -errno;
	if (mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    setsockopt(mnl_socket_get_fd(nl), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) <
	        0) {
		r = -errno;
		mnl_socket_close(nl);
		return r;
	}
	*out = nl;
	return 0;
}

int netlink_watch(struct mnl_socket **out)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
	int r;

	if (!nl)
		return -errno;
	if (mnl_socket_bind(nl, RTMGRP_LINK, MNL_SOCKET_AUTOPID) < 0) {
		r = -errno;
		mnl_socket_close(nl);
		return r;
	}
	*out = nl;
	return 0;
}

void netlink_drain(struct mnl_socket *nl)
{
	char buffer[NETLINK_BUFFER];

	/* ENOBUFS says that messages were lost, which is as good as having read them. */
	while (recv(mnl_socket_get_fd(nl), buffer, sizeof(buffer), 0) > 0 || errno == ENOBUFS ||
	       errno == EINTR)
		;
}

void netlink_close(struct mnl_socket *nl)
{
	if (nl)
		mnl_socket_close(nl);
}

/* Sends `request` and hands the messages of its answer to `fn` (NULL: only its acknowledgement counts). */
static int netlink_talk(struct mnl_socket *nl, struct nlmsghdr *request, mnl_cb_t fn, void *arg)
{
	static unsigned sequence;
	char buffer[NETLINK_BUFFER];
	ssize_t n;
	int r;

	request->nlmsg_seq = ++sequence;
	if (mnl_socket_sendto(nl, request, request->nlmsg_len) < 0)
		return -errno;
	do {
		n = mnl_socket_recvfrom(nl, buffer, sizeof(buffer));
		if (n < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		r = mnl_cb_run(buffer, (size_t)n, request->nlmsg_seq, mnl_socket_get_portid(nl), fn,
		               arg);
		if (r == MNL_CB_ERROR)
			return -errno;
	} while (r > MNL_CB_STOP);
	return 0;
}

/* Puts the attributes of a message (or nest) into a table; those beyond `max` are left out. */
struct netlink_table {
	const struct nlattr **at;
	unsigned max;
};

static int netlink_table_put(const struct nlattr *attr, void *arg)
{
	const struct netlink_table *table = arg;

	if (mnl_attr_get_type(attr) <= table->max)
		table->at[mnl_attr_get_type(attr)] = attr;
	return MNL_CB_OK;
}

/* The kernel's IPv4 settings of an interface: in AF_INET's part of `af_spec`, an array of u32 with the
 * setting N at N - 1. */
static int netlink_read_devconf(const struct nlattr *af_spec, struct netlink_iface *out)
{
	const struct nlattr *families[AF_INET + 1] = {0}, *at[IFLA_INET_MAX + 1] = {0};
	struct netlink_table by_family = {.at = families, .max = AF_INET};
	struct netlink_table inet = {.at = at, .max = IFLA_INET_MAX};
	const uint32_t *values;
	size_t n;

	if (mnl_attr_parse_nested(af_spec, netlink_table_put, &by_family) < 0)
		return MNL_CB_ERROR;
	if (!families[AF_INET])
		return MNL_CB_OK;
	if (mnl_attr_parse_nested(families[AF_INET], netlink_table_put, &inet) < 0)
		return MNL_CB_ERROR;
	if (!at[IFLA_INET_CONF])
		return MNL_CB_OK;
	values = mnl_attr_get_payload(at[IFLA_INET_CONF]);
	n = mnl_attr_get_payload_len(at[IFLA_INET_CONF]) / sizeof(*values);
	if (n >= IPV4_DEVCONF_ARP_IGNORE)
		out->arp_ignore = values[IPV4_DEVCONF_ARP_IGNORE - 1];
	if (n >= IPV4_DEVCONF_ARP_ANNOUNCE)
		out->arp_announce = values[IPV4_DEVCONF_ARP_ANNOUNCE - 1];
	if (n >= IPV4_DEVCONF_RP_FILTER)
		out->rp_filter = values[IPV4_DEVCONF_RP_FILTER - 1];
	return MNL_CB_OK;
}

/* Whether `linkinfo` is of a kind that shares the network of the interface it stands on. A VLAN does not. */
static bool netlink_shares_network(const struct nlattr *linkinfo)
{
	static const char *const kinds[] = {"macvlan", "macvtap", "ipvlan", "ipvtap"};
	const struct nlattr *at[IFLA_INFO_MAX + 1] = {0};
	struct netlink_table table = {.at = at, .max = IFLA_INFO_MAX};

	if (mnl_attr_parse_nested(linkinfo, netlink_table_put, &table) < 0 || !at[IFLA_INFO_KIND])
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (strcmp(mnl_attr_get_str(at[IFLA_INFO_KIND]), kinds[i]) == 0)
			return true;
	return false;
}

static int netlink_read_iface(const struct nlmsghdr *message, void *arg)
{
	const struct nlattr *at[IFLA_MAX + 1] = {0};
	struct netlink_table table = {.at = at, .max = IFLA_MAX};
	const struct ifinfomsg *info = mnl_nlmsg_get_payload(message);
	struct netlink_iface *out = arg;

	if (mnl_attr_parse(message, sizeof(*info), netlink_table_put, &table) < 0)
		return MNL_CB_ERROR;
	*out = (struct netlink_iface){
	    .index = info->ifi_index,
	    .flags = info->ifi_flags,
	};
	if (at[IFLA_IFNAME])
		strncpy(out->name, mnl_attr_get_str(at[IFLA_IFNAME]), sizeof(out->name) - 1);
	if (at[IFLA_LINK] && !at[IFLA_LINK_NETNSID] && at[IFLA_LINKINFO] &&
	    netlink_shares_network(at[IFLA_LINKINFO]))
		out->parent = (int)mnl_attr_get_u32(at[IFLA_LINK]);
	if (info->ifi_type == ARPHRD_ETHER && at[IFLA_ADDRESS] &&
	    mnl_attr_get_payload_len(at[IFLA_ADDRESS]) == sizeof(out->mac)) {
		out->is_ethernet = true;
		memcpy(out->mac, mnl_attr_get_payload(at[IFLA_ADDRESS]), sizeof(out->mac));
	}
	return at[IFLA_AF_SPEC] ? netlink_read_devconf(at[IFLA_AF_SPEC], out) : MNL_CB_OK;
}

int netlink_iface_get(struct mnl_socket *nl, const char *name, int index, struct netlink_iface *out)
{
	char buffer[256];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct netlink_iface found = {0};
	struct ifinfomsg *info;
	int r;

	if (name && strlen(name) >= IF_NAMESIZE)
		return -ENODEV;
	request->nlmsg_type = RTM_GETLINK;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	info = mnl_nlmsg_put_extra_header(request, sizeof(*info));
	info->ifi_family = AF_UNSPEC;
	if (name)
		mnl_attr_put_strz(request, IFLA_IFNAME, name);
	else
		info->ifi_index = index;
	mnl_attr_put_u32(request, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
	r = netlink_talk(nl, request, netlink_read_iface, &found);
	if (r < 0)
		return r;
	if (!found.index)
		return -ENODEV;
	*out = found;
	return 0;
}

int netlink_iface_set(struct mnl_socket *nl, int index, unsigned flags, unsigned mask,
                      uint32_t arp_ignore)
{
	char buffer[256];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	struct nlattr *af_spec, *inet, *conf;
	struct ifinfomsg *info;

	request->nlmsg_type = RTM_SETLINK;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	info = mnl_nlmsg_put_extra_header(request, sizeof(*info));
	info->ifi_family = AF_UNSPEC;
	info->ifi_index = index;
	info->ifi_flags = flags & mask;
	info->ifi_change = mask;
	af_spec = mnl_attr_nest_start(request, IFLA_AF_SPEC);
	inet = mnl_attr_nest_start(request, AF_INET);
	conf = mnl_attr_nest_start(request, IFLA_INET_CONF);
	mnl_attr_put_u32(request, IPV4_DEVCONF_ARP_IGNORE, arp_ignore);
	mnl_attr_nest_end(request, conf);
	mnl_attr_nest_end(request, inet);
	mnl_attr_nest_end(request, af_spec);
	return netlink_talk(nl, request, NULL, NULL);
}

struct netlink_list {
	struct netlink_address *at;
	size_t n, room;
};

static int netlink_read_address(const struct nlmsghdr *message, void *arg)
{
	const struct nlattr *at[IFA_MAX + 1] = {0}, *bytes;
	struct netlink_table table = {.at = at, .max = IFA_MAX};
	const struct ifaddrmsg *info = mnl_nlmsg_get_payload(message);
	size_t n = info->ifa_family == AF_INET ? 4 : 16;
	struct netlink_list *list = arg;
	struct netlink_address *address;
	void *more;

	if (info->ifa_family != AF_INET && info->ifa_family != AF_INET6)
		return MNL_CB_OK;
	if (mnl_attr_parse(message, sizeof(*info), netlink_table_put, &table) < 0)
		return MNL_CB_ERROR;
	bytes = at[IFA_LOCAL] ? at[IFA_LOCAL] : at[IFA_ADDRESS];
	if (!bytes || mnl_attr_get_payload_len(bytes) < n)
		return MNL_CB_OK;
	if (list->n == list->room) {
		more = reallocarray(list->at, list->room * 2 + 16, sizeof(*list->at));
		if (!more)
			return MNL_CB_ERROR;
		list->at = more;
		list->room = list->room * 2 + 16;
	}
	address = &list->at[list->n++];
	*address = (struct netlink_address){
	    .family = info->ifa_family,
	    .prefix = info->ifa_prefixlen,
	    .flags = at[IFA_FLAGS] ? mnl_attr_get_u32(at[IFA_FLAGS]) : info->ifa_flags,
	    .index = (int)info->ifa_index,
	};
	memcpy(address->bytes, mnl_attr_get_payload(bytes), n);
	return MNL_CB_OK;
}

static int netlink_addresses_try(struct netlink_list *list)
{
	_cleanup_(netlink_closep) struct mnl_socket *nl = NULL;
	char buffer[256];
	struct nlmsghdr *request;
	struct ifaddrmsg *info;
	int r;

	r = netlink_open(&nl);
	if (r < 0)
		return r;
	request = mnl_nlmsg_put_header(buffer);
	request->nlmsg_type = RTM_GETADDR;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	info = mnl_nlmsg_put_extra_header(request, sizeof(*info));
	info->ifa_family = AF_UNSPEC;
	return netlink_talk(nl, request, netlink_read_address, list);
}

int netlink_addresses(struct netlink_address **out, size_t *n_out)
{
	struct netlink_list list = {0};
	int r = -EINTR;

	for (int i = 0; i < NETLINK_TRIES && r == -EINTR; i++) {
		list.n = 0;
		r = netlink_addresses_try(&list);
	}
	if (r < 0) {
		free(list.at);
		return r;
	}
	*out = list.at;
	*n_out = list.n;
	return 0;
}

struct netlink_default {
	int index;
	bool found;
};

static bool netlink_hops_over(const struct nlattr *multipath, int index)
{
	const char *at = mnl_attr_get_payload(multipath);
	size_t left = mnl_attr_get_payload_len(multipath), step;

	for (; left >= sizeof(struct rtnexthop); at += step, left -= step) {
		const struct rtnexthop *hop = (const struct rtnexthop *)(const void *)at;

		if (hop->rtnh_len < sizeof(*hop) || hop->rtnh_len > left)
			return false;
		if (hop->rtnh_ifindex == index)
			return true;
		step = MIN((size_t)RTNH_ALIGN(hop->rtnh_len), left);
	}
	return false;
}

static int netlink_read_route(const struct nlmsghdr *message, void *arg)
{
	const struct nlattr *at[RTA_MAX + 1] = {0};
	struct netlink_table table = {.at = at, .max = RTA_MAX};
	const struct rtmsg *info = mnl_nlmsg_get_payload(message);
	struct netlink_default *out = arg;
	unsigned id;

	if (message->nlmsg_type != RTM_NEWROUTE || info->rtm_dst_len != 0 ||
	    info->rtm_type != RTN_UNICAST)
		return MNL_CB_OK;
	if (mnl_attr_parse(message, sizeof(*info), netlink_table_put, &table) < 0)
		return MNL_CB_ERROR;
	id = at[RTA_TABLE] ? mnl_attr_get_u32(at[RTA_TABLE]) : info->rtm_table;
	if (id != RT_TABLE_MAIN)
		return MNL_CB_OK;
	if (at[RTA_OIF])
		out->found |= (int)mnl_attr_get_u32(at[RTA_OIF]) == out->index;
	if (at[RTA_MULTIPATH])
		out->found |= netlink_hops_over(at[RTA_MULTIPATH], out->index);
	return MNL_CB_OK;
}

/* The kernel looks only into the main table, and only at the interface's routes (NETLINK_GET_STRICT_CHK): a router has a
 * million others. One before 4.20 sends them all. */
static int netlink_default_try(int family, struct netlink_default *out)
{
	_cleanup_(netlink_closep) struct mnl_socket *nl = NULL;
	int one = 1, r = netlink_open(&nl);
	char buffer[256];
	struct nlmsghdr *request;
	struct rtmsg *info;

	if (r < 0)
		return r;
	(void)mnl_socket_setsockopt(nl, NETLINK_GET_STRICT_CHK, &one, sizeof(one));
	request = mnl_nlmsg_put_header(buffer);
	request->nlmsg_type = RTM_GETROUTE;
	request->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	info = mnl_nlmsg_put_extra_header(request, sizeof(*info));
	info->rtm_family = (unsigned char)family;
	info->rtm_table = RT_TABLE_MAIN;
	mnl_attr_put_u32(request, RTA_OIF, (uint32_t)out->index);
	r = netlink_talk(nl, request, netlink_read_route, out);
	/* No such table, or no IPv6: no such route. */
	return r == -ENOENT || r == -EOPNOTSUPP || r == -EAFNOSUPPORT ? 0 : r;
}

int netlink_has_default_route(int index, bool *out)
{
	static const int families[] = {AF_INET, AF_INET6};
	struct netlink_default found = {.index = index};

	for (size_t f = 0; f < ARRAY_SIZE(families); f++) {
		int r = -EINTR;

		for (int i = 0; i < NETLINK_TRIES && r == -EINTR; i++)
			r = netlink_default_try(families[f], &found);
		if (r < 0)
			return r;
	}
	*out = found.found;
	return 0;
}

static int netlink_address_change(struct mnl_socket *nl, const struct netlink_address *address,
                                  unsigned type, unsigned flags)
{
	char buffer[256];
	struct nlmsghdr *request = mnl_nlmsg_put_header(buffer);
	size_t n = address->family == AF_INET ? 4 : 16;
	struct ifaddrmsg *info;

	request->nlmsg_type = (uint16_t)type;
	request->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
	info = mnl_nlmsg_put_extra_header(request, sizeof(*info));
	info->ifa_family = (uint8_t)address->family;
	info->ifa_prefixlen = address->prefix;
	info->ifa_index = (unsigned)address->index;
	mnl_attr_put(request, IFA_LOCAL, n, address->bytes);
	mnl_attr_put(request, IFA_ADDRESS, n, address->bytes);
	if (address->family == AF_INET6 && type == RTM_NEWADDR)
		mnl_attr_put_u32(request, IFA_FLAGS, IFA_F_NODAD);
	return netlink_talk(nl, request, NULL, NULL);
}

int netlink_address_add(struct mnl_socket *nl, const struct netlink_address *address)
{
	return netlink_address_change(nl, address, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
}

int netlink_address_remove(struct mnl_socket *nl, const struct netlink_address *address)
{
	return netlink_address_change(nl, address, RTM_DELADDR, 0);
}
