package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// TestMeet: a record of a connection that we have under another name is about
// the same one, or what is left of an earlier one meets a later one.
func TestMeet(t *testing.T) {
	syn, est, fin := tcp(1, pfstate.TCPSynSent), tcp(1, pfstate.TCPEstablished), tcp(1, pfstate.TCPFinWait)
	theirC := pfstate.ID{ID: 7, CreatorID: hostC}
	anew := []string{"delete 1", "create 1"}
	for _, tc := range []struct {
		name  string
		have  func(r *desk)
		hear  func(r *desk)
		names string
		ops   []string
	}{
		{"passes there, and we have its predecessor's end", func(r *desk) { r.known(5, fin) },
			func(r *desk) { r.c.say(ins(theirC, est)) }, "C7", anew},
		{"passes there, and our end is older", func(r *desk) { r.made(fin); r.pass(5 * second) },
			func(r *desk) { r.b.say(ins(lower(5), est)) }, "Z5", anew},
		{"passes there, as here", func(r *desk) { r.made(est); r.pass(5 * second) },
			func(r *desk) { r.b.say(ins(lower(5), est)) }, "Z5", nil},
		{"passes here, and they remember an end", func(r *desk) { r.made(est); r.pass(5 * second) },
			func(r *desk) { r.b.hearsay(upd(lower(5), fin)) }, "A0", nil},
		{"its maker has begun it anew", func(r *desk) { r.known(5, est) },
			func(r *desk) { r.b.hearsay(ins(theirs(6), syn)) }, "B6", anew},
		{"its maker has it again where it closes", func(r *desk) { r.known(5, fin) },
			func(r *desk) { r.b.hearsay(upd(theirs(6), est)) }, "B6", anew},
		{"its maker has forgotten its name", func(r *desk) { r.known(5, est) },
			func(r *desk) { r.b.hearsay(upd(theirs(6), est)) }, "B6", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			tc.have(r)
			r.sent()
			r.ops()
			tc.hear(r)
			r.expectNames(tc.names)
			r.expectOps(tc.ops...)
		})
	}
}

// TestClaimOpened: a handshake that a peer has heard the first step of, and that
// is past it in our kernel, came further here, whoever named it; but not if an
// earlier run wrote the entry.
func TestClaimOpened(t *testing.T) {
	est := tcp(1, pfstate.TCPEstablished)
	for _, tc := range []struct {
		name    string
		record  pfstate.ID
		kernel  pfstate.Flow
		carried bool
	}{
		{"by our name", pfstate.ID{ID: 3, CreatorID: hostA}, est, true},
		{"by a peer's", theirs(5), est, true},
		{"by our name, written", pfstate.ID{ID: 3, CreatorID: hostA}, writtenEntry(est), false},
		{"by a peer's, written", theirs(5), writtenEntry(est), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := starting(t, tc.kernel)
			r.transfer(0, upd(tc.record, tcp(1, pfstate.TCPSynSent)))
			if got := r.state(tc.record).Carried(); got != tc.carried {
				t.Errorf("it is carried here %v, want %v", got, tc.carried)
			}
		})
	}
}

// TestInsertOvertaken: an insert that comes after a later delete of its sender
// makes no state.
func TestInsertOvertaken(t *testing.T) {
	r := ready(t)
	frame := func(no uint32, it item) {
		r.e.Remote(r.now, r.b.addr, r.b.bytes(no, syncproto.InfoCarried, []item{it}))
	}
	first := r.b.frame + 1
	frame(first+1, del(theirs(5)))
	frame(first, ins(theirs(5), udp(1, answered)))
	r.expectNames()
	frame(first+2, ins(theirs(5), udp(1, answered)))
	r.expectNames("B5")
}
