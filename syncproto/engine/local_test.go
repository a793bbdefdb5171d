package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
)

// TestLocalLife: what peers hear of a connection's life, by what happened
// within one delay.
func TestLocalLife(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(r *desk)
		want []string
	}{
		{"begin", func(r *desk) { r.made(tcp(1, pfstate.TCPSynSent)) }, []string{"INS A0 2:0"}},
		{"a handshake is one insert", func(r *desk) {
			r.made(tcp(1, pfstate.TCPSynSent))
			r.changed(tcp(1, pfstate.TCPSynRecv))
			r.changed(tcp(1, pfstate.TCPEstablished))
		}, []string{"INS A0 4:4"}},
		{"nothing of what began and ended", func(r *desk) {
			r.made(tcp(1, pfstate.TCPSynSent))
			r.killed(tcp(1, pfstate.TCPSynSent))
		}, nil},
		{"two connections, in their order", func(r *desk) {
			r.made(udp(2, fresh))
			r.made(udp(1, fresh))
		}, []string{"INS A0 1:0", "INS A1 1:0"}},
		{"udp answered", func(r *desk) {
			r.made(udp(1, fresh))
			r.changed(udp(1, answered))
		}, []string{"INS A0 2:1"}},
		{"an update for what nobody began", func(r *desk) { r.changed(tcp(1, pfstate.TCPEstablished)) }, []string{"INS A0 4:4"}},
		{"the same NEW twice", func(r *desk) {
			r.made(udp(1, fresh))
			r.made(udp(1, fresh))
		}, []string{"INS A0 1:0"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			tc.do(r)
			r.expectSent(tc.want...)
			r.expectOps()
		})
	}
}

// TestLocalChange: a state that peers know, told by the shortest message that
// says what changed.
func TestLocalChange(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(r *desk)
		want []string
	}{
		{"moves on", func(r *desk) { r.changed(tcp(1, pfstate.TCPFinWait)) }, []string{"UPD_C A0 7:4"}},
		{"moves on twice", func(r *desk) {
			r.changed(tcp(1, pfstate.TCPFinWait))
			r.changed(tcp(1, pfstate.TCPTimeWait))
		}, []string{"UPD_C A0 9:9"}},
		{"no news", func(r *desk) { r.changed(tcp(1, pfstate.TCPEstablished)) }, nil},
		{"mark alone", func(r *desk) {
			f := tcp(1, pfstate.TCPEstablished)
			f.Mark = 7
			r.changed(f)
		}, []string{"UPD A0 4:4 mark 7"}},
		{"compressed, then the mark", func(r *desk) {
			f := tcp(1, pfstate.TCPFinWait)
			r.changed(f)
			f.Mark = 7
			r.changed(f)
		}, []string{"UPD A0 7:4 mark 7"}},
		{"a timeout unlike the receiver's", func(r *desk) { r.changed(left(tcp(1, pfstate.TCPFinWait), 10)) }, []string{"UPD A0 7:4"}},
		{"expires", func(r *desk) { r.expired(tcp(1, pfstate.TCPEstablished)) }, []string{"DEL_C A0"}},
		{"killed", func(r *desk) { r.killed(tcp(1, pfstate.TCPEstablished)) }, []string{"DEL_C A0 killed"}},
		{"port reused without an end", func(r *desk) { r.made(tcp(1, pfstate.TCPSynSent)) }, []string{"DEL_C A0 killed", "INS A1 2:0"}},
		{"killed and begun again", func(r *desk) {
			r.killed(tcp(1, pfstate.TCPEstablished))
			r.made(tcp(1, pfstate.TCPSynSent))
		}, []string{"DEL_C A0 killed", "INS A1 2:0"}},
		{"the kernel goes back", func(r *desk) { r.changed(tcp(1, pfstate.TCPSynSent)) }, []string{"DEL_C A0 killed", "INS A1 2:0"}},
		{"another translation", func(r *desk) { r.made(masqueraded(tcp(1, pfstate.TCPSynSent), 9)) }, []string{"DEL_C A0 killed", "INS A1 2:0"}},
		{"the reverse is the same connection", func(r *desk) { r.changed(reversed(tcp(1, pfstate.TCPFinWait))) }, []string{"UPD_C A0 7:4"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			r.made(tcp(1, pfstate.TCPSynSent))
			r.changed(tcp(1, pfstate.TCPEstablished))
			r.expectSent("INS A0 4:4")
			r.pass(3 * second)
			tc.do(r)
			r.expectSent(tc.want...)
		})
	}
}

