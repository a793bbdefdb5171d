#!/usr/bin/env bash
# test-systemd.sh: boot systemd as PID 1 in a container with pfsync installed,
# then start, reload, kill, stop and shut down.
#
# The container has this host's /usr, read-only, and everything else of its own:
# mounts, processes, network, a control group.  No download, no virtual machine.
# Needs root, systemd (its programs, it need not run here) and make.
set -eu
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

fail() {
	echo "test-systemd: $*" >&2
	[ -z "${init:-}" ] || in_it journalctl --no-pager -q -n 60 >&2 || :
	exit 1
}

# comes COMMAND...: poll until it succeeds.
comes() {
	local tries=300
	until "$@" >/dev/null 2>&1; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || fail "did not come: $*"
		sleep 0.1
	done
}

# in_it COMMAND...: run it in the container as a person logged in would.
in_it() {
	nsenter --target "$init" --mount --uts --ipc --net --pid --cgroup --root --wd=/ \
		env -i PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}

ctl() { in_it pfsyncctl "$@"; }
property() { in_it systemctl show -P "$1" pfsyncd.service; }
active() { [ "$(property ActiveState)" = "$1" ]; }
has() { ctl pfsync0 dump 2>/dev/null | grep -qx -- "$1"; }
no_device() { ! in_it test -e /sys/class/net/pfsync0; }

# start_file LINE...: the container's /etc/hostname.pfsync0.
start_file() {
	printf '%s\n' "$@" >"$root/etc/hostname.pfsync0"
	chmod 640 "$root/etc/hostname.pfsync0"
}

## The container

make_root() {
	mkdir "$root"
	mount -t tmpfs -o mode=755 none "$root"
	mkdir -p "$root"/{usr,etc,var,run,tmp,root,proc,sys,dev,old} "$root"/etc/systemd/system
	local d
	for d in bin sbin lib lib32 lib64 libx32; do
		[ ! -L "/$d" ] || cp -a "/$d" "$root/$d"
	done
	mount --rbind /usr "$root/usr"
	mount -o remount,bind,ro "$root/usr"
	mount -t tmpfs -o mode=755 none "$root/usr/local"
	for d in alternatives ld.so.cache ld.so.conf ld.so.conf.d nsswitch.conf; do
		[ ! -e "/etc/$d" ] || cp -a "/etc/$d" "$root/etc/"
	done
	echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
	printf '%s\n' root:x:0: systemd-journal:x:101: pfsync:x:240: >"$root/etc/group"
	echo firewall >"$root/etc/hostname"
	echo ID=debian >"$root/etc/os-release"
	tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
	# What a boot starts beside us is nothing that this is about.
	for d in getty.target remote-fs.target systemd-logind.service dbus.service dbus.socket \
		systemd-udevd.service systemd-update-utmp.service systemd-timesyncd.service \
		systemd-user-sessions.service; do
		ln -s /dev/null "$root/etc/systemd/system/$d"
	done
}

make_dev() {
	mount -t tmpfs -o mode=755 none "$root/dev"
	mkdir "$root/dev/net" "$root/dev/shm" "$root/dev/pts"
	local d
	for d in null zero full random urandom tty net/tun; do
		: >"$root/dev/$d"
		mount --bind "/dev/$d" "$root/dev/$d"
	done
	ln -s /proc/self/fd "$root/dev/fd"
}

# become_init runs as process 1 of the container: it turns its back on this
# host's files.  /proc/sys is not ours to write but for what is the network's.
become_init() {
	local root=$1
	mount -t proc proc "$root/proc"
	mount --bind "$root/proc/sys" "$root/proc/sys"
	mount --bind "$root/proc/sys/net" "$root/proc/sys/net"
	mount -o remount,bind,ro "$root/proc/sys"
	mount -t sysfs -o ro sysfs "$root/sys"
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
	mount -t tmpfs -o mode=755 none "$root/run"
	mkdir "$root/run/lock"
	hostname firewall
	ip link set lo up
	ip link add eth2 type veth peer name cable
	ip addr add 192.168.254.2/24 dev eth2
	ip link set eth2 up
	ip link set cable up
	cd "$root"
	pivot_root . old
	umount -l /old
	# Without these rights it cannot change the host: modules, clock, log.
	exec env -i container=pfsync-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
		setpriv --bounding-set=-sys_module,-sys_time,-syslog,-mac_admin,-sys_rawio \
		/lib/systemd/systemd --system --log-target=journal </dev/null >/dev/null 2>&1
}

