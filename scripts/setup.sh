#!/bin/sh
# setup.sh build|man|demo|compare|test|vm: make sure that what `make` needs is there.
#
# Installs missing Debian packages when run as root; otherwise one line says
# what is missing.  Kernel modules are loaded best effort: a kernel that has
# them built in, or loads them by itself, needs nothing.
set -eu

PATH=$PATH:/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin
export PATH

die() {
	echo "setup: $*" >&2
	exit 1
}

# The Go that is installed where there is none, from the module proxy, whose
# archives are those of go.dev.  With other versions come other sums.
go_version=1.26.0
go_sum() {
	case $1 in
	amd64) echo 38461905b98c59173672814302e222ab43b652274bc0c95817b08b71ab66b705 ;;
	arm64) echo 4c3f961bc257ff52e7a425166f9f75015f645dff071d01a81823455ffe646609 ;;
	esac
}

# need_go: see go.sh for which will do.
need_go() {
	go=${GO:-$(sh "$(dirname "$0")/go.sh")}
	have=$(GOTOOLCHAIN=local "$go" env GOVERSION 2>/dev/null) || have=
	case $have in
	go1.[0-9] | go1.[0-9].* | go1.1[0-9]* | go1.20*)
		die "needs Go 1.21 or later, $go is $have: see https://go.dev/dl/" ;;
	"") install_go "$go" ;;
	esac
}

# install_go puts Go where $1 says that it is looked for.
install_go() {
	arch=$(dpkg --print-architecture 2>/dev/null) || arch=
	sum=$(go_sum "$arch")
	case $(id -u):$1:${sum:+known} in
	0:/usr/local/go/bin/go:known) ;;
	*) die "no Go found: install Go 1.21 or later from https://go.dev/dl/" ;;
	esac
	# shellcheck disable=SC2046 # a list of package names
	install_packages $(for tool in curl unzip; do command -v $tool >/dev/null || echo $tool; done) \
		$([ -e /etc/ssl/certs/ca-certificates.crt ] || echo ca-certificates)
	echo "setup: installing Go $go_version in /usr/local/go"
	tmp=$(mktemp -d /usr/local/go-setup.XXXXXX)
	trap 'rm -rf "$tmp"' EXIT
	curl -fsSL -o "$tmp/go.zip" "https://proxy.golang.org/golang.org/toolchain/@v/v0.0.1-go$go_version.linux-$arch.zip" ||
		die "could not fetch Go: install Go 1.21 or later from https://go.dev/dl/"
	echo "$sum  $tmp/go.zip" | sha256sum --check --quiet || die "what came instead of Go is not it"
	unzip -q "$tmp/go.zip" -d "$tmp"
	unpacked=$tmp/golang.org/toolchain@v0.0.1-go$go_version.linux-$arch
	# A module's archive has no modes, and no go.mod but its own.
	chmod -R a+rX,u+w "$unpacked"
	chmod a+x "$unpacked"/bin/* "$unpacked"/pkg/tool/*/*
	find "$unpacked" -name _go.mod | while read -r f; do mv "$f" "${f%/_go.mod}/go.mod"; done
	[ ! -e /usr/local/go ] || die "/usr/local/go is there, and is no Go"
	mv "$unpacked" /usr/local/go
	rm -rf "$tmp"
	trap - EXIT
}

# tools_for prints tool:package pairs.
tools_for() {
	case $1 in
	build) ;;
	man) echo mandoc:mandoc ;;
	demo) echo ip:iproute2 nft:nftables conntrack:conntrack tcpdump:tcpdump \
		modprobe:kmod sysctl:procps ;;
	test)
		tools_for demo
		tools_for man
		echo iptables:iptables jq:jq tshark:tshark curl:curl git:git \
			shellcheck:shellcheck keepalived:keepalived gcc:gcc ping:iputils-ping \
			conntrackd:conntrackd tmux:tmux scapy:python3-scapy
		# Where nothing may be skipped: shells and init systems that nobody
		# wants on a machine of his own for the sake of a test.
		[ -z "${PFSYNC_REQUIRE_NETNS:-}" ] || echo zsh:zsh fish:fish \
			openrc-run:openrc /lib/systemd/systemd:systemd
		;;
	compare) tools_for demo && echo conntrackd:conntrackd ;;
	vm)
		tools_for test
		echo qemu-system-x86_64:qemu-system-x86 busybox:busybox-static cpio:cpio
		;;
	*) die "usage: setup.sh build|man|demo|compare|test|vm" ;;
	esac
}

missing_packages() {
	for pair in $(tools_for "$1"); do
		command -v "${pair%%:*}" >/dev/null 2>&1 || printf ' %s' "${pair#*:}"
	done
	case $1 in
	# gcc alone links nothing: the race detector needs the C library's headers.
	test | vm)
		[ -e /usr/include/stdlib.h ] || printf ' libc6-dev'
		[ -z "${PFSYNC_REQUIRE_NETNS:-}" ] || [ -e /usr/share/bash-completion/bash_completion ] || printf ' bash-completion'
		;;
	esac
}

install_packages() {
	[ $# -gt 0 ] || return 0
	[ "$(id -u)" = 0 ] || die "missing, and not root to install them: $*"
	command -v apt-get >/dev/null 2>&1 || die "missing, and no apt-get here: $*"
	echo "setup: installing $*"
	log=$(mktemp)
	export DEBIAN_FRONTEND=noninteractive
	if ! { apt-get update -q && apt-get install -y -q --no-install-recommends "$@"; } \
		>"$log" 2>&1 </dev/null; then
		tail -n 20 "$log" >&2
		rm -f "$log"
		die "apt-get could not install $*"
	fi
	rm -f "$log"
}

load_modules() {
	[ "$(id -u)" = 0 ] || return 0
	for m in tun veth bridge nf_conntrack nf_conntrack_netlink nf_nat nf_tables \
		nft_ct nft_nat nft_chain_nat nfnetlink_queue; do
		modprobe -q "$m" 2>/dev/null || :
	done
	if [ ! -e /dev/net/tun ]; then
		mkdir -p /dev/net
		mknod -m 600 /dev/net/tun c 10 200 2>/dev/null || :
	fi
}

what=${1:-}
pairs=$(tools_for "$what")
[ "$what" = man ] || need_go
# shellcheck disable=SC2046 # a list of package names
[ -z "$pairs" ] || install_packages $(missing_packages "$what")
case $what in
demo | test | vm) load_modules ;;
esac
