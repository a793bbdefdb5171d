package conntrack

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// controlFlow is a connection that a helper reads.
func controlFlow(src, dst string) pfstate.Flow {
	return with(established(plainFlow(pfstate.ProtoTCP, tuple(src, 40011, dst, 21))), func(f *pfstate.Flow) {
		f.Has |= pfstate.HasHelper
		copy(f.Helper[:], "ftp")
	})
}

// dataExpect is what the helper of master waits for: a connection from src, of
// any port, to dst.
func dataExpect(master *pfstate.Flow, src, dst string, dport uint16) pfstate.Expect {
	x := pfstate.Expect{
		AF: master.AF, Proto: pfstate.ProtoTCP, MasterProto: pfstate.ProtoTCP,
		Master: master.Orig, Tuple: tuple(src, 0, dst, dport), Timeout: 300,
	}
	copy(x.Helper[:], "ftp")
	n := 16
	if x.AF == pfstate.AFInet {
		n = 4
	}
	copy(x.MaskSrc[:n], bytes.Repeat([]byte{0xff}, n))
	return x
}

// natExpect is one of a translated client.
func natExpect(master *pfstate.Flow) pfstate.Expect {
	x := dataExpect(master, srv4, pub4, 40012)
	x.NAT, x.NATDir = true, 1
	x.NATSrc, _ = pfstate.AddrFrom(pfstate.Addr{10, 1, 0, 2}.IP(pfstate.AFInet))
	x.NATPort = 40013
	copy(x.Fn[:], "nat-follow-master")
	return x
}

func expectCases() map[string]pfstate.Expect {
	master4, master6 := controlFlow(cli4, srv4), controlFlow(cli6, srv6)
	return map[string]pfstate.Expect{
		"ipv4": dataExpect(&master4, cli4, srv4, 40014),
		"ipv6": dataExpect(&master6, cli6, srv6, 40014),
		"nat":  natExpect(&master4),
		"any source": with2(dataExpect(&master4, cli4, srv4, 40015), func(x *pfstate.Expect) {
			x.Tuple.Src, x.MaskSrc = pfstate.Addr{}, pfstate.Addr{}
		}),
	}
}

func with2(x pfstate.Expect, fn func(*pfstate.Expect)) pfstate.Expect {
	fn(&x)
	return x
}

