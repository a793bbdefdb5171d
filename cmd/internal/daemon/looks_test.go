package daemon

import (
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// Costs of an entry that the kernel tells and of one it passes over, as
// measured (looks.go).
const (
	tellCost = 2200 * time.Nanosecond
	passCost = 250 * time.Nanosecond
)

// simulateLooks lets a day pass with tables of a size, and returns what looks
// cost and how often each kind was looked at, at the longest.
func simulateLooks(states, brief, streams int) (cost time.Duration, longest [lookKinds]time.Duration) {
	const day = 24 * time.Hour
	s := newSchedule()
	told := [lookKinds]int{states, brief, streams}
	var seen [lookKinds]int64
	for now := int64(0); now < int64(day); {
		kind, at := s.due()
		now = max(now, at)
		c := time.Duration(told[kind])*tellCost + time.Duration(states-told[kind])*passCost
		if kind == lookStream { // both families
			c += time.Duration(states) * passCost
		}
		cost += c
		for k := range looks {
			if kind == lookWhole || lookKind(k) == kind {
				longest[k] = max(longest[k], time.Duration(now-seen[k]))
				seen[k] = now
			}
		}
		s.looked(now, kind, int64(c))
		now += int64(c)
	}
	return cost, longest
}

// TestLooksCost: looking costs at most a twentieth of a core whatever the
// table; what ends soon is looked at in time as long as that is not too much.
func TestLooksCost(t *testing.T) {
	for _, tc := range []struct {
		name                   string
		states, brief, streams int
		briefAt, streamAt      time.Duration // within
	}{
		{"empty", 0, 0, 0, 11 * time.Second, 11 * time.Second},
		{"small", 10_000, 5_000, 5_000, 11 * time.Second, 11 * time.Second},
		{"medium", 250_000, 20_000, 20_000, 12 * time.Second, 35 * time.Second},
		{"a million, mostly TCP", 1_000_000, 10_000, 10_000, 15 * time.Second, 60 * time.Second},
		{"a million, of all kinds", 1_000_000, 100_000, 100_000, 30 * time.Second, 90 * time.Second},
		{"a million UDP streams", 1_000_000, 0, 1_000_000, 15 * time.Second, 110 * time.Second},
		{"a million queries", 1_000_000, 1_000_000, 0, 75 * time.Second, 75 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cost, longest := simulateLooks(tc.states, tc.brief, tc.streams)
			if most := 24 * time.Hour / 20; cost > most {
				t.Errorf("a day costs %v, more than %v", cost, most)
			}
			t.Logf("%.2f %% of a core, at the longest %v", cost.Hours()/24*100, longest)
			if longest[lookBrief] > tc.briefAt || longest[lookStream] > tc.streamAt {
				t.Errorf("looked at after %v and %v, want %v and %v", longest[lookBrief], longest[lookStream], tc.briefAt, tc.streamAt)
			}
		})
	}
}

// TestLooksSlow: that looks are few is noticed, and that they no longer are.
func TestLooksSlow(t *testing.T) {
	s := newSchedule()
	if s.slowed() {
		t.Error("slow before the first look")
	}
	s.looked(0, lookWhole, int64(2*time.Second))
	if s.slowed() {
		t.Errorf("slow while what ends soon is looked at every %v", s.interval())
	}
	s.looked(0, lookBrief, int64(time.Second))
	if !s.slowed() || s.interval() != 40*time.Second { // half of what the whole costs is just worth it
		t.Errorf("interval %v, slow %v", s.interval(), s.slowed())
	}
	s.hint(int64(5 * time.Second))
	if kind, at := s.due(); kind != lookWhole || at != int64(6*time.Second) {
		t.Errorf("after an address moved: look %d at %v", kind, time.Duration(at))
	}
	s.looked(0, lookWhole, int64(time.Millisecond))
	if s.slowed() || s.interval() != looksEvery {
		t.Errorf("interval %v of a small table", s.interval())
	}
}

