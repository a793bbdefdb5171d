package engine

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// rig is one engine in the hands of a test: with Sync on, link up, in sync, a
// kernel that does whatever it is asked, at once.
type rig struct {
	testing.TB
	e   *Engine
	now int64
	ops []pfstate.Op // all that were asked, in order
	fit func(*pfstate.Op) pfstate.ResultCode
	buf []byte
}

const rigHost = 0xfeed0001

var (
	rigSelf = netip.MustParseAddr("10.99.0.9")
	rigBSD  = netip.MustParseAddr("10.99.0.1")
)

// newRig returns a rig; set may change the configuration before the start.
func newRig(tb testing.TB, set func(*Config)) *rig {
	cfg := Config{HostID: rigHost, Sync: true, MaxUpd: 128, MaxDelay: 10e6, MTU: 1500, Demotion: 240,
		Timeouts: pfTimeouts(), Seed: 1, StartID: 1 << 32, Epoch: 77}
	if set != nil {
		set(&cfg)
	}
	g := &rig{TB: tb, now: second, buf: make([]byte, 0, 9000), fit: func(*pfstate.Op) pfstate.ResultCode { return pfstate.ResultOK }}
	g.e = New(g.now, cfg)
	g.e.Link(g.now, Link{Up: true, Self: rigSelf, MTU: 9000})
	g.e.Local(g.now, []pfstate.Event{{Kind: pfstate.EventDumpBegin}, {Kind: pfstate.EventDumpEnd}})
	g.pass(60 * second) // nobody answers
	g.sent()
	g.e.bulkTo(SyncOK, never) // nor is asked later
	return g
}

// pass lets time pass, with ticks, and drops what is sent meanwhile.
func (g *rig) pass(d int64) {
	for end := g.now + d; g.now < end; {
		g.now = min(end, max(g.now+milli, min(g.e.Deadline(), g.now+second)))
		g.e.Tick(g.now)
		g.sent()
	}
}

// settle answers operations.
func (g *rig) settle() {
	var ops [16]pfstate.Op
	for n := g.e.Ops(g.now, ops[:]); n > 0; n = g.e.Ops(g.now, ops[:]) {
		for _, op := range ops[:n] {
			g.ops = append(g.ops, op)
			f := op.Flow
			f.Has |= pfstate.HasTimeout
			g.e.Done(g.now, []pfstate.Result{{Kind: op.Kind, Ref: op.Ref, Code: g.fit(&op), Flow: f}})
		}
	}
}

// told is one message of a frame of ours.
type told struct {
	action syncproto.Action
	id     pfstate.ID
	st     syncproto.State // INS, UPD
	updc   syncproto.UpdC
	bus    syncproto.Bus
	clr    syncproto.Clr
}

// frames reads frames into messages, one list for each.
func readFrame(tb testing.TB, b []byte) (list []told) {
	var rd syncproto.Reader
	rd.BulkAsked = true
	if err := rd.Reset(b); err != nil {
		tb.Fatalf("we sent a frame that cannot be read: %v", err)
	}
	for reg, ok := rd.Next(); ok; reg, ok = rd.Next() {
		if reg.Skip || reg.Action == syncproto.ActLinux {
			continue
		}
		for i := range reg.Whole() {
			list = append(list, readMessage(tb, &reg, reg.Message(i)))
		}
	}
	if rd.Err() != nil {
		tb.Fatalf("we sent a frame that cannot be read: %v", rd.Err())
	}
	return list
}

func readMessage(tb testing.TB, reg *syncproto.Region, b []byte) (m told) {
	m.action = reg.Action
	var err error
	switch reg.Action {
	case syncproto.ActIns, syncproto.ActUpd:
		err = syncproto.ParseState(b, reg.Format, &m.st)
		m.id = pfstate.ID(m.st.StateID())
	case syncproto.ActUpdC:
		err = syncproto.ParseUpdC(b, &m.updc)
		m.id = pfstate.ID{ID: m.updc.ID, CreatorID: m.updc.CreatorID}
	case syncproto.ActBus:
		err = syncproto.ParseBus(b, &m.bus)
	case syncproto.ActClr:
		err = syncproto.ParseClr(b, &m.clr)
	default:
		err = syncproto.ParseID(b, (*syncproto.ID)(&m.id))
	}
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// sent settles and returns the frames that are due.
func (g *rig) sent() (frames [][]byte) {
	g.settle()
	for {
		fr, ok := g.e.NextFrame(g.now, g.buf[:0])
		if !ok {
			return frames
		}
		frames = append(frames, bytes.Clone(fr.Data))
		if len(frames) > 100000 {
			g.Fatal("frames without end")
		}
	}
}

// says returns all messages that are due within d.
func (g *rig) says(d int64) (list []told) {
	for end := g.now + d; ; {
		for _, b := range g.sent() {
			list = append(list, readFrame(g, b)...)
		}
		if g.now >= end {
			return list
		}
		g.now = min(end, max(g.now+milli, g.e.Deadline()))
		g.e.Tick(g.now)
	}
}

// hear hands in a frame of a peer.
func (g *rig) hear(from netip.Addr, frame []byte) {
	g.e.Remote(g.now, from, frame)
	g.settle()
}

// count returns the value of a counter.
func (g *rig) count(c Counter) uint64 { return g.e.Stats.Count[c] }

// find returns the state of a name, nil if there is none or it is dead.
func (g *rig) find(id pfstate.ID) *pfstate.State {
	r, _, ok := g.e.tab.ByName(id)
	if !ok || g.e.tab.At(r).Has(pfstate.FlagDead) {
		return nil
	}
	return g.e.tab.At(r)
}
