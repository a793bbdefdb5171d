#!/bin/sh
# go.sh: print the path of a Go that builds this: the one in PATH, or that of
# /usr/local/go, which is where setup.sh puts one if there is none.
#
# Go 1.21 is the first that fetches the toolchain of go.mod by itself.
set -eu

# fits reports whether $1 is such a Go.
fits() {
	case $(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) in
	go1.[0-9] | go1.[0-9].* | go1.1[0-9]* | go1.20* | "") return 1 ;;
	esac
}

for go in $(command -v go || :) /usr/local/go/bin/go; do
	if fits "$go"; then
		echo "$go"
		exit
	fi
done
echo /usr/local/go/bin/go
