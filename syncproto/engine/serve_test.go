package engine

import (
	"fmt"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// serving returns a desk with n states, all announced, that B asked for.
func serving(t *testing.T, n int) *desk {
	r := ready(t)
	for i := range n {
		f := udp(byte(i), assured)
		f.Orig.Src[2] = byte(i >> 8)
		f.Reply = f.Orig.Inverse(f.Proto)
		r.made(f)
	}
	r.pass(10 * milli)
	if got := len(r.sent()); got != n {
		t.Fatalf("%d announced", got)
	}
	r.pass(second)
	r.sent()
	r.b.say(ask(pfstate.ID{}))
	return r
}

// TestBulkSend: a start, every state once, an end with the time since the
// request.
func TestBulkSend(t *testing.T) {
	r := serving(t, 20)
	got := r.until(r.now + second/2)
	want := []string{"BUS start"}
	for i := range 20 {
		want = append(want, fmt.Sprintf("UPD A%d 2:2", i))
	}
	r.expect("sent", got, append(want, "BUS end")...)
	for _, f := range r.frames() {
		t.Errorf("then %+v", f)
	}
}

func TestBulkSendEmpty(t *testing.T) {
	r := ready(t)
	r.b.say(ask(pfstate.ID{}))
	frames := r.frames()
	if len(frames) != 2 || len(frames[0].words) != 1 || frames[0].words[0] != "BUS start" || len(frames[1].words) != 1 || frames[1].words[0] != "BUS end" {
		t.Errorf("frames %+v", frames) // of two BUS in a frame a pf reads the first
	}
	if frames[0].info.Flags&syncproto.InfoSending == 0 || frames[1].info.Flags&syncproto.InfoSending != 0 {
		t.Error("the frames do not tell whether more comes")
	}
}

// acknowledge answers the marks of a transfer, which are names of ours.
func (p *speaker) acknowledge(marks []string) {
	for _, m := range marks {
		var no uint64
		_, _ = fmt.Sscanf(m, "A%d", &no)
		p.say(insAck(mine(no)))
	}
}

// TestBulkPacing: every 64th record asks for an acknowledgement; to a BSD four
// marks may be open, beyond that a frame leaves each millisecond; to a Linux
// eight, and it is waited for.
func TestBulkPacing(t *testing.T) {
	states := func(frames []said) (n int, marks []string) {
		for _, f := range frames {
			for _, w := range f.words {
				var name string
				var a, b int
				if k, _ := fmt.Sscanf(w, "UPD %s %d:%d", &name, &a, &b); k == 3 {
					n++
					if w[len(w)-3:] == "ack" {
						marks = append(marks, name)
					}
				}
			}
		}
		return n, marks
	}
	t.Run("Linux that does not acknowledge", func(t *testing.T) {
		r := serving(t, 2000)
		for _, wait := range []int64{markLost, markDeaf, markDeaf} {
			n, marks := states(r.frames())
			if len(marks) != maxMarksLinux || n < maxMarksLinux*markEvery-16 || n > maxMarksLinux*markEvery+16 {
				t.Fatalf("%d states and %d marks before any acknowledgement", n, len(marks))
			}
			if d := r.e.Deadline(); d != r.now+wait {
				t.Errorf("goes on after %d us", (d-r.now)/1000)
			}
			r.pass(wait - 1)
			if f := r.frames(); len(f) != 0 {
				t.Fatalf("%d frames too early", len(f))
			}
			r.pass(1)
		}
	})
	t.Run("Linux that is slow", func(t *testing.T) {
		r := serving(t, 2000)
		_, marks := states(r.frames())
		r.pass(markLost)
		r.frames()
		r.b.acknowledge(marks) // late
		r.frames()
		if d := r.e.Deadline(); d != r.now+markLost {
			t.Errorf("goes on after %d us", (d-r.now)/1000)
		}
	})
	t.Run("Linux that has gone", func(t *testing.T) {
		r := serving(t, 2000)
		r.c.say(ask(pfstate.ID{}))
		_, marks := states(r.frames())
		r.pass(linuxSilent + second)
		r.frames() // the heartbeat that is due
		for range 30 {
			r.c.acknowledge(marks)
			_, marks = states(r.frames())
		}
		if r.e.serve.active {
			t.Errorf("%d states left for who still is there", r.e.serve.left)
		}
	})
	t.Run("BSD that does not acknowledge", func(t *testing.T) {
		r := serving(t, 1000)
		r.e.serve.by[0].linux = false
		n, marks := states(r.frames())
		if len(marks) != maxMarks || n < maxMarks*markEvery || n > maxMarks*markEvery+16 {
			t.Fatalf("%d states and %d marks before any acknowledgement", n, len(marks))
		}
		if d := r.e.Deadline(); d != r.now+blindPace {
			t.Errorf("goes on after %d us", (d-r.now)/1000)
		}
		for range 10 {
			r.pass(blindPace)
			if f := r.frames(); len(f) != 1 {
				t.Fatalf("%d frames in a millisecond", len(f))
			}
		}
	})
	t.Run("acknowledged", func(t *testing.T) {
		r := serving(t, 1000)
		total, marks := states(r.frames())
		for range 20 {
			r.b.acknowledge(marks)
			var n int
			n, marks = states(r.frames())
			total += n
		}
		if total != 1000 {
			t.Errorf("%d states without time passing, want all", total)
		}
	})
	t.Run("by who did not ask", func(t *testing.T) {
		r := serving(t, 1000)
		_, marks := states(r.frames())
		r.c.acknowledge(marks)
		if f := r.frames(); len(f) != 0 {
			t.Errorf("%d frames", len(f))
		}
	})
	t.Run("the slower of two", func(t *testing.T) {
		r := serving(t, 1000)
		r.c.say(ask(pfstate.ID{}))
		_, marks := states(r.frames())
		r.b.acknowledge(marks)
		if f := r.frames(); len(f) != 0 {
			t.Errorf("%d frames before the slower acknowledged", len(f))
		}
	})
	t.Run("live changes go first", func(t *testing.T) {
		r := serving(t, 1000)
		r.frames()
		f := udp(200, fresh)
		f.Orig.SrcPort = 9
		f.Reply = f.Orig.Inverse(f.Proto)
		r.made(f)
		r.pass(10 * milli)
		if got := r.frames(); len(got) == 0 || got[0].words[0] != "INS A1000 1:0" {
			t.Errorf("first: %+v", got)
		}
	})
}

// TestBulkRequests: a source may ask once a second, and who asks while a
// transfer runs misses nothing.
func TestBulkRequests(t *testing.T) {
	r := serving(t, 600)
	r.b.say(ask(pfstate.ID{}))
	r.expectReason(ReasonRateBulk, 1)
	first := r.sent()
	r.c.say(ask(pfstate.ID{}))
	second := r.until(r.now + 900*milli)
	count := map[string]int{}
	for _, w := range append(first, second...) {
		count[w[:min(len(w), 9)]]++
	}
	if count["BUS start"] != 2 || count["BUS end"] != 1 {
		t.Errorf("%d starts, %d ends", count["BUS start"], count["BUS end"])
	}
	told := map[string]bool{}
	for _, w := range second {
		var name string
		if k, _ := fmt.Sscanf(w, "UPD %s", &name); k == 1 {
			told[name] = true
		}
	}
	if len(told) != 600 {
		t.Errorf("the second was told %d states", len(told))
	}
}
