#!/usr/bin/env bash
# vm.sh [-m MB] [-t SECONDS] [-f FILE:DEST]... SCRIPT
#
# Boots Debian's stock kernel under qemu with a small initramfs, runs SCRIPT in
# it as root, prints what it prints and ends with its status (125: it never
# ended).  For what the kernel of a test machine may lack.  No KVM needed: a
# boot takes some five seconds in emulation.
#
# The kernel and the initramfs are kept in PFSYNC_VM_CACHE
# (~/.cache/pfsync-vm-test).  `setup.sh vm` installs what this needs.
set -eu

cache=${PFSYNC_VM_CACHE:-$HOME/.cache/pfsync-vm-test}
memory=1024 seconds=600 files=()
usage() {
	sed -n '2s/^# //p' "$0" >&2
	exit 2
}
while getopts m:t:f: opt; do
	case $opt in
	m) memory=$OPTARG ;;
	t) seconds=$OPTARG ;;
	f) files+=("$OPTARG") ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -eq 1 ] || usage

modules='nf_tables nft_ct nft_chain_nat nft_nat nft_masq nft_queue nft_log nft_objref
	nft_reject_inet nft_synproxy nft_compat nfnetlink_queue nf_conntrack_netlink nf_nat
	nfnetlink_cttimeout xt_NFQUEUE xt_conntrack xt_CT xt_nat xt_MASQUERADE
	xt_tcpudp xt_mark xt_addrtype iptable_filter iptable_nat iptable_mangle iptable_raw
	ip6table_filter ip6table_mangle ip6table_raw nf_conntrack_ftp nf_nat_ftp
	nf_conntrack_pptp nf_nat_pptp nf_conntrack_sip nf_nat_sip nft_synproxy dccp_ipv4 dccp_ipv6
	veth tun dummy bridge 8021q vrf sctp ip_gre sch_netem af_packet
	netlink_diag inet_diag tcp_diag udp_diag'
# Those that run other programs are here too: busybox's would run its own applets.
tools='env nsenter timeout bash bridge ip nft xtables-nft-multi conntrack tcpdump sysctl ping ss
	unshare setpriv'

newest() {
	apt-cache depends linux-image-cloud-amd64 2>/dev/null |
		awk '/Depends: linux-image/ { print $2; exit }'
}

# Several may run at once: what they share appears whole, and what another
# edition of this file needs stays for a day.

# kernel unpacks the newest stock kernel once.
kernel() {
	[ -d "$cache/kernel/lib/modules" ] && return
	local package new
	new=$(mktemp -d "$cache/new.XXXXXX")
	package=$(newest)
	[ -n "$package" ] || package=$(apt-get update -qq && newest)
	(cd "$new" && apt-get download -q "$package" && dpkg-deb -x "$package"_*.deb kernel)
	/sbin/depmod -b "$new/kernel" "$(ls "$new/kernel/lib/modules")"
	mv -T "$new/kernel" "$cache/kernel" || [ -d "$cache/kernel/lib/modules" ]
	rm -rf "$new"
}

version() { ls "$cache/kernel/lib/modules"; }

# add_file SOURCE ROOT [DEST]: a file and the libraries it is linked with.
add_file() {
	local lib dest=${3:-$1}
	mkdir -p "$2$(dirname "$dest")"
	cp -L "$1" "$2$dest"
	{ ldd "$1" 2>/dev/null || :; } | grep -o '/[^ ]*' | while read -r lib; do
		[ -e "$2$lib" ] || { mkdir -p "$2$(dirname "$lib")" && cp -L "$lib" "$2$lib"; }
	done
}

