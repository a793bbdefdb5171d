#!/usr/bin/env bash
# scale.sh [STATES]: a pair of firewalls with a large table (default 1000000),
# in network namespaces that are gone afterwards.  The table is in the kernel of
# the first; the second starts empty, with default settings, and gets it.
#
# Measured: how long that takes, how long a live insert takes meanwhile and at
# rest, memory and processor time of both daemons, what a listing costs, and
# that nothing is missing.  nf_conntrack_max, which is one for all namespaces, is
# raised while the script runs.  `make scale` builds what it needs.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
states=${1:-1000000}
rest=${REST:-60}

PATH=$here/../bin:$PATH
prefix=pfsync-scale-$$
dir=$(mktemp -d)
most=$(sysctl -n net.netfilter.nf_conntrack_max)
declare -A pid

cleanup() {
	local host
	for host in "${!pid[@]}"; do
		kill "${pid[$host]}" 2>/dev/null || :
		until ! kill -0 "${pid[$host]}" 2>/dev/null; do sleep 0.1; done
	done
	for host in a b; do
		ip netns del "$prefix-$host" 2>/dev/null || :
	done
	[ "$(sysctl -n net.netfilter.nf_conntrack_max)" != "$((2 * states + 10000))" ] ||
		sysctl -q -w "net.netfilter.nf_conntrack_max=$most"
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
[ "$(id -u)" = 0 ] || {
	echo "scale: network namespaces need root" >&2
	exit 1
}

on() {
	local host=$1
	shift
	ip netns exec "$prefix-$host" env "PFSYNC_RUNDIR=$dir/$host" "$@"
}

network() {
	local host n=1
	for host in a b; do
		mkdir -p "$dir/$host"
		ip netns add "$prefix-$host"
		ip -n "$prefix-$host" link set lo up
	done
	ip -n "$prefix-a" link add eth2 type veth peer name eth2 netns "$prefix-b"
	for host in a b; do
		ip -n "$prefix-$host" addr add "192.168.254.$n/24" dev eth2
		ip -n "$prefix-$host" link set eth2 up
		on "$host" nft 'add table inet t; add chain inet t c { type filter hook forward priority 0; }; add rule inet t c ct state invalid drop'
		n=$((n + 1))
	done
	[ "$most" -ge "$((2 * states + 10000))" ] || sysctl -q -w "net.netfilter.nf_conntrack_max=$((2 * states + 10000))"
}

start() {
	on "$1" pfsyncctl pfsync0 syncdev eth2
	pid[$1]=$(cat "$dir/$1/pfsync0.pid")
}

# cpu HOST: nanoseconds of processor time, kernel's for it included.
cpu() { cat "/proc/${pid[$1]}"/task/*/schedstat | awk '{ s += $1 } END { printf "%.0f", s }'; }
mb() { awk -v what="$2" '$1 == what ":" { printf "%.1f", $2 / 1024 }' "/proc/${pid[$1]}/status"; }
entries() { on "$1" conntrack -C; }
held() { on "$1" pfsyncctl -j pfsync0 | sed -n 's/.*"states":{"total":\([0-9]*\).*/\1/p'; }
calc() { awk "BEGIN { printf \"$1\", ($2) }"; }
counter() { on "$1" pfsyncctl -j pfsync0 stats | sed -n "s/.*\"$2\":\\([0-9]*\\).*/\\1/p"; }

# until_true SECONDS WHAT COMMAND...: poll.
until_true() {
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || {
			echo "scale: $what" >&2
			exit 1
		}
		sleep 0.05
	done
}

has() { [ "$(entries "$1")" -ge "$2" ]; }
knows() { [ "$(held "$1")" -ge "$2" ]; }

probe() { traffic probe "/run/netns/$prefix-a" "/run/netns/$prefix-b" "$1" "$2"; }

network
start a
printf 'idle daemon: %s MB\n' "$(mb a VmRSS)"
began=$EPOCHREALTIME
on a traffic entries "$states"
until_true 300 'the first daemon does not know all' knows a "$states"
printf '%d entries made and known after %s s, %s MB\n' "$states" "$(calc %.1f "$EPOCHREALTIME - $began")" "$(mb a VmRSS)"

before=$(cpu a)
began=$EPOCHREALTIME
start b
on b pfsyncctl pfsync0 wait -t 3600 >/dev/null 2>&1 &
waiting=$!
probe 2000 200 >"$dir/probe" &
probing=$!
wait $waiting
took=$(calc %.2f "$EPOCHREALTIME - $began")
until_true 120 'entries are missing on the second' has b "$states"
printf 'bulk: in sync after %s s, all in the kernel after %s s, CPU %s s and %s s, %s and %s MB\n' "$took" "$(calc %.2f "$EPOCHREALTIME - $began")" \
	"$(calc %.2f "($(cpu a) - $before) / 1e9")" "$(calc %.2f "$(cpu b) / 1e9")" "$(mb a VmRSS)" "$(mb b VmRSS)"
wait $probing
printf 'live inserts, 200 a second from the start of it: %s\n' "$(cat "$dir/probe")"
sleep 15 # the entries of the probe end
printf 'live inserts afterwards: %s\n' "$(probe 1000 200)"

sleep 15 # the entries of the probe end
printf 'states: %s and %s, entries %s and %s, of %s\n' "$(held a)" "$(held b)" "$(entries a)" "$(entries b)" "$states"
declare -A at
for host in a b; do at[$host]=$(cpu $host); done
sleep "$rest"
for host in a b; do
	printf 'at rest %s: %s %% of a core over %d s, dumps %s permille, every %s s, %s MB (most %s)\n' "$host" \
		"$(calc %.2f "($(cpu $host) - ${at[$host]}) / 1e7 / $rest")" "$rest" "$(counter $host dumppermille)" "$(counter $host dumpinterval)" \
		"$(mb $host VmRSS)" "$(mb $host VmHWM)"
done
began=$EPOCHREALTIME
listed=$(on a pfsyncctl pfsync0 states | wc -l)
printf 'listing: %s states in %s s, %s MB afterwards (most %s)\n' "$listed" "$(calc %.1f "$EPOCHREALTIME - $began")" "$(mb a VmRSS)" "$(mb a VmHWM)"
