package engine

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync/pfsync/pfstate"
)

func deferring(c *Config) { c.Defer, c.DeferDelay = true, 20*time.Millisecond }

// hold hands in packets of a connection and returns what is released at once.
func (r *desk) hold(kind HeldKind, f pfstate.Flow, pkts ...uint32) []uint32 {
	for _, p := range pkts {
		g := f
		g.Has &^= pfstate.HasTimeout
		g.CtID = 0
		r.e.Held(r.now, p, kind, &g)
	}
	return r.e.Releases(nil)
}

// TestDeferRelease: what lets a held packet go, and why.
func TestDeferRelease(t *testing.T) {
	syn := tcp(1, pfstate.TCPSynSent)
	for _, tc := range []struct {
		name string
		do   func(r *desk)
		want []uint32
		why  DeferCount
	}{
		{"nothing yet", func(*desk) {}, nil, DeferHeld},
		{"acknowledged", func(r *desk) { r.b.say(insAck(mine(0))) }, []uint32{1, 2}, DeferAcked},
		{"a peer's update", func(r *desk) { r.b.say(upd(mine(0), tcp(1, pfstate.TCPSynRecv))) }, []uint32{1, 2}, DeferUpdated},
		{"another acknowledged", func(r *desk) { r.b.say(insAck(mine(7)), insAck(theirs(0))) }, nil, DeferHeld},
		{"just before the delay", func(r *desk) { r.pass(19 * milli) }, nil, DeferHeld},
		{"the delay", func(r *desk) { r.pass(20 * milli) }, []uint32{1, 2}, DeferTimeout},
		{"link lost", (*desk).linkDown, []uint32{1, 2}, DeferStopped},
		{"defer off", func(r *desk) { c := r.e.Config(); c.Defer = false; r.e.Set(r.now, c, false) }, []uint32{1, 2}, DeferStopped},
		{"flushed", func(r *desk) { r.e.Flush(r.now) }, []uint32{1, 2}, DeferGone},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t, deferring)
			if got := r.hold(HeldWhole, syn, 1, 2); got != nil {
				t.Fatalf("not held: %v", got)
			}
			if d := cmp.Diff([]string{"INS A0 2:0 ack"}, r.sent()); d != "" {
				t.Fatalf("announced at once (-want +got)\n%s", d)
			}
			tc.do(r)
			if got := r.e.Releases(nil); !slices.Equal(got, tc.want) {
				t.Errorf("released %v, want %v", got, tc.want)
			}
			if n := r.e.Stats.Defer[tc.why]; n != 2 {
				t.Errorf("%v is %d", tc.why, n)
			}
		})
	}
}

// TestDeferOrder: packets of one connection leave together, in the order in which
// they came, whatever came between them.
func TestDeferOrder(t *testing.T) {
	r := ready(t, deferring)
	one, two := tcp(1, pfstate.TCPSynSent), udp(2, fresh)
	for i := range uint32(6) {
		f := one
		if i%2 == 1 {
			f = two
		}
		if got := r.hold(HeldWhole, f, i); got != nil {
			t.Fatalf("not held: %v", got)
		}
	}
	r.sent()
	for _, tc := range []struct {
		name pfstate.ID
		want []uint32
	}{{mine(1), []uint32{1, 3, 5}}, {mine(0), []uint32{0, 2, 4}}} {
		r.b.say(insAck(tc.name))
		if got := r.e.Releases(nil); !slices.Equal(got, tc.want) {
			t.Errorf("%s acknowledged: released %v, want %v", shortName(tc.name), got, tc.want)
		}
	}
	if got := r.hold(HeldWhole, one, 9); !slices.Equal(got, []uint32{9}) {
		t.Errorf("one that comes after: %v", got)
	}
}

// TestDeferDeadline: the engine asks to be called when a packet has to go.
func TestDeferDeadline(t *testing.T) {
	r := ready(t, deferring)
	r.hold(HeldWhole, udp(1, fresh), 1)
	r.sent()
	if d := r.e.Deadline(); d > r.now+20*milli {
		t.Errorf("deadline in %v", time.Duration(d-r.now))
	}
}

