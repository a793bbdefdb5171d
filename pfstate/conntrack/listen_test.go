package conntrack

import (
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// sentinel is an entry whose NEW event marks the end of what a test awaits.
func sentinel(n uint16) pfstate.Flow {
	return plainFlow(pfstate.ProtoUDP, tuple("192.0.2.99", n, "192.0.2.98", n))
}

// eventsUntil reads events up to the NEW of the sentinel that stranger makes
// now; the sentinel is left out.
func eventsUntil(t testing.TB, l *Listener, stranger *Injector, n uint16) []pfstate.Event {
	t.Helper()
	end := sentinel(n)
	must(t, stranger, pfstate.OpCreate, end, pfstate.ResultOK)
	return eventsWhile(t, l, func(ev *pfstate.Event) bool { return ev.Flow.Orig != end.Orig })
}

// eventsWhile reads events until one for which more is false.
func eventsWhile(t testing.TB, l *Listener, more func(*pfstate.Event) bool) (got []pfstate.Event) {
	t.Helper()
	evs := make([]pfstate.Event, 32)
	for {
		n, err := l.Read(evs)
		if err != nil {
			t.Fatal(err)
		}
		for k := range evs[:n] {
			if !more(&evs[k]) {
				return got
			}
			got = append(got, evs[k])
		}
	}
}

// TestEvents: what another program does to every kind of entry is heard, in
// order, with the contents.
func TestEvents(t *testing.T) {
	ns := newNS(t)
	stranger := newInjector(t, ns)
	l := newListener(t, ns, ListenConfig{})
	for n, tc := range flowCases() {
		t.Run(tc.name, func(t *testing.T) {
			must(t, stranger, pfstate.OpCreate, tc.flow, pfstate.ResultOK)
			entry := must(t, stranger, pfstate.OpGet, tc.flow, pfstate.ResultOK)
			changed := tc.flow
			changed.Mark, changed.Has = 5, changed.Has|pfstate.HasMark
			changed.Has &^= pfstate.HasTimeout // of GRE it cannot be changed
			must(t, stranger, pfstate.OpUpdate, changed, pfstate.ResultOK)
			must(t, stranger, pfstate.OpDelete, tc.flow, pfstate.ResultOK)
			got := eventsUntil(t, l, stranger, uint16(n+1))
			if len(got) != 3 {
				t.Fatalf("%d events: %+v", len(got), got)
			}
			for k, kind := range []pfstate.EventKind{pfstate.EventNew, pfstate.EventUpdate, pfstate.EventDestroy} {
				if got[k].Kind != kind || got[k].Flow.CtID != entry.CtID || got[k].Flow.Orig != tc.flow.Orig || got[k].Flow.Reply != tc.flow.Reply || got[k].Flow.Zone != tc.flow.Zone {
					t.Errorf("event %d: %+v", k, got[k])
				}
			}
			if d := cmp.Diff(plainOf(tc.flow), plainOf(got[0].Flow)); d != "" {
				t.Errorf("NEW (-want +got)\n%s", d)
			}
			if d := cmp.Diff(plainOf(changed), plainOf(got[1].Flow)); d != "" {
				t.Errorf("UPDATE (-want +got)\n%s", d)
			}
			if got[2].Flow.Has&pfstate.HasTimeout == 0 || got[2].Flow.Status&pfstate.StatusDying == 0 {
				t.Errorf("killed before its time, but %+v", got[2].Flow)
			}
		})
	}
	if s := l.Stats(); s.Malformed+s.Foreign+s.Overruns != 0 || s.Events == 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestEcho: what our own sockets do is not heard, and nothing else is missed:
// neither what others do to our entries nor that they expire.
func TestEcho(t *testing.T) {
	ns := newNS(t)
	own, own2, stranger := newInjector(t, ns), newInjector(t, ns), newInjector(t, ns)
	dump := newDumper(t, ns)
	l := newListener(t, ns, ListenConfig{Own: []uint32{own.PortID(), own2.PortID(), dump.PortID()}})
	cases := flowCases()
	for _, inj := range []*Injector{own, own2} {
		for _, tc := range cases {
			must(t, inj, pfstate.OpCreate, tc.flow, pfstate.ResultOK)
			must(t, inj, pfstate.OpUpdate, tc.flow, pfstate.ResultOK)
			must(t, inj, pfstate.OpDelete, tc.flow, pfstate.ResultOK)
		}
	}
	if got := eventsUntil(t, l, stranger, 1); len(got) != 0 {
		t.Fatalf("%d events of our own: %+v", len(got), got)
	}

	must(t, own, pfstate.OpCreate, cases[0].flow, pfstate.ResultOK)
	must(t, stranger, pfstate.OpUpdate, cases[0].flow, pfstate.ResultOK)
	must(t, stranger, pfstate.OpDelete, cases[0].flow, pfstate.ResultOK)
	got := eventsUntil(t, l, stranger, 2)
	if len(got) != 2 || got[0].Kind != pfstate.EventUpdate || got[1].Kind != pfstate.EventDestroy {
		t.Fatalf("of a stranger's doings: %+v", got)
	}

	brief := cases[1].flow
	brief.Timeout = 1
	must(t, own, pfstate.OpCreate, brief, pfstate.ResultOK)
	nstest.Eventually(t, patience, func() bool {
		flows, _ := dumpAll(t, dump, Filter{}) // a dump buries the dead
		for _, f := range flows {
			if f.Orig == brief.Orig {
				return false
			}
		}
		return true
	}, "our entry to expire")
	got = eventsUntil(t, l, stranger, 3)
	if len(got) != 1 || got[0].Kind != pfstate.EventDestroy || got[0].Flow.Has&pfstate.HasTimeout != 0 {
		t.Fatalf("of the expiry: %+v", got)
	}
}

// TestSkippedProtocols: pfsync and VRRP are dropped before they cost us
// anything, for both families.
func TestSkippedProtocols(t *testing.T) {
	ns := newNS(t)
	stranger := newInjector(t, ns)
	dump := newDumper(t, ns)
	l := newListener(t, ns, ListenConfig{})
	for _, proto := range skipProtocols {
		for _, tu := range []pfstate.Tuple{tuple(cli4, 0, srv4, 0), tuple(cli6, 0, srv6, 0)} {
			f := plainFlow(proto, tu)
			must(t, stranger, pfstate.OpCreate, f, pfstate.ResultOK)
			must(t, stranger, pfstate.OpUpdate, f, pfstate.ResultOK)
		}
	}
	if flows, end := dumpAll(t, dump, Filter{}); len(flows) != 0 || end.Kind != pfstate.EventDumpEnd {
		t.Errorf("dumped: %+v", flows)
	}
	if got := eventsUntil(t, l, stranger, 1); len(got) != 0 {
		t.Errorf("heard: %+v", got)
	}
	if s := l.Stats(); s.Skipped != 0 {
		t.Errorf("the kernel let %d through", s.Skipped)
	}
}

// TestPacketEvents follows a connection made by packets.
func TestPacketEvents(t *testing.T) {
	ns := newNS(t)
	own := newInjector(t, ns)
	l := newListener(t, ns, ListenConfig{Own: []uint32{own.PortID()}})
	for _, addr := range []string{"127.0.0.1:7", "[::1]:7"} {
		ns.Echo(t, "udp", addr)
		c := ns.Dial(t, "udp", addr)
		if err := nstest.Ask(c, "hello", patience); err != nil {
			t.Fatal(err)
		}
		var kinds []pfstate.EventKind
		var last pfstate.Flow
		eventsWhile(t, l, func(ev *pfstate.Event) bool {
			kinds, last = append(kinds, ev.Kind), ev.Flow
			return ev.Flow.Status&pfstate.StatusSeenReply == 0
		})
		if d := cmp.Diff([]pfstate.EventKind{pfstate.EventNew, pfstate.EventUpdate}, kinds); d != "" {
			t.Errorf("%s: (-want +got)\n%s", addr, d)
		}
		if last.Proto != pfstate.ProtoUDP || last.Orig.DstPort != 7 || last.Reply != last.Orig.Inverse(last.Proto) {
			t.Errorf("%s: %+v", addr, last)
		}
	}
}

// TestOverrun: lost events are told as such; until the backlog has been read
// more are lost, then that is told, and what follows is heard again.
func TestOverrun(t *testing.T) {
	ns := newNS(t)
	stranger := newInjector(t, ns)
	l := newListener(t, ns, ListenConfig{RcvBuf: 4096})
	before := l.Stats().RcvBuf
	const flows = 2000
	createMany(t, stranger, flows)
	evs := make([]pfstate.Event, 8)
	if n, err := l.Read(evs); n != 1 || err != nil || evs[0].Kind != pfstate.EventOverrun || !evs[0].Partial {
		t.Fatalf("at first: %d, %v, %+v", n, err, evs[0])
	}
	must(t, stranger, pfstate.OpCreate, sentinel(2), pfstate.ResultOK)
	var over pfstate.Event
	got := eventsWhile(t, l, func(ev *pfstate.Event) bool { over = *ev; return ev.Kind != pfstate.EventOverrun })
	if len(got) == 0 || len(got) >= flows || over.Partial {
		t.Errorf("%d of %d told, then %+v", len(got), flows, over)
	}
	for i := range got {
		if got[i].Kind != pfstate.EventNew || got[i].Flow.Orig == sentinel(2).Orig {
			t.Errorf("in the backlog: %+v", got[i])
		}
	}
	eventsUntil(t, l, stranger, 1)
	if s := l.Stats(); s.Overruns == 0 || s.RcvBuf <= before {
		t.Errorf("stats %+v, the buffer was %d", s, before)
	}
}

// createMany makes n entries.
func createMany(t testing.TB, i *Injector, n int) {
	t.Helper()
	ops, res := manyOps(pfstate.OpCreate, n), make([]pfstate.Result, n)
	if done, err := i.Do(ops, res); done != n || err != nil {
		t.Fatalf("Do: %d of %d, %v", done, n, err)
	}
	for k := range res {
		if res[k].Code != pfstate.ResultOK {
			t.Fatalf("create %d: %v (%v)", k, res[k].Code, res[k].Errno)
		}
	}
}

// manyOps gives n operations on n established TCP connections.
func manyOps(kind pfstate.OpKind, n int) []pfstate.Op {
	ops := make([]pfstate.Op, n)
	for k := range ops {
		f := established(plainFlow(pfstate.ProtoTCP, tuple(cli4, uint16(k), srv4, 80)))
		f.Orig.Src[1] = byte(k >> 16)
		f.Reply = f.Orig.Inverse(f.Proto)
		ops[k] = pfstate.Op{Kind: kind, Ref: uint64(k), Flow: f}
	}
	return ops
}

func TestListenerClose(t *testing.T) {
	l := newListener(t, newNS(t), ListenConfig{})
	errs := make(chan error, 1)
	go func() {
		_, err := l.Read(make([]pfstate.Event, 1))
		errs <- err
	}()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-errs; !errors.Is(err, os.ErrClosed) {
		t.Errorf("Read returned %v", err)
	}
	if _, err := l.Read(make([]pfstate.Event, 1)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Read after Close returned %v", err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// TestListenAllocs: reading events allocates nothing.
func TestListenAllocs(t *testing.T) {
	ns := newNS(t)
	stranger := newInjector(t, ns)
	l := newListener(t, ns, ListenConfig{})
	const runs = 50
	createMany(t, stranger, 4*(runs+2))
	evs := make([]pfstate.Event, 4)
	if n := testing.AllocsPerRun(runs, func() {
		if n, err := l.Read(evs); n != len(evs) || err != nil {
			t.Fatalf("Read: %d, %v", n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a Read", n)
	}
}
