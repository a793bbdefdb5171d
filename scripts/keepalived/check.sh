#!/bin/sh
# check.sh: ask the real keepalived what it thinks of the two examples, in a
# network namespace that has their interfaces.  Needs root.
set -eu
cd "$(dirname "$0")"

ns=pfsync-keepalived-$$
ip netns add "$ns"
trap 'ip netns del "$ns"' EXIT
for dev in eth0 eth1 eth2; do
	ip -n "$ns" link add "$dev" type veth peer name "peer-$dev"
done
for side in a b; do
	ip netns exec "$ns" keepalived --config-test --use-file "keepalived.conf.$side"
	echo "keepalived.conf.$side: ok"
done
