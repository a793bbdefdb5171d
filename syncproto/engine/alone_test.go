package engine

import (
	"testing"

	"github.com/pfsync/pfsync/syncproto"
)

// TestNotAloneAnyMore: who was alone asks the first Linux peer that comes,
// without being demoted for it, and has its states in the end.
func TestNotAloneAnyMore(t *testing.T) {
	r := newDesk(t)
	r.linkUp()
	r.dump()
	r.until(r.now + 60*second)
	if s := r.e.Status(r.now).Sync; s != SyncAlone {
		t.Fatalf("%v", s)
	}
	r.b.say()
	asked := false
	for range 40 {
		for _, w := range r.until(r.now + 100*milli) {
			asked = asked || w == "UPD_REQ 0"
		}
		r.b.say()
		if d := r.e.Status(r.now).Demotion; d != 0 {
			t.Fatalf("demoted by %d", d)
		}
	}
	if !asked {
		t.Fatal("asked nobody")
	}
	r.b.sending(bus(syncproto.BusStart))
	r.b.say(bus(syncproto.BusEnd))
	r.pass(0)
	if s := r.e.Status(r.now).Sync; s != SyncOK {
		t.Errorf("%v", s)
	}
}
