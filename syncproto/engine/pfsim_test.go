package engine

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// The simulation of an exchange: one Linux, one pf with its real checks, and
// connections of every kind that move from one to the other and back, each
// when it likes, or all at once. A connection made by a pf is strict at first.

// movingFlow is one of them.
type movingFlow struct {
	*traffic
	conn  conn
	flow  pfstate.Flow // as our kernel has it
	atPF  bool
	next  int64 // when it moves
	moves int
	fails int // rounds in a row that did not get through
}

// mover is the world.
type mover struct {
	*rig
	rng   *rand.Rand
	box   *pfBox
	flows []*movingFlow
	kern  map[conn]*kernEntry
	seen  int   // operations done
	dump  int64 // last
	names uint64
	born  []syncproto.State // of the pf, not yet told
}

// kernEntry is one of our kernel.
type kernEntry struct {
	flow pfstate.Flow
	ends int64
}

const (
	moveFlows    = 8
	moveSeconds  = 150
	dumpEvery    = 10 * second // the daemon's, for what times out soon and for the rest when it is cheap
	moveShortest = 13          // seconds at one place: less and no dump has seen it
	moveLongest  = 40
	failsAllowed = 3 // rounds, a second apart: TCP repeats
)

// TestSimulationMoves runs seeds of it.
func TestSimulationMoves(t *testing.T) {
	there, back := 0, 0
	first, n := moveSeeds()
	for seed := first; seed < first+n; seed++ {
		w := newMover(t, seed)
		for range moveSeconds {
			w.second()
		}
		for _, f := range w.flows {
			if f.moves < 2 {
				t.Errorf("seed %d: a connection moved %d times", seed, f.moves)
			}
			there, back = there+(f.moves+1)/2, back+f.moves/2
		}
		if len(w.kern) != moveFlows || len(w.box.states) != 2*moveFlows {
			t.Errorf("seed %d: %d entries, %d states for %d connections", seed, len(w.kern), len(w.box.states), moveFlows)
		}
	}
	t.Logf("%d moves there, %d back", there, back)
}

// moveSeeds is SEEDS from FROM on, as in `make simulate SEEDS=`; half of them,
// for a mover is slower than what else is simulated.
func moveSeeds() (first, n uint64) {
	n = 50
	if v, err := strconv.ParseUint(os.Getenv("SEEDS"), 10, 32); err == nil {
		n = max(4, v/2)
	}
	if v, err := strconv.ParseUint(os.Getenv("FROM"), 10, 64); err == nil {
		first = v
	}
	return first, n
}

func newMover(t *testing.T, seed uint64) *mover {
	w := &mover{rig: newRig(t, nil), rng: rand.New(rand.NewPCG(seed, 9)), kern: map[conn]*kernEntry{},
		box: &pfBox{TB: t, states: map[syncproto.ID]*syncproto.State{}, tell: map[syncproto.ID]bool{}}}
	w.pfSpeaks()
	together := w.rng.IntN(3) == 0
	for i := range moveFlows {
		f := w.newFlow(i)
		if together {
			f.next = w.now + moveShortest*second
		}
		w.begin(f)
		w.flows = append(w.flows, f)
	}
	return w
}

// newFlow makes connection i, translated in one of the ways.
func (w *mover) newFlow(i int) *movingFlow {
	nat := []func(*pfstate.Flow){nil, snat, dnat, both}[w.rng.IntN(4)]
	flow := tcpFlow(pfstate.TCPEstablished, nat)
	flow.Orig.Src[3] = byte(10 + i)
	if flow.Reply.Dst == client {
		flow.Reply.Dst = flow.Orig.Src
	} else {
		flow.Reply.DstPort += uint16(i)
	}
	flow.WScale, flow.TCPFlags = [2]uint8{11, 11}, [2]uint8{pfstate.TCPFlagWScale, pfstate.TCPFlagWScale}
	b := newTraffic(trafficKind(w.rng.IntN(int(trafficKinds))))
	b.snd, b.rcv = w.rng.Uint32(), w.rng.Uint32()
	f := &movingFlow{traffic: b, flow: flow, conn: connOf(&flow), atPF: w.rng.IntN(2) == 0}
	f.next = w.now + w.stay()
	return f
}

func (w *mover) stay() int64 {
	return (moveShortest + int64(w.rng.IntN(moveLongest-moveShortest))) * second
}

