package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
)

// TestDoubtFirst: a comparison in the background, which takes its time, gives way
// to one that is due for frames were lost.
func TestDoubtFirst(t *testing.T) {
	f := newFleet(t, 2)
	f.fill(2000)
	e := f.ships[1].e
	e.peers.list[0].States = 1 << 20 // so many buckets
	e.checkBegin(f.now, 0, checkSlow)
	e.missed(f.now, &e.peers.list[0])
	f.until(second, "a comparison for the doubt", func() bool { return e.check.on && e.check.why == checkDoubt })
	f.until(2*second, "no doubt", func() bool { return !e.differs() })
}

// TestDoubtAgain: what is lost during a comparison may be of what was compared
// already, so there is another one.
func TestDoubtAgain(t *testing.T) {
	f := newFleet(t, 2)
	f.fill(2000)
	e := f.ships[1].e
	p := &e.peers.list[0]
	e.missed(f.now, p)
	f.until(second, "a comparison", func() bool { return e.check.on && e.check.why == checkDoubt })
	began := e.Stats.Reason[ReasonChecks]
	e.missed(f.now, p)
	f.until(2*second, "its end", func() bool { return !e.check.on })
	if !p.doubt || !e.differs() {
		t.Error("it settled a doubt that came after it had begun")
	}
	f.until(2*doubtAgain, "no doubt", func() bool { return !e.differs() })
	if n := e.Stats.Reason[ReasonChecks] - began; n == 0 {
		t.Error("no other comparison")
	}
}

// TestManyKilled: a mass of kills of which frames get lost has reached the peer
// seconds after the loss is over, though it is more than is remembered of frames
// and of names.
func TestManyKilled(t *testing.T) {
	f := newFleet(t, 2)
	a := f.ships[0]
	n := manyNames()
	f.crowd(a, n)
	f.loss = 0.2
	for i := range n {
		flow := flowN(i)
		delete(a.kernel, keyOf(&flow))
		flow.Has |= pfstate.HasTimeout
		a.e.Local(f.now, []pfstate.Event{event(pfstate.EventDestroy, flow)})
		if i%200 == 199 {
			f.step()
		}
	}
	f.loss = 0
	f.until(15*second, "equal tables", func() bool { return f.equal() == "" })
}

// TestDoubtOutlastsSilence: what is to be found out about a peer is found out
// when it is heard again, though it was not restarted.
func TestDoubtOutlastsSilence(t *testing.T) {
	f := newFleet(t, 2)
	f.fill(100)
	a, b := f.ships[0], f.ships[1]
	b.forget(flowN(7))
	b.e.missed(f.now, &b.e.peers.list[0])
	a.mute = true
	f.pass(2 * linuxSilent)
	if b.e.differs() {
		t.Error("a peer that is gone is said to differ")
	}
	a.mute = false
	f.until(4*second, "equal tables", func() bool { return f.equal() == "" })
}

// TestManyMissed: a peer that was deaf while most of what it has ended asks for
// that, and is told at once.
func TestManyMissed(t *testing.T) {
	f := newFleet(t, 2)
	a, b := f.ships[0], f.ships[1]
	n := manyNames()
	f.crowd(a, n)
	b.deaf = true
	for i := range n * 2 / 3 {
		flow := flowN(i)
		delete(a.kernel, keyOf(&flow))
		flow.Has &^= pfstate.HasTimeout
		a.e.Local(f.now, []pfstate.Event{event(pfstate.EventDestroy, flow)})
		if i%200 == 199 {
			f.step()
		}
	}
	f.pass(2 * second)
	b.deaf = false
	f.until(10*second, "equal tables", func() bool { return f.equal() == "" })
}
