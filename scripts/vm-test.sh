#!/usr/bin/env bash
# vm-test.sh [PACKAGE]...: run the tests that need a kernel on Debian's stock one.
#
# Without arguments all packages that use the test bed.  The tests are built
# here and run there, each in a directory with its testdata.
set -eu
cd "$(dirname "$0")/.."
go=${GO:-go}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ $# -gt 0 ] || mapfile -t packages < <(sh scripts/packages.sh kernel)
[ $# -eq 0 ] || packages=("$@")

args=()
{
	echo 'export PFSYNC_REQUIRE_NETNS=1 failed=0'
	for package in "${packages[@]}"; do
		name=$("$go" list -f '{{.ImportPath}}' "$package")
		name=${name#*/*/*/}
		dir=$("$go" list -f '{{.Dir}}' "$package")
		CGO_ENABLED=0 "$go" test -c -trimpath -o "$work/$name/test" "$package" >&2
		args+=(-f "$work/$name/test:/t/$name/test")
		while read -r f; do
			args+=(-f "$dir/$f:/t/$name/$f")
		done < <(cd "$dir" && find testdata -type f -not -path '*/fuzz/*' 2>/dev/null)
		echo "cd '/t/$name' && echo '== $name' && ./test -test.timeout 300s || failed=1"
	done
	# shellcheck disable=SC2016 # expanded over there
	echo 'exit $failed'
} >"$work/script"

bash scripts/vm.sh "${args[@]}" "$work/script"