# boot starts the container and waits until the boot is over.
boot() {
	mkdir "$tmp/cgroup"
	mount -t cgroup2 none "$tmp/cgroup"
	slice=$tmp/cgroup/pfsync-test-$$
	mkdir "$slice"
	# A control group namespace begins where its maker stands.
	bash -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' bash "$slice" \
		unshare --cgroup --mount --net --ipc --uts --pid --fork --kill-child --propagation private \
		bash "$here/test-systemd.sh" --become-init "$root" &
	keeper=$!
	comes pgrep -P "$keeper"
	init=$(pgrep -P "$keeper")
	comes in_it test -S /run/systemd/private
	in_it systemctl is-system-running --wait >/dev/null || : # degraded will do
}

sweep() {
	[ -z "${keeper:-}" ] || kill -9 "$keeper" 2>/dev/null || : # and with it all of the container
	[ -z "${keeper:-}" ] || wait "$keeper" 2>/dev/null || :
	[ -z "${slice:-}" ] || {
		comes empty
		find "$slice" -depth -type d -exec rmdir {} \; 2>/dev/null
	} || :
	umount -l "$tmp" 2>/dev/null || :
	rmdir "$tmp" 2>/dev/null || :
}

empty() { grep -q '^populated 0' "$slice/cgroup.events"; }

## What is tried

booted() {
	active active || fail "not active after the boot: $(property ActiveState)"
	has 'syncdev eth2' || fail "the start file was not applied: $(ctl pfsync0 dump)"
	in_it test -e /tmp/ran-pfsync0 || fail "the command of the start file was not run as a person's"
	ctl pfsync0 | grep -q '^pfsync0: flags=41<UP,RUNNING>' || fail "status: $(ctl pfsync0)"
	ctl pfsync0 | grep -q 'syncdev: eth2 maxupd: 128 defer: off' || fail "status: $(ctl pfsync0)"
	in_it test -s /var/lib/pfsync/pfsync0.hostid || fail "no hostid in the state directory"
	[ "$(in_it cat /proc/sys/net/netfilter/nf_conntrack_events)" = 1 ] || fail "nf_conntrack_events"
	[ "$(in_it cat /proc/sys/net/netfilter/nf_conntrack_tcp_be_liberal)" = 1 ] || fail "nf_conntrack_tcp_be_liberal"
	[ "$(in_it stat -c %a:%g /run/pfsync/pfsync0.sock)" = 660:240 ] || fail "socket of the group pfsync: $(in_it stat -c %a:%g /run/pfsync/pfsync0.sock)"
	local caps
	caps=$(in_it sed -n 's/^CapBnd:\t//p' "/proc/$(property MainPID)/status")
	[ "$caps" = 0000000000003000 ] || fail "capabilities $caps"
	# A frame of ours has left through the raw socket.
	comes frames_out
	in_it systemctl start pfsync-wait.service || fail "pfsync-wait.service"
	# Who elects the master starts after both, and finds the file.
	local unit
	for unit in pfsyncd pfsync-wait; do
		case " $(in_it systemctl show --value -p Before "$unit.service") " in
		*' keepalived.service '*) ;;
		*) fail "$unit.service is not before keepalived.service" ;;
		esac
	done
	[ "$(in_it cat /run/pfsync/pfsync0.demotion)" = 0 ] || fail "demotion $(in_it cat /run/pfsync/pfsync0.demotion)"
}

# Members of the group look, and change nothing; others do neither.
group() {
	as 240 pfsyncctl pfsync0 | grep -q '^pfsync0: flags=41' || fail "a member of the group cannot look"
	denied 'only root may change things' as 240 pfsyncctl pfsync0 maxupd 7
	denied 'permission denied; be root' as 65534 pfsyncctl pfsync0
}

# denied TEXT COMMAND...: it ends with status 4 and says TEXT.
denied() {
	local text=$1 out rc=0
	shift
	out=$("$@" 2>&1) || rc=$?
	case $rc:$out in 4:*"$text"*) ;; *) fail "$*: $rc $out" ;; esac
}

# as GID COMMAND...: in the container, by somebody with that group only.
as() {
	local gid=$1
	shift
	in_it setpriv --reuid 65534 --regid "$gid" --clear-groups "$@"
}

# The rules of defer come and go with the word, under the restrictions too.
deferring() {
	ctl pfsync0 defer || fail "defer"
	rules | grep -q pfsync_pfsync0 || fail "no rules of defer: $(rules)"
	ctl pfsync0 -defer || fail "-defer"
	! rules | grep -q pfsync_pfsync0 || fail "the rules of defer are still there"
}

rules() { in_it sh -c 'nft list ruleset; iptables-save' 2>/dev/null; }

frames_out() { [ "$(ctl pfsync0 stats | sed -n 's/^\t\([0-9]*\) packets* sent (IPv4)/\1/p')" -gt 0 ]; }

