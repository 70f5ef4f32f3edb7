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
 *
 * The service interface itself must carry service addresses and nothing else: silence mutes all of it. A node whose
 * only NIC is named as its service interface would be off the network as soon as it stands by, the operator's own
 * connection and the peers with it. So an interface with any other address that is good beyond the link, or with
 * the default route, is refused.
 */
#include "vip/vip_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_addr.h>
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

bool vip_is_moving(const struct vip_config *config, const struct sockaddr_storage *address)
{
	const void *bytes = &((const struct sockaddr_in6 *)address)->sin6_addr;
	size_t n = sizeof(struct in6_addr);
	struct netlink_address ours = {0};
	char error[160];

	if (address->ss_family == AF_INET) {
		bytes = &((const struct sockaddr_in *)address)->sin_addr;
		n = sizeof(struct in_addr);
	}
	for (size_t i = 0; i < config->n_addresses; i++)
		if (vip_parse(&ours, config->addresses[i], error, sizeof(error)) == 0 &&
		    ours.family == address->ss_family && memcmp(ours.bytes, bytes, n) == 0)
			return true;
	return false;
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

static bool vip_is_service(const struct vip *vip, const struct netlink_address *at)
{
	for (size_t i = 0; i < vip->n_addresses; i++)
		if (at->family == vip->addresses[i].family &&
		    memcmp(at->bytes, vip->addresses[i].bytes, sizeof(at->bytes)) == 0)
			return true;
	return false;
}

static bool vip_is_link_local(const struct netlink_address *at)
{
	if (at->family == AF_INET)
		return at->bytes[0] == 169 && at->bytes[1] == 254;
	return at->bytes[0] == 0xfe && (at->bytes[1] & 0xc0) == 0x80;
}

#define VIP_OWN_INTERFACE                                                                          \
	"silence, while this node stands by, would cut it off: give the service address an "       \
	"interface of its own (a macvlan on \"%s\": docs/service-address.md)"

/* Whether the interface has something else to carry than service addresses. */
static int vip_check_own(const struct vip *vip, const struct netlink_iface *iface,
                         const struct netlink_address *at, size_t n, char *error, size_t error_size)
{
	char text[VIP_TEXT_BYTES];
	bool has_route = false;
	int r;

	for (size_t i = 0; i < n; i++) {
		if (at[i].index != iface->index || vip_is_link_local(&at[i]) ||
		    vip_is_service(vip, &at[i]))
			continue;
		vip_text(&at[i], text);
		if (at[i].family == AF_INET6 && !(at[i].flags & IFA_F_PERMANENT))
			return vip_fail(error, error_size, -EINVAL,
			                "interface \"%s\" has configured %s by itself, and must "
			                "carry service addresses only: unless it is the node's own "
			                "NIC, set net.ipv6.conf.%s.accept_ra=0 and remove the "
			                "address",
			                iface->name, text, iface->name);
		return vip_fail(error, error_size, -EINVAL,
		                "interface \"%s\" has the address %s, which is no service "
		                "address, and " VIP_OWN_INTERFACE
		                ", or remove the address if nothing needs it",
		                iface->name, text, iface->name);
	}
	r = netlink_has_default_route(iface->index, &has_route);
	if (r < 0)
		return vip_fail(error, error_size, r, "cannot list this machine's routes: %s",
		                vip_why(r));
	if (has_route)
		return vip_fail(error, error_size, -EINVAL,
		                "interface \"%s\" carries the default route, and " VIP_OWN_INTERFACE
		                ", or a table of its own for that route",
		                iface->name, iface->name);
	return 0;
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
	r = vip_check_own(vip, iface, at, n, error, error_size);
	if (r < 0)
		return r;
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

/* Whether the service address's network is that of another interface, too, which answers then leave by. */
static int vip_has_other(const struct vip *vip, const struct netlink_iface *iface, bool *out)
{
	_cleanup_(freep) struct netlink_address *at = NULL;
	bool found = iface->parent != 0;
	size_t n = 0;
	int r = netlink_addresses(&at, &n);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		found |= at[i].index != iface->index && vip_on_segment(vip, &at[i]);
	*out = found;
	return 0;
}

int vip_warning(const struct vip *vip, char *text, size_t text_size)
{
	_cleanup_(netlink_closep) struct mnl_socket *nl = NULL;
	bool has_ip4 = false, has_other = false;
	struct netlink_iface iface = {0};
	uint32_t filter = 0;
	int r;

	for (size_t i = 0; i < vip->n_addresses; i++)
		has_ip4 |= vip->addresses[i].family == AF_INET;
	if (!has_ip4) /* IPv6 has no such filter */
		return 0;
	r = netlink_open(&nl);
	if (r == 0)
		r = netlink_iface_get(nl, vip->interface, 0, &iface);
	if (r == 0)
		r = vip_effective("rp_filter", iface.rp_filter, &filter);
	if (r == 0)
		r = vip_has_other(vip, &iface, &has_other);
	if (r < 0)
		return r;
	if (filter != 1 || !has_other)
		return 0;
	return vip_fail(text, text_size, VIP_WARNS,
	                "net.ipv4.conf.%s.rp_filter, or that of all, is 1 (strict): answers leave "
	                "by another interface, so clients' requests are dropped; set "
	                "net.ipv4.conf.all.rp_filter=2",
	                iface.name);
}