// TestDeferNew: the kernel's event finds the state and tells nothing twice.
func TestDeferNew(t *testing.T) {
	for _, f := range []pfstate.Flow{tcp(1, pfstate.TCPSynSent), udp(1, fresh), masqueraded(udp(1, fresh), 9)} {
		r := ready(t, deferring)
		r.hold(HeldWhole, f, 1)
		r.sent()
		r.b.say(insAck(mine(0)))
		f.CtID = 5
		r.made(f)
		if out := r.until(r.now + 500*milli); out != nil {
			t.Errorf("told twice: %v", out)
		}
		if got := r.until(r.now + 3*second); len(got) > 0 {
			t.Errorf("later: %v", got)
		}
	}
}

// TestDeferVanish: what the kernel does not tell of ends with a delete.
func TestDeferVanish(t *testing.T) {
	r := ready(t, deferring)
	r.hold(HeldWhole, tcp(1, pfstate.TCPSynSent), 1)
	r.sent()
	r.b.say(insAck(mine(0)))
	r.pass(2 * second)
	if d := cmp.Diff([]string{"get 1"}, r.ops()); d != "" {
		t.Fatalf("(-want +got)\n%s", d)
	}
	r.done(pfstate.ResultMissing)
	if d := cmp.Diff([]string{"DEL_C A0 killed"}, r.until(r.now+20*milli)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// TestDeferEvents: a delete that tells of an earlier connection ends nothing.
func TestDeferEvents(t *testing.T) {
	r := ready(t, deferring)
	r.hold(HeldWhole, tcp(1, pfstate.TCPSynSent), 1)
	r.sent()
	r.expired(tcp(1, pfstate.TCPTimeWait))
	if got := append(r.sent(), r.ops()...); got != nil || r.e.Releases(nil) != nil {
		t.Errorf("an old DESTROY: %v", got)
	}
}

// TestDeferPass: what is not held.
func TestDeferPass(t *testing.T) {
	for _, tc := range []struct {
		name string
		kind HeldKind
		flow pfstate.Flow
		set  func(*desk)
	}{
		{"no living peer", HeldWhole, udp(1, fresh), func(r *desk) { r.pass(10 * second) }},
		{"no link", HeldWhole, udp(1, fresh), (*desk).linkDown},
		{"a peer told of it", HeldWhole, udp(1, fresh), func(r *desk) { r.known(5, udp(1, fresh)) }},
		{"acknowledged already", HeldWhole, udp(1, fresh), func(r *desk) {
			r.hold(HeldWhole, udp(1, fresh), 8)
			r.b.say(insAck(mine(0)))
			r.e.Releases(nil)
		}},
		{"multicast", HeldWhole, pfstate.Flow{AF: pfstate.AFInet, Proto: pfstate.ProtoUDP, Orig: pfstate.Tuple{Dst: pfstate.Addr{224, 0, 0, 1}}}, func(*desk) {}},
		{"answer of a peer's", HeldReply, reversed(udp(1, fresh)), func(r *desk) { r.known(5, udp(1, fresh)) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t, deferring)
			tc.set(r)
			before := r.e.Stats.Defer[DeferPassed]
			if got := r.hold(tc.kind, tc.flow, 9); !slices.Equal(got, []uint32{9}) || r.e.Stats.Defer[DeferPassed] != before+1 {
				t.Errorf("released %v", got)
			}
		})
	}
}

// TestDeferOverflow: the oldest makes room, with all of its connection.
func TestDeferOverflow(t *testing.T) {
	r := ready(t, deferring)
	r.hold(HeldWhole, udp(200, fresh), 1000, 1001)
	var got []uint32
	for i := range 127 {
		got = append(got, r.hold(HeldWhole, udp(byte(i), fresh), uint32(i))...)
	}
	if !slices.Equal(got, []uint32{1000, 1001}) || r.e.Stats.Defer[DeferOverflow] != 2 || r.e.Stats.DeferMax != maxDeferred {
		t.Errorf("released %v, overflow %d, max %d", got, r.e.Stats.Defer[DeferOverflow], r.e.Stats.DeferMax)
	}
	r.pass(20 * milli)
	if got := r.e.Releases(nil); len(got) != 127 || !slices.IsSorted(got) {
		t.Errorf("the rest: %v", got)
	}
}

// TestDeferGuess: a translation that the packet did not tell of is put right,
// and of that source nothing is guessed any more; the answer waits instead.
func TestDeferGuess(t *testing.T) {
	r := ready(t, deferring)
	r.hold(HeldGuess, udp(1, fresh), 1)
	r.sent()
	r.b.say(insAck(mine(0)))
	real := masqueraded(udp(1, fresh), 9)
	r.made(real)
	if d := cmp.Diff([]string{"DEL_C A0 killed", "INS A1 1:0 ack"}, r.sent()); d != "" {
		t.Fatalf("(-want +got)\n%s", d)
	}
	r.e.Releases(nil)
	if got := r.hold(HeldReply, real.Reversed(), 2); got != nil {
		t.Errorf("answer not held: %v", got)
	}
	r.b.say(insAck(mine(1)))
	if got := r.e.Releases(nil); !slices.Equal(got, []uint32{2}) {
		t.Errorf("answer acknowledged: %v", got)
	}
	second1 := udp(1, fresh)
	second1.Orig.SrcPort++
	second1.Reply = second1.Orig.Inverse(second1.Proto)
	if got := r.hold(HeldGuess, second1, 3); !slices.Equal(got, []uint32{3}) {
		t.Errorf("guessed again: %v", got)
	}
}

// TestDeferGuessOrder: that connections of an address are translated is learned
// of one while packets of another are held: those that follow do not overtake.
func TestDeferGuessOrder(t *testing.T) {
	r := ready(t, deferring)
	first, other := udp(1, fresh), udp(1, fresh)
	other.Orig.SrcPort++
	other.Reply = other.Orig.Inverse(other.Proto)
	r.hold(HeldGuess, first, 1)
	r.hold(HeldGuess, other, 2)
	r.sent()
	r.b.say(insAck(mine(0)))
	r.made(masqueraded(first, 9))
	r.e.Releases(nil)
	if got := r.hold(HeldGuess, other, 3); got != nil {
		t.Errorf("overtakes: %v", got)
	}
	r.b.say(insAck(mine(1)))
	if got := r.e.Releases(nil); !slices.Equal(got, []uint32{2, 3}) {
		t.Errorf("acknowledged: %v", got)
	}
}

// TestDeferLoose: an answer that is there before the kernel's event waits for
// it, but not for ever.
func TestDeferLoose(t *testing.T) {
	for _, told := range []bool{true, false} {
		t.Run(fmt.Sprint(told), func(t *testing.T) {
			r := ready(t, deferring)
			f := masqueraded(udp(1, fresh), 9)
			if got := r.hold(HeldReply, f.Reversed(), 1); got != nil {
				t.Fatalf("not held: %v", got)
			}
			why := DeferTimeout
			if told {
				r.made(f)
				if d := cmp.Diff([]string{"INS A0 1:0 ack"}, r.sent()); d != "" {
					t.Errorf("(-want +got)\n%s", d)
				}
				r.b.say(insAck(mine(0)))
				why = DeferAcked
			} else {
				r.pass(20 * milli)
			}
			if got := r.e.Releases(nil); !slices.Equal(got, []uint32{1}) || r.e.Stats.Defer[why] != 1 {
				t.Errorf("released %v", got)
			}
		})
	}
}

// TestDeferReused: a SYN that the kernel has no entry for begins a later
// connection than the one we know.
func TestDeferReused(t *testing.T) {
	r := ready(t, deferring)
	r.made(tcp(1, pfstate.TCPEstablished))
	r.sent()
	r.pass(2 * second)
	r.b.say()
	r.sent()
	if got := r.hold(HeldWhole, tcp(1, pfstate.TCPSynSent), 1); got != nil {
		t.Fatalf("not held: %v", got)
	}
	if d := cmp.Diff([]string{"DEL_C A0 killed", "INS A1 2:0 ack"}, r.sent()); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}
