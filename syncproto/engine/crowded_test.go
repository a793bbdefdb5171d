package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
)

// TestCrowdedDump: more entries end during a dump than it has tombstones for;
// what the dump then tells of the dead makes no state.
func TestCrowdedDump(t *testing.T) {
	e := New(second, Config{HostID: 1, Seed: 1, MTU: 1500, Timeouts: pfstate.DefaultTimeouts()})
	local := func(kind pfstate.EventKind, i int) {
		ev := pfstate.Event{Kind: kind}
		f := &ev.Flow
		f.AF, f.Proto = pfstate.AFInet, pfstate.ProtoUDP
		f.Orig = pfstate.Tuple{Src: pfstate.Addr{10, 0, 1, 1}, Dst: pfstate.Addr{10, 0, 2, 1}, SrcPort: uint16(i), DstPort: uint16(i >> 16)}
		f.Reply = f.Orig.Inverse(f.Proto)
		f.Has, f.Timeout, f.Status = pfstate.HasTimeout, 30, pfstate.StatusConfirmed
		e.Local(second, []pfstate.Event{ev})
	}
	local(pfstate.EventDumpBegin, 0)
	local(pfstate.EventDumpEnd, 0)
	local(pfstate.EventDumpBegin, 0)
	const many = maxTombs + 100
	for i := range many {
		local(pfstate.EventDestroy, i)
	}
	for i := range many {
		local(pfstate.EventDump, i)
	}
	local(pfstate.EventDumpEnd, 0)
	if n := e.tab.Len(); n != 0 {
		t.Errorf("%d states of the dead", n)
	}
	local(pfstate.EventDumpBegin, 0)
	local(pfstate.EventDump, 1)
	local(pfstate.EventDumpEnd, 0)
	if n := e.tab.Len(); n != 1 {
		t.Errorf("%d states after the next dump, want 1", n)
	}
}
