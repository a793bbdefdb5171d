package engine

import (
	"strings"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// sloppyPair is a pair of the desk's pf, D5 and D6.
func sloppyPair(nat func(*pfstate.Flow), half uint8, expire uint32) (in, out syncproto.State) {
	in, out = strictPair(nat, half, half)
	in.ID, out.ID = 5, 6
	for _, st := range []*syncproto.State{&in, &out} {
		st.CreatorID, st.StateFlags, st.Expire = 0xd000, syncproto.FlagSloppy, expire
	}
	return in, out
}

// transferPF lets a pf send a pair as its table.
func (r *desk) transferPF(in, out syncproto.State) {
	r.bsd.say(busOf(r.bsd.creator, syncproto.BusStart))
	for _, st := range []*syncproto.State{&in, &out} {
		r.bsd.say(item{put: func(w *syncproto.Builder) { w.AddState(syncproto.ActUpd, syncproto.Format6, st) }})
	}
	r.bsd.say(busOf(r.bsd.creator, syncproto.BusEnd))
	r.pass(0)
}

// TestClaimPF: an entry found at start is claimed by both names of a pf's pair,
// however it is translated. What passes here is told as it is here.
func TestClaimPF(t *testing.T) {
	for name, nat := range map[string]func(*pfstate.Flow){"plain": nil, "snat": snat, "dnat": dnat, "both": both} {
		for when, expire := range map[string]uint32{"passes here": 86300, "does not": 86400} {
			t.Run(name+", "+when, func(t *testing.T) {
				in, out := sloppyPair(nat, pfstate.PFEstablished, expire)
				kernel := tcpFlow(pfstate.TCPEstablished, nat)
				kernel.Timeout = 432000
				r := starting(t, kernel)
				r.transferPF(in, out)
				r.expectOps()
				r.sent()
				a, b := pfstate.ID(in.StateID()), pfstate.ID(out.StateID())
				if s := r.state(a); s == nil || s.Name(pfstate.SideIn) != a || s.Name(pfstate.SideOut) != b || s.Carried() != (expire == 86300) {
					t.Fatalf("%+v", s)
				}
				r.bsd.say(ask(a))
				r.expectSent("UPD D5 4:4 tlv 16", "UPD D6 4:4 tlv 16")
			})
		}
	}
}

// TestClaimPFEarlier: what a transfer tells of a pair that closes, while a later
// connection of the tuple opens here, is told over by both names.
func TestClaimPFEarlier(t *testing.T) {
	for name, nat := range map[string]func(*pfstate.Flow){"plain": nil, "snat": snat, "dnat": dnat, "both": both} {
		t.Run(name, func(t *testing.T) {
			in, out := sloppyPair(nat, pfstate.PFTimeWait, 5)
			r := starting(t, tcpFlow(pfstate.TCPSynSent, dnat))
			r.transferPF(in, out)
			r.expectOps()
			r.expect("deleted", r.until(r.now + second/2)[:2], "DEL_C D5", "DEL_C D6")
		})
	}
}

// TestClaimPFLater: an entry that an earlier run wrote makes room for a pair that
// can only be of a later connection, and nothing is said against that.
func TestClaimPFLater(t *testing.T) {
	for _, tc := range []struct {
		name   string
		kernel pfstate.Flow
		nat    func(*pfstate.Flow)
	}{
		{"it is translated", left(tcpFlow(pfstate.TCPEstablished, nil), 432000-60), snat},
		{"it is younger than the last packet of the entry", left(tcpFlow(pfstate.TCPTimeWait, nil), 60), nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in, out := sloppyPair(tc.nat, pfstate.PFEstablished, 100) // its timeouts are short
			in.Creation, out.Creation = 20, 20
			r := starting(t, writtenEntry(tc.kernel))
			r.transferPF(in, out)
			var ops []string
			for got := r.ops(); len(got) > 0; got = r.ops() {
				for _, op := range got {
					ops = append(ops, strings.Fields(op)[0])
				}
				r.done(pfstate.ResultOK)
			}
			r.expect("operations", ops, "delete", "create")
			for _, said := range r.until(r.now + second/2) {
				if strings.HasPrefix(said, "DEL") {
					t.Errorf("sent %q", said)
				}
			}
			r.expectNames("D5=D6")
			want := tcpFlow(pfstate.TCPEstablished, tc.nat)
			if s := r.state(pfstate.ID(in.StateID())); s.Reply != want.Reply || s.ProtoState != pfstate.TCPEstablished {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestPFMovedElsewhere: what a pf has told is old when its connection passes at
// another Linux peer, and is not told any more.
func TestPFMovedElsewhere(t *testing.T) {
	for name, nat := range map[string]func(*pfstate.Flow){"plain": nil, "both": both} {
		t.Run(name, func(t *testing.T) {
			in, out := sloppyPair(nat, pfstate.PFEstablished, 86400)
			kernel := tcpFlow(pfstate.TCPEstablished, nat)
			kernel.Timeout = 432000
			r := starting(t, kernel)
			r.transferPF(in, out)
			kernel.ProtoState = pfstate.TCPTimeWait
			id := pfstate.ID(in.StateID())
			r.b.say(updc(id, kernel))
			r.kernel()
			r.sent()
			r.bsd.say(ask(id))
			for _, said := range r.sent() {
				if !strings.Contains(said, " 9:9") {
					t.Errorf("sent %q", said)
				}
			}
		})
	}
}
