package engine

import (
	"strings"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
)

// TestRefusals: a state that was refused is not asked for by each update of it,
// but as soon as it would be taken, and now and then.
func TestRefusals(t *testing.T) {
	kernel := tcp(1, pfstate.TCPEstablished)
	name := pfstate.ID{ID: 5, CreatorID: 0xd000}
	port := pfstate.Filter{Ports: []uint16{kernel.Orig.DstPort}}
	full := func(r *desk) {
		r.b.say(ins(theirs(9), udp(9, assured)))
		r.kernel()
	}
	for _, tc := range []struct {
		name   string
		change func(*Config)
		before func(*desk)
		from   func(*desk) *speaker // who goes on to tell of it; nil: who told
		then   func(*desk)
		asked  bool // at once after that
	}{
		{name: "no room", change: func(c *Config) { c.MaxStates = 1 }, before: full},
		{name: "no room, then some", change: func(c *Config) { c.MaxStates = 1 }, before: full, then: func(r *desk) { r.b.say(kill(theirs(9))); r.kernel() }, asked: true},
		{name: "no room, then maxstates is more", change: func(c *Config) { c.MaxStates = 1 }, before: full, then: func(r *desk) {
			c := r.e.Config()
			c.MaxStates = 2
			r.e.Set(r.now, c, false)
		}, asked: true},
		{name: "filtered", change: func(c *Config) { c.Filter = port }},
		{name: "filtered, then not", change: func(c *Config) { c.Filter = port }, then: func(r *desk) {
			c := r.e.Config()
			c.Filter = pfstate.Filter{}
			r.e.Set(r.now, c, false)
		}, asked: true},
		{name: "another tells of it", change: func(c *Config) { c.Filter = port }, from: func(r *desk) *speaker { return r.c }, asked: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t, tc.change)
			if tc.before != nil {
				tc.before(r)
			}
			r.bsd.say(ins(name, kernel))
			r.until(r.now + second)
			from := r.bsd
			if tc.from != nil {
				from = tc.from(r)
			}
			asks := func(seconds int64) (n int) {
				for range 10 * seconds {
					from.say(updc(name, kernel))
					for _, w := range r.until(r.now + second/10) {
						if strings.HasPrefix(w, "UPD_REQ D5") {
							n++
							r.bsd.say(upd(name, kernel))
						}
					}
				}
				return n
			}
			if tc.then == nil && tc.from == nil {
				if n := asks(180); n < 2 || n > 4 {
					t.Errorf("asked %d times in three minutes", n)
				}
				return
			}
			if tc.then != nil {
				tc.then(r)
			}
			if n := asks(1); (n > 0) != tc.asked {
				t.Errorf("asked %d times", n)
			}
		})
	}
}
