package engine

import (
	"fmt"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
)

// TestPushedOut: what a full kernel ends to make room, of a connection that
// passes elsewhere, ends nowhere else; whatever else it ends was killed.
func TestPushedOut(t *testing.T) {
	assuredOne := udp(1, assured)
	for _, tc := range []struct {
		name  string
		full  bool
		f     pfstate.Flow
		after int64 // that the kernel had no room
		here  bool  // it passes here
		asked bool
		want  string // what is said
	}{
		{"full", true, udp(1, answered), 0, false, false, "UPD_REQ B5"},
		{"full a while ago", true, udp(1, answered), fullFor, false, false, "DEL_C B5 killed"},
		{"not full", false, udp(1, answered), 0, false, false, "DEL_C B5 killed"},
		{"an assured one", true, assuredOne, 0, false, false, "DEL_C B5 killed"},
		{"one that passes here", true, udp(1, answered), 0, true, false, "DEL_C B5 killed"},
		{"by a program", true, udp(1, answered), 0, false, true, "DEL_C B5 killed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			r.known(5, tc.f)
			if tc.full {
				r.b.say(ins(theirs(6), udp(2, answered)))
				r.expectOps("create 2")
				r.done(pfstate.ResultFull)
				r.expectReason(ReasonKernelFull, 1)
			}
			r.until(r.now + tc.after)
			r.b.say()
			if tc.here {
				r.e.setCarried(r.state(theirs(5)), true)
			}
			r.sent()
			ev := event(pfstate.EventDestroy, tc.f)
			ev.Asked = tc.asked
			ev.Flow.Has |= pfstate.HasTimeout
			r.local(ev)
			r.expect("said", r.until(r.now+second/4), tc.want)
		})
	}
}

// TestPushedOutComesBack: its carrier tells it again, and when there is room it
// is in the kernel.
func TestPushedOutComesBack(t *testing.T) {
	r := ready(t)
	f := udp(1, answered)
	r.known(5, f)
	r.b.say(ins(theirs(6), udp(2, answered)))
	r.expectOps("create 2")
	r.done(pfstate.ResultFull)
	r.killed(f)
	r.until(r.now + second/4)
	r.b.say(upd(theirs(5), f))
	r.expectOps("create 1")
	r.done(pfstate.ResultFull)
	r.dump()
	r.kernel()
	r.expectNames("B5", "B6")
	for id := range 2 {
		if !r.state(theirs(uint64(5 + id))).Has(pfstate.FlagInKernel) {
			t.Errorf("B%d is not in the kernel", 5+id)
		}
	}
}

// TestFull: a receiver whose kernel is full says so at once, and both say that
// all is well soon after it is; meanwhile they do not talk without end.
func TestFull(t *testing.T) {
	for _, receiver := range []int{0, 1} {
		t.Run(fmt.Sprintf("receiver %c", 'A'+receiver), func(t *testing.T) {
			f := newFleet(t, 2)
			from, to := f.ships[1-receiver], f.ships[receiver]
			room := 10
			to.refuses = func(*pfstate.Flow) bool { return len(to.kernel) >= room }
			for n := range 40 {
				f.made(from, flowN(n))
			}
			f.until(second, "the receiver to say so", func() bool { return to.e.Status(f.now).Diverged })
			f.until(30*second, "how many", func() bool { return to.e.Status(f.now).Lasting == 30 })
			f.pass(200 * second)
			was := f.bytes
			f.pass(100 * second)
			if n := (f.bytes - was) / 100; n > 400 {
				t.Errorf("%d bytes a second of a difference that stays", n)
			}
			if st := to.e.Status(f.now); !st.Diverged || st.Lasting != 30 {
				t.Errorf("diverged %v, lasting %d", st.Diverged, st.Lasting)
			}
			f.verify(from) // who now knows what the other lacks
			if !from.e.Status(f.now).Diverged {
				t.Error("the sender has not been told")
			}
			room = 100
			f.dump(to)
			f.until(second, "equal", func() bool { return f.equal() == "" })
			f.until(20*second, "both to say so", func() bool {
				return !from.e.Status(f.now).Diverged && !to.e.Status(f.now).Diverged
			})
			room = 40
			f.made(from, flowN(40))
			f.until(second, "the receiver to say so again", func() bool { return to.e.Status(f.now).Diverged })
		})
	}
}
