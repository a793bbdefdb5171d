package engine

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// desk holds one engine without kernel or link: the test tells it what the
// kernel says and what peers say, lets time pass, and reads what it would send
// and ask. Names are written short: A0 is the first name given here, B5 the
// name {5, hostB}.
type desk struct {
	t   testing.TB
	e   *Engine
	now int64
	b   *speaker // a Linux peer
	c   *speaker // another
	bsd *speaker

	asked []pfstate.Op // operations handed out and not answered
}

const (
	hostA, hostB, hostC = 0xa000, 0xb000, 0xc000
	hostZero            = 0x1000 // lower than ours
	firstID             = 1 << 32
)

var selfAddr = netip.MustParseAddr("10.255.0.1")

func newDesk(t testing.TB, change ...func(*Config)) *desk {
	cfg := Config{
		HostID: hostA, Format: syncproto.Format6, Sync: true, MaxUpd: 128, MaxDelay: 10e6, MTU: 1500, Demotion: 240,
		Timeouts: pfstate.DefaultTimeouts(), Seed: 1, StartID: firstID, Epoch: 0xaaaa,
	}
	for _, f := range change {
		f(&cfg)
	}
	r := &desk{t: t, now: 1000 * second}
	r.e = New(r.now, cfg)
	r.b = &speaker{r: r, addr: netip.MustParseAddr("10.255.0.2"), creator: hostB, epoch: 0xbbbb}
	r.c = &speaker{r: r, addr: netip.MustParseAddr("10.255.0.3"), creator: hostC, epoch: 0xcccc}
	r.bsd = &speaker{r: r, addr: netip.MustParseAddr("10.255.0.4"), creator: 0xd000, bsd: true}
	return r
}

// ready returns a desk in sync with B, whose table was empty, as ours is.
func ready(t testing.TB, change ...func(*Config)) *desk {
	r := newDesk(t, change...)
	r.linkUp()
	r.dump()
	r.sent()
	r.b.sending(bus(syncproto.BusStart))
	r.b.say(bus(syncproto.BusEnd))
	r.pass(0)
	if s := r.e.Status(r.now).Sync; s != SyncOK {
		t.Fatalf("desk: sync is %v", s)
	}
	r.sent()
	return r
}

func (r *desk) linkUp() { r.e.Link(r.now, Link{Up: true, Self: selfAddr, MTU: 1500}) }

func (r *desk) linkDown() { r.e.Link(r.now, Link{Self: selfAddr, MTU: 1500}) }

// pass lets time pass in one step.
func (r *desk) pass(d int64) {
	r.now += d
	r.e.Tick(r.now)
}

// until goes from deadline to deadline and returns all that was sent.
func (r *desk) until(t int64) (out []string) {
	for range 100_000 {
		out = append(out, r.sent()...)
		d := max(r.e.Deadline(), r.now+milli)
		if d > t {
			r.pass(t - r.now)
			return append(out, r.sent()...)
		}
		r.pass(d - r.now)
	}
	r.t.Fatal("desk: deadlines without end")
	return nil
}

// The kernel's side.

func event(kind pfstate.EventKind, f pfstate.Flow) pfstate.Event {
	return pfstate.Event{Kind: kind, Flow: f}
}

func (r *desk) local(evs ...pfstate.Event) { r.e.Local(r.now, evs) }

func (r *desk) made(f pfstate.Flow)    { r.local(event(pfstate.EventNew, f)) }
func (r *desk) changed(f pfstate.Flow) { r.local(event(pfstate.EventUpdate, f)) }

// expired is a DESTROY of what ran out of time.
func (r *desk) expired(f pfstate.Flow) {
	f.Has &^= pfstate.HasTimeout
	r.local(event(pfstate.EventDestroy, f))
}

// killed is a DESTROY before its time.
func (r *desk) killed(f pfstate.Flow) {
	f.Has |= pfstate.HasTimeout
	r.local(event(pfstate.EventDestroy, f))
}

