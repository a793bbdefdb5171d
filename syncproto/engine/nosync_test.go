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

// TestNoSync: what a filter keeps here is never told, and what becomes such is
// withdrawn.
func TestNoSync(t *testing.T) {
	filter := func(c *Config) {
		c.Filter.Marks = []pfstate.MarkMatch{{Value: 1, Mask: 1}}
		c.Filter.Labels = []uint8{0}
	}
	marked, plain := udp(1, assured), udp(1, assured)
	marked.Mark = 1
	t.Run("never told", func(t *testing.T) {
		r := ready(t, filter)
		r.made(marked)
		r.changed(marked)
		r.dump(marked)
		r.killed(marked)
		r.expectSent()
		r.expectNames()
	})
	t.Run("withdrawn by an event", func(t *testing.T) {
		r := ready(t, filter)
		r.made(plain)
		r.expectSent("INS A0 2:2")
		r.changed(marked)
		r.expectSent("DEL_C A0 killed")
		r.expectOps() // the kernel's entry stays
		r.expectNames()
	})
	t.Run("withdrawn by a dump", func(t *testing.T) {
		r := ready(t, filter)
		r.made(plain)
		r.expectSent("INS A0 2:2")
		r.dump(marked)
		r.expectSent("DEL_C A0 killed")
		r.expectOps()
	})
	t.Run("withdrawn before it was told", func(t *testing.T) {
		r := ready(t, filter)
		r.made(plain)
		r.changed(marked)
		r.expectSent()
	})
	t.Run("a peer's with the mark", func(t *testing.T) {
		r := ready(t, filter)
		it := ins(theirs(5), plain)
		it.tlvs = markTLV(1)
		r.b.say(it)
		r.expectOps()
		r.expectNames()
	})
	t.Run("a peer's with the label", func(t *testing.T) {
		r := ready(t, filter)
		it := ins(theirs(5), plain)
		it.tlvs = labelTLV(0)
		r.b.say(it)
		r.expectOps()
		r.expectNames()
	})
	t.Run("a peer's of a protocol never synchronised", func(t *testing.T) {
		r := ready(t)
		f := udp(1, assured)
		f.Proto = pfstate.ProtoVRRP
		r.b.say(ins(theirs(5), f))
		r.expectOps()
	})
	t.Run("comes back", func(t *testing.T) {
		r := ready(t, filter)
		r.made(marked)
		r.changed(plain) // it does not tell labels, which the filter looks at
		r.expectSent()
		r.dump(plain)
		r.expectSent("INS A0 2:2")
	})
}
