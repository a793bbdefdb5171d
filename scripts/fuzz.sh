#!/bin/sh
# fuzz.sh TIME: run every fuzz target of the module for TIME (go's -fuzztime:
# 30s, 10m, or 5000x for a number of inputs).
set -eu

fuzztime=${1:?usage: fuzz.sh TIME}
go=${GO:-go}

# targets prints "package FuzzName", one a line.
targets() {
	"$go" list -f '{{.ImportPath}} {{.Dir}}' ./... | while read -r pkg dir; do
		{ grep -hoE '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go 2>/dev/null || :; } |
			sed "s|^func |$pkg |"
	done
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT

targets | while read -r pkg name; do
	echo "fuzz $name ($pkg)"
	"$go" test -run '^$' -fuzz "^$name\$" -fuzztime "$fuzztime" "$pkg" \
		</dev/null >"$log" 2>&1 || {
		cat "$log"
		exit 1
	}
	grep "^fuzz: elapsed" "$log" | tail -n 1
done
