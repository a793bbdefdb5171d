#!/usr/bin/env bash
# vm-test.sh [PACKAGE]...: run the tests that need a kernel on Debian's stock one.
#
# Without arguments all packages that use the test bed, but those that look at
# programs which are not in the machine.  The tests are built here and run
# there, each in a directory with its testdata.  RUN= picks tests by name,
# TESTFLAGS=-test.v names each.  A machine in emulation is some ten times slower:
# the tests of defer make PFSYNC_TEST_MANY= connections, 60, and who is to have a
# tenth of a core has PFSYNC_TEST_SHARE= hundredths, 80.
set -eu
cd "$(dirname "$0")/.."
go=${GO:-go}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ $# -gt 0 ] || mapfile -t packages < <(sh scripts/packages.sh kernel | grep -v '/scripts/\|/cli/top$')
[ $# -eq 0 ] || packages=("$@")

# without names the tests of a package that look for such programs or files.
without() {
	case $1 in
	cmd/internal/cli/doctor) echo '^(TestPrograms|TestKeepalived)$' ;;
	esac
}

CGO_ENABLED=0 "$go" build -trimpath -o "$work/programs/" ./cmd/pfsyncd ./cmd/pfsyncctl
args=(-f "$work/programs/pfsyncd:/programs/pfsyncd" -f "$work/programs/pfsyncctl:/programs/pfsyncctl")
# Some tests read what users are given.
for f in man/*.[1-9] README.md scripts/nft/*; do
	args+=(-f "$f:/t/$f")
done
{
	echo "export PFSYNC_REQUIRE_NETNS=1 PFSYNC_TEST_ALL=${PFSYNC_TEST_ALL:-} PFSYNC_TEST_MACHINE=1 PFSYNC_TEST_PROGRAMS=/programs failed=0"
	echo "export PFSYNC_TEST_MANY=${PFSYNC_TEST_MANY:-60} PFSYNC_TEST_SHARE=${PFSYNC_TEST_SHARE:-80}"
	# shellcheck disable=SC2016 # expanded over there
	echo 'for m in sctp dccp_ipv4 dccp_ipv6 nf_nat_ftp nf_nat_sip nf_nat_pptp; do modprobe $m; done'
	for package in "${packages[@]}"; do
		name=$("$go" list -f '{{.ImportPath}}' "$package")
		name=${name#*/*/*/}
		dir=$("$go" list -f '{{.Dir}}' "$package")
		CGO_ENABLED=0 "$go" test -c -trimpath -o "$work/$name/test" "$package" >&2
		args+=(-f "$work/$name/test:/t/$name/test")
		while read -r f; do
			args+=(-f "$dir/$f:/t/$name/$f")
		done < <(cd "$dir" && find testdata -type f -not -path '*/fuzz/*' 2>/dev/null)
		echo "cd '/t/$name' && echo '== $name' && began=\$SECONDS"
		echo "./test -test.timeout 40m -test.run '${RUN:-}' -test.skip '$(without "$name")' ${TESTFLAGS:-} || failed=1"
		echo "echo \"   $name: \$((SECONDS - began)) s\""
	done
	# shellcheck disable=SC2016 # expanded over there
	echo 'exit $failed'
} >"$work/script"

bash scripts/vm.sh -t 3600 "${args[@]}" "$work/script"
