package engine

import (
	"strings"
	"testing"

	"github.com/pfsync/pfsync/syncproto"
)

// TestNotAloneAnyMore: who was alone asks the first peer that comes, without
// being demoted for it, and has its states in the end.
func TestNotAloneAnyMore(t *testing.T) {
	t.Run("linux", func(t *testing.T) {
		r := newDesk(t)
		r.noLongerAlone(t, func() { r.b.say() })
		r.b.sending(bus(syncproto.BusStart))
		r.b.say(bus(syncproto.BusEnd))
		r.inSync(t)
	})
	t.Run("bsd", func(t *testing.T) {
		r := newDesk(t)
		r.noLongerAlone(t, func() { r.bsd.say() })
		r.bsd.say(busOf(0xd000, syncproto.BusStart))
		r.bsd.say(busOf(0xd000, syncproto.BusEnd))
		r.inSync(t)
	})
	t.Run("bsd that does not answer", func(t *testing.T) {
		r := newDesk(t)
		r.noLongerAlone(t, func() { r.bsd.say() })
		asked := 0
		for range 600 { // it is never silent for long
			for _, w := range r.until(r.now + second) {
				asked += strings.Count(w, "UPD_REQ 0")
			}
			r.bsd.say()
		}
		if s := r.e.Status(r.now).Sync; s != SyncFailed || asked > bulkTries {
			t.Errorf("%v, asked %d times more", s, asked)
		}
	})
}

// noLongerAlone has somebody say something to one who has given up.
func (r *desk) noLongerAlone(t *testing.T, say func()) {
	t.Helper()
	r.linkUp()
	r.dump()
	r.until(r.now + 60*second)
	if s := r.e.Status(r.now).Sync; s != SyncAlone {
		t.Fatalf("%v", s)
	}
	say()
	asked := false
	for range 40 {
		for _, w := range r.until(r.now + 100*milli) {
			asked = asked || w == "UPD_REQ 0"
		}
		say()
		if d := r.e.Status(r.now).Demotion; d != 0 {
			t.Fatalf("demoted by %d", d)
		}
	}
	if !asked {
		t.Fatal("asked nobody")
	}
}

func (r *desk) inSync(t *testing.T) {
	t.Helper()
	r.pass(0)
	if s := r.e.Status(r.now).Sync; s != SyncOK {
		t.Errorf("%v", s)
	}
}
