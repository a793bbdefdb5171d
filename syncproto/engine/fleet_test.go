package engine

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// fleet is some engines on one link, each with a kernel that does what it is
// asked, in steps of a millisecond.
type fleet struct {
	t     testing.TB
	now   int64
	ships []*ship
	rng   *rand.Rand
	loss  float64
	bytes int // sent in all
}

type ship struct {
	e       *Engine
	addr    netip.Addr
	kernel  map[entryKey]pfstate.Flow
	ends    map[entryKey]int64
	refuses func(*pfstate.Flow) bool
	deaf    bool // hears nothing
	mute    bool // its frames are lost
	drop    func([]byte) bool
}

// newFleet returns n engines in sync: A, B, C with rising hostids.
func newFleet(t testing.TB, n int, change ...func(i int, c *Config)) *fleet {
	f := &fleet{t: t, now: 1000 * second, rng: rand.New(rand.NewPCG(1, 1))}
	for i := range n {
		cfg := Config{HostID: hostA + uint32(i)<<12, Format: syncproto.Format6, Sync: true, MaxUpd: 128, MaxDelay: 10e6, MTU: 1500, Demotion: 240,
			Timeouts: pfstate.DefaultTimeouts(), Seed: uint64(i + 1), StartID: firstID, Epoch: 0x100 + uint32(i)}
		for _, c := range change {
			c(i, &cfg)
		}
		s := &ship{addr: netip.AddrFrom4([4]byte{10, 255, 0, byte(i + 1)}), kernel: map[entryKey]pfstate.Flow{}, ends: map[entryKey]int64{}}
		s.e = New(f.now, cfg)
		s.e.Link(f.now, Link{Up: true, Self: s.addr, MTU: 1500})
		f.ships = append(f.ships, s)
		f.dump(s)
	}
	f.until(30*second, "all in sync", func() bool {
		for _, s := range f.ships {
			if !s.e.comparable() || len(s.e.Peers(nil)) < n-1 {
				return false
			}
		}
		return true
	})
	f.pass(3 * second)
	return f
}

func (f *fleet) dump(s *ship) {
	evs := []pfstate.Event{{Kind: pfstate.EventDumpBegin}}
	for k, flow := range s.kernel {
		flow.Timeout = uint32(max(0, (s.ends[k]-f.now)/second))
		flow.Has |= pfstate.HasTimeout
		evs = append(evs, pfstate.Event{Kind: pfstate.EventDump, Flow: flow})
	}
	s.e.Local(f.now, append(evs, pfstate.Event{Kind: pfstate.EventDumpEnd}))
}

// pass lets time pass.
func (f *fleet) pass(d int64) {
	for end := f.now + d; f.now < end; {
		f.step()
	}
}

// until lets time pass until something is true, at most so long.
func (f *fleet) until(most int64, what string, ok func() bool) {
	f.t.Helper()
	for end := f.now + most; !ok(); {
		if f.now >= end {
			f.t.Fatalf("not in %d s: %s", most/second, what)
		}
		f.step()
	}
}

func (f *fleet) step() {
	f.now += milli
	for _, s := range f.ships {
		if f.now >= s.e.Deadline() || s.e.OpsLen() > 0 {
			f.work(s)
		}
	}
}

func (f *fleet) work(s *ship) {
	s.e.Tick(f.now)
	f.settle(s)
	if s.e.NeedDump() {
		f.dump(s)
	}
	buf := make([]byte, 0, 1500)
	for range 100_000 {
		fr, ok := s.e.NextFrame(f.now, buf)
		if !ok {
			return
		}
		f.bytes += len(fr.Data)
		for _, to := range f.ships {
			if to == s || s.mute || to.deaf || f.rng.Float64() < f.loss || s.drop != nil && s.drop(fr.Data) {
				continue
			}
			to.e.Remote(f.now, s.addr, append([]byte(nil), fr.Data...))
			f.settle(to)
		}
	}
	f.t.Fatal("frames without end")
}

// settle does what an engine asks of its kernel.
func (f *fleet) settle(s *ship) {
	var ops [32]pfstate.Op
	for n := s.e.Ops(f.now, ops[:]); n > 0; n = s.e.Ops(f.now, ops[:]) {
		for i := range ops[:n] {
			s.e.Done(f.now, []pfstate.Result{s.do(f.now, &ops[i])})
		}
	}
}

