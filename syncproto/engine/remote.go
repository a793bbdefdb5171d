package engine

import (
	"errors"
	"net/netip"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// The way of a frame:
//
//  1. Remote checks the header and knows the sender.
//  2. The Linux region, last in the frame, is read first.
//  3. Each region goes to the handler of its action, message by message.
//  4. A record becomes a state, or changes one (import.go); what the kernel
//     has to do is queued (ops.go). Nothing of it is told to other peers.

// rx is the frame under way.
type rx struct {
	now   int64
	peer  *Peer
	index uint8 // of peer
	info  *syncproto.FrameInfo
	extra syncproto.Region // Linux region, empty if none
	late  bool             // a later frame of this peer has been read already

	believed pfstate.ID // we told its end, and the peer insists
}

// Remote takes a frame, the payload of a packet that came on the syncdev with
// TTL 255.
func (e *Engine) Remote(now int64, from netip.Addr, frame []byte) {
	e.awake(now)
	e.count(CountIPackets)
	e.Stats.FramesIn++
	e.Stats.BytesIn += uint64(len(frame))
	if from == e.link.Self {
		e.reason(ReasonOwnFrame)
		return
	}
	rd := &e.scratch.reader
	rd.BulkAsked = e.bulk.state == SyncSent || e.bulk.state == SyncBulk
	if err := rd.Reset(frame); err != nil {
		e.badFrame(err)
		return
	}
	x := rx{now: now}
	e.linuxRegion(rd, &x)
	if x.info != nil && x.info.CreatorID == e.cfg.HostID {
		e.clashed(now, from)
		return
	}
	if x.info != nil && from == e.peers.clash {
		e.clashOver(now)
	}
	p, index := e.peerOf(now, from)
	if p == nil {
		e.reason(ReasonTooManyPeers)
		return
	}
	x.peer, x.index = p, uint8(index)
	p.replies.back(int64(len(frame) / replyBytes))
	x.late = x.info != nil && p.Epoch == x.info.Epoch && int32(x.info.Frame-p.Frame) < 0
	e.heard(now, p, rd.Header().Version, x.info)
	e.controls(&x)
	_ = rd.Reset(frame) // it was good a moment ago
	for reg, ok := rd.Next(); ok; reg, ok = rd.Next() {
		e.countIn(&reg)
		if !reg.Skip {
			e.region(&x, &reg)
		}
	}
	if err := rd.Err(); err != nil {
		e.badFrame(err)
	}
	e.checkHear(&x)
	e.bulkLostEnd(&x)
}

// badFrame counts why a frame, or the rest of one, was dropped.
func (e *Engine) badFrame(err error) {
	switch {
	case errors.Is(err, syncproto.ErrShort):
		e.count(CountHdrOps)
	case errors.Is(err, syncproto.ErrVersion):
		e.count(CountBadVer)
	case errors.Is(err, syncproto.ErrAction):
		e.count(CountBadAct)
	default:
		e.count(CountBadLen)
	}
}

// linuxRegion finds the Linux region and reads its first message.
func (e *Engine) linuxRegion(rd *syncproto.Reader, x *rx) {
	for reg, ok := rd.Next(); ok; reg, ok = rd.Next() {
		if reg.Action != syncproto.ActLinux || reg.Skip || reg.Whole() == 0 {
			continue
		}
		if syncproto.ParseFrameInfo(reg.Message(0), &e.scratch.info) == nil {
			reg.Count = min(reg.Count, 1+maxExtras) // nobody sends more, and each record looks through them
			x.info, x.extra = &e.scratch.info, reg
		}
		return
	}
}

// clashed: another machine has our hostid. What it says about states named by
// us cannot be told from what we said.
func (e *Engine) clashed(now int64, from netip.Addr) {
	e.reason(ReasonHostidClash)
	if e.peers.clash != from {
		e.log("hostid clash, set the word hostid random on one of the two", "peer", from)
	}
	e.peers.clash, e.peers.at = from, now
}

// countIn counts the messages of a region by its action, as FreeBSD's input
// histogram does: also those that are stepped over, and an EOF, which has none,
// as often as it says.
func (e *Engine) countIn(reg *syncproto.Region) {
	n := reg.Whole()
	switch {
	case reg.Action == syncproto.ActLinux:
		e.Stats.LinuxIn += uint64(n)
	case reg.Action == syncproto.ActEOF:
		e.Stats.In[reg.Action] += uint64(reg.Count)
	case int(reg.Action) < len(e.Stats.In):
		e.Stats.In[reg.Action] += uint64(n)
	}
}

// clashOver: the machine with our hostid has another one now, or is gone. What
// it said meanwhile was not heard.
func (e *Engine) clashOver(now int64) {
	e.log("hostid clash is over", "peer", e.peers.clash)
	e.peers.clash = netip.Addr{}
	e.bulk.again = now
}

// region hands the messages of a region to their handler.
func (e *Engine) region(x *rx, reg *syncproto.Region) {
	n := reg.Whole()
	switch reg.Action {
	case syncproto.ActClr:
		e.inClrs(x, reg)
		return
	case syncproto.ActBus:
		n = min(n, 1) // the first message only, as pf
	case syncproto.ActLinux:
		return
	}
	for i := range n {
		e.message(x, reg, reg.Message(i))
	}
}

func (e *Engine) message(x *rx, reg *syncproto.Region, b []byte) {
	switch reg.Action {
	case syncproto.ActIns, syncproto.ActUpd:
		e.inState(x, reg, b)
	case syncproto.ActUpdC:
		e.inUpdC(x, reg, b)
	case syncproto.ActDel:
		if syncproto.ParseState(b, reg.Format, &e.scratch.wire) == nil {
			e.inDelete(x, pfstate.ID{ID: e.scratch.wire.ID, CreatorID: e.scratch.wire.CreatorID})
		}
	case syncproto.ActDelC, syncproto.ActInsAck, syncproto.ActUpdReq:
		var id syncproto.ID
		if syncproto.ParseID(b, &id) == nil {
			e.inID(x, reg.Action, pfstate.ID(id))
		}
	case syncproto.ActBus:
		var m syncproto.Bus
		if syncproto.ParseBus(b, &m) == nil {
			e.inBus(x, &m)
		}
	case syncproto.ActTDB:
		e.inTDB(reg, b)
	}
}

// inTDB looks at replay counters of IPsec as OpenBSD does; FreeBSD does not.
// There is no SA here that they could be for.
func (e *Engine) inTDB(reg *syncproto.Region, b []byte) {
	const reservedSPI = 255
	var m syncproto.TDB
	if reg.Format != syncproto.Format6 || syncproto.ParseTDB(b, reg.Format, &m) != nil {
		return
	}
	if m.SPI <= reservedSPI || familyOf(m.Dst[1]) == 0 || m.Dst[1] == syncproto.FamilyIPv6FreeBSD {
		e.count(CountBadState)
	}
}

func (e *Engine) inID(x *rx, a syncproto.Action, id pfstate.ID) {
	switch a {
	case syncproto.ActDelC:
		e.inDelete(x, id)
	case syncproto.ActInsAck:
		e.serveAck(x.peer, id)
		e.deferAcked(id)
		e.takesAgain(x.now, x.peer)
	case syncproto.ActUpdReq:
		e.inRequest(x, id)
	}
}

// inBus also finds a BSD with our hostid.
func (e *Engine) inBus(x *rx, m *syncproto.Bus) {
	if m.CreatorID == e.cfg.HostID {
		e.clashed(x.now, x.peer.Addr)
		return
	}
	e.bulkStatus(x.now, x.peer, m)
}

// inState takes INS and UPD.
func (e *Engine) inState(x *rx, reg *syncproto.Region, b []byte) {
	w := &e.scratch.wire
	if syncproto.ParseState(b, reg.Format, w) != nil {
		return
	}
	check := w.CheckUpd(reg.Format)
	if reg.Action == syncproto.ActIns {
		check = w.CheckIns(reg.Format)
	}
	if check != nil {
		e.count(CountBadVal)
		return
	}
	e.speaks(x.peer, reg.Format)
	if reg.Action == syncproto.ActIns && x.info == nil && x.peer.CreatorID == 0 {
		x.peer.CreatorID = w.CreatorID // a pf inserts what it made
	}
	if e.peers.clash.IsValid() && x.peer.Addr == e.peers.clash {
		return
	}
	if reg.Action == syncproto.ActUpd {
		e.bulkRecord(x.now, x.peer)
	}
	m := &e.scratch.record
	if reason, ok := e.fromWire(x, reg.Format, w, m); !ok {
		if e.keep(x, reg.Format, w, reason) {
			return
		}
		e.refuse(x, m, reason)
		if reg.Action == syncproto.ActUpd {
			e.count(CountBadState)
		}
		return
	}
	m.isNew = reg.Action == syncproto.ActIns
	name := m.name
	e.kept.drop(name)
	e.record(x, m)
	e.heardOf(name)
}

// record takes a checked record: the state is known by name, by tuple, or new.
func (e *Engine) record(x *rx, m *record) {
	if r, side, ok := e.tab.ByName(m.name); ok {
		s := e.tab.At(r)
		if side != pfstate.SideAlias {
			m.side = side
		}
		switch {
		case s.Has(pfstate.FlagDead) && m.linux && m.carried && !s.Has(pfstate.FlagKilled):
			e.undead(r) // it passes elsewhere
			e.record(x, m)
		case s.Has(pfstate.FlagDead):
			e.reason(ReasonDeleteLate)
		case side == pfstate.SideAlias:
			e.updateAlias(x, r, m)
		case !e.sameEnds(s, m) && s.Carried():
			e.disown(x.now, r)
			e.record(x, m)
		case !e.sameEnds(s, m):
			e.replace(x, r, m)
		default:
			e.checkContents(s, m)
			e.updateKnown(x, r, m)
		}
		return
	}
	if x.late && e.graves.has(m.name, x.index, x.info.Frame) {
		e.reason(ReasonDeleteLate)
		return
	}
	if e.hearsay(x, m) {
		return
	}
	if r, ok := e.otherKnown(m); ok && e.sameEnds(e.tab.At(r), m) {
		e.nameSide(r, m.side, m.name)
		e.updateKnown(x, r, m)
		return
	}
	r := e.match(m)
	switch {
	case m.linux && !m.isNew && m.expire <= 1 && (r == 0 || !e.tab.At(r).Has(pfstate.FlagUnclaimed)):
		// Over: of no use but to be mistaken for a later one.
	case r != 0:
		e.meet(x, r, m)
	case e.outlived(x, m):
		e.tellEnd(x, m.name)
		e.reason(ReasonDeleteLate)
	default:
		e.insert(x, m)
	}
}

// closed reports whether nothing more is to pass.
func closed(s *pfstate.State) bool {
	return s.Proto == pfstate.ProtoTCP && (s.ProtoState == pfstate.TCPTimeWait || s.ProtoState == pfstate.TCPClose)
}

// undead takes the names off a dead state, whose kernel entry is still to go or
// whose delete is still to be sent.
func (e *Engine) undead(r pfstate.Ref) {
	s := e.tab.At(r)
	if s.Queue == qDel {
		e.dropDead(r)
		return
	}
	for side := range pfstate.Sides {
		e.tab.ClearName(r, side)
	}
}

// inUpdC takes a compressed update.
func (e *Engine) inUpdC(x *rx, reg *syncproto.Region, b []byte) {
	u := &e.scratch.updc
	if syncproto.ParseUpdC(b, u) != nil {
		return
	}
	if u.Check(reg.Format) != nil {
		e.count(CountBadVal)
		return
	}
	id := pfstate.ID{ID: u.ID, CreatorID: u.CreatorID}
	r, side, ok := e.tab.ByName(id)
	if !ok {
		if e.keptUpdC(x, u) {
			return
		}
		if id.IsZero() || x.late && e.graves.has(id, x.index, x.info.Frame) {
			return
		}
		if !e.inVain(x, id) {
			e.request(x.now, id)
		}
		return
	}
	s := e.tab.At(r)
	if s.Has(pfstate.FlagDead) {
		return
	}
	if proxied(&u.Src, &u.Dst) { // late: what is in the table is past that
		e.reason(ReasonSynproxy)
		return
	}
	m := &e.scratch.record
	e.fromUpdC(x, u, s, m)
	m.side = side
	if side == pfstate.SideAlias {
		e.updateAlias(x, r, m)
		return
	}
	e.updateKnown(x, r, m)
	e.heardOf(id)
}

// inRequest takes an UPD_REQ.
func (e *Engine) inRequest(x *rx, id pfstate.ID) {
	if id == (pfstate.ID{}) {
		e.serveRequest(x.now, x.peer)
		return
	}
	r, _, ok := e.tab.ByName(id)
	if !ok || e.tab.At(r).Has(pfstate.FlagDead) {
		e.count(CountBadState)
		if x.info != nil {
			e.tellEnd(x, id)
		}
		return
	}
	switch s := e.tab.At(r); {
	case s.Expire > x.now+refreshSlack:
	case s.Carried() && s.Proto != pfstate.ProtoTCP:
		e.wantOp(r, pfstate.OpGet) // packets may have passed since it was looked at
		return
	case s.Carried():
	default:
		e.count(CountBadState) // over, as far as we know: hearsay would only keep the dead
		return
	}
	if e.mayReply(x.now, x.peer) {
		e.push(x.now, r)
	}
}

// inDelete takes DEL and DEL_C.
func (e *Engine) inDelete(x *rx, id pfstate.ID) {
	if x.info != nil {
		e.graves.put(id, x.index, x.info.Frame)
	}
	e.serveAck(x.peer, id) // what has ended there is not acknowledged, but heard
	r, side, ok := e.tab.ByName(id)
	killed := e.extraFlag(x, id, syncproto.TLVKilled)
	if !ok {
		e.buried.put(id, killed)
		if e.kept.drop(id) {
			return
		}
		e.count(CountBadState) // normal: both ends expire the same state
		return
	}
	s := e.tab.At(r)
	switch {
	case s.Has(pfstate.FlagDead):
		if s.Queue == qDel {
			e.dropDead(r) // our own delete is no news any more
		}
	case side == pfstate.SideAlias:
		e.tab.ClearName(r, side)
		e.endedAtPF(x, r)
	case !killed && s.Has(pfstate.FlagCarried) && s.Expire > x.now+refreshSlack && !closed(s):
		// It expired there, for nothing passed there. It passes here.
		e.reason(ReasonDelRefused)
		if e.mayReply(x.now, x.peer) {
			e.push(x.now, r) // whatever was said a moment ago: others obey
		}
	case !s.Name(pfstate.SideIn).IsZero() && !s.Name(pfstate.SideOut).IsZero():
		e.buried.put(id, killed)
		e.tab.ClearName(r, side) // the state goes with its last name
		e.endedAtPF(x, r)
	default:
		e.buried.put(id, killed)
		e.erase(r, killed)
	}
}

// graves remember the names deleted last, and by which frame, so that an
// insert that a later delete has overtaken makes no state.
type graves struct {
	of [graveCount]grave
}

type grave struct {
	id    pfstate.ID
	frame uint32
	peer  uint8
}

const graveCount = 1 << 12

func (g *graves) slot(id pfstate.ID) *grave {
	return &g.of[(uint32(id.ID)^id.CreatorID)%graveCount]
}

func (g *graves) put(id pfstate.ID, peer uint8, frame uint32) {
	*g.slot(id) = grave{id, frame, peer}
}

// forget forgets what a peer deleted.
func (g *graves) forget(peer uint8) {
	for i := range g.of {
		if g.of[i].peer == peer {
			g.of[i] = grave{}
		}
	}
}

// has reports whether the peer deleted id in a later frame than this.
func (g *graves) has(id pfstate.ID, peer uint8, frame uint32) bool {
	s := g.slot(id)
	return s.id == id && s.peer == peer && int32(s.frame-frame) > 0
}
