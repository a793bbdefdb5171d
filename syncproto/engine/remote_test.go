package engine

import (
	"fmt"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
)

// TestClear: a CLR ends its creator's states but those that pass here.
func TestClear(t *testing.T) {
	r := ready(t)
	r.known(5, udp(1, assured))
	carried := r.known(6, udp(2, answered))
	r.changed(udp(2, assured))
	r.made(udp(3, fresh))
	r.expectSent("UPD_C B6 2:2", "INS A0 1:0")
	r.pass(2 * second)
	r.b.say(clr(hostB))
	r.expectOps("delete 1")
	r.done(pfstate.ResultOK)
	r.expect("announced again", r.sent(), "UPD B6 2:2")
	r.expectNames("A0", "B6")
	if r.state(carried).Has(pfstate.FlagDead) {
		t.Error("the carried one is dead")
	}
	r.b.say(clr(0))
	r.expectOps()
}

// TestRebroadcast: what came from a peer is never told as ours.
func TestRebroadcast(t *testing.T) {
	r := ready(t)
	name := theirs(5)
	r.b.say(ins(name, tcp(1, pfstate.TCPSynSent)))
	r.kernel()
	r.b.say(updc(name, tcp(1, pfstate.TCPEstablished)))
	r.kernel()
	r.b.say(upd(name, tcp(1, pfstate.TCPFinWait)))
	r.kernel()
	r.b.say(del(name))
	r.kernel()
	r.expect("sent", r.until(r.now+5*second))
}

// TestStale: who lags behind is told where we are, once a second.
func TestStale(t *testing.T) {
	r := ready(t)
	r.made(tcp(1, pfstate.TCPSynSent))
	r.changed(tcp(1, pfstate.TCPFinWait))
	r.expectSent("INS A0 7:4")
	r.pass(2 * second)
	r.b.say(updc(mine(0), tcp(1, pfstate.TCPEstablished)))
	r.expect("answered", r.sent(), "UPD_C A0 7:4")
	if r.e.Stats.Count[CountStale] != 1 {
		t.Error("not counted")
	}
	r.b.say(updc(mine(0), tcp(1, pfstate.TCPEstablished)))
	r.expect("at once again", r.sent())
	r.expectOps()
}

// TestUnknownUpdate: a compressed update for a name we do not know is asked
// for.
func TestUnknownUpdate(t *testing.T) {
	r := ready(t)
	r.b.say(updc(theirs(5), tcp(1, pfstate.TCPEstablished)))
	r.expect("asked", r.sent(), "UPD_REQ B5")
	r.b.say(upd(theirs(5), tcp(1, pfstate.TCPEstablished)))
	r.expectOps("create 1")
}

// TestRequest: an UPD_REQ is answered at once, of what lives.
func TestRequest(t *testing.T) {
	r := ready(t)
	r.made(udp(1, assured))
	r.expectSent("INS A0 2:2")
	heard := r.known(5, udp(2, assured))
	r.b.say(ask(mine(0)), ask(heard), ask(theirs(99)))
	got := fmt.Sprint(r.sent())
	if want := "[UPD A0 2:2 carried UPD B5 2:2]"; got != want && got != "[UPD A0 2:2 UPD B5 2:2]" {
		t.Errorf("answer: %s, want %s", got, want)
	}
	r.pass(119 * second)
	r.b.say(ask(heard))
	r.expect("hearsay that is over", r.sent())
}
