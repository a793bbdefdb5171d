#!/usr/bin/env bash
# bench.sh [CONNECTIONS [FLOWS]]: pfsync and conntrackd side by side, each on a
# pair of firewalls in network namespaces (topology.sh draws them), which are
# gone afterwards.  Short TCP connections (default 10000, 2000 a second) pass the
# first firewall with NAT, then FLOWS (default 100000) are open at once.
#
# Both put the other's states into the kernel: conntrackd runs in mode FTFW with
# the external cache disabled.  CPU is that of the daemons, user and system, on
# both firewalls; softirqs are nobody's.  Ratios are conntrackd over pfsync: above
# 1 pfsync needs less.  conntrackd takes real-time priority 99 for itself, pfsyncd
# an ordinary one: on a busy machine the times to the peer's kernel show little
# else.  `make compare` builds what it needs.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/topology.sh
. "$here/topology.sh"

connections=${1:-10000}
flows=${2:-100000}
rate=2000
probes=200

PATH=$here/../bin:$PATH
prefix=pfsync-bench-$$
dir=$(mktemp -d)
trap 'topo_down "$prefix"; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
[ "$(id -u)" = 0 ] || {
	echo "bench: network namespaces need root" >&2
	exit 1
}

die() {
	echo "bench: $*" >&2
	exit 1
}

# until_true SECONDS WHAT COMMAND...: poll.
until_true() {
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || die "$product: $what"
		sleep 0.02
	done
}

# The two products: start_X HOST NUMBER leaves the daemon's id in pid[HOST].

declare -A pid

start_pfsync() {
	PFSYNC_RUNDIR=$dir/$1 on "$1" pfsyncctl pfsync0 syncdev eth2 maxdelay "$maxdelay"
	pid[$1]=$(cat "$dir/$1/pfsync0.pid")
}

in_sync_pfsync() { PFSYNC_RUNDIR=$dir/$1 on "$1" pfsyncctl pfsync0 wait -t 60 >/dev/null 2>&1; }

start_conntrackd() {
	cat >"$dir/$1.conf" <<-CONF
		Sync {
			Mode FTFW { DisableExternalCache yes }
			Multicast {
				IPv4_address 225.0.0.50
				Group 3780
				IPv4_interface 10.0.0.$2
				Interface eth2
				SndSocketBuffer 33554432
				RcvSocketBuffer 33554432
				Checksum on
			}
		}
		General {
			HashSize 65536
			HashLimit 524288
			LockFile $dir/$1.lock
			UNIX { Path $dir/$1.ctl }
			NetlinkBufferSize 33554432
			NetlinkBufferSizeMaxGrowth 67108864
		}
	CONF
	rm -f "$dir/$1.lock" "$dir/$1.ctl"
	ip netns exec "$TOPO-$1" conntrackd -C "$dir/$1.conf" >>"$dir/$1.log" 2>&1 &
	pid[$1]=$!
	disown
	until_true 10 "does not start" [ -S "$dir/$1.ctl" ]
}

# conntrackd asks for the other's table when it is told to.
in_sync_conntrackd() { on "$1" conntrackd -C "$dir/$1.conf" -n >/dev/null; }

# Looking

