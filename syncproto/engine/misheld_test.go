package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
)

// TestMisheld: what the kernel has made of a peer's connection otherwise than
// told is removed, not told and not made again; what packets have made otherwise
// is a later connection.
func TestMisheld(t *testing.T) {
	told := masqueraded(udp(1, assured), 9)
	held := masqueraded(told, 8)
	held.Has |= pfstate.HasWritten
	made := held
	made.Has &^= pfstate.HasWritten
	for _, tc := range []struct {
		name string
		do   func(r *desk)
		ops  []string
		sent []string
		want []string
	}{
		{"found", func(r *desk) { r.dump(held) }, []string{"delete 1"}, nil, []string{"B5"}},
		{"told", func(r *desk) { r.changed(held) }, []string{"delete 1"}, nil, []string{"B5"}},
		{"a later connection", func(r *desk) { r.dump(made) }, nil, []string{"DEL_C B5 killed", "INS A0 2:2"}, []string{"A0"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			r.known(5, told)
			r.pass(3 * second)
			tc.do(r)
			r.expectOps(tc.ops...)
			if len(tc.ops) > 0 {
				r.done(pfstate.ResultOK)
			}
			r.expectSent(tc.sent...)
			r.expectNames(tc.want...)
			r.dump()
			r.b.say(upd(theirs(5), told))
			if len(tc.ops) > 0 {
				r.expectOps()
				r.expectReason(ReasonKernelOther, 1)
			}
		})
	}
}

// TestCarrierStays: a peer that does not carry a connection has it translated
// otherwise. That ends nothing where it lives.
func TestCarrierStays(t *testing.T) {
	r := ready(t)
	r.made(masqueraded(udp(1, assured), 9))
	r.expectSent("INS A0 2:2")
	r.pass(3 * second)
	r.b.hearsay(ins(theirs(5), masqueraded(udp(1, assured), 8)))
	r.expectOps()
	r.expectNames("A0")
	r.expectReason(ReasonCollision, 1)
	r.expectSent("UPD A0 2:2")
}
