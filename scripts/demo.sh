#!/usr/bin/env bash
# demo.sh: what pfsync is for, in under a minute.  A download and an idle
# session pass a pair of firewalls while the one that carries them is killed,
# and again when it comes back.
#
# Everything happens in network namespaces of its own (topology.sh draws them),
# which are gone afterwards however this script ends.  `make demo` builds what it
# needs.  Exit status: 0 both connections survived, 1 not.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/topology.sh
. "$here/topology.sh"

# Words

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ] && [ "${TERM:-dumb}" != dumb ]; then
	bold=$(printf '\033[1m') dim=$(printf '\033[2m') plain=$(printf '\033[0m')
	red=$(printf '\033[31m') green=$(printf '\033[32m')
else
	bold='' dim='' plain='' red='' green=''
fi

step=0
title() {
	step=$((step + 1))
	printf '\n%s%d. %s%s\n' "$bold" "$step" "$1" "$plain"
}

say() { printf '   %s\n' "$*"; }

# indent prints what a program said, as it said it.
indent() { sed "s/^/     $dim|$plain /"; }

fail() {
	printf '\n%sFAIL%s: %s\n' "$red$bold" "$plain" "$*"
	exit 1
}

# Doing things

# cmd HOST COMMAND...: show a command as one would type it on the host, run it
# there, show its output.
cmd() {
	local host=$1
	shift
	printf '   %s%s#%s %s\n' "$bold" "$host" "$plain" "$*"
	quiet "$host" "$@" >"$dir/out" 2>&1 || {
		indent <"$dir/out"
		fail "$host: $* ended with an error"
	}
	indent <"$dir/out"
}

# quiet HOST COMMAND...: only run it.
quiet() {
	local host=$1
	shift
	PFSYNC_RUNDIR=$dir/$host PATH=$here/../bin:$PATH on "$host" "$@"
}

# start HOST COMMAND...: in the background; started is its own process id.
start() {
	local host=$1
	shift
	PATH=$here/../bin:$PATH ip netns exec "$TOPO-$host" "$@" &
	started=$!
	disown
}

# until_true SECONDS WHAT COMMAND...: poll; WHAT is said if it never comes.
until_true() {
	local end=$((SECONDS + $1)) what=$2
	shift 2
	until "$@"; do
		clients_alive
		[ "$SECONDS" -lt "$end" ] || fail "$what"
		sleep 0.02
	done
}

# The two connections.  Each client rewrites a line of its own ten times a
# second: bytes N answers N gap MS wait MS (see scripts/traffic).

declare -A client_pid

start_client() {
	start client traffic "$1" "$TOPO_SERVER:80" "$dir/$1" 2>"$dir/$1.err"
	client_pid[$1]=$started
	until_true 10 "the $1 client did not start" [ -s "$dir/$1" ]
}

clients_alive() {
	local kind
	for kind in "${!client_pid[@]}"; do
		kill -0 "${client_pid[$kind]}" 2>/dev/null || fail "a connection was lost: $(cat "$dir/$kind.err")"
	done
}

# field KIND NUMBER: one number of a client's line.
field() { cut -d' ' -f"$2" <"$dir/$1"; }
bulk_bytes() { field bulk 2; }
talk_answers() { field talk 4; }

# reached KIND FIELD NUMBER
reached() { [ "$(field "$1" "$2")" -ge "$3" ]; }

mark_gaps() { kill -USR1 "${client_pid[@]}"; }

# going_on lets both make progress: 24 MB and three answers, one a second.
going_on() {
	local bytes answers
	bytes=$(($(bulk_bytes) + 24000000))
	answers=$(($(talk_answers) + 3))
	until_true 20 "the download stands still" reached bulk 2 "$bytes"
	until_true 20 "the session gets no answers" reached talk 4 "$answers"
}

show_connections() {
	say "download  $(printf '%5d MB received, every byte right' $(($(bulk_bytes) / 1000000)))      longest gap $(field bulk 6) ms"
	say "session   $(printf '%5d lines answered, one a second' "$(talk_answers)")      longest gap $(field talk 6) ms"
}

# kernel_has HOST: both connections are in the host's nf_conntrack.
kernel_entries() {
	quiet "$1" conntrack -L -p tcp --state ESTABLISHED --orig-dst "$TOPO_SERVER" 2>/dev/null
}
kernel_has() { [ "$(kernel_entries "$1" | wc -l)" -eq 2 ]; }

move_addresses() {
	topo_take "$1"
	quiet "$1" traffic announce eth0 "$TOPO_EXT_SHARED"
	quiet "$1" traffic announce eth1 "$TOPO_INT_SHARED"
}

# The acts

build() {
	title "A client, two firewalls, a server, in network namespaces"
	topo_up "$TOPO"
	cat <<-PICTURE

	                      client 10.0.1.10
	                            |
	          -------+----------+----------+-------
	            eth1 |                     | eth1      gateway $TOPO_INT_SHARED
	              [ fw-a ] eth2 ----- eth2 [ fw-b ]
	            eth0 |                     | eth0      shared  $TOPO_EXT_SHARED
	          -------+----------+----------+-------
	                            |
	                      server $TOPO_SERVER

	PICTURE
	say "fw-a has the two shared addresses.  Both firewalls run the same rules, strict ones:"
	cmd fw-a nft list chain inet filter forward
	cmd fw-a nft list chain ip nat postrouting
}

start_pfsync() {
	title "pfsync: one line on each firewall"
	local host
	for host in fw-a fw-b; do
		cmd "$host" pfsyncctl pfsync0 syncdev eth2
	done
	for host in fw-a fw-b; do
		cmd "$host" pfsyncctl pfsync0 wait --timeout 30
	done
}

