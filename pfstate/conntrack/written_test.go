package conntrack

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// TestWritten: entries that a program made are told from those that packets
// made, whatever their protocol, and stay so when they change.
func TestWritten(t *testing.T) {
	ns := newNS(t)
	inj := newInjector(t, ns)
	for _, tc := range flowCases() {
		must(t, inj, pfstate.OpCreate, tc.flow, pfstate.ResultOK)
		if got := must(t, inj, pfstate.OpGet, tc.flow, pfstate.ResultOK); got.Has&pfstate.HasWritten == 0 {
			t.Errorf("%s: GET of an entry we made does not say so", tc.name)
		}
		changed := tc.flow
		changed.Timeout = 1234
		must(t, inj, pfstate.OpUpdate, changed, pfstate.ResultOK)
		must(t, inj, pfstate.OpDelete, tc.flow, pfstate.ResultOK)
	}
	for _, tc := range flowCases() {
		must(t, inj, pfstate.OpCreate, tc.flow, pfstate.ResultOK)
		checkWritten(t, ns, true)
		must(t, inj, pfstate.OpDelete, tc.flow, pfstate.ResultOK)
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
			if err := nstest.Ask(ns.Dial(t, network, ns.Echo(t, network, addr)), "hello", patience); err != nil {
				t.Fatal(err)
			}
		}
	}
	checkWritten(t, ns, false)
	flows, _ := dumpAll(t, newDumper(t, ns), Filter{})
	for _, f := range flows { // a program's change makes no difference
		f.Timeout, f.Has = 1234, pfstate.HasTimeout
		must(t, inj, pfstate.OpUpdate, f, pfstate.ResultOK)
	}
	checkWritten(t, ns, false)
}

// checkWritten dumps entries that all have to be of one kind.
func checkWritten(t *testing.T, ns *nstest.NS, want bool) {
	t.Helper()
	flows, _ := dumpAll(t, newDumper(t, ns), Filter{})
	if len(flows) == 0 {
		t.Fatal("no entries")
	}
	for _, f := range flows {
		if got := f.Has&pfstate.HasWritten != 0; got != want {
			t.Errorf("protocol %d: written %v, want %v", f.Proto, got, want)
		}
	}
}
