package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// TestFilterLater: a filter that is set takes back what we told and drops our
// copies of what others carry; one that is taken away has the kernel, and the
// peers, asked again.
func TestFilterLater(t *testing.T) {
	g := newRig(t, nil)
	g.local(pfstate.EventNew, tcpFlow(pfstate.TCPEstablished, func(*pfstate.Flow) {}))
	if ins := only(g.says(20*milli), syncproto.ActIns); len(ins) == 0 {
		t.Fatal("no insert")
	}
	g.ops = nil
	cfg := g.e.Config()
	cfg.Filter.Protos = []uint8{pfstate.ProtoTCP}
	g.e.Set(g.now, cfg, false)
	if del := only(g.says(20*milli), syncproto.ActDelC); len(del) == 0 {
		t.Error("not withdrawn")
	}
	if g.e.tab.Len() != 0 || len(g.ops) != 0 {
		t.Errorf("%d states, operations %+v", g.e.tab.Len(), g.ops)
	}
	if g.e.NeedDump() {
		t.Error("a dump for a filter that was added")
	}

	cfg.Filter.Protos = nil
	g.e.Set(g.now, cfg, false)
	if !g.e.NeedDump() {
		t.Fatal("no dump wanted")
	}
	dump := func(end pfstate.EventKind) {
		f := tcpFlow(pfstate.TCPEstablished, func(*pfstate.Flow) {})
		g.e.Local(g.now, []pfstate.Event{{Kind: pfstate.EventDumpBegin}, {Kind: pfstate.EventDump, Flow: f}, {Kind: end}})
	}
	dump(pfstate.EventDumpFail)
	if !g.e.NeedDump() {
		t.Error("a failed dump is enough")
	}
	dump(pfstate.EventDumpEnd)
	said := g.says(20 * milli)
	if len(only(said, syncproto.ActIns)) == 0 || len(only(said, syncproto.ActUpdReq)) == 0 {
		t.Errorf("said %+v", said)
	}
	if g.e.NeedDump() || g.e.Stats.Reason[ReasonReconciled] != 0 {
		t.Errorf("dump wanted %v, reconciled %d", g.e.NeedDump(), g.e.Stats.Reason[ReasonReconciled])
	}
}

// TestFilterForeign: what passes elsewhere is left alone there, whoever finds
// that the filter matches it.
func TestFilterForeign(t *testing.T) {
	for _, found := range []string{"set", "dump"} {
		t.Run(found, func(t *testing.T) {
			g := newRig(t, nil)
			f := tcpFlow(pfstate.TCPEstablished, func(*pfstate.Flow) {})
			r := g.e.enter(g.now, &f)
			g.e.tab.SetName(r, pfstate.SideIn, pfstate.ID{ID: 7, CreatorID: 1})
			g.e.tab.At(r).Flags |= pfstate.FlagAnnounced | pfstate.FlagImported
			g.e.cfg.Filter.Protos = []uint8{pfstate.ProtoTCP}
			switch found {
			case "set":
				g.e.sieve = 1
				g.e.Tick(g.now)
			case "dump":
				g.e.Local(g.now, []pfstate.Event{{Kind: pfstate.EventDumpBegin}, {Kind: pfstate.EventDump, Flow: f}, {Kind: pfstate.EventDumpEnd}})
			}
			if del := only(g.says(20*milli), syncproto.ActDelC); len(del) != 0 {
				t.Errorf("told %+v", del)
			}
			if len(g.ops) != 1 || g.ops[0].Kind != pfstate.OpDelete || g.ops[0].MaxLeft == 0 {
				t.Errorf("operations %+v, want a guarded delete", g.ops)
			}
		})
	}
}
