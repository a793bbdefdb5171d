package conntrack

import (
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// patience bounds the wait for what has to come.
const patience = 60 * time.Second

// trackRules makes a namespace track, which it does only where a rule asks.
const trackRules = `table inet track { chain pre { type filter hook prerouting priority 0; ct state new counter; }; }`

// newNS makes a namespace that tracks connections and tells of all of them.
func newNS(t testing.TB) *nstest.NS {
	t.Helper()
	ns := nstest.New(t).NS("fw")
	ns.Nft(t, trackRules)
	ns.Do(func() {
		if err := EnableEvents(); err != nil {
			t.Fatal(err)
		}
	})
	return ns
}

func newInjector(t testing.TB, ns *nstest.NS) *Injector {
	t.Helper()
	var i *Injector
	var err error
	ns.Do(func() { i, err = NewInjector() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.Close() })
	return i
}

func newDumper(t testing.TB, ns *nstest.NS) *Dumper {
	t.Helper()
	var d *Dumper
	var err error
	ns.Do(func() { d, err = NewDumper() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func newListener(t testing.TB, ns *nstest.NS, cfg ListenConfig) *Listener {
	t.Helper()
	var l *Listener
	var err error
	ns.Do(func() { l, err = Listen(cfg) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// do runs one operation.
func do(t testing.TB, i *Injector, kind pfstate.OpKind, f pfstate.Flow) pfstate.Result {
	t.Helper()
	res := make([]pfstate.Result, 1)
	if n, err := i.Do([]pfstate.Op{{Kind: kind, Ref: 7, Flow: f}}, res); n != 1 || err != nil {
		t.Fatalf("Do: %d, %v", n, err)
	}
	if res[0].Kind != kind || res[0].Ref != 7 {
		t.Fatalf("result is of kind %d, ref %d", res[0].Kind, res[0].Ref)
	}
	return res[0]
}

// must runs one operation that has to have this result.
func must(t testing.TB, i *Injector, kind pfstate.OpKind, f pfstate.Flow, want pfstate.ResultCode) pfstate.Flow {
	t.Helper()
	r := do(t, i, kind, f)
	if r.Code != want {
		t.Fatalf("operation %d: %v (%v), want %v", kind, r.Code, r.Errno, want)
	}
	return r.Flow
}

// dumpAll reads a whole dump and how it ended.
func dumpAll(t testing.TB, d *Dumper, f Filter) (flows []pfstate.Flow, end pfstate.Event) {
	t.Helper()
	if err := d.Begin(f); err != nil {
		t.Fatal(err)
	}
	evs := make([]pfstate.Event, 64)
	for {
		n, err := d.Read(evs)
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range evs[:n] {
			switch ev.Kind {
			case pfstate.EventDump:
				flows = append(flows, ev.Flow)
			case pfstate.EventDumpEnd, pfstate.EventDumpFail:
				return flows, ev
			default:
				t.Fatalf("event %d in a dump", ev.Kind)
			}
		}
	}
}

// plainOf removes from f what differs from kernel to kernel and from run to run.
func plainOf(f pfstate.Flow) pfstate.Flow {
	const natBits = 0x1b0 // SRC_NAT, DST_NAT and their DONE bits
	f.CtID, f.Timeout = 0, 0
	f.Status &^= natBits
	f.Has &^= pfstate.HasTimeout | pfstate.HasWritten | pfstate.HasCounts
	f.Counts = pfstate.Counts{}
	if f.Proto == pfstate.ProtoSCTP && f.ProtoState == 0 {
		f.Has &^= pfstate.HasProto // told as state 0
	}
	if f.Mark == 0 {
		f.Has &^= pfstate.HasMark // dumps always tell it
	}
	return f
}
