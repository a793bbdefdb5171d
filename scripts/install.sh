#!/bin/sh
# install.sh install|uninstall DESTDIR PREFIX: what `make install` does.
#
# INIT=systemd|sysv|openrc|none chooses the boot files; by default those of the
# init system that runs here.  Nobody's configuration is touched: /etc/hostname.*
# and /etc/default/pfsync are the administrator's.
set -eu

usage() {
	echo "usage: install.sh install|uninstall DESTDIR PREFIX" >&2
	exit 2
}

init_system() {
	if [ -n "${INIT:-}" ]; then
		echo "$INIT"
	elif [ -d /run/systemd/system ] || [ -n "$destdir" ]; then
		echo systemd
	elif command -v openrc-run >/dev/null 2>&1; then
		echo openrc
	else
		echo sysv
	fi
}

# files prints "mode source destination", one a line.
files() {
	echo "755 bin/pfsyncd $prefix/sbin/pfsyncd"
	echo "755 bin/pfsyncctl $prefix/sbin/pfsyncctl"
	for page in man/*.[1-9]; do
		echo "644 $page $prefix/share/man/man${page##*.}/${page##*/}"
	done
	for f in scripts/keepalived/keepalived.conf.* scripts/nft/* scripts/ucarp/* scripts/wireshark/*.lua scripts/scapy/*.py; do
		echo "$(mode_of "$f") $f $prefix/share/doc/pfsync/${f#scripts/}"
	done
	echo "644 bin/completion/bash $prefix/share/bash-completion/completions/pfsyncctl"
	echo "644 bin/completion/zsh $prefix/share/zsh/site-functions/_pfsyncctl"
	echo "644 bin/completion/fish $prefix/share/fish/vendor_completions.d/pfsyncctl.fish"
	for f in README.md LICENSE; do
		echo "644 $f $prefix/share/doc/pfsync/$f"
	done
	echo "644 scripts/sysctl.d/pfsync.conf $lib/sysctl.d/pfsync.conf"
	boot_files "$(init_system)"
}

# mode_of: examples keep what they have, scripts or not.
mode_of() { if [ -x "$1" ]; then echo 755; else echo 644; fi; }

# make_completion has the command write what the shells need.
make_completion() {
	mkdir -p bin/completion
	for shell in bash zsh fish; do
		bin/pfsyncctl completion "$shell" >"bin/completion/$shell"
	done
}

boot_files() {
	case $1 in
	systemd)
		for unit in pfsyncd pfsync-wait; do
			echo "644 scripts/systemd/$unit.service $lib/systemd/system/$unit.service"
		done
		echo "644 scripts/tmpfiles.d/pfsync.conf $lib/tmpfiles.d/pfsync.conf"
		echo "644 scripts/modules-load.d/pfsync.conf $lib/modules-load.d/pfsync.conf"
		;;
	sysv | openrc) echo "755 scripts/$1/pfsync /etc/init.d/pfsync" ;;
	none) ;;
	*)
		echo "install: INIT=$1: want systemd, sysv, openrc or none" >&2
		exit 2
		;;
	esac
}

put() {
	mkdir -p "$(dirname "$3")"
	case $2 in
	# Boot files name the programs by their path.
	*.service) sed "s|/usr/local/sbin/|$prefix/sbin/|g" "$2" >"$3.new" ;;
	*) cp "$2" "$3.new" ;;
	esac
	chmod "$1" "$3.new"
	mv -f "$3.new" "$3"
}

after_install() {
	[ -z "$destdir" ] && [ "$(init_system)" = systemd ] || return 0
	[ -d /run/systemd/system ] || return 0
	systemctl daemon-reload
	systemd-tmpfiles --create pfsync.conf
	echo "install: at boot: write /etc/hostname.pfsync0, then systemctl enable --now pfsyncd"
}

# Everything runs from the top of the source tree.
cd "$(dirname "$0")/.."
[ $# -eq 3 ] || usage
destdir=$2 prefix=$3
case $prefix in
/usr | /) prefix=/usr lib=/usr/lib ;;
*) lib=$prefix/lib ;;
esac
list=$(mktemp)
trap 'rm -f "$list"' EXIT
files >"$list"

case $1 in
install)
	make_completion
	while read -r mode from to; do
		put "$mode" "$from" "$destdir$to"
	done <"$list"
	after_install
	;;
uninstall)
	make_completion
	while read -r mode from to; do
		rm -f "$destdir$to"
	done <"$list"
	rmdir "$destdir$prefix"/share/doc/pfsync/* "$destdir$prefix/share/doc/pfsync" 2>/dev/null || :
	;;
*) usage ;;
esac
