package engine

import (
	"net/netip"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// Storms: a source on the link says a hundred thousand things a second. What
// passes here goes on being announced in time and keeps its entry, what is
// kept for the source is bounded, and what it makes us say is its own measure.

const (
	pairTLV       = 32
	stormPerMilli = 100 // messages
	stormLocal    = 500 // states from before it
	stormMax      = 20_000
)

var stormSource = netip.MustParseAddr("10.99.0.66")

// stormState is forged record n; its name is lower than ours.
func stormState(n int) syncproto.State {
	st, _ := strictPair(nil, 4, 4)
	st.ID, st.CreatorID = uint64(n), 0x66
	for i := range st.Key {
		st.Key[i].Addr[0] = pfstate.Addr{172, 16, byte(n >> 16), byte(n >> 8)}
		st.Key[i].Port[0] = uint16(n)
	}
	return st
}

// localFlow is connection n of this host.
func localFlow(n int, state uint8) pfstate.Flow {
	return tcpFlow(state, func(f *pfstate.Flow) {
		f.Orig.Src = pfstate.Addr{192, 168, byte(n >> 8), byte(n)}
		f.Reply.Dst = f.Orig.Src
	})
}

// stormTell is how a kind of storm fills a frame with messages from the nth.
type stormTell func(w *syncproto.Builder, n, count int)

func stormIDs(a syncproto.Action, creator uint32, first uint64) stormTell {
	return func(w *syncproto.Builder, n, count int) {
		for i := range count {
			w.AddID(a, &syncproto.ID{ID: first + uint64(n+i), CreatorID: creator})
		}
	}
}

func stormRecords(change func(n int, st *syncproto.State)) stormTell {
	return func(w *syncproto.Builder, n, count int) {
		for i := range count {
			st := stormState(n + i)
			if change != nil {
				change(n+i, &st)
			}
			w.AddState(syncproto.ActIns, syncproto.Format6, &st)
		}
	}
}

// storms are the kinds. Replies is how many bytes may be said for a byte heard,
// beside the local stream and full records, which limits.go bounds; gone says
// that the local states may get the names of others.
var storms = []struct {
	name    string
	perPkt  int
	tell    stormTell
	replies float64
	gone    bool
	reason  Reason // must be counted; ReasonFrameLost: none
}{
	{"inserts", 5, stormRecords(nil), 0.1, false, ReasonMaxStates},
	{"inserts that want an answer", 5, stormRecords(func(_ int, st *syncproto.State) { st.StateFlags |= syncproto.FlagAck }), 0.1, false, ReasonMaxStates},
	{"inserts of our connections", 5, stormRecords(func(n int, st *syncproto.State) {
		own := stormState(0)
		st.Key = own.Key
		for i := range st.Key {
			st.Key[i].Addr[0], st.Key[i].Port[0] = pfstate.Addr{192, 168, byte(n % stormLocal >> 8), byte(n % stormLocal)}, 4000
		}
	}), 0.1, true, ReasonAlias},
	{"updates of unknown states", 17, func(w *syncproto.Builder, n, count int) {
		for i := range count {
			w.AddUpdC(&syncproto.UpdC{ID: uint64(n + i), CreatorID: 0x66, Timeout: 2})
		}
	}, 1, false, ReasonFrameLost},
	{"deletes of others' states", 100, stormIDs(syncproto.ActDelC, 0x66, 0), 0.1, false, ReasonFrameLost},
	{"deletes of ours", 100, func(w *syncproto.Builder, n, count int) {
		stormIDs(syncproto.ActDelC, rigHost, 1<<32)(w, n%(stormLocal-count), count)
	}, 0.1, false, ReasonDelRefused},
	{"requests of ours", 100, func(w *syncproto.Builder, n, count int) {
		stormIDs(syncproto.ActUpdReq, rigHost, 1<<32)(w, n%(stormLocal-count), count)
	}, 0, false, ReasonRateReply},
	{"requests of the table", 100, func(w *syncproto.Builder, _, count int) {
		for range count {
			w.AddID(syncproto.ActUpdReq, &syncproto.ID{})
		}
	}, 0.1, false, ReasonRateBulk},
	{"clears of us", 60, func(w *syncproto.Builder, _, count int) {
		for range count {
			w.AddClr(&syncproto.Clr{CreatorID: rigHost})
		}
	}, 0.1, false, ReasonRateClr},
	{"clears of others", 60, func(w *syncproto.Builder, n, count int) {
		for i := range count {
			w.AddClr(&syncproto.Clr{CreatorID: uint32(n + i + 1)})
		}
	}, 0.1, false, ReasonRateClr},
}

// TestStorm lets each of them blow for a second.
func TestStorm(t *testing.T) {
	for _, tt := range storms {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, func(c *Config) { c.MaxStates, c.KernelMax = stormMax, stormMax })
			g.pfSpeaks()
			for n := range stormLocal {
				g.local(pfstate.EventNew, localFlow(n, pfstate.TCPEstablished))
			}
			g.pass(2 * second)
			b := blow{rig: g, seen: map[pfstate.Addr]int64{}}
			b.run(tt.perPkt, tt.tell)
			b.check(t, tt.gone)
			full := int(g.e.Stats.Out[syncproto.ActUpd])
			if most := 2 * (replyBurst + 1031*int(milli/1000)/int(replyEvery/1000) + b.heard/replyBytes + b.local + (bulkBurst+1)*g.e.tab.Len()); full > most {
				t.Errorf("said %d full records, at most %d", full, most)
			}
			if other := b.said - full*(syncproto.StateLen6+syncproto.Stride(pairTLV)+24); other > int(tt.replies*float64(b.heard))+b.local*1000 {
				t.Errorf("said %d bytes beside records for %d", other, b.heard)
			}
			t.Logf("heard %d bytes, said %d (%d for local changes), latest %d us, %d states", b.heard, b.said, b.local, b.latest/1000, g.e.tab.Len())
			if tt.reason != ReasonFrameLost && g.e.Stats.Reason[tt.reason] == 0 {
				t.Errorf("%s is not counted", tt.reason)
			}
		})
	}
}

