package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// couple is two desks with a link between them.
type couple struct{ a, b *desk }

func newCouple(t *testing.T, change ...func(*Config)) couple {
	c := couple{newDesk(t, change...), newDesk(t, append(change, func(c *Config) { c.HostID, c.Epoch = hostB, 0xbbbb })...)}
	for _, r := range []*desk{c.a, c.b} {
		r.linkUp()
		r.dump()
	}
	c.pass(20 * second)
	return c
}

var otherAddr = netip.MustParseAddr("10.255.0.9")

// pass lets time pass on both sides, and frames to and fro.
func (c couple) pass(d int64) {
	c.a.t.Helper()
	step := min(d, 5*milli)
	for end := c.a.now + d; c.a.now < end; {
		for _, way := range [][2]*desk{{c.a, c.b}, {c.b, c.a}} {
			from, to := way[0], way[1]
			from.pass(step)
			from.kernel()
			for range 1000 {
				fr, ok := from.e.NextFrame(from.now, make([]byte, 0, 2048))
				if !ok {
					break
				}
				to.e.Remote(to.now, otherAddr, fr.Data)
			}
			to.kernel()
		}
	}
}

// controlFlow is the master, and announced what it announces: port n.
func controlFlow() pfstate.Flow {
	f := tcp(1, pfstate.TCPEstablished)
	f.Has |= pfstate.HasHelper
	copy(f.Helper[:], "ftp")
	return f
}

func announced(f pfstate.Flow, n uint16) pfstate.Expect {
	x := pfstate.Expect{
		AF: f.AF, Proto: f.Proto, MasterProto: f.Proto, Master: f.Orig, Timeout: 300,
		Tuple:   pfstate.Tuple{Src: f.Orig.Src, Dst: f.Orig.Dst, DstPort: n},
		MaskSrc: pfstate.Addr{255, 255, 255, 255},
		NAT:     true, NATDir: 1, NATSrc: pfstate.Addr{10, 9, 8, 7}, NATPort: 4321, Class: 1,
	}
	copy(x.Helper[:], "ftp")
	copy(x.Fn[:], "nat-follow-master")
	return x
}

// data is the connection announced.
func data(x *pfstate.Expect) pfstate.Flow {
	f := tcp(1, pfstate.TCPSynSent)
	f.Orig = pfstate.Tuple{Src: x.Tuple.Src, SrcPort: 999, Dst: x.Tuple.Dst, DstPort: x.Tuple.DstPort}
	f.Reply = f.Orig.Inverse(f.Proto)
	f.Has |= pfstate.HasMaster
	f.Master = pfstate.Master{Tuple: x.Master, Proto: x.MasterProto}
	return f
}

func (r *desk) expects(gone bool, xs ...pfstate.Expect) {
	var evs []pfstate.ExpectEvent
	for _, x := range xs {
		evs = append(evs, pfstate.ExpectEvent{Gone: gone, Expect: x})
	}
	r.e.Expect(r.now, evs)
}

// expectOps tells what the kernel is asked, by ports.
func (r *desk) askedOfExpects() (out []string) {
	for _, op := range r.e.ExpectOps() {
		word := "make"
		if op.Remove {
			word = "remove"
		}
		out = append(out, fmt.Sprint(word, " ", op.Expect.Tuple.DstPort))
	}
	return out
}

func (r *desk) wantExpects(want ...string) {
	r.t.Helper()
	if diff := cmp.Diff(want, r.askedOfExpects()); diff != "" {
		r.t.Errorf("asked of the kernel (-want +got):\n%s", diff)
	}
}