// TestEventsCross: two processors tell of one handshake, the first step last.
func TestEventsCross(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(r *desk)
	}{
		{"new last", func(r *desk) {
			r.changed(tcp(1, pfstate.TCPEstablished))
			r.made(tcp(1, pfstate.TCPSynSent))
		}},
		{"new last, answered", func(r *desk) {
			r.changed(tcp(1, pfstate.TCPEstablished))
			r.made(tcp(1, pfstate.TCPSynRecv))
		}},
		{"answer last", func(r *desk) {
			r.made(tcp(1, pfstate.TCPSynSent))
			r.pass(3 * second) // a slow server
			r.changed(tcp(1, pfstate.TCPEstablished))
			r.changed(tcp(1, pfstate.TCPSynRecv))
		}},
		{"later", func(r *desk) {
			r.changed(tcp(1, pfstate.TCPEstablished))
			r.pass(100 * milli)
			r.made(tcp(1, pfstate.TCPSynSent))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			tc.do(r)
			r.pass(3 * second)
			r.expectReason(ReasonReused, 0)
			r.expectNames("A0")
			if s := r.state(mine(0)); s.Src.State != pfstate.PFEstablished || s.Dst.State != pfstate.PFEstablished {
				t.Errorf("state %d:%d", s.Src.State, s.Dst.State)
			}
		})
	}
}

// TestMaxDelay: a change leaves at its time and not before.
func TestMaxDelay(t *testing.T) {
	for _, tc := range []struct {
		name  string
		delay int64
	}{{"default", 10 * milli}, {"a second", second}, {"none", 0}} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t, func(c *Config) { c.MaxDelay = 0; c.MaxDelay += timeDuration(tc.delay) })
			begin := r.now
			r.made(udp(1, fresh))
			if d := r.e.Deadline(); d != begin+tc.delay {
				t.Errorf("due after %d ms, want %d", (d-begin)/milli, tc.delay/milli)
			}
			if tc.delay > 0 {
				r.pass(tc.delay - 1)
				r.expect("sent early", r.sent())
				r.made(udp(2, fresh)) // does not put it off
				r.pass(1)
				r.expect("sent", r.sent(), "INS A0 1:0", "INS A1 1:0")
				return
			}
			r.expect("sent", r.sent(), "INS A0 1:0")
		})
	}
}

// TestMaxUpd: so many collapsed updates of a TCP state are sent at once.
func TestMaxUpd(t *testing.T) {
	for _, tc := range []struct {
		name    string
		maxupd  int
		changes int
		proto   uint8
		now     bool
	}{
		{"below", 3, 3, pfstate.ProtoTCP, false},
		{"reached", 3, 4, pfstate.ProtoTCP, true},
		{"udp does not count", 3, 10, pfstate.ProtoUDP, false},
		{"zero", 0, 2, pfstate.ProtoTCP, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t, func(c *Config) { c.MaxUpd = tc.maxupd })
			f := tcp(1, pfstate.TCPEstablished)
			if tc.proto == pfstate.ProtoUDP {
				f = udp(1, assured)
			}
			r.made(f)
			r.expectSent("INS A0 " + map[uint8]string{pfstate.ProtoTCP: "4:4", pfstate.ProtoUDP: "2:2"}[tc.proto])
			for i := range tc.changes {
				f.Mark = uint32(i + 1)
				r.changed(f)
			}
			if got := len(r.sent()) > 0; got != tc.now {
				t.Errorf("sent at once: %v", got)
			}
		})
	}
}

