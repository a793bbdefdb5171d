#!/bin/sh
# vip.sh: the up and down script of ucarp for a pfsync pair, by its own name:
#
#	ln -s vip.sh vip-up; ln -s vip.sh vip-down
#
# ucarp calls it as vip-up IFACE ADDRESS and vip-down IFACE ADDRESS.  On both
# firewalls, once for the outside and once for the inside:
#
#	pfsyncctl pfsync0 wait --timeout 60
#	ucarp -i eth0 -s 198.51.100.2 -v 1 -p secret -a 198.51.100.1 -P -z \
#	    -u /etc/ucarp/vip-up -d /etc/ucarp/vip-down
#	ucarp -i eth1 -s 192.168.1.2 -v 2 -p secret -a 192.168.1.1 -P -z \
#	    -u /etc/ucarp/vip-up -d /etc/ucarp/vip-down
#
# with -k 100, and without -P, on the firewall that waits.
#
# As far as it goes: ucarp has IPv4 only, cannot tie the two sides together, needs
# seconds where keepalived needs tenths, and knows no demotion that lasts: it
# cannot follow pfsync0.demotion, so it must be started after `wait`, and again
# after each restart of pfsyncd.  See scripts/keepalived for what can.
set -eu

[ $# -ge 2 ] || {
	echo "usage: vip-up|vip-down IFACE ADDRESS" >&2
	exit 2
}
case ${0##*/} in
vip-up) exec ip address replace "$2/32" dev "$1" ;;
vip-down) # which ucarp calls when it starts, too
	[ -z "$(ip -o address show dev "$1" to "$2/32")" ] || exec ip address delete "$2/32" dev "$1"
	;;
*)
	echo "${0##*/}: link this to vip-up and vip-down" >&2
	exit 2
	;;
esac