// begin lets a connection begin where it is.
func (w *mover) begin(f *movingFlow) {
	if !f.atPF {
		w.local(pfstate.EventNew, f.flow)
		w.kern[f.conn] = &kernEntry{f.flow, w.now + 86400*second}
		return
	}
	in, out := strictPair(nil, 4, 4)
	for _, st := range []*syncproto.State{&in, &out} {
		w.names++
		made := madeByPF(f.traffic)
		st.ID, st.Src, st.Dst = w.names, made.Src, made.Dst
	}
	put := func(k *syncproto.Key, src, dst end, back bool) {
		if back {
			src, dst = dst, src
		}
		k.Addr, k.Port = [2][16]byte{src.addr, dst.addr}, [2]uint16{src.port, dst.port}
	}
	c := f.conn
	put(&in.Key[0], c.client, c.dialled, false)
	put(&in.Key[1], c.client, c.answerer, false)
	put(&out.Key[0], c.translated, c.answerer, true)
	put(&out.Key[1], c.client, c.answerer, true)
	for _, st := range []syncproto.State{in, out} {
		w.box.states[st.StateID()] = &st
		w.born = append(w.born, st)
	}
}

// second lets one pass: traffic, what the pf says, what we find in a dump and
// say, moves.
func (w *mover) second() {
	pairs := w.pairs()
	for _, f := range w.flows {
		w.pass(f, pairs)
	}
	w.pfTells()
	w.listen()
	if w.now-w.dump >= dumpEvery {
		w.dumped()
	}
	w.toBox(w.box, second)
	w.listen()
	w.untouched()
	for _, f := range w.flows {
		if w.now >= f.next {
			f.atPF, f.next = !f.atPF, w.now+w.stay()
			f.moves++
		}
	}
}

// pairs are the connections that the pf has both states of.
func (w *mover) pairs() map[conn][2]*syncproto.State {
	states := map[pfstate.ID]*syncproto.State{}
	for id, st := range w.box.states {
		states[pfstate.ID(id)] = st
	}
	return connsOf(states)
}

// pass lets a second of a connection's traffic pass where it is.
func (w *mover) pass(f *movingFlow, pairs map[conn][2]*syncproto.State) {
	ok := f.round(func(s *segment) bool {
		if !f.atPF {
			k := w.kern[f.conn]
			if k == nil || k.ends <= w.now {
				return false
			}
			k.ends = w.now + 86400*second
			return true
		}
		pair, known := pairs[f.conn]
		if !known {
			return false
		}
		for _, st := range pair {
			w.box.tell[st.StateID()] = true
			if !pfPasses(st, s) {
				return false
			}
		}
		return true
	})
	if f.fails++; ok {
		f.fails = 0
	}
	if f.fails > failsAllowed {
		w.Fatalf("%s, %d moves, at the pf %v: dead", f.kind, f.moves, f.atPF)
	}
}

// untouched: what has never passed here is left alone at the pf that made it.
func (w *mover) untouched() {
	for c, pair := range w.pairs() {
		for _, f := range w.flows {
			if f.conn == c && f.atPF && f.moves == 0 && (pair[0].CreatorID != pfHost || pair[1].CreatorID != pfHost) {
				w.Fatalf("%s was taken over and has never been here", f.kind)
			}
		}
	}
}

// pfTells is one second's words of the pf.
func (w *mover) pfTells() {
	w.hear(rigBSD, pfFrame(func(b *syncproto.Builder) {
		for id := range w.box.tell {
			if st := w.box.states[id]; st != nil {
				b.AddUpdC(&syncproto.UpdC{ID: id.ID, CreatorID: id.CreatorID, Src: st.Src, Dst: st.Dst, Timeout: 2})
			}
		}
		for i := range w.born {
			b.AddState(syncproto.ActIns, syncproto.Format6, &w.born[i])
		}
	}))
	clear(w.box.tell)
	w.born = nil
}

// listen does what was asked of our kernel.
func (w *mover) listen() {
	w.settle()
	for ; w.seen < len(w.ops); w.seen++ {
		op := &w.ops[w.seen]
		switch c := connOf(&op.Flow); op.Kind {
		case pfstate.OpCreate, pfstate.OpUpdate:
			w.kern[c] = &kernEntry{op.Flow, w.now + int64(op.Flow.Timeout)*second}
		case pfstate.OpDelete:
			delete(w.kern, c)
		}
	}
}

// dumped tells all entries with the time they have left.
func (w *mover) dumped() {
	w.dump = w.now
	evs := []pfstate.Event{{Kind: pfstate.EventDumpBegin}}
	for _, f := range w.flows {
		if k := w.kern[f.conn]; k != nil {
			k.flow.Timeout = uint32((k.ends - w.now) / second)
			k.flow.Has |= pfstate.HasTimeout | pfstate.HasProto | pfstate.HasStatus
			evs = append(evs, pfstate.Event{Kind: pfstate.EventDump, Flow: k.flow})
		}
	}
	w.e.Local(w.now, append(evs, pfstate.Event{Kind: pfstate.EventDumpEnd}))
}