// TestLooksSelect: the kernel tells for each kind of look what is meant, and
// ends what has expired though it was not asked for.
func TestLooksSelect(t *testing.T) {
	bed := nstest.New(t)
	ns := bed.NS("fw")
	ns.Nft(t, nstest.StrictRules)
	var inj *conntrack.Injector
	var dmp *conntrack.Dumper
	var lis *conntrack.Listener
	ns.Do(func() {
		var err [3]error
		inj, err[0] = conntrack.NewInjector()
		dmp, err[1] = conntrack.NewDumper()
		lis, err[2] = conntrack.Listen(conntrack.ListenConfig{})
		for _, err := range err {
			if err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Cleanup(func() { inj.Close(); dmp.Close(); lis.Close() })

	const seen, assured = pfstate.StatusSeenReply, pfstate.StatusSeenReply | pfstate.StatusAssured
	make1 := func(port uint16, af, proto uint8, status, timeout uint32) pfstate.Op {
		f := newUDP(int(port)).Flow
		f.AF, f.Proto, f.Status, f.Timeout = af, proto, status|pfstate.StatusConfirmed, timeout
		if proto == pfstate.ProtoTCP {
			f.Has, f.ProtoState = f.Has|pfstate.HasProto, pfstate.TCPEstablished
		}
		f.Reply = f.Orig.Inverse(proto)
		return pfstate.Op{Kind: pfstate.OpCreate, Flow: f}
	}
	ops := []pfstate.Op{
		make1(1, pfstate.AFInet, pfstate.ProtoUDP, 0, 600),
		make1(2, pfstate.AFInet, pfstate.ProtoUDP, seen, 600),
		make1(3, pfstate.AFInet, pfstate.ProtoUDP, assured, 600),
		make1(4, pfstate.AFInet6, pfstate.ProtoUDP, assured, 600),
		make1(5, pfstate.AFInet6, pfstate.ProtoUDP, 0, 600),
		make1(6, pfstate.AFInet, pfstate.ProtoTCP, assured, 600),
		make1(7, pfstate.AFInet, pfstate.ProtoTCP, assured, 1), // about to expire
	}
	res := make([]pfstate.Result, len(ops))
	if _, err := inj.Do(ops, res); err != nil {
		t.Fatal(err)
	}
	for i := range res {
		if res[i].Code != pfstate.ResultOK {
			t.Fatalf("entry %d: %v", i+1, res[i].Code)
		}
	}
	ended := make(chan uint16, len(ops))
	go func() {
		evs := make([]pfstate.Event, 64)
		for {
			n, err := lis.Read(evs)
			if err != nil {
				return
			}
			for _, ev := range evs[:n] {
				if ev.Kind == pfstate.EventDestroy {
					ended <- ev.Flow.Orig.SrcPort
				}
			}
		}
	}()
	nstest.Eventually(t, patience, func() bool {
		told := readPorts(t, dmp, looks[lookBrief].filter)
		if len(told) != 3 || !told[1] || !told[2] || !told[5] {
			t.Fatalf("not assured: %v", told)
		}
		return len(ended) == 1
	}, "an expired TCP entry to be ended by a dump of others")
	if port := <-ended; port != 7 {
		t.Errorf("entry %d ended", port)
	}
	if told := readPorts(t, dmp, looks[lookStream].filter); len(told) != 2 || !told[3] || !told[4] {
		t.Errorf("streams: %v", told)
	}
	if told := readPorts(t, dmp, looks[lookWhole].filter); len(told) != 6 {
		t.Errorf("whole: %v", told)
	}
}

// readPorts makes a dump and gives the source ports it told.
func readPorts(t *testing.T, d *conntrack.Dumper, f conntrack.Filter) map[uint16]bool {
	t.Helper()
	if err := d.Begin(f); err != nil {
		t.Fatal(err)
	}
	told := map[uint16]bool{}
	for evs := make([]pfstate.Event, 64); ; {
		n, err := d.Read(evs)
		if err != nil {
			return told
		}
		for _, ev := range evs[:n] {
			if ev.Kind == pfstate.EventDump {
				told[ev.Flow.Orig.SrcPort] = true
			}
		}
	}
}
