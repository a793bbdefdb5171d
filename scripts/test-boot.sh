#!/usr/bin/env bash
# test-boot.sh [sysv|openrc]...: start, stop, restart and reload pfsync through
# its init scripts, in a network namespace and directories of its own.
#
# Needs root and bin/ (make all).  The OpenRC script runs under the real
# openrc-run; where that is not installed only its syntax is checked.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

ns=pfsync-boot-$$

fail() {
	echo "test-boot: $kind: $*" >&2
	exit 1
}

# script ARGUMENT: what init would run.
script() {
	case $kind in
	sysv) sh "$here/sysv/pfsync" "$@" ;;
	openrc) openrc-run "$here/openrc/pfsync" "$@" ;;
	esac >"$dir/out" 2>&1
}

# want STATUS ARGUMENT: run it, compare the exit status.
want() {
	local rc=0
	script "$2" || rc=$?
	[ "$rc" -eq "$1" ] || fail "$2: exit status $rc, want $1: $(cat "$dir/out")"
}

# comes COMMAND...: poll until it succeeds.
comes() {
	local tries=200
	until "$@"; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || fail "did not come: $*: $("$PFSYNCCTL" pfsync0 2>&1)"
		sleep 0.05
	done
}

config() { "$PFSYNCCTL" pfsync0 dump; }
has() { config 2>/dev/null | grep -qx -- "$1"; }
running() { [ -e /sys/class/net/pfsync0 ]; }
gone() { ! running; }
pid() { cat "$PFSYNC_RUNDIR/pfsync0.pid"; }

# A directory of its own for each kind, nothing configured yet.
prepare() {
	dir=$top/$kind
	mkdir -p "$dir/etc/default" "$dir/run" "$dir/state"
	export PFSYNC_RUNDIR=$dir/run PFSYNC_STATEDIR=$dir/state PFSYNC_ETCDIR=$dir/etc
	export PFSYNCCTL=$here/../bin/pfsyncctl
}

hostname_file() {
	printf '%s\n' "$@" >"$PFSYNC_ETCDIR/hostname.pfsync0"
	chmod 640 "$PFSYNC_ETCDIR/hostname.pfsync0"
}

# Not configured is 6 for the LSB, and a plain error for OpenRC.
no_configuration() {
	if [ "$kind" = sysv ]; then want 6 start; else want 1 start; fi
	gone || fail "started without a configuration"
	[ "$kind" != sysv ] || want 3 status
}

start_stop() {
	hostname_file '# a comment' '' 'syncdev eth2' "!touch $dir/command-\$if"
	want 0 start
	running || fail "no pfsync0 after start: $(cat "$dir/out")"
	has 'syncdev eth2' || fail "not configured: $(config)"
	[ -e "$dir/command-pfsync0" ] || fail "the command of the start file was not run"
	[ -e "$PFSYNC_RUNDIR/pfsync0.demotion" ] || fail "no demotion file"
	want 0 status
	want 0 stop
	comes gone
	[ "$(cat "$PFSYNC_RUNDIR/pfsync0.demotion")" = 0 ] || fail "demotion after stop: $(cat "$PFSYNC_RUNDIR/pfsync0.demotion")"
	want 3 status
	want 0 stop
}

reload() {
	want 0 start
	local before
	before=$(pid)
	rm "$dir/command-pfsync0"
	hostname_file 'syncdev eth2 maxupd 64' "!touch $dir/command-\$if"
	want 0 reload
	comes has 'maxupd 64'
	[ ! -e "$dir/command-pfsync0" ] || fail "reload ran the command of the start file"
	hostname_file 'syncdev eth2 maxupd nonsense'
	want 0 reload
	hostname_file 'syncdev eth2 description good'
	want 0 reload
	comes has 'description good'
	! has 'maxupd 64' || fail "a word that is gone from the file is still set"
	[ "$(pid)" = "$before" ] || fail "reload started another daemon"
}

restart() {
	local before
	before=$(pid)
	want 0 restart
	comes has 'syncdev eth2'
	[ "$(pid)" != "$before" ] || fail "restart left the old daemon"
}