add_modules() {
	local m f
	for m in $modules; do
		/sbin/modprobe -d "$cache/kernel" -S "$(version)" --show-depends "$m" 2>/dev/null |
			awk '/^insmod/ { print $2 }'
	done | sort -u | while read -r f; do
		mkdir -p "$1$(dirname "${f#"$cache/kernel"}")"
		cp "$f" "$1${f#"$cache/kernel"}"
	done
	cp "$cache/kernel/lib/modules/$(version)"/modules.{builtin,builtin.modinfo,order} "$1/lib/modules/$(version)/"
	/sbin/depmod -b "$1" "$(version)"
}

# base makes the initramfs without the script once for each edition of this file.
base() {
	image=$cache/base-$(version)-$(cksum <scripts/vm.sh | cut -d' ' -f1).cpio.gz
	[ ! -s "$image" ] || return 0
	find "$cache" -maxdepth 1 -name 'base-*' -mmin +1440 -delete
	local root tool x
	root=$(mktemp -d)
	mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,lib,lib64,proc,sys,dev,tmp,etc,root}
	cp /bin/busybox "$root/bin/"
	echo 'root:x:0:0:root:/root:/bin/sh' >"$root/etc/passwd"
	echo 'root:x:0:' >"$root/etc/group"
	cp /etc/protocols "$root/etc/"
	for tool in $tools; do
		add_file "$(command -v "$tool")" "$root" "/usr/sbin/$tool"
	done
	for x in iptables ip6tables iptables-save iptables-restore ip6tables-restore; do
		ln -s xtables-nft-multi "$root/usr/sbin/$x"
	done
	mkdir -p "$root/usr/lib/x86_64-linux-gnu"
	cp -rL /usr/lib/x86_64-linux-gnu/xtables "$root/usr/lib/x86_64-linux-gnu/"
	add_modules "$root"
	cat >"$root/init" <<-'INIT'
		#!/bin/busybox sh
		/bin/busybox mkdir -p /proc /sys /dev /run
		/bin/busybox --install -s /bin
		# An applet must not stand in for a tool of the same name.
		for t in /usr/sbin/*; do /bin/busybox rm -f "/bin/${t##*/}"; done
		export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
		mount -t proc proc /proc
		mount -t sysfs sysfs /sys
		mount -t devtmpfs dev /dev
		mkdir -p /dev/pts
		mount -t devpts pts /dev/pts
		mount -t tmpfs run /run
		mount -t tmpfs tmp /tmp
		mkdir -p /run/netns /dev/net
		stty -onlcr </dev/console 2>/dev/null
		echo /bin/modprobe >/proc/sys/kernel/modprobe
		for m in tun veth bridge nf_conntrack_netlink nf_tables nft_ct nft_chain_nat; do modprobe $m; done
		ip link set lo up
		# The defaults go by memory, of which there is little here.
		for f in buckets max; do echo 262144 >/proc/sys/net/netfilter/nf_conntrack_$f; done
		/usr/sbin/bash /script
		echo "VM-STATUS=$?"
		poweroff -f
	INIT
	chmod +x "$root/init"
	(cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$image.$$"
	mv "$image.$$" "$image"
	rm -rf "$root"
}

boot() {
	timeout "$seconds" qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 \
		-m "$memory" -machine q35,i8042=off -nodefaults -display none -no-reboot \
		-serial stdio -kernel "$cache/kernel/boot/vmlinuz-$(version)" -initrd "$1" \
		-append 'console=ttyS0 quiet loglevel=3 panic=-1 nokaslr mitigations=off tsc=reliable' \
		</dev/null 2>&1 | sed -u 's/\x1b[c[][0-9;?=]*[A-Za-z]//g; s/\r//g' | tee "$work/output"
}

mkdir -p "$cache"
kernel
base
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/root"
cp "$1" "$work/root/script"
for f in "${files[@]}"; do
	add_file "${f%%:*}" "$work/root" "${f#*:}"
done
(cd "$work/root" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/extra"
# The kernel unpacks what follows over what came before.
cat "$image" "$work/extra" >"$work/initrd"
boot "$work/initrd" || :
status=$(sed -n 's/^VM-STATUS=\([0-9]*\).*/\1/p' "$work/output" | tail -n 1)
exit "${status:-125}"