# cpu HOST: nanoseconds that the daemon has had.
cpu() { cat /proc/"${pid[$1]}"/task/*/schedstat | awk '{ s += $1 } END { printf "%.0f", s }'; }

rss() { awk '/^VmRSS/ { print $2 }' "/proc/${pid[$1]}/status"; }

# link: bytes and packets on the sync link, both directions.
link() {
	local what side sum
	for what in bytes packets; do
		sum=0
		for side in fw-a fw-b; do
			sum=$((sum + $(on "$side" cat "/sys/class/net/eth2/statistics/tx_$what")))
		done
		printf '%s ' "$sum"
	done
}

entries() { on "$1" conntrack -C; }

same_number() { [ "$(entries fw-a)" = "$(entries fw-b)" ]; }

has() { [ "$(entries "$1")" -ge "$2" ]; }

listening() { on server ss -Hltn 'sport = :80' | grep -q .; }

# calc FORMAT EXPRESSION
calc() { awk "BEGIN { printf \"$1\", ($2) }"; }

declare -A result

put() { result[$product,$1]=$2; }

# The measurements

network() {
	topo_up "$prefix"
	local host
	for host in fw-a fw-b; do
		mkdir -p "$dir/$host"
		topo_sysctl "$host" net.netfilter.nf_conntrack_udp_timeout=600
		on "$host" nft -f - <<-RULES
			add rule inet filter input iifname "eth2" udp dport 3780 accept
			add rule inet filter input iifname "eth2" meta l4proto igmp accept
			add rule inet raw prerouting udp dport 3780 notrack
			add rule inet raw output udp dport 3780 notrack
			add rule inet raw output meta l4proto igmp notrack
		RULES
	done
	topo_sysctl client net.ipv4.ip_local_port_range='1024 65535'
	on server nft 'add table ip t; add chain ip t i { type filter hook input priority 0; }; add rule ip t i meta l4proto udp drop'
	ip netns exec "$TOPO-server" traffic serve :80 2>"$dir/server.log" &
	disown
	until_true 10 'no server' listening
}

# latency NAME: milliseconds from the event on fw-a to the one on fw-b, median.
latency() {
	local host
	for host in fw-a fw-b; do
		ip netns exec "$TOPO-$host" conntrack -E -e NEW -p tcp -o timestamp >"$dir/$host.new" 2>/dev/null &
		watcher[${#watcher[@]}]=$!
	done
	until_true 10 'no events' events_come
	on client traffic short "$TOPO_SERVER:80" "$probes" 50
	until_true 30 'states are missing' same_number
	kill "${watcher[@]}"
	wait "${watcher[@]}" 2>/dev/null || :
	watcher=()
	put "$1" "$(awk '
		{ gsub(/[][]/, "", $1); for (i = 2; i <= NF; i++) if ($i ~ /^sport=/) { port = $i; break } }
		FNR == NR { at[port] = $1; next }
		port in at { printf "%.3f\n", ($1 - at[port]) * 1000 }
	' "$dir/fw-a.new" "$dir/fw-b.new" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }')"
}

watcher=()

# events_come: a connection is seen by both; the first may be too early.
events_come() {
	on client traffic short "$TOPO_SERVER:80" 1 1
	sleep 0.1
	[ -s "$dir/fw-a.new" ] && [ -s "$dir/fw-b.new" ]
}

short_connections() {
	local a b bytes0 packets0 bytes packets
	a=$(cpu fw-a) b=$(cpu fw-b)
	read -r bytes0 packets0 <<<"$(link)"
	on client traffic short "$TOPO_SERVER:80" "$connections" "$rate"
	until_true 60 'states are missing' same_number
	sleep 2 # what is late belongs to it
	read -r bytes packets <<<"$(link)"
	put cpu-a "$(calc %.3f "($(cpu fw-a) - $a) / 1e9 / $connections * 10000")"
	put cpu-b "$(calc %.3f "($(cpu fw-b) - $b) / 1e9 / $connections * 10000")"
	put cpu "$(calc %.3f "${result[$product,cpu-a]} + ${result[$product,cpu-b]}")"
	put bytes "$(calc %.0f "($bytes - $bytes0) / $connections")"
	put frames "$(calc %.2f "($packets - $packets0) / $connections")"
}

# many_flows also has fw-b begin again with an empty table.
many_flows() {
	on client traffic flows "$TOPO_SERVER" "$flows" 20000
	until_true 60 'flows are missing on the first' has fw-a "$flows"
	until_true 120 'flows are missing on the second' has fw-b "$flows"
	sleep 2
	put rss-a "$(calc %.1f "$(rss fw-a) / 1024")"
	put rss-b "$(calc %.1f "$(rss fw-b) / 1024")"
	put per-flow "$(calc %.0f "($(rss fw-a) + $(rss fw-b) - $idle) / 2 * 1024 / $flows")"
	kill -9 "${pid[fw-b]}"
	until_true 10 'will not die' dead fw-b
	on fw-b conntrack -F 2>/dev/null
	rm -f "$dir/fw-b/pfsync0.kernel" # as after a boot: what a run knew has not ended, it is forgotten
	local start=$EPOCHREALTIME before
	before=$(cpu fw-a)
	"start_$product" fw-b 2
	"in_sync_$product" fw-b
	until_true 120 'bulk' has fw-b "$flows"
	put bulk "$(calc %.2f "$EPOCHREALTIME - $start")"
	put bulk-cpu "$(calc %.2f "($(cpu fw-a) - $before + $(cpu fw-b)) / 1e9")"
}

# dead HOST: the daemon is gone, or only waits for somebody to know.
dead() { ! grep -qv ') Z ' "/proc/${pid[$1]}/stat" 2>/dev/null; }

# measure PRODUCT
measure() {
	product=$1
	echo "$product ..." >&2
	network
	maxdelay=10
	"start_$product" fw-a 1
	"start_$product" fw-b 2
	"in_sync_$product" fw-b
	idle=$(($(rss fw-a) + $(rss fw-b)))
	latency new
	if [ "$product" = pfsync ]; then
		maxdelay=0
		start_pfsync fw-a
		latency new-0
		maxdelay=10
		start_pfsync fw-a
	else
		put new-0 "${result[$product,new]}"
	fi
	short_connections
	many_flows
	topo_down "$prefix"
	rm -rf "$dir"/fw-*
}

# row NAME TEXT
row() {
	local p=${result[pfsync,$1]} c=${result[conntrackd,$1]}
	printf '%-52s %10s %10s %6s\n' "$2" "$p" "$c" "$(calc %.1f "$c / $p")"
}

measure pfsync
measure conntrackd
printf '%-52s %10s %10s %6s\n' "$connections connections, $flows flows" pfsync conntrackd ratio
row cpu 'CPU seconds per 10000 connections, both firewalls'
row cpu-a '    that which carries them'
row cpu-b '    the other'
row bytes 'bytes on the link per connection'
row frames 'frames on the link per connection'
row new 'ms from an entry to the peer'\''s kernel, median'
row new-0 '    with maxdelay 0'
row rss-a "MB of memory at $flows flows, first firewall"
row rss-b '    second'
row per-flow '    bytes a flow beyond the idle daemons, mean'
row bulk "s from start to $flows flows, empty firewall"
row bulk-cpu '    CPU seconds, both firewalls'
