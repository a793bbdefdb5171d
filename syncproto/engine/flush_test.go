package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// TestFlush: every state goes from the kernel, and one CLR goes out.
func TestFlush(t *testing.T) {
	r := ready(t)
	r.made(udp(1, fresh))
	r.expectSent("INS A0 1:0")
	r.known(5, udp(2, fresh))
	r.e.Flush(r.now)
	r.expectOps("delete 1", "delete 2")
	for _, op := range r.asked {
		if op.MaxLeft != 0 {
			t.Error("a delete is guarded")
		}
	}
	r.done(pfstate.ResultOK)
	r.expect("sent", r.until(r.now+second/2), "CLR")
	r.expectNames()
}

// TestFlushElsewhere: what passes here ends everywhere, whoever made it; what
// passes elsewhere comes back.
func TestFlushElsewhere(t *testing.T) {
	r := ready(t)
	r.known(5, udp(1, fresh))
	r.known(6, udp(2, fresh))
	r.pass(2 * second)
	r.changed(udp(1, answered))
	r.sent()
	r.e.Flush(r.now)
	r.expect("sent", r.until(r.now+second/2), "CLR", "DEL_C B5 killed")
	r.expect("asked", r.until(r.now+second), "UPD_REQ 0")
	r.b.sending(bus(syncproto.BusStart), upd(theirs(6), udp(2, fresh)))
	r.b.say(bus(syncproto.BusEnd))
	r.kernel()
	r.expectNames("B6")
}
