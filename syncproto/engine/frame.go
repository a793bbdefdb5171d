package engine

import (
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

const (
	minMTU    = 576 // what every link carries; a record with its extras fits
	maxExtras = 255 // messages of a Linux region we send
)

// Frame is one to send.
type Frame struct {
	Data []byte // the frame, without IP header
	Show bool   // to be seen on pfsync0: all but heartbeats
}

// scratch is memory used again and again, so that nothing is allocated on the
// data path.
type scratch struct {
	reader syncproto.Reader
	info   syncproto.FrameInfo
	wire   syncproto.State
	updc   syncproto.UpdC
	record record
	flow   pfstate.Flow
	frame  frame
	tlvs   []byte
	expect [pfstate.MaxExpects]pfstate.Expect // of record
	half   pfstate.Ref                        // of its pair the out state is still to be sent
}

// frame is the one being made.
type frame struct {
	w       syncproto.Builder
	limit   int
	carried int8 // 0 no record yet, 1 all are carried here, -1 mixed
	naming  bool // as it was begun: the last of what is told is in it
	stride  int  // of the Linux region
	extras  []extraRef
	tlvs    []byte // of all extras
}

type extraRef struct {
	id       pfstate.ID
	from, to int // in tlvs
}

// NextFrame makes the next frame that is due, in buf, whose capacity should be
// that of the largest frame. ok is false if none is due.
func (e *Engine) NextFrame(now int64, buf []byte) (fr Frame, ok bool) {
	if e.cfg.Sync && !e.link.Up {
		return Frame{}, false // what is queued waits, and collapses
	}
	f := &e.scratch.frame
	e.begin(f, buf)
	show := e.fill(now, f)
	if f.w.Empty() && !(e.cfg.Sync && (now >= e.heartbeatAt() || e.repair.wants() || len(f.extras) > 0)) {
		return Frame{}, false
	}
	return Frame{Data: e.finish(now, f), Show: show}, true
}

// fill puts in what is due, and reports whether there was anything.
func (e *Engine) fill(now int64, f *frame) bool {
	switch {
	case e.fillTells(now, f):
	case len(e.clrs) > 0:
		e.fillClr(f)
	case e.bulk.ask || e.reqs.len() > 0:
		e.fillRequests(f)
	case now >= e.due:
		e.fillLive(now, f)
	case e.serve.active && e.cfg.Sync && e.claim.dumped && e.serve.open(now):
		e.fillBulk(now, f)
	}
	return !f.w.Empty()
}

func (e *Engine) begin(f *frame, buf []byte) {
	f.limit = e.mtu() - ipHeader
	switch {
	case e.link.Self.Is6():
		f.limit -= 20
	case e.cfg.Format != syncproto.Format6:
		f.limit -= 20 // FreeBSD reckons with the larger IP header (pfsync-protocol.md section 3.4)
	}
	f.w.Begin(buf[:0], e.cfg.Format.Version(), f.limit, nil)
	f.carried, f.stride = 0, syncproto.FrameInfoLen
	f.naming = e.claim.active || !e.settling.passed(e)
	f.extras, f.tlvs = f.extras[:0], f.tlvs[:0]
	e.addControls(f)
	e.reserve(f, 0, 0)
}

// reserve keeps room for the Linux region with so many more extras, the
// longest of n bytes.
func (e *Engine) reserve(f *frame, more, n int) {
	if e.cfg.Format != syncproto.Format6 {
		return
	}
	stride := max(f.stride, syncproto.Stride(n))
	f.w.SetLimit(f.limit - syncproto.SubheaderLen - stride*(1+len(f.extras)+more))
}

// add puts in a message with its extras, and reports whether it fit.
func (e *Engine) add(f *frame, id pfstate.ID, tlvs []byte, put func() bool) bool {
	if e.cfg.Format != syncproto.Format6 {
		return put()
	}
	more := 0
	if len(tlvs) > 0 {
		more = 1
		if len(f.extras) >= maxExtras {
			return false
		}
	}
	e.reserve(f, more, len(tlvs))
	if !put() {
		e.reserve(f, 0, 0)
		return false
	}
	if more > 0 {
		f.stride = max(f.stride, syncproto.Stride(len(tlvs)))
		f.extras = append(f.extras, extraRef{id, len(f.tlvs), len(f.tlvs) + len(tlvs)})
		f.tlvs = append(f.tlvs, tlvs...)
	}
	return true
}

// fits reports whether n messages of one region, together so many bytes, have
// room with extras of at most tlvs bytes each.
func (e *Engine) fits(f *frame, n, length, tlvs int) bool {
	room := f.limit - f.w.Len() - syncproto.SubheaderLen - length
	if e.cfg.Format == syncproto.Format6 {
		extras, stride := len(f.extras), f.stride
		if tlvs > 0 {
			extras += n
			stride = max(stride, syncproto.Stride(tlvs))
		}
		if extras > maxExtras {
			return false
		}
		room -= syncproto.SubheaderLen + stride*(1+extras)
	}
	return room >= 0
}

// mode settles whether the frame is one of carried states only; a state that
// breaks that has to wait for the next frame.
func (f *frame) mode(carried bool) bool {
	switch {
	case f.carried == 0 && carried:
		f.carried = 1
	case f.carried == 0:
		f.carried = -1
	case f.carried == 1 && !carried:
		return false
	}
	return true
}

// finish closes the frame with the Linux region.
func (e *Engine) finish(now int64, f *frame) []byte {
	f.w.SetLimit(f.limit)
	if e.cfg.Format == syncproto.Format6 {
		e.addLinuxRegion(now, f)
	} else {
		e.out(syncproto.ActEOF)
	}
	data := f.w.End()
	e.count(CountOPackets)
	e.Stats.FramesOut++
	e.Stats.BytesOut += uint64(len(data))
	e.lastOut = now
	e.controlsSent(now)
	return data
}

func (e *Engine) addLinuxRegion(now int64, f *frame) {
	e.frameNo = frameAfter(e.frameNo)
	e.repair.sent(e.frameNo)
	info := syncproto.FrameInfo{
		Magic: syncproto.LinuxMagic, Layout: syncproto.LinuxLayout, Demotion: uint8(min(e.demotion(now), 255)),
		Epoch: e.cfg.Epoch, Frame: e.frameNo, TableSize: uint32(e.tab.Len()), CreatorID: e.cfg.HostID,
	}
	if f.carried == 1 {
		info.Flags |= syncproto.InfoCarried
	}
	if e.bulk.state == SyncOK && !e.dump.diverged && !e.repair.doubt() && !e.differs() {
		info.Flags |= syncproto.InfoInSync
	}
	if e.serve.active {
		info.Flags |= syncproto.InfoSending
	}
	info.Flags |= syncproto.InfoDigests
	if f.naming {
		info.Flags |= syncproto.InfoNaming
	}
	if f.w.AddFrameInfo(f.stride, &info) {
		e.Stats.LinuxOut++
	}
	for _, x := range f.extras {
		if f.w.AddExtra(&syncproto.Extra{ID: x.id.ID, CreatorID: x.id.CreatorID, TLVs: f.tlvs[x.from:x.to]}) {
			e.Stats.LinuxOut++
		}
	}
}

func (e *Engine) out(a syncproto.Action) { e.Stats.Out[a]++ }

func (e *Engine) fillClr(f *frame) {
	for len(e.clrs) > 0 && f.w.AddClr(&e.clrs[0]) {
		e.clrs = e.clrs[1:]
		e.out(syncproto.ActClr)
	}
}

// fillRequests: requests are frames of their own, sent at once.
func (e *Engine) fillRequests(f *frame) {
	if e.bulk.ask {
		e.bulk.ask = false
		f.w.AddID(syncproto.ActUpdReq, &syncproto.ID{})
		e.out(syncproto.ActUpdReq)
	}
	for e.reqs.len() > 0 {
		id := syncproto.ID(e.reqs.ids[e.reqs.head].ID)
		if !f.w.AddID(syncproto.ActUpdReq, &id) {
			return
		}
		if n := e.reqs.get(); !n.again {
			e.repair.named(n)
		}
		e.out(syncproto.ActUpdReq)
	}
}

// fillLive empties the queues in their order, as far as there is room.
func (e *Engine) fillLive(now int64, f *frame) {
	if !e.fillAcks(f) || !e.fillDeletes(f) || !e.fillTakes(now, f) {
		return
	}
	for _, q := range [...]uint8{qUpdC, qIns, qUpd} {
		for r := e.queues[q].Head(); r != 0; r = e.queues[q].Head() {
			if !e.mayTell(now, r) {
				continue
			}
			if !e.addState(now, f, r, q, q == qIns && e.deferAsks(r)) {
				return
			}
			e.dequeue(r)
		}
	}
	if e.queues[qTake].Len() == 0 {
		e.due = never
	}
}

func (e *Engine) fillAcks(f *frame) bool {
	for r := e.queues[qIack].Head(); r != 0; r = e.queues[qIack].Head() {
		s := e.tab.At(r)
		id := syncproto.ID(s.MainName())
		if out := s.Name(pfstate.SideOut); s.Has(pfstate.FlagAckOut) && !out.IsZero() {
			id = syncproto.ID(out)
		} else if in := s.Name(pfstate.SideIn); !s.Has(pfstate.FlagAckOut) && !in.IsZero() {
			id = syncproto.ID(in)
		}
		if !f.w.AddID(syncproto.ActInsAck, &id) {
			return false
		}
		e.dequeue(r)
		e.out(syncproto.ActInsAck)
	}
	return true
}

func (e *Engine) fillDeletes(f *frame) bool {
	for e.rawDel.len() > 0 {
		n := e.rawDel.ids[e.rawDel.head]
		if !e.addDelete(f, n.ID, n.killed) {
			return false
		}
		e.rawDel.get()
	}
	for r := e.queues[qDel].Head(); r != 0; r = e.queues[qDel].Head() {
		s := e.tab.At(r)
		killed := s.Has(pfstate.FlagKilled)
		if names := s.Names(); names > 1 && !e.fits(f, names, names*syncproto.IDLen, len(killedTLV(killed))) {
			return false // both of a pair or none
		}
		for side := range pfstate.Sides {
			if id := s.Name(side); !id.IsZero() && !e.addDelete(f, id, killed) {
				return false
			}
		}
		e.dropDead(r)
	}
	return true
}

// killedTLVs is what the Linux region tells of a delete that is to be obeyed.
var killedTLVs = syncproto.AppendTLV(nil, syncproto.TLVKilled, nil)

func killedTLV(killed bool) []byte {
	if killed {
		return killedTLVs
	}
	return nil
}

func (e *Engine) addDelete(f *frame, id pfstate.ID, killed bool) bool {
	m := syncproto.ID(id)
	if !e.add(f, id, killedTLV(killed), func() bool { return f.w.AddID(syncproto.ActDelC, &m) }) {
		return false
	}
	e.out(syncproto.ActDelC)
	e.repair.named(named{ID: id, deleted: true, killed: killed})
	e.buried.sent(id, killed, frameAfter(e.frameNo))
	return true
}

// addState puts in the messages of a state, one for each of its names.
func (e *Engine) addState(now int64, f *frame, r pfstate.Ref, q uint8, ask bool) bool {
	s := e.tab.At(r)
	carried := s.Carried()
	if !f.mode(carried) {
		return false
	}
	q = e.second(now, r, q)
	pair := !s.Name(pfstate.SideIn).IsZero() && !s.Name(pfstate.SideOut).IsZero()
	if pair && !f.w.Empty() && !e.fits(f, 2, 2*e.queueLen(q), e.extrasBound(now, s)) {
		return false
	}
	for side := range pfstate.SideAlias {
		if s.Name(side).IsZero() || pair && side == pfstate.SideIn && e.scratch.half == r {
			continue
		}
		if !e.addSide(now, f, r, side, q, ask) {
			if pair && side == pfstate.SideOut {
				e.scratch.half = r // an MTU too small for both: the other in the next frame
			}
			return false
		}
	}
	e.scratch.half = 0
	s.Flags |= pfstate.FlagAnnounced
	s.SentExpire, s.LastSent = s.Expire, now
	if q != qUpdC {
		e.tab.CountTold(r)
	}
	e.told(r)
	return true
}

func (e *Engine) addSide(now int64, f *frame, r pfstate.Ref, side pfstate.Side, q uint8, ask bool) bool {
	s := e.tab.At(r)
	id, action := s.Name(side), queueAction[q]
	e.scratch.tlvs = e.extras(e.scratch.tlvs[:0], now, s, side, q != qUpdC)
	switch {
	case f.carried == -1 && s.Carried():
		e.scratch.tlvs = syncproto.AppendTLV(e.scratch.tlvs, syncproto.TLVCarried, nil)
	case q != qUpdC && s.Has(pfstate.FlagCarried|pfstate.FlagUnsure):
		e.scratch.tlvs = syncproto.AppendTLV(e.scratch.tlvs, syncproto.TLVUnsure, nil)
	}
	put := func() bool { return f.w.AddUpdC(&e.scratch.updc) }
	if q == qUpdC {
		e.updCOf(now, s, side, &e.scratch.updc)
	} else {
		e.toWire(now, s, side, &e.scratch.wire)
		e.countsToWire(r, &e.scratch.wire)
		if ask {
			e.scratch.wire.StateFlags |= syncproto.FlagAck
		}
		put = func() bool { return f.w.AddState(action, e.cfg.Format, &e.scratch.wire) }
	}
	if !e.add(f, id, e.scratch.tlvs, put) {
		return false
	}
	e.out(action)
	e.repair.named(named{ID: id})
	return true
}

// fillBulk puts in the next part of the table for those who asked.
func (e *Engine) fillBulk(now int64, f *frame) {
	v := &e.serve
	e.serveForget(now)
	v.lastFrame = now
	bus := syncproto.Bus{CreatorID: e.cfg.HostID, Status: syncproto.BusStart}
	started := v.start
	if v.start {
		v.start = !f.w.AddBus(&bus)
		e.out(syncproto.ActBus)
	}
	for !v.end {
		r := e.serveNext()
		if r == 0 {
			v.end = true
			break
		}
		if !e.mayTell(now, r) {
			continue
		}
		ask := v.records+1 >= markEvery
		if !e.addState(now, f, r, qUpd, ask) {
			v.cursor, v.left = r, v.left+1 // next time
			return
		}
		v.records++
		v.sent++
		if ask {
			v.mark(e.tab.At(r).MainName())
		}
	}
	if started {
		return // of two BUS in a region a receiver reads the first
	}
	bus.Status, bus.EndTime = syncproto.BusEnd, seconds(now-v.asked)
	if f.w.AddBus(&bus) {
		e.out(syncproto.ActBus)
		v.active = false
	}
}

// flushWait is when peers are asked what they still have: by then they have
// heard of the end of the rest.
const flushWait = second

// Flush ends every synchronised state here and tells peers to drop what we
// made (pfsync-protocol.md section 12.4), and what others made that passes
// here. What passes elsewhere is not ours to end: it is asked for again.
func (e *Engine) Flush(now int64) {
	for r := pfstate.Ref(1); r < e.tab.End(); r++ {
		if e.tab.InUse(r) && !e.tab.At(r).Has(pfstate.FlagDead) {
			e.flushState(now, r)
		}
	}
	e.kept = kept{}
	e.clrs = append(e.clrs, syncproto.Clr{CreatorID: e.cfg.HostID})
	e.dueBy(now)
	e.bulk.again = now + flushWait
}

// flushState takes the names off first: they may come again with the next
// frame.
func (e *Engine) flushState(now int64, r pfstate.Ref) {
	s := e.tab.At(r)
	e.dequeue(r)
	for side := range pfstate.Sides {
		id := s.Name(side)
		switch {
		case id.IsZero():
		case s.Has(pfstate.FlagCarried) && !e.ours(id):
			e.deleteName(now, id, true)
		case e.ours(id):
			e.buried.put(id, s.Has(pfstate.FlagCarried)) // the CLR may get lost
		}
		e.tab.ClearName(r, side)
	}
	e.erase(r, true)
}
