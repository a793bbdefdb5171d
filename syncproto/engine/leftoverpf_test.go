package engine

import (
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// TestLeftoverPF: what a pf does not name in two transfers, of what an earlier
// run wrote at its word alone, has ended, if the pf has been there all the time;
// anything less is kept and named.
func TestLeftoverPF(t *testing.T) {
	const down, pf = 20, 0xd000
	wrote := func(f pfstate.Flow, seconds uint32) pfstate.Flow { return writtenEntry(left(f, seconds)) }
	silent := func(*desk) {}
	twice := func(r *desk) { r.transferOld(100) }
	for _, tc := range []struct {
		name   string
		kernel pfstate.Flow // the entry that is not named
		last   uint32
		first  uint32 // age of the state that the first transfer names
		second func(*desk)
		change func(*Config)
		gone   bool
	}{
		{"ended", wrote(udp(2, assured), 60), pf, 100, twice, nil, true},
		{"ended, of a longer timeout than ours", wrote(udp(2, assured), 900), pf, 100, twice, nil, true},
		{"made by packets", left(udp(2, assured), 60), pf, 100, twice, nil, false},
		{"a packet has passed since", wrote(udp(2, assured), 118), pf, 100, twice, nil, false},
		{"the pf was restarted", wrote(udp(2, assured), 60), pf, 5, func(r *desk) { r.transferOld(5) }, nil, false},
		{"told once", wrote(udp(2, assured), 60), pf, 100, silent, nil, false},
		{"of another pf", wrote(udp(2, assured), 60), 0xd001, 100, twice, nil, false},
		{"nobody knows of whom", wrote(udp(2, assured), 60), 0, 100, twice, nil, false},
		{"another kernel table", wrote(udp(2, assured), 60), pf, 100, twice, func(c *Config) { c.KernelKept = false }, false},
		{"there was another peer", wrote(udp(2, assured), 60), pf, 100, twice, func(c *Config) { c.KnownPeers = 2 }, false},
		{"there is another peer", wrote(udp(2, assured), 60), pf, 100, func(r *desk) { r.c.say(); r.transferOld(100) }, nil, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newDesk(t, func(c *Config) {
				c.KernelKept, c.DownFor, c.LastRun, c.KnownPeers = true, down*time.Second, Settled{OnlyPF: tc.last}, 1
				if tc.change != nil {
					tc.change(c)
				}
			})
			r.linkUp()
			r.dump(wrote(udp(1, assured), 60), tc.kernel)
			r.expect("asked", r.sent(), "UPD_REQ 0")
			r.transferOld(tc.first)
			tc.second(r)
			r.until(r.now + 60*second)
			found := false
			for ref := pfstate.Ref(1); ref < r.e.tab.End(); ref++ {
				found = found || r.e.tab.InUse(ref) && r.e.tab.At(ref).Orig == tc.kernel.Orig && !r.e.tab.At(ref).Has(pfstate.FlagDead)
			}
			if found == tc.gone || r.e.Stats.Reason[ReasonLeftover] != map[bool]uint64{true: 1}[tc.gone] {
				t.Errorf("found %v, leftover %d", found, r.e.Stats.Reason[ReasonLeftover])
			}
		})
	}
}

// transferOld lets the pf send its table: one state, so many seconds old, of
// the connection udp 1.
func (r *desk) transferOld(age uint32) {
	st := wire(pfstate.ID{ID: 5, CreatorID: r.bsd.creator}, left(udp(1, assured), 60))
	st.Creation = age
	r.bsd.say(busOf(r.bsd.creator, syncproto.BusStart))
	r.bsd.say(item{put: func(w *syncproto.Builder) { w.AddState(syncproto.ActUpd, syncproto.Format6, &st) }})
	r.bsd.say(busOf(r.bsd.creator, syncproto.BusEnd))
	r.pass(0)
}

// TestSettledPF: whose word all is that was written into the kernel, and when it
// is not.
func TestSettledPF(t *testing.T) {
	const pf = 0xd000
	for _, tc := range []struct {
		name string
		then func(*desk)
		want uint32
	}{
		{"a pf's", func(*desk) {}, pf},
		{"another's too", func(r *desk) { r.c.say(ins(pfstate.ID{ID: 7, CreatorID: hostC}, udp(2, assured))) }, 0},
		{"it passes here", func(r *desk) { r.now += opSettle; r.changed(left(udp(1, assured), 180)) }, 0},
		{"while our table is asked for", func(r *desk) { r.bsd.say(ask(pfstate.ID{})) }, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newDesk(t)
			r.linkUp()
			r.bsd.say(ins(pfstate.ID{ID: 4, CreatorID: pf}, udp(4, assured)))
			r.dump()
			r.transferOld(100)
			r.kernel()
			r.sent()
			tc.then(r)
			r.kernel()
			if s, ok := r.e.Settled(r.now, nil); !ok || s.OnlyPF != tc.want {
				t.Errorf("%+v, %v", s, ok)
			}
		})
	}
}
