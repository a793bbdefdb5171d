#!/bin/sh
# packages.sh pure|kernel: the packages whose tests need no kernel of their own,
# or those whose tests run in network namespaces.
set -eu

# A package's tests are of the second kind when they import the test bed.
list() {
	"${GO:-go}" list -f '{{.ImportPath}} {{.TestImports}} {{.XTestImports}}' ./... |
		awk -v want="$1" '
			{ kind = /\/tunif\/nstest[] ]/ ? "kernel" : "pure" }
			kind == want { print $1 }'
}

case ${1:-} in
pure | kernel) list "$1" ;;
*)
	echo "usage: packages.sh pure|kernel" >&2
	exit 2
	;;
esac