# What the LSB has beyond these, while it runs and while it does not.
lsb() {
	[ "$kind" = sysv ] || return 0
	local before
	before=$(pid)
	want 0 try-restart
	comes has 'syncdev eth2'
	[ "$(pid)" != "$before" ] || fail "try-restart left the old daemon"
	before=$(pid)
	want 0 force-reload
	[ "$(pid)" = "$before" ] || fail "force-reload started another daemon"
	want 0 start
	[ "$(pid)" = "$before" ] || fail "start started another daemon"
	want 2 ''
	want 2 begin
	want 0 stop
	comes gone
	want 0 try-restart
	gone || fail "try-restart started what did not run"
	want 7 reload
	want 0 start
}

# A daemon that was killed leaves its files: status says so, start works.
killed() {
	kill -9 "$(pid)"
	comes gone
	want 3 status
	[ "$kind" != openrc ] || script zap
	want 0 start
	has 'syncdev eth2' || fail "not configured after a crash: $(config)"
	want 0 stop
	comes gone
}

freebsd_variables() {
	rm "$PFSYNC_ETCDIR/hostname.pfsync0"
	printf '%s\n' 'pfsync_enable="YES"' 'pfsync_syncdev="eth2"' 'pfsync_ifconfig="maxupd 7"' \
		>"$PFSYNC_ETCDIR/default/pfsync"
	chmod 640 "$PFSYNC_ETCDIR/default/pfsync"
	want 0 start
	has 'syncdev eth2' || fail "pfsync_syncdev not applied: $(config)"
	has 'maxupd 7' || fail "pfsync_ifconfig not applied: $(config)"
	want 0 stop
	comes gone
}

# inside runs in the namespace, with mounts of its own (ip-netns(8)).
inside() {
	top=$1
	shift
	ip link set lo up
	ip link add eth2 type veth peer name cable
	ip addr add 192.168.254.2/24 dev eth2
	ip link set eth2 up
	ip link set cable up
	for kind in "$@"; do
		if [ "$kind" = openrc ]; then
			command -v openrc-run >/dev/null || {
				sh -n "$here/openrc/pfsync"
				[ -z "${PFSYNC_REQUIRE_NETNS:-}" ] || fail "no openrc-run here"
				echo "test-boot: openrc: no openrc-run here: syntax checked only"
				continue
			}
			openrc_system
		fi
		prepare
		no_configuration
		start_stop
		reload
		restart
		lsb
		killed
		freebsd_variables
		echo "test-boot: $kind: ok"
	done
}

# openrc_system makes openrc-run believe that OpenRC booted, for us alone.
openrc_system() {
	mkdir -p /run/openrc
	mount -t tmpfs none /run/openrc
	mkdir -p /run/openrc/started /run/openrc/starting /run/openrc/stopping /run/openrc/exclusive
	echo default >/run/openrc/softlevel
	# Its configuration lets no environment through.
	cp /etc/rc.conf "$top/rc.conf"
	echo 'rc_env_allow="PFSYNC_RUNDIR PFSYNC_STATEDIR PFSYNC_ETCDIR PFSYNCCTL"' >>"$top/rc.conf"
	mount --bind "$top/rc.conf" /etc/rc.conf
}

sweep() {
	local p
	for p in $(ip netns pids "$ns"); do
		kill -9 "$p" 2>/dev/null || :
	done
	ip netns del "$ns" || :
	rm -rf "$1"
}

case ${1:-} in
--inside)
	shift
	inside "$@"
	;;
*)
	[ "$(id -u)" = 0 ] || {
		echo "test-boot: needs root" >&2
		exit 1
	}
	tmp=$(mktemp -d)
	ip netns add "$ns"
	trap 'sweep "$tmp"' EXIT
	trap 'exit 130' INT TERM HUP
	[ $# -gt 0 ] || set -- sysv openrc
	ip netns exec "$ns" bash "$0" --inside "$tmp" "$@"
	;;
esac
