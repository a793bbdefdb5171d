package conntrack

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pfsync/pfsync/pfstate"
)

// TestLifecycle takes every kind of entry through the kernel: made, made again,
// read, dumped, changed, removed, removed again.
func TestLifecycle(t *testing.T) {
	ns := newNS(t)
	inj := newInjector(t, ns)
	dump := newDumper(t, ns)
	for _, tc := range flowCases() {
		t.Run(tc.name, func(t *testing.T) {
			must(t, inj, pfstate.OpGet, tc.flow, pfstate.ResultMissing)
			must(t, inj, pfstate.OpUpdate, tc.flow, pfstate.ResultMissing)
			must(t, inj, pfstate.OpCreate, tc.flow, pfstate.ResultOK)
			must(t, inj, pfstate.OpCreate, tc.flow, pfstate.ResultExists)
			got := must(t, inj, pfstate.OpGet, tc.flow, pfstate.ResultOK)
			if d := cmp.Diff(plainOf(tc.flow), plainOf(got)); d != "" {
				t.Errorf("the kernel has (-want +got)\n%s", d)
			}
			if got.Timeout > tc.flow.Timeout || got.Timeout < tc.flow.Timeout-120 {
				t.Errorf("timeout %d, given %d", got.Timeout, tc.flow.Timeout)
			}
			flows, end := dumpAll(t, dump, Filter{})
			if end.Kind != pfstate.EventDumpEnd || end.Partial || len(flows) != 1 {
				t.Fatalf("dump of %d records ends with %+v", len(flows), end.Kind)
			}
			if d := cmp.Diff(plainOf(got), plainOf(flows[0])); d != "" {
				t.Errorf("get and dump differ (-get +dump)\n%s", d)
			}
			changed := tc.flow
			changed.Timeout = 1234
			changed.Mark, changed.Has = 0x77, changed.Has|pfstate.HasMark
			must(t, inj, pfstate.OpUpdate, changed, pfstate.ResultOK)
			got = must(t, inj, pfstate.OpGet, tc.flow, pfstate.ResultOK)
			if d := cmp.Diff(plainOf(changed), plainOf(got)); d != "" {
				t.Errorf("after the update (-want +got)\n%s", d)
			}
			if got.Timeout < 1234-120 || got.Timeout > 1234 {
				t.Errorf("timeout after the update: %d", got.Timeout)
			}
			must(t, inj, pfstate.OpDelete, tc.flow, pfstate.ResultOK)
			must(t, inj, pfstate.OpDelete, tc.flow, pfstate.ResultMissing)
			must(t, inj, pfstate.OpGet, tc.flow, pfstate.ResultMissing)
		})
	}
	if s := inj.Stats(); s.Unmatched != 0 || s.Lost != 0 || s.NoHelper != 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestDCCP works on kernels that know DCCP's ports and states, and on those
// that do not (6.17 and later) and leave both out.
func TestDCCP(t *testing.T) {
	ns := newNS(t)
	inj := newInjector(t, ns)
	known := false
	ns.Do(func() { _, err := readSysctl("dccp_timeout_open"); known = err == nil })
	for _, tc := range codecCases() {
		if tc.name != "dccp4" {
			continue
		}
		must(t, inj, pfstate.OpCreate, tc.flow, pfstate.ResultOK)
		got := must(t, inj, pfstate.OpGet, tc.flow, pfstate.ResultOK)
		if d := cmp.Diff(plainOf(tc.flow), plainOf(got)); known && d != "" {
			t.Errorf("(-want +got)\n%s", d)
		}
		must(t, inj, pfstate.OpUpdate, tc.flow, pfstate.ResultOK)
		must(t, inj, pfstate.OpUpdate, tc.flow.Reversed(), pfstate.ResultReversed)
		must(t, inj, pfstate.OpDelete, tc.flow.Reversed(), pfstate.ResultReversed)
		must(t, inj, pfstate.OpDelete, tc.flow, pfstate.ResultOK)
	}
}

// TestBatch runs all of them at once, in order, more than fit one datagram.
func TestBatch(t *testing.T) {
	ns := newNS(t)
	inj := newInjector(t, ns)
	var ops []pfstate.Op
	add := func(kind pfstate.OpKind, cases []flowCase) {
		for k := range cases {
			ops = append(ops, pfstate.Op{Kind: kind, Ref: uint64(len(ops)), Flow: cases[k].flow})
		}
	}
	cases := flowCases()
	var want []pfstate.ResultCode
	for round := range 20 {
		for _, kind := range []pfstate.OpKind{pfstate.OpDelete, pfstate.OpCreate, pfstate.OpUpdate, pfstate.OpGet} {
			add(kind, cases)
			for range cases {
				code := pfstate.ResultOK
				if kind == pfstate.OpDelete && round == 0 {
					code = pfstate.ResultMissing
				}
				want = append(want, code)
			}
		}
	}
	res := make([]pfstate.Result, len(ops))
	if n, err := inj.Do(ops, res); n != len(ops) || err != nil {
		t.Fatalf("Do: %d of %d, %v", n, len(ops), err)
	}
	for k := range res {
		if res[k].Code != want[k] || res[k].Ref != uint64(k) || res[k].Kind != ops[k].Kind {
			t.Fatalf("result %d (%s, operation %d): %v (%v), want %v", k, cases[k%len(cases)].name, ops[k].Kind, res[k].Code, res[k].Errno, want[k])
		}
		if ops[k].Kind == pfstate.OpGet && res[k].Flow.Orig != ops[k].Flow.Orig {
			t.Fatalf("result %d has another flow", k)
		}
	}
	n, err := inj.Do(ops[:5], res[:3])
	if n != 3 || err != nil {
		t.Errorf("five operations, three results: %d, %v", n, err)
	}
}

// TestReversed: an entry that has our tuple as its reply is told, and neither
// changed nor removed.
func TestReversed(t *testing.T) {
	ns := newNS(t)
	inj := newInjector(t, ns)
	for _, tc := range flowCases() {
		if tc.flow.Zone[0] != tc.flow.Zone[1] {
			continue // to the kernel the reverse is another entry
		}
		t.Run(tc.name, func(t *testing.T) {
			must(t, inj, pfstate.OpCreate, tc.flow, pfstate.ResultOK)
			rev := tc.flow.Reversed()
			rev.Timeout = 5000
			rev.Has |= pfstate.HasMark
			rev.Mark = 99
			rev.Status |= pfstate.StatusAssured | pfstate.StatusSeenReply
			got := must(t, inj, pfstate.OpGet, rev, pfstate.ResultReversed)
			if got.Orig != tc.flow.Orig {
				t.Errorf("the flow told is not the one there: %+v", got)
			}
			must(t, inj, pfstate.OpUpdate, rev, pfstate.ResultReversed)
			must(t, inj, pfstate.OpDelete, rev, pfstate.ResultReversed)
			must(t, inj, pfstate.OpCreate, rev, pfstate.ResultExists)
			now := must(t, inj, pfstate.OpGet, tc.flow, pfstate.ResultOK)
			if d := cmp.Diff(plainOf(got), plainOf(now)); d != "" || now.Timeout > got.Timeout {
				t.Errorf("the entry was touched (-before +after)\n%s", d)
			}
			must(t, inj, pfstate.OpDelete, tc.flow, pfstate.ResultOK)
		})
	}
}

// TestReversedWithoutZones does the same on a kernel that has no zones, by the
// look-up that then comes first.
func TestReversedWithoutZones(t *testing.T) {
	inj := newInjector(t, newNS(t))
	inj.zones = false
	f := flowCases()[0].flow
	must(t, inj, pfstate.OpUpdate, f, pfstate.ResultMissing)
	must(t, inj, pfstate.OpDelete, f, pfstate.ResultMissing)
	must(t, inj, pfstate.OpCreate, f, pfstate.ResultOK)
	must(t, inj, pfstate.OpUpdate, f.Reversed(), pfstate.ResultReversed)
	must(t, inj, pfstate.OpDelete, f.Reversed(), pfstate.ResultReversed)
	must(t, inj, pfstate.OpUpdate, f, pfstate.ResultOK)
	must(t, inj, pfstate.OpDelete, f, pfstate.ResultOK)
}

// TestZonesApart: the same tuple in three zones is three entries, and the
// reverse of one in another zone is not met.
func TestZonesApart(t *testing.T) {
	ns := newNS(t)
	inj := newInjector(t, ns)
	dump := newDumper(t, ns)
	base := plainFlow(pfstate.ProtoUDP, tuple(cli4, 1, srv4, 2))
	for _, z := range []uint16{0, 1, 2} {
		f := base
		f.Zone = [2]uint16{z, z}
		f.Mark, f.Has = uint32(z)+100, f.Has|pfstate.HasMark
		must(t, inj, pfstate.OpCreate, f, pfstate.ResultOK)
	}
	for _, z := range []uint16{0, 1, 2} {
		flows, end := dumpAll(t, dump, Filter{HasZone: true, Zone: z})
		if len(flows) != 1 || flows[0].Mark != uint32(z)+100 || !end.Partial {
			t.Errorf("zone %d: %d records", z, len(flows))
		}
	}
	in1 := base
	in1.Zone = [2]uint16{1, 1}
	must(t, inj, pfstate.OpDelete, base, pfstate.ResultOK)
	must(t, inj, pfstate.OpGet, base, pfstate.ResultMissing)
	must(t, inj, pfstate.OpDelete, in1.Reversed(), pfstate.ResultReversed)
	must(t, inj, pfstate.OpUpdate, in1.Reversed(), pfstate.ResultReversed)
	must(t, inj, pfstate.OpDelete, in1, pfstate.ResultOK)
	if flows, _ := dumpAll(t, dump, Filter{}); len(flows) != 1 || flows[0].Zone != [2]uint16{2, 2} {
		t.Errorf("left: %+v", flows)
	}
}

// TestDeleteGuard: the CTA_ID of another entry protects this one.
func TestDeleteGuard(t *testing.T) {
	inj := newInjector(t, newNS(t))
	for _, zone := range []uint16{0, 5} {
		f := flowCases()[0].flow
		f.Zone = [2]uint16{zone, zone}
		must(t, inj, pfstate.OpCreate, f, pfstate.ResultOK)
		got := must(t, inj, pfstate.OpGet, f, pfstate.ResultOK)
		f.CtID = got.CtID ^ 1
		must(t, inj, pfstate.OpDelete, f, pfstate.ResultMissing)
		f.CtID = got.CtID
		must(t, inj, pfstate.OpDelete, f, pfstate.ResultOK)
	}
}

// TestNoTupleTouchesNothing: requests without a tuple do not reach the kernel.
func TestNoTupleTouchesNothing(t *testing.T) {
	ns := newNS(t)
	inj := newInjector(t, ns)
	f := flowCases()[0].flow
	must(t, inj, pfstate.OpCreate, f, pfstate.ResultOK)
	got := must(t, inj, pfstate.OpGet, f, pfstate.ResultOK)
	for _, kind := range []pfstate.OpKind{pfstate.OpCreate, pfstate.OpUpdate, pfstate.OpDelete, pfstate.OpGet, 0, 99} {
		empty := pfstate.Flow{AF: pfstate.AFInet, Proto: f.Proto, CtID: got.CtID}
		must(t, inj, kind, empty, pfstate.ResultInvalid)
	}
	must(t, inj, pfstate.OpGet, f, pfstate.ResultOK)
}

// TestUpdateMergesStatus: an update that knows less than the entry changes the
// rest and takes nothing back.
func TestUpdateMergesStatus(t *testing.T) {
	inj := newInjector(t, newNS(t))
	f := flowCases()[0].flow
	must(t, inj, pfstate.OpCreate, f, pfstate.ResultOK)
	less := f
	less.Status, less.Timeout = pfstate.StatusConfirmed|pfstate.StatusExpected|statusDying, 999
	less.ProtoState = pfstate.TCPFinWait
	must(t, inj, pfstate.OpUpdate, less, pfstate.ResultOK)
	got := must(t, inj, pfstate.OpGet, f, pfstate.ResultOK)
	if got.Status != f.Status || got.Timeout < 800 || got.Timeout > 999 || got.ProtoState != pfstate.TCPFinWait {
		t.Errorf("status %#x, timeout %d, state %d", got.Status, got.Timeout, got.ProtoState)
	}
}

// TestTCPFlags: the flags that are ours are written exactly, on and off.
func TestTCPFlags(t *testing.T) {
	inj := newInjector(t, newNS(t))
	f := flowCases()[0].flow
	must(t, inj, pfstate.OpCreate, f, pfstate.ResultOK)
	for _, flags := range [][2]uint8{
		{0, 0}, {pfstate.TCPFlagLiberal, 0}, {0, pfstate.TCPFlagCloseInit | pfstate.TCPFlagSackPerm},
		{flagsTCP, flagsTCP}, {pfstate.TCPFlagWScale, pfstate.TCPFlagWScale | pfstate.TCPFlagLiberal},
	} {
		f.TCPFlags = flags
		f.WScale[0]++
		must(t, inj, pfstate.OpUpdate, f, pfstate.ResultOK)
		got := must(t, inj, pfstate.OpGet, f, pfstate.ResultOK)
		if got.TCPFlags != flags {
			t.Errorf("flags %x, written %x", got.TCPFlags, flags)
		}
		if scaled := flags[0]&flags[1]&pfstate.TCPFlagWScale != 0; scaled && got.WScale != f.WScale {
			t.Errorf("scales %d, written %d", got.WScale, f.WScale)
		}
	}
}

// TestHelperMissing: the entry is made all the same.
func TestHelperMissing(t *testing.T) {
	inj := newInjector(t, newNS(t))
	f := flowCases()[0].flow
	f.Has |= pfstate.HasHelper
	copy(f.Helper[:], "no-such-helper")
	must(t, inj, pfstate.OpCreate, f, pfstate.ResultOK)
	if got := must(t, inj, pfstate.OpGet, f, pfstate.ResultOK); got.Has&pfstate.HasHelper != 0 {
		t.Errorf("helper %q", got.Helper)
	}
	if s := inj.Stats(); s.NoHelper != 1 {
		t.Errorf("stats %+v", s)
	}
}

// TestLabelsWithoutRoom: no rule here uses labels.
func TestLabelsWithoutRoom(t *testing.T) {
	inj := newInjector(t, newNS(t))
	f := flowCases()[0].flow
	must(t, inj, pfstate.OpCreate, f, pfstate.ResultOK)
	f.Has |= pfstate.HasLabels
	f.Labels[0] = 1
	f.Timeout = 99
	must(t, inj, pfstate.OpUpdate, f, pfstate.ResultOK)
	if got := must(t, inj, pfstate.OpGet, f, pfstate.ResultOK); got.Timeout > 99 {
		t.Errorf("timeout %d", got.Timeout)
	}
	if s := inj.Stats(); s.NoLabels != 1 {
		t.Errorf("stats %+v", s)
	}
}

// TestLabels: where a rule uses them they are kept and told.
func TestLabels(t *testing.T) {
	ns := newNS(t)
	ns.Nft(t, `table inet labels { chain c { type filter hook prerouting priority 10; ct label set 3; }; }`)
	inj := newInjector(t, ns)
	f := flowCases()[0].flow
	f.Has |= pfstate.HasLabels
	f.Labels[0] = 0x48
	must(t, inj, pfstate.OpCreate, f, pfstate.ResultOK)
	got := must(t, inj, pfstate.OpGet, f, pfstate.ResultOK)
	if got.Has&pfstate.HasLabels == 0 || got.Labels != f.Labels {
		t.Errorf("labels %x", got.Labels)
	}
}

// TestRefusals: what the kernel rejects is a result, and the batch goes on.
func TestRefusals(t *testing.T) {
	inj := newInjector(t, newNS(t))
	good := flowCases()[0].flow
	bad := good
	bad.ProtoState = 200
	bad.Orig.SrcPort++
	bad.Reply = bad.Orig.Inverse(bad.Proto)
	noReply := good
	noReply.Orig.SrcPort += 2
	noReply.Reply = pfstate.Tuple{}
	badType := plainFlow(pfstate.ProtoICMP, tuple(cli4, 1, srv4, 3<<8))
	res := make([]pfstate.Result, 4)
	ops := []pfstate.Op{{Kind: pfstate.OpCreate, Flow: bad}, {Kind: pfstate.OpCreate, Flow: noReply}, {Kind: pfstate.OpCreate, Flow: badType}, {Kind: pfstate.OpCreate, Flow: good}}
	if _, err := inj.Do(ops, res); err != nil {
		t.Fatal(err)
	}
	for k, want := range []pfstate.ResultCode{pfstate.ResultInvalid, pfstate.ResultInvalid, pfstate.ResultInvalid, pfstate.ResultOK} {
		if res[k].Code != want {
			t.Errorf("operation %d: %v (%v), want %v", k, res[k].Code, res[k].Errno, want)
		}
	}
}

// TestDeleteLiving: a delete with MaxLeft spares an entry that has been
// refreshed since the asker knew, and no other.
func TestDeleteLiving(t *testing.T) {
	ns := newNS(t)
	inj := newInjector(t, ns)
	f := flowCases()[0].flow
	f.Timeout = 600
	must(t, inj, pfstate.OpCreate, f, pfstate.ResultOK)
	do := func(maxLeft uint32) pfstate.Result {
		t.Helper()
		res := make([]pfstate.Result, 1)
		n, err := inj.Do([]pfstate.Op{{Kind: pfstate.OpDelete, Flow: f, MaxLeft: maxLeft}}, res)
		if n != 1 || err != nil {
			t.Fatal(n, err)
		}
		return res[0]
	}
	if r := do(60); r.Code != pfstate.ResultLiving || r.Flow.Orig != f.Orig || r.Flow.Timeout <= 60 {
		t.Fatalf("entry with 600 s left: %v, %+v", r.Code, r.Flow)
	}
	must(t, inj, pfstate.OpGet, f, pfstate.ResultOK)
	if r := do(601); r.Code != pfstate.ResultOK {
		t.Fatalf("entry not refreshed: %v", r.Code)
	}
	must(t, inj, pfstate.OpGet, f, pfstate.ResultMissing)
}

// TestCut: only a look-up of an entry that an earlier operation of the batch
// changes has to wait for the next batch.
func TestCut(t *testing.T) {
	a, b := flowCases()[0].flow, flowCases()[1].flow
	create := func(f pfstate.Flow) pfstate.Op { return pfstate.Op{Kind: pfstate.OpCreate, Flow: f} }
	guarded := func(f pfstate.Flow) pfstate.Op { return pfstate.Op{Kind: pfstate.OpDelete, Flow: f, MaxLeft: 9} }
	i := &Injector{batch: maxBatch, zones: true}
	for _, tc := range []struct {
		name string
		ops  []pfstate.Op
		want int
	}{
		{"others", []pfstate.Op{create(a), guarded(b), create(b)}, 3},
		{"the same", []pfstate.Op{create(a), create(b), guarded(a)}, 2},
		{"two deletes", []pfstate.Op{guarded(a), guarded(a)}, 2},
	} {
		if got := i.cut(tc.ops); got != tc.want {
			t.Errorf("%s: batch of %d, want %d", tc.name, got, tc.want)
		}
	}
}

// TestCounters: entries that packets do not refresh are made with counters, and
// the switch is put back.
func TestCounters(t *testing.T) {
	ns := newNS(t)
	inj := newInjector(t, ns)
	gre := with(plainFlow(pfstate.ProtoGRE, tuple(cli4, 0, srv4, 0)), fixed)
	must(t, inj, pfstate.OpCreate, gre, pfstate.ResultOK)
	udp := plainFlow(pfstate.ProtoUDP, tuple(cli4, 1, srv4, 2))
	must(t, inj, pfstate.OpCreate, udp, pfstate.ResultOK)
	if got := must(t, inj, pfstate.OpGet, gre, pfstate.ResultOK); got.Has&pfstate.HasCounts == 0 {
		t.Error("no counters in a GRE entry")
	}
	if got := must(t, inj, pfstate.OpGet, udp, pfstate.ResultOK); got.Has&pfstate.HasCounts != 0 {
		t.Error("counters in a UDP entry")
	}
	if got := ns.ReadSysctl(t, "net.netfilter.nf_conntrack_acct"); got != "0" {
		t.Errorf("nf_conntrack_acct is %s", got)
	}
}
