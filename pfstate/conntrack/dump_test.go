package conntrack

import (
	"errors"
	"io"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
)

// TestDumpComplete: every entry of a large table is told exactly once.
func TestDumpComplete(t *testing.T) {
	const flows = 20000
	ns := newNS(t)
	createMany(t, newInjector(t, ns), flows)
	ns.Do(func() {
		if n, err := Count(); err != nil || n != flows {
			t.Errorf("Count: %d, %v", n, err)
		}
	})
	d := newDumper(t, ns)
	for range 2 {
		got, end := dumpAll(t, d, Filter{})
		if end.Kind != pfstate.EventDumpEnd || end.Partial {
			t.Fatalf("the dump ended with %+v", end)
		}
		seen := make(map[pfstate.Tuple]int)
		for _, f := range got {
			seen[f.Orig]++
		}
		if len(got) != flows || len(seen) != flows {
			t.Fatalf("%d records of %d entries, %d expected", len(got), len(seen), flows)
		}
	}
	if s := d.Stats(); s.Records != 2*flows || s.Malformed+s.Truncated+s.Failed+s.Intr != 0 {
		t.Errorf("stats %+v", s)
	}
}

// entryKey tells the entries of flowCases apart.
type entryKey struct {
	orig  pfstate.Tuple
	proto uint8
	zone  [2]uint16
}

func keyOf(f *pfstate.Flow) entryKey { return entryKey{f.Orig, f.Proto, f.Zone} }

// TestDumpFilters: each filter selects what it says, and such a dump is partial.
func TestDumpFilters(t *testing.T) {
	ns := newNS(t)
	inj := newInjector(t, ns)
	cases := flowCases()
	for _, tc := range cases {
		must(t, inj, pfstate.OpCreate, tc.flow, pfstate.ResultOK)
	}
	d := newDumper(t, ns)
	for _, tc := range []struct {
		name string
		f    Filter
		want func(*pfstate.Flow) bool
	}{
		{"ipv4", Filter{AF: pfstate.AFInet}, func(f *pfstate.Flow) bool { return f.AF == pfstate.AFInet }},
		{"ipv6", Filter{AF: pfstate.AFInet6}, func(f *pfstate.Flow) bool { return f.AF == pfstate.AFInet6 }},
		{"udp of both", Filter{Proto: pfstate.ProtoUDP}, func(f *pfstate.Flow) bool { return f.Proto == pfstate.ProtoUDP }},
		{"tcp6", Filter{AF: pfstate.AFInet6, Proto: pfstate.ProtoTCP}, func(f *pfstate.Flow) bool {
			return f.AF == pfstate.AFInet6 && f.Proto == pfstate.ProtoTCP
		}},
		{"esp", Filter{Proto: pfstate.ProtoESP}, func(f *pfstate.Flow) bool { return f.Proto == pfstate.ProtoESP }},
		{"mark", Filter{Mark: 0xdead0000, MarkMask: 0xffff0000}, func(f *pfstate.Flow) bool { return f.Mark == 0xdeadbeef }},
		{"unmarked", Filter{MarkMask: 0xffffffff}, func(f *pfstate.Flow) bool { return f.Mark == 0 }},
		{"not assured", Filter{StatusMask: pfstate.StatusAssured}, func(f *pfstate.Flow) bool { return f.Status&pfstate.StatusAssured == 0 }},
		{"source nat", Filter{Status: pfstate.StatusSrcNAT, StatusMask: pfstate.StatusSrcNAT}, func(f *pfstate.Flow) bool { return f.Status&pfstate.StatusSrcNAT != 0 }},
		{"zone", Filter{HasZone: true, Zone: 7}, func(f *pfstate.Flow) bool { return f.Zone == [2]uint16{7, 7} }},
		{"zone 0", Filter{HasZone: true}, func(f *pfstate.Flow) bool { return f.Zone == [2]uint16{} }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			want := make(map[entryKey]bool)
			for k := range cases {
				if tc.want(&cases[k].flow) {
					want[keyOf(&cases[k].flow)] = true
				}
			}
			got, end := dumpAll(t, d, tc.f)
			if end.Kind != pfstate.EventDumpEnd || !end.Partial {
				t.Errorf("ended with %+v", end)
			}
			for _, f := range got {
				if !want[keyOf(&f)] {
					t.Errorf("not asked for: %+v", f)
				}
				delete(want, keyOf(&f))
			}
			if len(want) != 0 {
				t.Errorf("missing: %v", want)
			}
		})
	}
}