// TestExpectCodec: what is encoded is decoded, a cut message is an error or the
// same, and nothing is removed without a tuple.
func TestExpectCodec(t *testing.T) {
	for name, x := range expectCases() {
		t.Run(name, func(t *testing.T) {
			b, err := AppendExpectNew(nil, 7, &x)
			if err != nil {
				t.Fatal(err)
			}
			_, body, rest, err := nextMessage(b)
			if err != nil || len(rest) > 0 {
				t.Fatalf("%d left, %v", len(rest), err)
			}
			var got pfstate.Expect
			if err := ParseExpect(body, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(x, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for n := range len(body) {
				was := pfstate.Expect{Class: 99}
				if got := was; ParseExpect(body[:n], &got) != nil && got != was {
					t.Fatalf("cut to %d bytes: an error and a value", n)
				}
			}
			if _, err := AppendExpectDelete(nil, 1, &x); err != nil {
				t.Error(err)
			}
		})
	}
	for name, x := range map[string]pfstate.Expect{"empty": {}, "family": {AF: 7, Tuple: tuple(cli4, 1, srv4, 2)}, "no tuple": {AF: pfstate.AFInet, Master: tuple(cli4, 1, srv4, 2)}} {
		if b, err := AppendExpectDelete(nil, 1, &x); err == nil || len(b) > 0 {
			t.Errorf("%s: delete %x, %v", name, b, err)
		}
		if b, err := AppendExpectNew(nil, 1, &x); err == nil || len(b) > 0 {
			t.Errorf("%s: new %x, %v", name, b, err)
		}
	}
}

func FuzzParseExpect(f *testing.F) {
	for _, x := range expectCases() {
		b, err := AppendExpectNew(nil, 1, &x)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b[nlHdrLen:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		was := pfstate.Expect{Class: 99}
		x := was
		if ParseExpect(body, &x) != nil {
			if x != was {
				t.Fatal("an error and a value")
			}
			return
		}
		b, err := AppendExpectNew(nil, 1, &x)
		if err != nil {
			return
		}
		var again pfstate.Expect
		if err := ParseExpect(b[nlHdrLen:], &again); err != nil {
			t.Fatalf("%v: %x", err, b)
		}
	})
}

func newExpecter(t testing.TB, ns *nstest.NS) *Expecter {
	t.Helper()
	var x *Expecter
	var err error
	ns.Do(func() { x, err = NewExpecter() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

// plainExpect leaves out what differs from run to run.
func plainExpect(x pfstate.Expect) pfstate.Expect {
	x.Timeout = 0
	return x
}

// TestExpecter: what one socket makes and removes another hears, and the one
// does not hear itself.
func TestExpecter(t *testing.T) {
	ns := newNS(t)
	inj, own := newInjector(t, ns), newExpecter(t, ns)
	for _, f := range []pfstate.Flow{controlFlow(cli4, srv4), controlFlow(cli6, srv6)} {
		must(t, inj, pfstate.OpCreate, f, pfstate.ResultOK)
	}
	other := newExpecter(t, ns)
	hear := func(gone bool, want pfstate.Expect) {
		t.Helper()
		evs, err := other.Read(nil)
		if err != nil || len(evs) != 1 || evs[0].Gone != gone || evs[0].Dump {
			t.Fatalf("%+v, %v", evs, err)
		}
		if gone {
			return
		}
		if diff := cmp.Diff(plainExpect(want), plainExpect(evs[0].Expect)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	for name, x := range expectCases() {
		t.Run(name, func(t *testing.T) {
			for _, remove := range []bool{false, true} {
				if err := own.Do([]pfstate.ExpectOp{{Expect: x, Remove: remove}}); err != nil {
					t.Fatal(err)
				}
				hear(remove, x)
			}
		})
	}
	if s := own.Stats(); s.Made < 3 || s.Removed != s.Made || s.Refused != [pfstate.ResultCodes]uint64{} {
		t.Errorf("stats %+v", s)
	}
	lone := dataExpect(&pfstate.Flow{AF: pfstate.AFInet, Orig: tuple(cli4, 1, srv4, 2)}, cli4, srv4, 40016)
	if err := own.Do([]pfstate.ExpectOp{{Expect: lone}, {Expect: lone, Remove: true}}); err != nil {
		t.Fatal(err)
	}
	if s := own.Stats(); s.Refused[pfstate.ResultMissing] != 1 {
		t.Errorf("without a master: %+v", s)
	}
	own.Close()
	if _, err := own.Read(nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// TestExpecterFinds: what is there at the start is told first.
func TestExpecterFinds(t *testing.T) {
	ns := newNS(t)
	master := controlFlow(cli4, srv4)
	must(t, newInjector(t, ns), pfstate.OpCreate, master, pfstate.ResultOK)
	want := dataExpect(&master, cli4, srv4, 40014)
	if err := newExpecter(t, ns).Do([]pfstate.ExpectOp{{Expect: want}}); err != nil {
		t.Fatal(err)
	}
	evs, err := newExpecter(t, ns).Read(nil)
	if err != nil || len(evs) != 1 || evs[0].Gone || !evs[0].Dump || !evs[0].Expect.Same(&want) {
		t.Fatalf("%+v, %v", evs, err)
	}
}

// TestMaster: an expected entry keeps its master, or is made without one that is
// not there; an update does not stumble over it.
func TestMaster(t *testing.T) {
	ns := newNS(t)
	inj := newInjector(t, ns)
	master := controlFlow(cli4, srv4)
	must(t, inj, pfstate.OpCreate, master, pfstate.ResultOK)
	child := with(established(plainFlow(pfstate.ProtoTCP, tuple(cli4, 40020, srv4, 40021))), func(f *pfstate.Flow) {
		f.Has |= pfstate.HasMaster
		f.Master = pfstate.Master{Tuple: master.Orig, Proto: pfstate.ProtoTCP}
	})
	must(t, inj, pfstate.OpCreate, child, pfstate.ResultOK)
	got := must(t, inj, pfstate.OpGet, child, pfstate.ResultOK)
	if got.Master != child.Master || got.Status&pfstate.StatusExpected == 0 {
		t.Errorf("master %+v, status %#x", got.Master, got.Status)
	}
	child.Timeout = 77
	must(t, inj, pfstate.OpUpdate, child, pfstate.ResultOK)
	if got := must(t, inj, pfstate.OpGet, child, pfstate.ResultOK); got.Timeout > 77 {
		t.Errorf("timeout %d", got.Timeout)
	}
	must(t, inj, pfstate.OpDelete, child, pfstate.ResultOK)
	must(t, inj, pfstate.OpDelete, master, pfstate.ResultOK)
	must(t, inj, pfstate.OpCreate, child, pfstate.ResultOK)
	if s := inj.Stats(); s.NoMaster != 1 {
		t.Errorf("stats %+v", s)
	}
}
