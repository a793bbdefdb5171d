# shellcheck shell=bash
# topology.sh: the network of the demonstration and of the test bed, to be
# sourced.  Five network namespaces, named PREFIX-HOST, and nothing outside them:
#
#             client 10.0.1.10
#                |  eth0
#          ------+-----------+------  internal net 10.0.1.0/24, gateway 10.0.1.1
#           eth1 |           | eth1
#             fw-a --eth2-- fw-b      sync net 10.0.0.0/24
#           eth0 |           | eth0
#          ------+-----------+------  external net 203.0.113.0/24, shared 203.0.113.1
#                |  eth0
#             server 203.0.113.80
#
# "net" holds the two switches.  The firewall that carries the traffic has the
# shared addresses 10.0.1.1 and 203.0.113.1; clients leave as the latter.

TOPO_HOSTS='net client fw-a fw-b server'
TOPO_INT_SHARED=10.0.1.1
TOPO_EXT_SHARED=203.0.113.1
TOPO_SERVER=203.0.113.80

# on HOST COMMAND...: run it in the host's namespace.
on() {
	local host=$1
	shift
	ip netns exec "$TOPO-$host" "$@"
}

# topo_wire SWITCH HOST IFACE: a cable from the host's interface to the switch.
topo_wire() {
	ip -n "$TOPO-$2" link add "$3" type veth peer name "$1-$2" netns "$TOPO-net"
	ip -n "$TOPO-net" link set "$1-$2" master "$1" up
	ip -n "$TOPO-$2" link set "$3" up
}

# topo_sysctl HOST NAME=VALUE...
topo_sysctl() {
	local host=$1
	shift
	on "$host" sysctl -q -w "$@"
}

topo_firewall() {
	local host=$1 n=$2
	topo_wire ext "$host" eth0
	topo_wire int "$host" eth1
	ip -n "$TOPO-$host" addr add "203.0.113.$((n + 1))/24" dev eth0
	ip -n "$TOPO-$host" addr add "10.0.1.$((n + 1))/24" dev eth1
	topo_sysctl "$host" net.ipv4.ip_forward=1
	on "$host" nft -f - <<-RULES
		table inet filter {
			chain input {
				type filter hook input priority filter; policy drop
				iifname "lo" accept
				iifname "eth2" meta l4proto 240 accept
				ct state established,related accept
				meta l4proto { icmp, ipv6-icmp } accept
			}
			chain forward {
				type filter hook forward priority filter; policy drop
				ct state established,related accept
				ct state invalid counter drop
				iifname "eth1" oifname "eth0" tcp flags & (fin | syn | rst | ack) == syn ct state new accept
				iifname "eth1" oifname "eth0" meta l4proto { udp, icmp } ct state new accept
			}
		}
		table ip nat {
			chain postrouting {
				type nat hook postrouting priority srcnat
				iifname "eth1" oifname "eth0" snat to $TOPO_EXT_SHARED
			}
		}
		table inet raw {
			chain prerouting { type filter hook prerouting priority raw; meta l4proto 240 notrack; }
			chain output { type filter hook output priority raw; meta l4proto 240 notrack; }
		}
	RULES
	# Only a SYN may begin a connection: what this kernel does not know is dropped.
	topo_sysctl "$host" net.netfilter.nf_conntrack_tcp_loose=0
}

# topo_up PREFIX builds it all; fw-a gets the shared addresses.
topo_up() {
	TOPO=$1
	local host
	for host in $TOPO_HOSTS; do
		ip netns add "$TOPO-$host"
		ip -n "$TOPO-$host" link set lo up
		# Duplicate address detection would only delay the start.
		topo_sysctl "$host" net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
	done
	for host in ext int; do
		ip -n "$TOPO-net" link add "$host" type bridge stp_state 0 forward_delay 0
		ip -n "$TOPO-net" link set "$host" up
	done
	topo_wire int client eth0
	ip -n "$TOPO-client" addr add 10.0.1.10/24 dev eth0
	ip -n "$TOPO-client" route add default via "$TOPO_INT_SHARED"
	topo_wire ext server eth0
	ip -n "$TOPO-server" addr add "$TOPO_SERVER/24" dev eth0
	topo_firewall fw-a 1
	topo_firewall fw-b 2
	ip -n "$TOPO-fw-a" link add eth2 type veth peer name eth2 netns "$TOPO-fw-b"
	ip -n "$TOPO-fw-a" addr add 10.0.0.1/24 dev eth2
	ip -n "$TOPO-fw-b" addr add 10.0.0.2/24 dev eth2
	ip -n "$TOPO-fw-a" link set eth2 up
	ip -n "$TOPO-fw-b" link set eth2 up
	topo_take fw-a
}

# topo_take HOST, topo_leave HOST: the shared addresses come and go.
topo_take() {
	ip -n "$TOPO-$1" addr add "$TOPO_EXT_SHARED/24" dev eth0
	ip -n "$TOPO-$1" addr add "$TOPO_INT_SHARED/24" dev eth1
}

topo_leave() {
	ip -n "$TOPO-$1" addr del "$TOPO_EXT_SHARED/24" dev eth0
	ip -n "$TOPO-$1" addr del "$TOPO_INT_SHARED/24" dev eth1
}

# topo_power HOST up|down: all cables of a firewall at once.
topo_power() {
	local dev
	for dev in eth0 eth1 eth2; do
		ip -n "$TOPO-$1" link set "$dev" "$2"
	done
}

# topo_down PREFIX ends what runs in the namespaces and removes them; it is no
# error if there is nothing left.
topo_down() {
	local host pid
	for host in $TOPO_HOSTS; do
		[ -e "/run/netns/$1-$host" ] || continue
		for pid in $(ip netns pids "$1-$host"); do
			kill -9 "$pid" 2>/dev/null || :
		done
		ip netns del "$1-$host" || :
	done
}
