package main

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// TestEntriesAndProbe: entries are made, all of them different; a probe within
// one namespace finds its own.
func TestEntriesAndProbe(t *testing.T) {
	ns := nstest.New(t, "conntrack").NS("fw")
	ns.Nft(t, nstest.StrictRules)
	const many = 300
	var err error
	ns.Do(func() { err = entries("300") })
	if err != nil {
		t.Fatal(err)
	}
	if n := len(ns.Conntrack(t)); n != many {
		t.Errorf("%d entries, want %d", n, many)
	}
	if err := probe(ns.Path(), ns.Path(), "20", "1000"); err != nil {
		t.Error(err)
	}
	if err := probe(ns.Path(), ns.Path(), "20", "1000"); err == nil {
		t.Error("entries made twice")
	}
	for _, args := range [][]string{{"entries", "0"}, {"entries", "x"}, {"probe", ns.Path(), ns.Path(), "1", "0"}, {"probe", "", "", "100000", "1"}} {
		if err := run(args); err != errUsage {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// TestEntriesDiffer: a million entries have a million tuples.
func TestEntriesDiffer(t *testing.T) {
	const many = 1 << 20
	seen := make(map[pfstate.Tuple]bool, many)
	for i := range many {
		seen[entry(i).Orig] = true
	}
	if len(seen) != many {
		t.Errorf("%d tuples of %d entries", len(seen), many)
	}
}