// TestDumpPaced reads a dump in small steps: one event at a time, with changes
// of the table in between.
func TestDumpPaced(t *testing.T) {
	const flows = 2000
	ns := newNS(t)
	inj := newInjector(t, ns)
	d := newDumper(t, ns)
	createMany(t, inj, flows)
	if err := d.Begin(Filter{}); err != nil {
		t.Fatal(err)
	}
	if err := d.Begin(Filter{}); !errors.Is(err, ErrBusy) {
		t.Errorf("a second Begin: %v", err)
	}
	evs := make([]pfstate.Event, 1)
	records := 0
	for {
		n, err := d.Read(evs)
		if n != 1 || err != nil {
			t.Fatalf("Read: %d, %v", n, err)
		}
		if evs[0].Kind != pfstate.EventDump {
			break
		}
		records++
	}
	if evs[0].Kind != pfstate.EventDumpEnd || records != flows {
		t.Errorf("%d records, then %+v", records, evs[0].Kind)
	}
	if _, err := d.Read(evs); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
}

// TestDumpAbort: a dump given up leaves nothing for the next.
func TestDumpAbort(t *testing.T) {
	const flows = 3000
	ns := newNS(t)
	createMany(t, newInjector(t, ns), flows)
	d := newDumper(t, ns)
	if err := d.Begin(Filter{}); err != nil {
		t.Fatal(err)
	}
	if n, err := d.Read(make([]pfstate.Event, 10)); n != 10 || err != nil {
		t.Fatalf("Read: %d, %v", n, err)
	}
	d.Abort()
	if _, err := d.Read(make([]pfstate.Event, 10)); err != io.EOF {
		t.Errorf("after Abort: %v", err)
	}
	if got, end := dumpAll(t, d, Filter{}); len(got) != flows || end.Kind != pfstate.EventDumpEnd {
		t.Errorf("%d records, then %+v", len(got), end.Kind)
	}
}

// TestDumpTruncated: records cut off by too small a buffer make the dump fail,
// they are not passed over in silence.
func TestDumpTruncated(t *testing.T) {
	ns := newNS(t)
	createMany(t, newInjector(t, ns), 2000)
	d := newDumper(t, ns)
	dumpAll(t, d, Filter{}) // the kernel now knows of a large buffer
	d.recv = newReceiver(1, 1500)
	got, end := dumpAll(t, d, Filter{})
	if end.Kind != pfstate.EventDumpFail || len(got) >= 2000 {
		t.Errorf("%d records, then %+v", len(got), end.Kind)
	}
	if s := d.Stats(); s.Truncated == 0 || s.Failed != 1 {
		t.Errorf("stats %+v", s)
	}
}

func TestDumpAllocs(t *testing.T) {
	ns := newNS(t)
	createMany(t, newInjector(t, ns), 1000)
	d := newDumper(t, ns)
	evs := make([]pfstate.Event, 256)
	if n := testing.AllocsPerRun(10, func() {
		if err := d.Begin(Filter{}); err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := d.Read(evs); err == io.EOF {
				return
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations a dump", n)
	}
}

func TestInjectAllocs(t *testing.T) {
	inj := newInjector(t, newNS(t))
	const flows = 1000
	create, update, get, remove := manyOps(pfstate.OpCreate, flows), manyOps(pfstate.OpUpdate, flows), manyOps(pfstate.OpGet, flows), manyOps(pfstate.OpDelete, flows)
	res := make([]pfstate.Result, flows)
	if n := testing.AllocsPerRun(5, func() {
		for _, ops := range [][]pfstate.Op{create, update, get, remove} {
			if _, err := inj.Do(ops, res); err != nil {
				t.Fatal(err)
			}
			for k := range res {
				if res[k].Code != pfstate.ResultOK {
					t.Fatalf("operation %d: %v", ops[k].Kind, res[k].Code)
				}
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations for %d operations", n, 4*flows)
	}
}