// dump is a whole dump, and the walk after it.
func (r *desk) dump(fs ...pfstate.Flow) {
	r.local(event(pfstate.EventDumpBegin, pfstate.Flow{}))
	for _, f := range fs {
		r.local(event(pfstate.EventDump, f))
	}
	r.local(event(pfstate.EventDumpEnd, pfstate.Flow{}))
	r.pass(0)
}

// tcp is connection n in a conntrack state, as a packet leaves it.
func tcp(n byte, state uint8) pfstate.Flow {
	f := pfstate.Flow{
		AF: pfstate.AFInet, Proto: pfstate.ProtoTCP,
		Orig:       pfstate.Tuple{Src: pfstate.Addr{10, 0, 0, n}, Dst: pfstate.Addr{192, 0, 2, 1}, SrcPort: 1000 + uint16(n), DstPort: 443},
		Has:        pfstate.HasTimeout | pfstate.HasStatus | pfstate.HasProto,
		ProtoState: state,
	}
	f.Reply = f.Orig.Inverse(f.Proto)
	f.TCPFlags = [2]uint8{pfstate.TCPFlagSackPerm, pfstate.TCPFlagSackPerm}
	if state >= pfstate.TCPFinWait && state <= pfstate.TCPTimeWait {
		f.TCPFlags[0] |= pfstate.TCPFlagCloseInit // the sender of the first packet closes first
	}
	src, dst := pfstate.TCPToPeers(state, f.TCPFlags)
	f.Status = pfstate.StatusFromPeers(f.Proto, src, dst)
	d := pfstate.DefaultTimeouts()
	f.Timeout = d.For(f.Proto, state, f.Status)
	return f
}

const (
	fresh    = pfstate.StatusConfirmed
	answered = fresh | pfstate.StatusSeenReply
	assured  = answered | pfstate.StatusAssured
)

// udp is connection n with a status.
func udp(n byte, status uint32) pfstate.Flow {
	f := tcp(n, 0)
	f.Proto = pfstate.ProtoUDP
	f.Has &^= pfstate.HasProto
	f.Status = status
	d := pfstate.DefaultTimeouts()
	f.Timeout = d.For(f.Proto, 0, status)
	return f
}

// left is f with so many seconds left.
func left(f pfstate.Flow, seconds uint32) pfstate.Flow {
	f.Timeout = seconds
	return f
}

// masqueraded is f behind 203.0.113.n.
func masqueraded(f pfstate.Flow, n byte) pfstate.Flow {
	f.Reply.Dst = pfstate.Addr{203, 0, 113, n}
	return f
}

func reversed(f pfstate.Flow) pfstate.Flow { return f.Reversed() }

// ops takes all operations, and tells them in short.
func (r *desk) ops() (out []string) {
	r.t.Helper()
	var buf [64]pfstate.Op
	for n := r.e.Ops(r.now, buf[:]); n > 0; n = r.e.Ops(r.now, buf[:]) {
		for i := range buf[:n] {
			r.asked = append(r.asked, buf[i])
			out = append(out, opName(&buf[i]))
		}
	}
	return out
}

func opName(op *pfstate.Op) string {
	kind := [...]string{pfstate.OpCreate: "create", pfstate.OpUpdate: "update", pfstate.OpDelete: "delete", pfstate.OpGet: "get"}[op.Kind]
	n, dir := op.Flow.Orig.Src[3], ""
	if op.Flow.Orig.Src[0] != 10 {
		n, dir = op.Flow.Orig.Dst[3], " reversed"
	}
	return fmt.Sprintf("%s %d%s", kind, n, dir)
}

// done answers the operations handed out, in order, all alike.
func (r *desk) done(code pfstate.ResultCode) { r.doneFlow(code, pfstate.Flow{}) }

