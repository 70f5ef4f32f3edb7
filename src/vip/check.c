/*
 * Checks of the configuration: the addresses as such, and the machine around the interface.
 *
 * Linux' addresses belong to the machine, not to an interface: with arp_ignore = 0 any interface answers
 * ARP for any of them. So where a second interface is on the service network (a macvlan's parent, or one
 * whose own subnet holds the service address), silencing the service interface is not enough: the other
 * one would answer in its place, and would name the service address as the sender of its own ARP requests.
 * arp_ignore = 1 and arp_announce = 2 on the other interface end both, and without them the configuration
 * is refused: two nodes that answer for one address are found out only when the service breaks. The remedy
 * names conf/all, since the service interface, too, must not answer for the other one's addresses.
 */
#include "vip/vip_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>

int vip_fail(char *error, size_t error_size, int r, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(error, error_size, fmt, args);
	va_end(args);
	return r;
}

const char *vip_why(int r)
{
	switch (-r) {
	case EPERM:
		return "not permitted: tlsbatond needs CAP_NET_ADMIN and CAP_NET_RAW";
	case EACCES:
		return "IPv6 is disabled there: set net.ipv6.conf.INTERFACE.disable_ipv6=0";
	case ENODEV:
	case ENXIO:
		return "the interface is gone: create it again";
	case ENETDOWN:
		return "the interface is down: something else has taken it down";
	default:
		return strerror(-r);
	}
}

const char *vip_text(const struct netlink_address *address, char text[VIP_TEXT_BYTES])
{
	char ip[INET6_ADDRSTRLEN] = "?";

	inet_ntop(address->family, address->bytes, ip, sizeof(ip));
	snprintf(text, VIP_TEXT_BYTES, "%s/%u", ip, address->prefix);
	return text;
}

/* Why the address cannot be a service address, or NULL. */
static const char *vip_unfit(const struct netlink_address *address)
{
	struct in6_addr ip6;
	uint32_t ip, host;

	if (address->family == AF_INET6) {
		memcpy(&ip6, address->bytes, sizeof(ip6));
		if (IN6_IS_ADDR_UNSPECIFIED(&ip6) || IN6_IS_ADDR_LOOPBACK(&ip6) ||
		    IN6_IS_ADDR_MULTICAST(&ip6) || IN6_IS_ADDR_V4MAPPED(&ip6))
			return "is not a unicast address";
		if (IN6_IS_ADDR_LINKLOCAL(&ip6))
			return "is link-local: clients beyond the link cannot use it";
		return NULL;
	}
	memcpy(&ip, address->bytes, sizeof(ip));
	ip = ntohl(ip);
	if (ip >> 24 == 0 || ip >> 24 == 127 || ip >> 28 >= 14)
		return "is not a unicast address";
	host = address->prefix == 0 ? UINT32_MAX : ~(UINT32_MAX << (32 - address->prefix));
	if (address->prefix < 31 && (ip & host) == 0)
		return "is the address of the network itself";
	if (address->prefix < 31 && (ip & host) == host)
		return "is its network's broadcast address";
	return NULL;
}

#define VIP_NO_ADDRESS "\"%s\" is not an address; write one like 192.0.2.10/24 or 2001:db8::10/64"

int vip_parse(struct netlink_address *out, const char *text, char *error, size_t error_size)
{
	struct netlink_address address = {.family = strchr(text, ':') ? AF_INET6 : AF_INET};
	const char *slash = strchr(text, '/'), *why;
	unsigned long prefix, prefix_max = address.family == AF_INET ? 32 : 128;
	char ip[INET6_ADDRSTRLEN], *end;

	if (!slash)
		return vip_fail(
		    error, error_size, -EINVAL,
		    "address \"%s\" has no prefix length; write %s/%d, or the length of "
		    "its network",
		    text, text, address.family == AF_INET ? 24 : 64);
	if ((size_t)(slash - text) >= sizeof(ip))
		return vip_fail(error, error_size, -EINVAL, VIP_NO_ADDRESS, text);
	memcpy(ip, text, (size_t)(slash - text));
	ip[slash - text] = '\0';
	if (inet_pton(address.family, ip, address.bytes) != 1)
		return vip_fail(error, error_size, -EINVAL, VIP_NO_ADDRESS, text);
	prefix = strtoul(slash + 1, &end, 10);
	if (slash[1] < '0' || slash[1] > '9' || *end || prefix < 1 || prefix > prefix_max)
		return vip_fail(error, error_size, -EINVAL,
		                "address \"%s\" needs a prefix length; write one from 1 to %lu",
		                text, prefix_max);
	address.prefix = (uint8_t)prefix;
	why = vip_unfit(&address);
	if (why)
		return vip_fail(error, error_size, -EINVAL,
		                "address \"%s\" %s; write that of a host", text, why);
	*out = address;
	return 0;
}