func (s *ship) do(now int64, op *pfstate.Op) pfstate.Result {
	res := pfstate.Result{Kind: op.Kind, Ref: op.Ref}
	k := keyOf(&op.Flow)
	was, ok := s.kernel[k]
	left := uint32(max(0, (s.ends[k]-now)/second))
	switch {
	case op.Kind == pfstate.OpCreate && s.refuses != nil && s.refuses(&op.Flow):
		res.Code = pfstate.ResultFull
	case op.Kind == pfstate.OpCreate && ok:
		res.Code = pfstate.ResultExists
	case op.Kind != pfstate.OpCreate && !ok:
		res.Code = pfstate.ResultMissing
	case op.Kind == pfstate.OpGet:
		res.Flow = was
		res.Flow.Timeout, res.Flow.Has = left, was.Has|pfstate.HasTimeout
	case op.Kind == pfstate.OpDelete && op.MaxLeft > 0 && left > op.MaxLeft:
		res.Code, res.Flow = pfstate.ResultLiving, was
		res.Flow.Timeout, res.Flow.Has = left, was.Has|pfstate.HasTimeout
	case op.Kind == pfstate.OpDelete:
		delete(s.kernel, k)
	default:
		s.kernel[k], s.ends[k] = op.Flow, now+int64(op.Flow.Timeout)*second
	}
	return res
}

// made lets a packet make an entry.
func (f *fleet) made(s *ship, flow pfstate.Flow) {
	s.kernel[keyOf(&flow)], s.ends[keyOf(&flow)] = flow, f.now+int64(flow.Timeout)*second
	s.e.Local(f.now, []pfstate.Event{event(pfstate.EventNew, flow)})
}

// flowN is connection n, of many.
func flowN(n int) pfstate.Flow {
	g := tcp(1, pfstate.TCPEstablished)
	g.Orig.Src, g.Orig.SrcPort = pfstate.Addr{10, byte(n >> 16), byte(n >> 8), byte(n)}, 1024
	g.Reply = g.Orig.Inverse(g.Proto)
	return g
}

// fill makes n connections at A, and waits until all have them.
func (f *fleet) fill(n int) {
	f.t.Helper()
	for i := range n {
		f.made(f.ships[0], flowN(i))
		if i%50 == 49 {
			f.pass(milli)
		}
	}
	f.until(30*second, "all have all", func() bool { return f.equal() == "" })
	f.pass(20 * second) // old enough to be compared
}

func (s *ship) ref(flow pfstate.Flow) pfstate.Ref {
	r, _, _ := s.e.tab.ByTuple(&flow.Orig, flow.AF, flow.Proto, 0)
	return r
}

// forget takes a state out of a table behind the engine's back, and out of its
// kernel.
func (s *ship) forget(flow pfstate.Flow) {
	r := s.ref(flow)
	s.e.setCarried(s.e.tab.At(r), false)
	s.e.dequeue(r)
	s.e.cancelOp(r)
	s.e.tab.Free(r)
	delete(s.kernel, keyOf(&flow))
}

// equal says how the tables, and the kernels, differ.
func (f *fleet) equal() string {
	a := f.ships[0]
	for i, s := range f.ships[1:] {
		if len(s.kernel) != len(a.kernel) || s.e.tab.Len() != a.e.tab.Len() {
			return fmt.Sprintf("%c has %d entries and %d states, A has %d and %d", 'B'+i, len(s.kernel), s.e.tab.Len(), len(a.kernel), a.e.tab.Len())
		}
		for k, flow := range a.kernel {
			other, ok := s.kernel[k]
			if !ok || other.Mark != flow.Mark || other.ProtoState != flow.ProtoState {
				return fmt.Sprintf("%c has %v as %+v, A as %+v", 'B'+i, k, other, flow)
			}
		}
		for b := range pfstate.DigestBuckets {
			if s.e.tab.DigestSum(pfstate.DigestBuckets, b) != a.e.tab.DigestSum(pfstate.DigestBuckets, b) {
				return fmt.Sprintf("digest %d of %c", b, 'B'+i)
			}
		}
	}
	return ""
}

// verify runs a verification at s to its end.
func (f *fleet) verify(s *ship) *Verification {
	f.t.Helper()
	if err := s.e.Verify(f.now, netip.Addr{}); err != nil {
		f.t.Fatal(err)
	}
	f.until(120*second, "verified", func() bool { return !s.e.verify.Running })
	return s.e.Verification()
}

func (f *fleet) expectList(v *Verification, want ...string) {
	f.t.Helper()
	var got []string
	for _, d := range v.List {
		how := ""
		switch {
		case d.Healed:
			how = " healed"
		case d.Unhealed:
			how = " unhealed"
		}
		if d.Why != "" {
			how += " " + d.Why
		}
		if d.Detail != "" {
			how += ": " + d.Detail
		}
		if !d.Known {
			how += " (unknown)"
		}
		got = append(got, fmt.Sprintf("%s %s%s", shortName(d.ID), d.Kind, how))
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		f.t.Errorf("differences:\n%q\nwant\n%q\n%+v", got, want, v.Peers)
	}
}

func (f *fleet) expectEqual() {
	f.t.Helper()
	if diff := f.equal(); diff != "" {
		f.t.Error(diff)
	}
}