// doneFlow also says what the kernel has.
func (r *desk) doneFlow(code pfstate.ResultCode, f pfstate.Flow) {
	r.t.Helper()
	if len(r.asked) == 0 {
		r.t.Fatal("desk: no operation to answer")
	}
	var res []pfstate.Result
	for i := range r.asked {
		res = append(res, pfstate.Result{Kind: r.asked[i].Kind, Ref: r.asked[i].Ref, Code: code, Flow: f})
	}
	r.asked = nil
	r.e.Done(r.now, res)
}

// kernel lets a kernel that can do everything do what is asked.
func (r *desk) kernel() {
	for len(r.ops()) > 0 {
		r.done(pfstate.ResultOK)
	}
}

// known makes a state that B announced and that our kernel has.
func (r *desk) known(id uint64, f pfstate.Flow) pfstate.ID {
	r.t.Helper()
	name := pfstate.ID{ID: id, CreatorID: hostB}
	r.b.say(ins(name, f))
	r.kernel()
	r.pass(2 * second) // what follows is not of the time before the create
	r.b.say()
	r.pass(0)
	r.sent()
	return name
}

// The link's side.

// shortName is A0, B5, 0 for no name.
func shortName(id pfstate.ID) string {
	switch id.CreatorID {
	case 0:
		return fmt.Sprint(id.ID)
	case hostA:
		return fmt.Sprintf("A%d", id.ID-firstID)
	case hostZero:
		return fmt.Sprintf("Z%d", id.ID)
	}
	return fmt.Sprintf("%c%d", 'A'+byte(id.CreatorID>>12-0xa), id.ID)
}

func mine(n uint64) pfstate.ID   { return pfstate.ID{ID: firstID + n, CreatorID: hostA} }
func theirs(n uint64) pfstate.ID { return pfstate.ID{ID: n, CreatorID: hostB} }
func lower(n uint64) pfstate.ID  { return pfstate.ID{ID: n, CreatorID: hostZero} }

// What came of it.

// expect compares what was sent, or asked, with what should.
func (r *desk) expect(what string, got []string, want ...string) {
	r.t.Helper()
	if diff := cmp.Diff(want, got); diff != "" && len(want)+len(got) > 0 {
		r.t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// expectSent compares what is due after the delay for changes.
func (r *desk) expectSent(want ...string) {
	r.t.Helper()
	r.pass(int64(r.e.cfg.MaxDelay))
	r.expect("sent", r.sent(), want...)
}

func (r *desk) expectOps(want ...string) {
	r.t.Helper()
	r.expect("operations", r.ops(), want...)
}

func (r *desk) expectReason(why Reason, want uint64) {
	r.t.Helper()
	if got := r.e.Stats.Reason[why]; got != want {
		r.t.Errorf("%v counted %d times, want %d", why, got, want)
	}
}

// names lists all states by their names.
func (r *desk) names() (out []string) {
	for ref := pfstate.Ref(1); ref < r.e.tab.End(); ref++ {
		if !r.e.tab.InUse(ref) || r.e.tab.At(ref).Has(pfstate.FlagDead) {
			continue
		}
		var all []string
		for side := range pfstate.Sides {
			if id := r.e.tab.At(ref).Name(side); !id.IsZero() {
				all = append(all, shortName(id))
			}
		}
		out = append(out, strings.Join(all, "="))
	}
	slices.Sort(out)
	return out
}

func (r *desk) expectNames(want ...string) {
	r.t.Helper()
	r.expect("names", r.names(), want...)
}

func (r *desk) state(name pfstate.ID) *pfstate.State {
	r.t.Helper()
	ref, _, ok := r.e.tab.ByName(name)
	if !ok {
		r.t.Fatalf("no state %s", shortName(name))
	}
	return r.e.tab.At(ref)
}

func (r *desk) gone(name pfstate.ID) {
	r.t.Helper()
	if ref, _, ok := r.e.tab.ByName(name); ok && !r.e.tab.At(ref).Has(pfstate.FlagDead) {
		r.t.Errorf("%s is still there", shortName(name))
	}
}

func timeDuration(ns int64) time.Duration { return time.Duration(ns) }
