package engine

import (
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// Expectations
//
// A helper in the kernel reads in one connection, the master, that another will
// come: the data connection of FTP, the media of SIP. What it expects travels
// with the records of the master: a record that is not compressed has all there
// are. The kernel where a packet of the master passed makes and ends them; the
// others follow. One that is used up is told by the connection itself, which
// names its master.

// maxEarly bounds the expectations kept whose master is not known yet: a dump is
// on its way.
const maxEarly = 256

// maxExpectOps bounds what waits for the kernel.
const maxExpectOps = 1 << 12

// maxMasters bounds the states of which peers may say that more is expected. A
// kernel holds a few thousand expectations (nf_conntrack_expect_max).
const maxMasters = 1 << 12

// The kernel tells nobody that it shifts the sequence numbers of a translated
// master, which it does in the packet that announces another connection, just
// after it has told of the expectation. So the master is looked up soon after,
// before the expectation is told to peers, and once more in case that was too
// soon.
const (
	lookSoon  = 2 * milli
	lookTell  = 5 * milli
	lookAgain = 50 * milli
)

// expects is what waits to be done about expectations.
type expects struct {
	ops   []pfstate.ExpectOp
	early []pfstate.ExpectEvent
	looks []masterLook // in no order
}

// masterLook is a master to be looked up.
type masterLook struct {
	r    pfstate.Ref
	at   int64
	step uint8 // 0 to be looked up, 1 to be told of, 2 to be looked up again
}

// deadline is when expectTick is due.
func (x *expects) deadline() int64 {
	d := int64(never)
	for i := range x.looks {
		d = min(d, x.looks[i].at)
	}
	return d
}

// expectTick looks masters up.
func (e *Engine) expectTick(now int64) {
	x := &e.expects
	rest := x.looks[:0]
	for _, l := range x.looks {
		if l.at > now {
			rest = append(rest, l)
			continue
		}
		if !e.tab.InUse(l.r) || e.tab.At(l.r).Has(pfstate.FlagDead) {
			continue
		}
		if l.at = e.masterStep(now, &l); l.at != 0 {
			rest = append(rest, l)
		}
	}
	x.looks = rest
}

// masterStep does one step and returns when the next one is due, 0 never.
func (e *Engine) masterStep(now int64, l *masterLook) int64 {
	s := e.tab.At(l.r)
	switch {
	case l.step == 1 && (s.Op == pfstate.OpGet || s.InFlight == pfstate.OpGet):
		return now + lookTell
	case l.step == 1:
		e.localUpdate(now, l.r, true)
		l.step++
		return now + lookAgain
	}
	e.wantOp(l.r, pfstate.OpGet)
	l.step++
	if l.step > 2 {
		return 0
	}
	return now + lookTell
}

// Expect takes news of the kernel's expectations. Those that our own operations
// caused must not be among them.
func (e *Engine) Expect(now int64, evs []pfstate.ExpectEvent) {
	for i := range evs {
		e.expect(now, &evs[i])
	}
}

// ExpectOps gives what the kernel is to be asked, in order, and forgets it. What
// comes of it is not told: an expectation that cannot be made is not worth more.
func (e *Engine) ExpectOps() []pfstate.ExpectOp {
	ops := e.expects.ops
	e.expects.ops = nil
	return ops
}

func (e *Engine) expect(now int64, ev *pfstate.ExpectEvent) {
	x := &ev.Expect
	r, reply, ok := e.tab.ByTuple(&x.Master, x.AF, x.MasterProto, x.Zone)
	switch {
	case ok && reply:
		e.reason(ReasonExpectUnfit) // its directions would have to be turned
	case ok && ev.Gone:
		e.expectGone(now, r, x)
	case ok:
		e.expectMade(now, r, ev)
	case !ev.Gone && len(e.expects.early) < maxEarly:
		e.expects.early = append(e.expects.early, *ev)
	}
}

// expectEarly looks again for the masters of what came too early.
func (e *Engine) expectEarly(now int64) {
	evs := e.expects.early
	e.expects.early = nil
	for i := range evs {
		if _, _, ok := e.tab.ByTuple(&evs[i].Expect.Master, evs[i].Expect.AF, evs[i].Expect.MasterProto, evs[i].Expect.Zone); ok {
			e.expect(now, &evs[i])
		}
	}
}

// expectMade: a packet of the master has passed here, and announced another
// connection.
func (e *Engine) expectMade(now int64, r pfstate.Ref, ev *pfstate.ExpectEvent) {
	s := e.tab.At(r)
	list := without(e.tab.Expects(s), &ev.Expect)
	if len(list) >= pfstate.MaxExpects {
		e.reason(ReasonExpectUnfit)
		return
	}
	e.tab.SetExpects(s, append(list, pfstate.Expected{Expect: ev.Expect, Expire: now + int64(ev.Expect.Timeout)*second, InKernel: true}))
	if s.Has(pfstate.FlagUnclaimed) {
		return
	}
	if !ev.Dump {
		s.LastLocal = now
		e.setCarried(s, true)
		if s.Proto == pfstate.ProtoTCP && s.Reply != s.Orig.Inverse(s.Proto) && len(e.expects.looks) < maxEarly {
			e.expects.looks = append(e.expects.looks, masterLook{r: r, at: now + lookSoon})
			return
		}
	}
	e.localUpdate(now, r, true)
}

// expectGone: it was used, is over, or was taken away. Where the master passes
// elsewhere that is no news: there it is known better.
func (e *Engine) expectGone(now int64, r pfstate.Ref, x *pfstate.Expect) {
	s := e.tab.At(r)
	had := e.tab.Expects(s)
	list := without(had, x)
	e.tab.SetExpects(s, list)
	if len(list) < len(had) && s.Carried() && !s.Has(pfstate.FlagUnclaimed) {
		e.localUpdate(now, r, true)
	}
}

// without returns a list without what expects the same as x.
func without(list []pfstate.Expected, x *pfstate.Expect) []pfstate.Expected {
	var rest []pfstate.Expected
	for i := range list {
		if !list[i].Same(x) {
			rest = append(rest, list[i])
		}
	}
	return rest
}

// expectUsed ends what a connection of a peer has used up: its insert says whose
// expectation it was.
func (e *Engine) expectUsed(child *pfstate.State) {
	x := e.tab.Extra(child)
	if x == nil || x.Has&pfstate.HasMaster == 0 {
		return
	}
	r, reply, ok := e.tab.ByTuple(&x.Master.Tuple, child.AF, x.Master.Proto, child.Zone[0])
	if !ok || reply {
		return
	}
	s := e.tab.At(r)
	list := e.tab.Expects(s)
	for i := range list {
		if list[i].Flags&pfstate.ExpectPermanent == 0 && list[i].Matches(&child.Orig, child.Proto) {
			e.expectOp(&list[i], true)
			e.tab.SetExpects(s, without(list, &list[i].Expect))
			return
		}
	}
}

// takeExpects makes the expectations of s those of a record, and reports whether
// there are new ones: the helper there has read on.
func (e *Engine) takeExpects(now int64, s *pfstate.State, m *record) (more bool) {
	had := e.tab.Expects(s)
	if len(had) == 0 && len(m.expects) == 0 {
		return false
	}
	var list []pfstate.Expected
	for i := range had {
		switch {
		case had[i].Expire <= now && !had[i].InKernel:
		case !expectsIt(m.expects, &had[i].Expect) && m.carried:
			e.expectOp(&had[i], true)
		default:
			list = append(list, had[i])
		}
	}
	full := len(had) == 0 && e.tab.Masters() >= maxMasters
	for i := range m.expects {
		x := &m.expects[i]
		x.AF, x.Master, x.MasterProto, x.Zone = s.AF, s.Orig, s.Proto, s.Zone[0]
		switch {
		case x.Timeout == 0 || len(without(list, x)) < len(list):
		case full || len(list) >= pfstate.MaxExpects:
			e.reason(ReasonExpectUnfit)
		default:
			list = append(list, pfstate.Expected{Expect: *x, Expire: now + int64(x.Timeout)*second})
			more = true
		}
	}
	e.tab.SetExpects(s, list)
	if s.Has(pfstate.FlagInKernel) && s.Op != pfstate.OpCreate && s.InFlight != pfstate.OpCreate {
		e.expectsToKernel(now, s)
	}
	return more
}

func expectsIt(list []pfstate.Expect, x *pfstate.Expect) bool {
	for i := range list {
		y := list[i]
		y.AF, y.Zone = x.AF, x.Zone
		if y.Same(x) {
			return true
		}
	}
	return false
}

// expectsToKernel asks for what the kernel, which has the master, has not yet.
func (e *Engine) expectsToKernel(now int64, s *pfstate.State) {
	list := e.tab.Expects(s)
	for i := range list {
		x := &list[i]
		switch {
		case x.InKernel || x.Expire <= now:
		case s.Has(pfstate.FlagReversed):
			e.reason(ReasonExpectUnfit)
		default:
			x.Timeout = seconds(x.Expire - now)
			e.expectOp(x, false)
		}
	}
}

// expectsLost notes that the kernel's entry is a new one.
func (e *Engine) expectsLost(s *pfstate.State) {
	list := e.tab.Expects(s)
	for i := range list {
		list[i].InKernel = false
	}
}

func (e *Engine) expectOp(x *pfstate.Expected, remove bool) {
	if x.InKernel != remove {
		return
	}
	if len(e.expects.ops) >= maxExpectOps {
		e.reason(ReasonExpectUnfit)
		return
	}
	x.InKernel = !remove
	e.expects.ops = append(e.expects.ops, pfstate.ExpectOp{Remove: remove, Expect: x.Expect})
}

// handedOver reports whether the master s, whose packets passed here, passes
// elsewhere now. The helper here has to be told: it takes what it has not seen
// for something else, and would not read the next packet after the way back.
func (e *Engine) handedOver(s, was *pfstate.State) bool {
	if !was.Has(pfstate.FlagCarried) || s.Has(pfstate.FlagCarried) {
		return false
	}
	x := e.tab.Extra(s)
	return x != nil && x.Has&pfstate.HasHelper != 0
}

// addrLen is the length of an address on the wire.
func addrLen(af uint8) int {
	if af == pfstate.AFInet {
		return 4
	}
	return 16
}

// extrasExpect appends what is expected of s, as far as a frame of any link has
// room for it beside the record.
func (e *Engine) extrasExpect(b []byte, now int64, s *pfstate.State) []byte {
	list := e.tab.Expects(s)
	if len(list) == 0 {
		return b
	}
	const others = syncproto.HeaderLen + 3*syncproto.SubheaderLen + 64 // and the TLVs of a state carried, of a pair
	n := addrLen(s.AF)
	room := min((e.mtu()-2*ipHeader-others-e.queueLen(qIns))/2, syncproto.MaxMessageLen) - syncproto.ExpectLen(n)
	for i := range list {
		x := &list[i]
		if x.Expire <= now || x.Flags > 0xff || x.Class > 0xff {
			continue
		}
		if len(b) > room {
			e.reason(ReasonExpectUnfit)
			break
		}
		w := expectToWire(x, now)
		b = syncproto.AppendExpect(b, &w, n)
	}
	return b
}

func expectToWire(x *pfstate.Expected, now int64) syncproto.Expect {
	w := syncproto.Expect{
		Proto: x.Proto, Flags: uint8(x.Flags), Class: uint8(x.Class), Left: seconds(x.Expire - now),
		SrcPort: x.Tuple.SrcPort, MaskPort: x.MaskPort, DstPort: x.Tuple.DstPort, NATPort: x.NATPort,
		Src: x.Tuple.Src, MaskSrc: x.MaskSrc, Dst: x.Tuple.Dst, NATSrc: x.NATSrc,
		Helper: string(trimZero(x.Helper[:])), Fn: string(trimZero(x.Fn[:])),
	}
	if x.NAT {
		w.What |= syncproto.ExpectNAT
	}
	if x.NATDir != 0 {
		w.What |= syncproto.ExpectReplyDir
	}
	return w
}

// readExpect takes a TLVExpect.
func (m *record) readExpect(v []byte) {
	var w syncproto.Expect
	if len(m.expects) >= pfstate.MaxExpects || syncproto.ParseExpect(v, &w, addrLen(m.af)) != nil {
		return
	}
	x := pfstate.Expect{
		Proto: w.Proto, Flags: uint32(w.Flags), Class: uint32(w.Class), Timeout: w.Left,
		Tuple:   pfstate.Tuple{Src: w.Src, SrcPort: w.SrcPort, Dst: w.Dst, DstPort: w.DstPort},
		MaskSrc: w.MaskSrc, MaskPort: w.MaskPort,
		NAT: w.What&syncproto.ExpectNAT != 0, NATSrc: w.NATSrc, NATPort: w.NATPort,
	}
	if w.What&syncproto.ExpectReplyDir != 0 {
		x.NATDir = 1
	}
	copy(x.Helper[:], w.Helper)
	copy(x.Fn[:], w.Fn)
	m.expects = append(m.expects, x)
}

// masterTLV appends whose expectation s was.
func masterTLV(b []byte, s *pfstate.State, x *pfstate.Extra) []byte {
	t := &x.Master.Tuple
	return syncproto.AppendMaster(b, &syncproto.Master{Proto: x.Master.Proto, SrcPort: t.SrcPort, DstPort: t.DstPort, Src: t.Src, Dst: t.Dst}, addrLen(s.AF))
}

// readMaster takes a TLVMaster.
func (m *record) readMaster(v []byte) bool {
	var w syncproto.Master
	if syncproto.ParseMaster(v, &w, addrLen(m.af)) != nil || w.Dst == [16]byte{} {
		return false
	}
	m.ext.Master = pfstate.Master{Tuple: pfstate.Tuple{Src: w.Src, SrcPort: w.SrcPort, Dst: w.Dst, DstPort: w.DstPort}, Proto: w.Proto}
	m.ext.Has |= pfstate.HasMaster
	return true
}