// TestExpectTravels: what is expected here is made there, whole, and ends there
// when it ends here.
func TestExpectTravels(t *testing.T) {
	c := newCouple(t)
	f := controlFlow()
	c.a.made(f)
	c.pass(second)
	x := announced(f, 2001)
	c.a.expects(false, x)
	c.pass(second)
	c.a.wantExpects()
	ops := c.b.e.ExpectOps()
	if len(ops) != 1 || ops[0].Remove {
		t.Fatalf("%+v", ops)
	}
	got := ops[0].Expect
	if got.Timeout < 298 || got.Timeout > 300 {
		t.Errorf("%d seconds left", got.Timeout)
	}
	got.Timeout = x.Timeout
	if diff := cmp.Diff(x, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	y := announced(f, 2002)
	c.a.expects(false, y)
	c.pass(second)
	c.b.wantExpects("make 2002")
	c.a.expects(true, x)
	c.pass(second)
	c.b.wantExpects("remove 2001")
	c.b.expects(true, y) // there it means nothing: the master passes here
	c.pass(second)
	c.a.wantExpects()
	c.a.changed(tcp(1, pfstate.TCPFinWait))
	c.pass(second)
	c.b.wantExpects()
}

// TestExpectUsed: a connection says whose expectation it was.
func TestExpectUsed(t *testing.T) {
	c := newCouple(t)
	f := controlFlow()
	c.a.made(f)
	x, y := announced(f, 2001), announced(f, 2002)
	y.Flags = pfstate.ExpectPermanent
	c.a.expects(false, x, y)
	c.pass(second)
	c.b.wantExpects("make 2001", "make 2002")
	// The master is quiet, and the connections come by the other firewall.
	c.b.expects(true, x)
	c.b.made(data(&x))
	second := data(&y)
	c.b.made(second)
	c.pass(20 * milli)
	c.a.wantExpects("remove 2001")
	r, _, ok := c.a.e.tab.ByTuple(&second.Orig, second.AF, second.Proto, 0)
	if !ok {
		t.Fatal("the connection is not there")
	}
	got := c.a.e.tab.FlowOf(c.a.e.tab.At(r), c.a.now)
	if got.Has&pfstate.HasMaster == 0 || got.Master != second.Master {
		t.Errorf("master %+v", got.Master)
	}
}

// TestExpectEarly: at the start the expectations may be told before their
// masters; and what is made before the kernel has the master waits for that.
func TestExpectEarly(t *testing.T) {
	f := controlFlow()
	x := announced(f, 2001)
	c := couple{newDesk(t), newDesk(t, func(c *Config) { c.HostID, c.Epoch = hostB, 0xbbbb })}
	c.a.e.Expect(c.a.now, []pfstate.ExpectEvent{{Dump: true, Expect: x}, {Dump: true, Expect: announced(tcp(9, pfstate.TCPEstablished), 9)}})
	for _, r := range []*desk{c.a, c.b} {
		r.linkUp()
	}
	c.a.dump(f)
	c.b.dump()
	c.pass(30 * second)
	c.b.wantExpects("make 2001")
	if len(c.a.e.expects.early) != 0 {
		t.Errorf("kept: %+v", c.a.e.expects.early)
	}
}

// TestExpectShift: the kernel tells nobody of shifted sequence numbers, so the
// master is looked up, before the frame with the expectation has left.
func TestExpectShift(t *testing.T) {
	r := ready(t)
	f := masqueraded(controlFlow(), 7)
	r.made(f)
	r.pass(second)
	r.sent()
	r.expects(false, announced(f, 2001))
	r.pass(lookSoon)
	r.pass(20 * milli)
	if out := r.sent(); len(out) > 0 {
		t.Errorf("sent %q before the master was looked up", out)
	}
	if ops := r.ops(); !slices.Equal(ops, []string{"get 1"}) {
		t.Fatalf("ops %q", ops)
	}
	g := f
	g.Has |= pfstate.HasSeqAdj
	g.SeqAdj[0] = pfstate.SeqAdj{Pos: 1000, Before: 0, After: -1}
	r.doneFlow(pfstate.ResultOK, g)
	r.pass(10 * milli)
	words := strings.Join(r.sent(), "; ")
	if !strings.Contains(words, "UPD A0 4:4") || !strings.Contains(words, " 9 ") || !strings.Contains(words, " 15") {
		t.Errorf("sent %q", words)
	}
	r.pass(lookTell)
	r.pass(20 * milli)
	r.sent()
	r.pass(lookAgain)
	if ops := r.ops(); !slices.Equal(ops, []string{"get 1"}) {
		t.Errorf("ops %q", ops)
	}
}

// TestExpectHelperReads: a helper that has missed something is told so.
func TestExpectHelperReads(t *testing.T) {
	c := newCouple(t)
	f := controlFlow()
	c.a.made(f)
	c.pass(5 * second)
	before := c.a.e.Stats.OpsUpdate
	c.b.changed(f) // the other carries it now
	c.b.expects(false, announced(f, 2001))
	c.pass(5 * second)
	if got := c.a.e.Stats.OpsUpdate; got == before {
		t.Error("no update of the kernel's entry")
	}
}

// TestExpectRoom: a record fits the smallest link whatever is expected.
func TestExpectRoom(t *testing.T) {
	for _, mtu := range []int{minMTU, 1500, 9000} {
		for _, six := range []bool{false, true} {
			t.Run(fmt.Sprintf("mtu %d, ipv6 %t", mtu, six), func(t *testing.T) {
				c := newCouple(t, func(c *Config) { c.MTU = mtu })
				f := controlFlow()
				if six {
					f.AF = pfstate.AFInet6
					f.Orig.Src[15], f.Orig.Dst[15] = 1, 2
					f.Reply = f.Orig.Inverse(f.Proto)
				}
				f.Has |= pfstate.HasLabels | pfstate.HasSeqAdj
				f.SeqAdj[0].Pos, f.Labels[1] = 1, 1
				c.a.made(f)
				var xs []pfstate.Expect
				for n := range uint16(2 * pfstate.MaxExpects) {
					xs = append(xs, announced(f, 2000+n))
				}
				c.a.expects(false, xs...)
				c.pass(second)
				n := len(c.b.e.ExpectOps())
				t.Logf("%d of %d", n, len(xs))
				if n > pfstate.MaxExpects || mtu > minMTU && n < 3 {
					t.Errorf("%d expectations arrived", n)
				}
				if c.b.e.tab.Len() != 1 {
					t.Errorf("%d states arrived", c.b.e.tab.Len())
				}
			})
		}
	}
}

// TestExpectHostile: what a peer says is bounded, and a value that is not one is
// no expectation.
func TestExpectHostile(t *testing.T) {
	var m record
	m.af = pfstate.AFInet
	good := syncproto.AppendExpect(nil, &syncproto.Expect{Proto: 6, Helper: "ftp"}, 4)[2:]
	for n := range len(good) {
		m.readExpect(good[:n])
	}
	m.readExpect(slices.Concat(good[:32], []byte{200}, good[33:]))
	m.readExpect(slices.Concat(good[:32], []byte{16}, make([]byte, 30)))
	if len(m.expects) > 0 {
		t.Errorf("%+v", m.expects)
	}
	for range 3 * pfstate.MaxExpects {
		m.readExpect(good)
	}
	if len(m.expects) != pfstate.MaxExpects {
		t.Errorf("%d taken", len(m.expects))
	}
	r := ready(t)
	list := make([]pfstate.Expected, 0, 2*maxExpectOps)
	for n := range 2 * maxExpectOps {
		list = append(list, pfstate.Expected{Expect: announced(controlFlow(), uint16(n))})
		r.e.expectOp(&list[n], false)
	}
	if n := len(r.e.ExpectOps()); n != maxExpectOps || r.e.Stats.Reason[ReasonExpectUnfit] != maxExpectOps {
		t.Errorf("%d wait, %d refused", n, r.e.Stats.Reason[ReasonExpectUnfit])
	}
}

// TestExpectBound: whatever peers say is expected, of so many masters at most.
func TestExpectBound(t *testing.T) {
	r := ready(t)
	const more = 10
	for n := range maxMasters + more {
		f := tcp(1, pfstate.TCPEstablished)
		f.Orig.SrcPort = uint16(1000 + n)
		f.Reply = f.Orig.Inverse(f.Proto)
		it := ins(theirs(uint64(n)), f)
		for port := range 2 {
			x := syncproto.Expect{Proto: 6, Left: 300, DstPort: uint16(port), Dst: f.Orig.Dst, Helper: "ftp"}
			it.tlvs = syncproto.AppendExpect(it.tlvs, &x, 4)
		}
		r.b.say(it)
	}
	if n := r.e.tab.Masters(); n != maxMasters {
		t.Errorf("%d masters, want %d", n, maxMasters)
	}
	if n := r.e.Stats.Reason[ReasonExpectUnfit]; n != 2*more {
		t.Errorf("%d refused, want %d", n, 2*more)
	}
}