bool vip_same_address(const struct netlink_address *a, const struct netlink_address *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

int vip_check_address(const struct vip_config *config, const char *text, char *error,
                      size_t error_size)
{
	struct netlink_address address = {0}, other = {0};
	int r = vip_parse(&address, text, error, error_size);

	for (size_t i = 0; r == 0 && i < config->n_addresses; i++) {
		r = vip_parse(&other, config->addresses[i], error, error_size);
		if (r == 0 && vip_same_address(&address, &other))
			r = vip_fail(error, error_size, -EINVAL,
			             "address \"%s\" is given twice; remove one", text);
	}
	return r;
}

int vip_effective(const char *name, uint32_t own, uint32_t *out)
{
	char path[128], text[32] = "", *end;
	unsigned long all;
	ssize_t n;
	int fd, r;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/all/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	r = n < 0 ? -errno : 0;
	close(fd);
	if (r < 0)
		return r;
	all = strtoul(text, &end, 10);
	if (end == text || all > INT32_MAX)
		return -EIO;
	*out = MAX((uint32_t)all, own);
	return 0;
}

static bool vip_same_subnet(const struct netlink_address *net, const uint8_t *ip)
{
	uint32_t a, b, mask = net->prefix ? htonl(UINT32_MAX << (32 - net->prefix)) : 0;

	memcpy(&a, net->bytes, sizeof(a));
	memcpy(&b, ip, sizeof(b));
	return ((a ^ b) & mask) == 0;
}

/* The other interface `index` is on the service network: whether it keeps out of the service address's ARP. */
static int vip_check_other(struct mnl_socket *nl, int index, const char *service, char *error,
                           size_t error_size)
{
	struct netlink_iface other;
	uint32_t ignore = 0, announce = 0;
	int r;

	r = netlink_iface_get(nl, NULL, index, &other);
	if (r == -ENODEV)
		return 0; /* gone in the meantime */
	if (r == 0)
		r = vip_effective("arp_ignore", other.arp_ignore, &ignore);
	if (r == 0)
		r = vip_effective("arp_announce", other.arp_announce, &announce);
	if (r < 0)
		return vip_fail(error, error_size, r,
		                "cannot read the ARP settings of interface %d: %s", index,
		                vip_why(r));
	if (other.flags & (IFF_NOARP | IFF_LOOPBACK))
		return 0;
	if (announce >= 2 && (ignore == 1 || ignore == 2 || ignore == VIP_ARP_IGNORE_ALL))
		return 0;
	return vip_fail(error, error_size, -EINVAL,
	                "interface \"%s\" is on the service network, too, and would answer ARP for "
	                "addresses of \"%s\": set net.ipv4.conf.all.arp_ignore=1 and "
	                "net.ipv4.conf.all.arp_announce=2",
	                other.name, service);
}

/* Whether `at`, an address of another interface, makes that one a station of the service network. */
static bool vip_on_segment(const struct vip *vip, const struct netlink_address *at)
{
	for (size_t i = 0; i < vip->n_addresses; i++)
		if (at->family == AF_INET && vip->addresses[i].family == AF_INET &&
		    vip_same_subnet(at, vip->addresses[i].bytes))
			return true;
	return false;
}

int vip_check_all(char *error, size_t error_size)
{
	uint32_t ignore = 0;
	int r;

	r = vip_effective("arp_ignore", 0, &ignore);
	if (r < 0)
		return vip_fail(error, error_size, r,
		                "cannot read net.ipv4.conf.all.arp_ignore: %s", vip_why(r));
	if (ignore == VIP_ARP_IGNORE_ALL)
		return vip_fail(
		    error, error_size, -EINVAL,
		    "net.ipv4.conf.all.arp_ignore is 8, so no interface of this machine "
		    "answers ARP: set it to 0 or 1");
	return 0;
}

int vip_check_machine(const struct vip *vip, struct mnl_socket *nl,
                      const struct netlink_iface *iface, char *error, size_t error_size)
{
	_cleanup_(freep) struct netlink_address *at = NULL;
	size_t n = 0;
	int r;

	r = vip_check_all(error, error_size);
	if (r < 0)
		return r;
	r = netlink_addresses(&at, &n);
	if (r < 0)
		return vip_fail(error, error_size, r, "cannot list this machine's addresses: %s",
		                vip_why(r));
	if (iface->parent) {
		r = vip_check_other(nl, iface->parent, iface->name, error, error_size);
		if (r < 0)
			return r;
	}
	for (size_t i = 0; i < n; i++) {
		if (at[i].index == iface->index || !vip_on_segment(vip, &at[i]))
			continue;
		r = vip_check_other(nl, at[i].index, iface->name, error, error_size);
		if (r < 0)
			return r;
	}
	return 0;
}
