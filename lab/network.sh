# shellcheck shell=bash
# The lab's network, and the paper's switchover in it.
#
#     client ─┐
#             ├─ bridge in namespace "net": service network 10.77.0.0/24
#     a: svc0 ┤  (client .2; the service address .10 stands on a and on b)
#     b: svc0 ┘
#     a: ntf0 ─── b: ntf0   notification network 10.78.0.0/24, a .1, b .2
#
# A standby must not answer ARP for the service address (arp_ignore = 8), nor send ARP of its own: a
# request with the service address as its sender would move the address back to it. Hence "arp off".

# set_arp NODE on|off: whether a node answers for the service address.
set_arp()
{
	local ignore=8
	[ "$2" = off ] || ignore=0
	in_node "$1" sysctl -qw "net.ipv4.conf.svc0.arp_ignore=$ignore"
	ip -n "$(namespace "$1")" link set svc0 arp "$2"
}

# holds_address NODE: whether it would answer for the service address.
holds_address()
{
	[ "$(in_node "$1" sysctl -n net.ipv4.conf.svc0.arp_ignore 2>/dev/null)" = 0 ] &&
		in_node "$1" ip -o link show svc0 up | grep -q svc0
}

# add_port NODE INTERFACE: a link from a namespace to the bridge.
add_port()
{
	ip -n "$(namespace net)" link add "port-$1" type veth peer name "$2" netns "$(namespace "$1")"
	ip -n "$(namespace net)" link set "port-$1" master bridge up
}

network_up()
{
	local node
	for node in net client a b; do
		ip netns add "$(namespace "$node")"
		in_node "$node" sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
		ip -n "$(namespace "$node")" link set lo up
	done
	ip -n "$(namespace net)" link add bridge type bridge forward_delay 0 mcast_snooping 0
	ip -n "$(namespace net)" link set bridge up
	add_port client eth0
	add_port a svc0
	add_port b svc0
	ip -n "$(namespace client)" address add 10.77.0.2/24 dev eth0
	ip -n "$(namespace client)" link set eth0 up
	ip -n "$(namespace a)" link add ntf0 type veth peer name ntf0 netns "$(namespace b)"
	for node in a b; do
		# Silent before the address is there: nobody is active until told so.
		set_arp "$node" off
		ip -n "$(namespace "$node")" address add "$SERVICE_ADDRESS/24" dev svc0
		ip -n "$(namespace "$node")" link set svc0 up
		ip -n "$(namespace "$node")" link set ntf0 up
	done
	for node in a b; do
		# Addresses belong to the machine, not to an interface: ntf0 must not answer for svc0's.
		in_node "$node" sysctl -qw net.ipv4.conf.ntf0.arp_ignore=1 net.ipv4.conf.ntf0.arp_announce=2
	done
	ip -n "$(namespace a)" address add 10.78.0.1/24 dev ntf0
	ip -n "$(namespace b)" address add 10.78.0.2/24 dev ntf0
}

network_down()
{
	local node
	for node in client a b net; do
		[ ! -e "/run/netns/$(namespace "$node")" ] || ip netns delete "$(namespace "$node")"
	done
}

# cut_links NODE: as if its cables were pulled, both at once.
cut_links()
{
	printf 'link set svc0 down\nlink set ntf0 down\n' | ip -n "$(namespace "$1")" -batch -
}

# paper_take NODE: steps 2 and 3 of the paper's switchover.
paper_take()
{
	ip -n "$(namespace "$1")" link set svc0 up
	set_arp "$1" on
	# Both forms: some listen to requests only, some to replies only. arping stays for a second after it
	# has sent; nobody needs to wait for that.
	in_node "$1" arping -q -c 1 -U -I svc0 "$SERVICE_ADDRESS" >/dev/null 2>&1 &
	in_node "$1" arping -q -c 1 -A -I svc0 "$SERVICE_ADDRESS" >/dev/null 2>&1 &
}

# paper_release NODE: step 1, the active's interface goes down; it comes back as a standby's.
paper_release()
{
	ip -n "$(namespace "$1")" link set svc0 down
	set_arp "$1" off
}

paper_switchover()
{
	paper_release "$1"
	paper_take "$2"
	ip -n "$(namespace "$1")" link set svc0 up
}