// TestRecentPeer: what a peer has just updated, both see: changes go at once.
func TestRecentPeer(t *testing.T) {
	r := ready(t)
	name := r.known(5, tcp(1, pfstate.TCPEstablished))
	r.changed(tcp(1, pfstate.TCPFinWait))
	r.expect("long after the peer's update", r.sent())
	r.expectSent("UPD_C B5 7:4")
	r.b.say(updc(name, tcp(1, pfstate.TCPFinWait)))
	r.pass(second)
	r.changed(tcp(1, pfstate.TCPTimeWait))
	r.expect("soon after", r.sent(), "UPD_C B5 9:9")
}

// TestFullFrame: a frame that is full does not wait for company.
func TestFullFrame(t *testing.T) {
	r := ready(t)
	for i := range byte(8) {
		r.made(udp(i, fresh))
	}
	if got := r.frames(); len(got) == 0 || len(got[0].words) < 4 {
		t.Fatalf("frames: %+v", got)
	}
	r = ready(t)
	for i := range byte(100) {
		r.made(udp(i, fresh))
	}
	r.pass(10 * milli)
	n := 0
	for _, f := range r.frames() {
		if f.bytes > 1500-ipHeader {
			t.Errorf("a frame of %d bytes", f.bytes)
		}
		n += len(f.words)
	}
	if n != 100 {
		t.Errorf("%d states told, want 100", n)
	}
}

// TestHeartbeat: who sent nothing for a second says so, and shows it nowhere.
func TestHeartbeat(t *testing.T) {
	r := ready(t)
	start := r.now
	if d := r.e.Deadline(); d != start+second {
		t.Errorf("due after %d ms", (d-start)/milli)
	}
	var beats []said
	for range 5 {
		r.pass(r.e.Deadline() - r.now)
		beats = append(beats, r.frames()...)
	}
	if len(beats) != 5 || r.now != start+5*second {
		t.Fatalf("%d heartbeats in %d ms", len(beats), (r.now-start)/milli)
	}
	for i, f := range beats {
		if len(f.words) != 0 || f.show || f.info.CreatorID != hostA || i > 0 && f.info.Frame != beats[i-1].info.Frame+1 {
			t.Errorf("heartbeat %d: %+v", i, f)
		}
	}
	r.pass(second / 2)
	r.made(udp(1, fresh))
	r.expectSent("INS A0 1:0")
	if d := r.e.Deadline(); d != r.now+second {
		t.Errorf("after a frame: due in %d ms", (d-r.now)/milli)
	}
	r.linkDown()
	r.pass(10 * second)
	if got := r.frames(); len(got) > 0 {
		t.Errorf("frames without link: %+v", got)
	}
}

// TestLinkDown: what changes while the link is down collapses, and leaves
// when it is back.
func TestLinkDown(t *testing.T) {
	r := ready(t)
	r.linkDown()
	r.made(tcp(1, pfstate.TCPSynSent))
	r.pass(second)
	r.changed(tcp(1, pfstate.TCPEstablished))
	r.made(udp(2, fresh))
	r.killed(udp(2, fresh))
	r.pass(second)
	r.expect("without link", r.sent())
	r.linkUp()
	r.expect("with link", r.sent(), "UPD_REQ 0", "INS A0 4:4")
}

// TestReusedTheOtherWay: where an earlier connection of the same ends expired here,
// and one begins the other way round, that is the way that peers are told.
func TestReusedTheOtherWay(t *testing.T) {
	r := ready(t)
	f := udp(1, answered)
	r.known(5, f)
	r.e.setCarried(r.state(theirs(5)), false)
	r.expired(f)
	r.expect("asked", r.sent(), "UPD_REQ B5")
	r.made(reversed(udp(1, fresh)))
	r.pass(0)
	if s := r.state(mine(0)); s.Orig != f.Reply || s.Reply != f.Orig || s.Has(pfstate.FlagReversed) {
		t.Errorf("it runs from %v to %v, reversed %v", s.Orig.Src, s.Orig.Dst, s.Has(pfstate.FlagReversed))
	}
	r.gone(theirs(5))
}