reload() {
	local before
	before=$(property MainPID)
	start_file 'syncdev eth2 maxupd 64'
	in_it systemctl reload pfsyncd.service || fail "reload"
	comes has 'maxupd 64'
	start_file 'syncdev eth2 maxupd nonsense'
	in_it systemctl reload pfsyncd.service || fail "reload of a bad file"
	comes grep_journal 'configuration not changed.*maxupd nonsense: invalid'
	has 'maxupd 64' || fail "an error changed something"
	[ "$(property MainPID)" = "$before" ] || fail "reload started another daemon"
	start_file 'syncdev eth2'
}

grep_journal() { in_it journalctl -q --no-pager -u pfsyncd.service | grep -q "$1"; }

killed() {
	local before
	before=$(property MainPID)
	in_it kill -9 "$before"
	comes restarted "$before"
	comes has 'syncdev eth2'
}

restarted() { active active && [ "$(property MainPID)" != "$1" ]; }

stopped() {
	in_it systemctl stop pfsyncd.service || fail "stop"
	active inactive || fail "after stop: $(property ActiveState) $(property Result)"
	no_device || fail "pfsync0 is there after stop"
	[ "$(in_it cat /run/pfsync/pfsync0.demotion)" = 0 ] || fail "demotion after stop"
}

# The command starts the daemon through systemd, and ends it.
by_command() {
	rm "$root/etc/hostname.pfsync0"
	ctl pfsync0 syncdev eth2 description 'by hand' || fail "pfsyncctl with the unit stopped"
	active active || fail "the daemon is not the unit's"
	has "description 'by hand'" || fail "configured: $(ctl pfsync0 dump)"
	ctl pfsync0 destroy || fail "destroy"
	comes active inactive
	[ "$(property Result)" = success ] || fail "destroy: $(property Result)"
	start_file 'syncdev eth2 maxupd 9'
	ctl pfsync0 description both || fail "pfsyncctl with a start file"
	has 'maxupd 9' || fail "the start file counts too: $(ctl pfsync0 dump)"
	has 'description both' || fail "the words count too: $(ctl pfsync0 dump)"
	stopped
	start_file 'syncdev eth2 maxupd nonsense'
	local out
	! out=$(ctl pfsync0 description never 2>&1) || fail "started with a bad start file"
	case $out in *'journalctl -u pfsyncd.service'*) ;; *) fail "no hint in: $out" ;; esac
	grep_journal 'hostname.pfsync0:1: maxupd nonsense: invalid' || fail "the journal does not say why"
	in_it systemctl stop pfsyncd.service
	in_it systemctl reset-failed pfsyncd.service
}

judged() {
	in_it systemd-analyze verify --man=no /usr/local/lib/systemd/system/pfsync{d,-wait}.service || fail "systemd-analyze verify"
	in_it systemd-analyze security --no-pager --threshold=30 pfsyncd.service >"$tmp/security" ||
		fail "systemd-analyze security: $(tail -n 1 "$tmp/security")"
	sed -n 's/^→ Overall exposure level for \([^:]*\): \([0-9.]*\).*/test-systemd: \1: exposure \2/p' "$tmp/security"
}

# Shut down while it runs: the unit stops in order, and process 1 ends by itself.
shut_down() {
	start_file 'syncdev eth2'
	in_it systemctl start pfsyncd.service || fail "start"
	in_it systemctl poweroff >/dev/null 2>&1 || : # may cut us off
	comes ended
	keeper='' init=''
}

ended() { ! kill -0 "$keeper" 2>/dev/null; }

outer() {
	tmp=$1 root=$1/root
	trap sweep EXIT
	trap 'exit 130' INT TERM HUP
	mount -t tmpfs none "$tmp"
	make_root
	make_dev
	"${MAKE:-make}" -s -C "$here/.." install DESTDIR="$root" PREFIX=/usr/local INIT=systemd
	# shellcheck disable=SC2016 # the reader of the file expands it
	start_file 'syncdev eth2' '!touch /tmp/ran-$if'
	systemctl --root="$root" enable -q pfsyncd.service
	boot
	booted
	group
	deferring
	reload
	killed
	stopped
	by_command
	judged
	shut_down
	"${MAKE:-make}" -s -C "$here/.." uninstall DESTDIR="$root" PREFIX=/usr/local INIT=systemd
	[ -z "$(find "$root/usr/local" -type f)" ] || fail "uninstall left $(find "$root/usr/local" -type f)"
	echo "test-systemd: ok"
}

case ${1:-} in
--outer) outer "$2" ;;
--become-init) become_init "$2" ;;
*)
	[ "$(id -u)" = 0 ] || {
		echo "test-systemd: needs root" >&2
		exit 1
	}
	[ -x /lib/systemd/systemd ] || {
		echo "test-systemd: skipped, no systemd here"
		[ -z "${PFSYNC_REQUIRE_NETNS:-}" ]
		exit
	}
	tmp=$(mktemp -d)
	exec unshare --mount --propagation private bash "$0" --outer "$tmp"
	;;
esac
