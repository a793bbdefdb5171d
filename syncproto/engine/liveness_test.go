package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
)

// TestLiveness: a dump that finds a timeout refreshed is a sign of life. It is
// told within a second, and not each time.
func TestLiveness(t *testing.T) {
	f := tcp(1, pfstate.TCPEstablished) // 432000 s
	r := ready(t)
	r.made(f)
	r.expectSent("INS A0 4:4")

	r.pass(10 * second)
	r.dump(f)
	r.expectSent()
	r.expect("refreshed a little", r.until(r.now+2*second))

	r.pass(60_000 * second) // more than an eighth of the timeout
	r.dump(left(f, 432000-60_000))
	r.expect("not refreshed", r.until(r.now+2*second))
	r.dump(f)
	begin := r.now
	r.expectSent()
	r.expect("refreshed", r.until(begin+second), "UPD_C A0 4:4")
	r.dump(f)
	r.expect("again", r.until(r.now+2*second))

	r.pass(100_000 * second)
	r.dump(left(f, 200_000))
	r.expect("to a timeout unlike the receiver's", r.until(r.now+2*second))
	r.dump(left(f, 320_000))
	r.expect("to a timeout still unlike", r.until(r.now+2*second))
}

// TestLivenessTakesOver: the first sign of life of what a peer carried is told
// whatever the time.
func TestLivenessTakesOver(t *testing.T) {
	r := ready(t)
	name := r.known(5, udp(1, assured))
	if r.state(name).Carried() {
		t.Fatal("carried before a packet was seen")
	}
	r.pass(20 * second)
	r.b.say()
	r.dump(udp(1, assured))
	r.expect("told", r.until(r.now+second), "UPD_C B5 2:2")
	if !r.state(name).Carried() {
		t.Error("not carried")
	}
}

// TestDeaf: an entry first met in a dump may never send an event. Dumps tell
// its changes, and that is nothing to be counted as wrong.
func TestDeaf(t *testing.T) {
	r := ready(t)
	r.dump(tcp(1, pfstate.TCPEstablished))
	r.expectReason(ReasonReconciled, 1)
	r.expectSent("INS A0 4:4")
	if !r.state(mine(0)).Has(pfstate.FlagDeaf) {
		t.Error("not taken for deaf")
	}
	r.pass(10 * second)
	r.dump(tcp(1, pfstate.TCPFinWait))
	r.expectSent("UPD_C A0 7:4")
	r.expectReason(ReasonReconciled, 1)

	r.pass(10 * second)
	r.made(tcp(2, pfstate.TCPEstablished)) // one that does tell
	r.expectSent("INS A1 4:4")
	r.pass(10 * second)
	r.dump(left(tcp(1, pfstate.TCPFinWait), 100), tcp(2, pfstate.TCPFinWait))
	r.expectSent("UPD_C A1 7:4")
	r.expectReason(ReasonReconciled, 2)
}

// TestDeafUntilItsEvent: the first event ends that.
func TestDeafUntilItsEvent(t *testing.T) {
	r := ready(t)
	r.dump(tcp(1, pfstate.TCPEstablished))
	r.changed(tcp(1, pfstate.TCPFinWait))
	if r.state(mine(0)).Has(pfstate.FlagDeaf) {
		t.Error("still taken for deaf after an event")
	}
}