// blow is a storm under way.
type blow struct {
	*rig
	heard, said int // bytes
	local       int // connections begun meanwhile
	seen        map[pfstate.Addr]int64
	latest      int64 // announcement of a new connection
}

func (b *blow) run(perPkt int, tell stormTell) {
	n, steps := 0, 1000
	if testing.Short() {
		steps = 400
	}
	for range steps {
		for left := stormPerMilli; left > 0; left -= perPkt {
			count := min(left, perPkt)
			frame := pfFrame(func(w *syncproto.Builder) { tell(w, n, count) })
			n += count
			b.heard += len(frame)
			b.hear(stormSource, frame)
		}
		f := localFlow(stormLocal+b.local, pfstate.TCPEstablished)
		b.seen[f.Orig.Src] = b.now
		b.local++
		b.rig.local(pfstate.EventNew, f)
		b.listen()
		b.now += milli
		b.e.Tick(b.now)
	}
	for range 30 {
		b.listen()
		b.now += milli
		b.e.Tick(b.now)
	}
}

// listen reads what is sent: who is new must be among it.
func (b *blow) listen() {
	for _, frame := range b.sent() {
		b.said += len(frame)
		for _, m := range readFrame(b, frame) {
			if m.action != syncproto.ActIns && m.action != syncproto.ActUpd || m.st.Direction != syncproto.DirIn {
				continue
			}
			if at, ok := b.seen[m.st.Key[0].Addr[0]]; ok {
				b.latest = max(b.latest, b.now-at)
				delete(b.seen, m.st.Key[0].Addr[0])
			}
		}
	}
}

func (b *blow) check(t *testing.T, renamed bool) {
	t.Helper()
	if len(b.seen) > 0 || b.latest > 15*milli {
		t.Errorf("%d connections not announced, the latest after %d ms", len(b.seen), b.latest/milli)
	}
	if what := broken(b.e); what != "" {
		t.Error(what)
	}
	if n := b.e.tab.Len(); n > stormMax+stormLocal+b.local || int(b.e.tab.End()) > stormMax+stormLocal+b.local+64 {
		t.Errorf("%d states, %d slots", n, b.e.tab.End())
	}
	for i := range b.ops {
		if k := b.ops[i].Kind; k == pfstate.OpDelete || k == pfstate.OpUpdate && b.ops[i].Flow.Orig.Src[0] == 192 && !renamed {
			t.Fatalf("the kernel was asked %+v", b.ops[i])
		}
	}
	ours := 0
	for r := pfstate.Ref(1); r < b.e.tab.End(); r++ {
		if b.e.tab.InUse(r) && b.e.tab.At(r).Orig.Src[0] == 192 && b.e.tab.At(r).Has(pfstate.FlagInKernel) {
			ours++
			if !renamed && !b.e.ours(b.e.tab.At(r).MainName()) {
				t.Fatalf("a state of ours is called %s", b.e.tab.At(r).MainName())
			}
		}
	}
	if ours != stormLocal+b.local {
		t.Errorf("%d local states, want %d", ours, stormLocal+b.local)
	}
}

// TestManyExtras: a Linux region larger than any we send is read no further,
// for every record of the frame looks through it.
func TestManyExtras(t *testing.T) {
	r := ready(t)
	var items []item
	for i := range 320 {
		items = append(items, item{name: theirs(uint64(i)), tlvs: markTLV(7)})
	}
	late := items[maxExtras+5].name
	r.b.say(append(items, ins(late, tcp(1, pfstate.TCPEstablished)), ins(items[3].name, tcp(2, pfstate.TCPEstablished)))...)
	if got := r.state(late).Mark; got != 0 {
		t.Errorf("mark %d of behind the last", got)
	}
	if got := r.state(items[3].name).Mark; got != 7 {
		t.Errorf("mark %d of before it", got)
	}
}
