#!/usr/bin/env bash
# testbed.sh: the demonstration's network to play with.
#
#	testbed.sh up                     build it and start pfsync on both firewalls
#	testbed.sh exec HOST COMMAND...   HOST: client fw-a fw-b server net
#	testbed.sh take fw-a|fw-b         move the shared addresses there
#	testbed.sh down                   remove it all
#
# TESTBED names it (default: pfsync-testbed), so that several can stand side by side.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/topology.sh
. "$here/topology.sh"

TOPO=${TESTBED:-pfsync-testbed}
dir=/run/$TOPO
bin=$here/../bin

usage() {
	sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0" >&2
	exit 2
}

# run HOST COMMAND... with the host's own run directory and our programs in front.
run() {
	local host=$1
	shift
	PFSYNC_RUNDIR=$dir/$host PATH=$bin:$PATH on "$host" "$@"
}

up() {
	[ ! -e "$dir" ] || {
		echo "testbed: $TOPO stands already (down first)" >&2
		exit 1
	}
	make -s -C "$here/.." all bin/traffic
	mkdir -p "$dir/fw-a" "$dir/fw-b"
	topo_up "$TOPO"
	local host
	for host in fw-a fw-b; do
		run "$host" pfsyncctl pfsync0 syncdev eth2
	done
	echo "testbed: $TOPO is up; try: $0 exec fw-a pfsyncctl pfsync0"
}

take() {
	local other
	case $1 in
	fw-a) other=fw-b ;;
	fw-b) other=fw-a ;;
	*) usage ;;
	esac
	topo_leave "$other" 2>/dev/null || :
	topo_take "$1"
	on "$1" "$bin/traffic" announce eth0 "$TOPO_EXT_SHARED"
	on "$1" "$bin/traffic" announce eth1 "$TOPO_INT_SHARED"
}

[ $# -gt 0 ] || usage
[ "$(id -u)" = 0 ] || {
	echo "testbed: network namespaces need root" >&2
	exit 1
}
word=$1
shift
case $word in
up) up ;;
exec) [ $# -ge 2 ] || usage; run "$@" ;;
take) [ $# -eq 1 ] || usage; take "$1" ;;
down)
	topo_down "$TOPO"
	rm -rf "$dir"
	;;
*) usage ;;
esac