start_traffic() {
	title "Two connections through fw-a, both behind NAT: a download, and a session that speaks once a second"
	start server traffic serve :80 2>"$dir/serve.err"
	until_true 10 "the server does not listen" listening
	start_client bulk
	start_client talk
	until_true 10 "the kernel of fw-b does not have the connections" kernel_has fw-b
	say "The kernel of fw-b, which has not seen a packet of them, has them too:"
	printf '   %sfw-b#%s conntrack -L -p tcp\n' "$bold" "$plain"
	kernel_entries fw-b | indent
	going_on
	show_connections
}

listening() { quiet server ss -Hltn 'sport = :80' | grep -q .; }

kill_a() {
	title "fw-a dies: its cables go dead, its daemon with them"
	mark_gaps
	topo_power fw-a down
	kill -9 "$(cat "$dir/fw-a/pfsync0.pid")"
	move_addresses fw-b
	say "fw-b has taken the shared addresses; nothing else was done."
	going_on
	show_connections
	first_bulk=$(field bulk 6) first_talk=$(field talk 6)
}

return_a() {
	title "fw-a comes back, with an empty state table, as after a reboot"
	topo_leave fw-a
	quiet fw-a conntrack -F >/dev/null 2>&1
	rm -f "$dir/fw-a/pfsync0.kernel" # the run directory does not outlive a boot
	say "Connections in its kernel: $(kernel_entries fw-a | wc -l)"
	topo_power fw-a up
	cmd fw-a pfsyncctl pfsync0 syncdev eth2
	cmd fw-a pfsyncctl pfsync0 wait --timeout 30
	until_true 10 "the kernel of fw-a did not get the connections back" kernel_has fw-a
	say "Connections in its kernel: $(kernel_entries fw-a | wc -l)"

	title "fw-a takes over again"
	mark_gaps
	topo_leave fw-b
	move_addresses fw-a
	going_on
	show_connections
	second_bulk=$(field bulk 6) second_talk=$(field talk 6)
}

# short_connection says one line and goes: a state that is made, changes, ends.
short_connection() {
	quiet client bash -c "exec 3<>/dev/tcp/$TOPO_SERVER/80 && printf 'talk\nhello\n' >&3 && head -n 1 <&3" >/dev/null
}

# seen FILE LINES: so much has been printed.  If not, one more connection.
seen() {
	[ "$(wc -l <"$1")" -ge "$2" ] || {
		short_connection
		sleep 0.2
		[ "$(wc -l <"$1")" -ge "$2" ]
	}
}

# show HOST FILE COMMAND...: what a command that runs on printed until now.
show() {
	local host=$1 file=$2
	shift 2
	printf '   %s%s#%s %s\n' "$bold" "$host" "$plain" "$*"
	head -n 5 "$file" | indent
}

look() {
	title "What there is to see"
	local host
	for host in fw-a fw-b; do
		cmd "$host" pfsyncctl pfsync0
	done
	cmd fw-b pfsyncctl pfsync0 states

	say "And while short connections come and go:"
	start fw-a tcpdump -l -n -i pfsync0 >"$dir/tcpdump" 2>"$dir/tcpdump.err"
	until_true 10 "tcpdump does not listen" grep -q '^listening on' "$dir/tcpdump.err"
	start fw-b env "PFSYNC_RUNDIR=$dir/fw-b" pfsyncctl pfsync0 monitor --direction in --action INS >"$dir/monitor" 2>&1
	until_true 10 "tcpdump on pfsync0 saw nothing" seen "$dir/tcpdump" 4
	until_true 10 "the monitor of fw-b saw nothing" seen "$dir/monitor" 4
	show fw-a "$dir/tcpdump" tcpdump -n -i pfsync0
	show fw-b "$dir/monitor" pfsyncctl pfsync0 monitor --direction in --action INS
}

verdict() {
	printf '\n%sPASS%s: the same two connections all the way, every byte right.  Longest gap:\n\n' "$green$bold" "$plain"
	printf '   %-12s %14s %14s\n' '' 'fw-a dies' 'fw-a returns'
	printf '   %-12s %11d ms %11d ms\n' download "$first_bulk" "$second_bulk"
	printf '   %-12s %11d ms %11d ms\n\n' session "$first_talk" "$second_talk"
	say "On machines of your own: pfsyncctl pfsync0 syncdev IF on each, and keepalived to move the addresses."
	say "(demonstrated in $SECONDS s)"
}

# Coming and going

sweep() {
	topo_down "$1"
	rm -rf "$2"
}

# guard PID TOPO DIR sweeps when the process is gone, even by kill -9.
guard() {
	tail --pid="$1" -f /dev/null
	sweep "$2" "$3"
}

main() {
	dir=$(mktemp -d /tmp/pfsync-demo.XXXXXX)
	TOPO=pfsync-demo-$$
	mkdir "$dir/fw-a" "$dir/fw-b"
	setsid bash "$0" --guard "$$" "$TOPO" "$dir" </dev/null >/dev/null 2>&1 &
	trap 'sweep "$TOPO" "$dir"' EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM HUP

	build
	start_pfsync
	start_traffic
	kill_a
	return_a
	look
	verdict
}

case ${1:-} in
--guard) guard "$2" "$3" "$4" ;;
--check | "")
	[ "$(id -u)" = 0 ] || {
		echo "make demo: needs root, for network namespaces: sudo make demo" >&2
		exit 1
	}
	[ -n "${1:-}" ] || main
	;;
*)
	echo "usage: demo.sh" >&2
	exit 2
	;;
esac
