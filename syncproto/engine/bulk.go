package engine

import (
	"net/netip"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// Sync is how far we are with the peers' tables.
type Sync uint8

// States of the bulk request (pfsync-protocol.md section 13.1; ours are
// failed and alone, which pf both calls done).
const (
	SyncNone   Sync = iota // no syncdev
	SyncStart              // waiting for the link
	SyncSent               // asked
	SyncBulk               // receiving
	SyncOK                 // done
	SyncFailed             // nobody answered, or it broke off
	SyncAlone              // nobody there
	Syncs
)

var syncNames = [Syncs]string{"none", "start", "sent", "bulk", "ok", "failed", "alone"}

func (s Sync) String() string { return syncNames[s] }

const (
	bulkTries    = 12          // PFSYNC_MAX_BULKTRIES
	bulkRetry    = 2 * second  // between requests
	bulkSlowly   = 6           // requests that nothing at all was heard after; from then on
	bulkPatience = 6 * second  // between them: a switch may take 30 s before it forwards
	bulkProgress = 10 * second // a transfer that brings nothing for so long has broken off
	linkHold     = 30 * second // how long a request waits demoted for the link
)

// bulk is our own request.
type bulk struct {
	state    Sync
	timer    int64 // next step, never if none
	tries    int
	ask      bool // a request is to be sent
	received int
	from     netip.Addr // who sends
	total    uint32     // its table size
	downAt   int64      // when the link went down, or start without link
	upAt     int64      // when it came up
	was      bool       // we have been in sync since the syncdev was set
	quiet    bool       // asked when it was over, to be sure: nobody is demoted for it
	before   Sync       // quiet: what it was
	again    int64      // when to ask quietly once more, never if not
	gen      int64      // when the transfer began: what it names has LastPeer from then on
}

func (b *bulk) init() { b.timer, b.again = never, never }

func (b *bulk) deadline() int64 {
	if b.over() {
		return min(b.timer, b.again)
	}
	return b.timer
}

// over reports whether nobody's table is waited for.
func (b *bulk) over() bool {
	return b.state == SyncOK || b.state == SyncFailed || b.state == SyncAlone
}

func (e *Engine) bulkTo(s Sync, timer int64) {
	if e.bulk.state != s {
		e.log("bulk transfer", "from", e.bulk.state.String(), "to", s.String())
	}
	e.bulk.state, e.bulk.timer = s, timer
}

func (e *Engine) bulkNone() {
	e.bulk.ask, e.bulk.was = false, false
	e.bulkTo(SyncNone, never)
}

// bulkStart: a syncdev was set. The request goes out when the link is up.
func (e *Engine) bulkStart(now int64) {
	e.bulk = bulk{downAt: now, upAt: now, timer: never, again: never, state: e.bulk.state}
	e.bulkTo(SyncStart, now+linkHold)
}

// bulkLink: the link is up.
func (e *Engine) bulkLink(now int64) {
	if e.bulk.state == SyncNone || !e.link.Up || !e.claim.dumped {
		return // before the first dump we could not tell what the records are about
	}
	e.bulk.tries = 0
	e.bulk.quiet = false
	e.bulkAsk(now)
}

// bulkQuietly asks again although it was over, because a peer may have told
// what we did not hear.
func (e *Engine) bulkQuietly(now int64) {
	if e.link.Up && e.bulk.over() {
		e.bulk.quiet, e.bulk.before = true, e.bulk.state
		e.bulk.tries = 0
		e.bulkAsk(now)
	}
}

func (e *Engine) bulkLinkDown(now int64) {
	if e.bulk.state == SyncNone {
		return
	}
	e.bulk.downAt = e.awakeAt(now)
	e.bulk.ask = false
	e.bulkTo(SyncStart, now+linkHold)
}

// Bulk asks the peers for their tables again.
func (e *Engine) Bulk(now int64) {
	if e.link.Up {
		e.bulk.downAt, e.bulk.upAt = now, now // nobody was away
	}
	e.bulkLink(now)
}

func (e *Engine) bulkAsk(now int64) {
	e.bulk.tries++
	e.bulk.ask = true
	e.bulk.received = 0
	for i := range e.peers.list {
		e.peers.list[i].told = false
	}
	e.bulkTo(SyncSent, now+e.bulkPause())
}

// bulkPause is how long to wait for an answer. A link that is silent altogether
// may not pass anything yet.
func (e *Engine) bulkPause() int64 {
	if e.bulk.tries <= bulkSlowly || e.peers.heardSince(e.bulk.upAt) {
		return bulkRetry
	}
	return bulkPatience
}

// bulkTick: the timer of the request.
func (e *Engine) bulkTick(now int64) {
	b := &e.bulk
	if now >= b.again && b.over() {
		b.again = never
		e.bulkQuietly(now)
	}
	if now < b.timer {
		return
	}
	switch b.state {
	case SyncStart:
		b.timer = never // only the demotion changes, and claimTick waits no longer
	case SyncSent, SyncBulk:
		switch {
		case b.tries >= bulkTries:
			e.bulkGiveUp()
		case b.state == SyncSent && b.tries > 1 && e.nobody():
			e.bulkDone(SyncAlone)
		default:
			e.bulkAsk(now)
		}
	default:
		b.timer = never
	}
}

// nobody reports that no peer is, was, or should be there.
func (e *Engine) nobody() bool {
	for i := range e.peers.list {
		if e.peers.list[i].used {
			return false
		}
	}
	return e.cfg.KnownPeers == 0 && !e.cfg.Unicast
}

func (e *Engine) bulkGiveUp() {
	for i := range e.peers.list {
		if e.peers.list[i].used && !e.peers.list[i].silent {
			e.bulkDone(SyncFailed)
			return
		}
	}
	e.bulkDone(SyncAlone)
}

func (e *Engine) bulkDone(s Sync) {
	e.bulkTo(s, never)
	e.bulk.was = e.bulk.was || s == SyncOK
}

// bulkStatus takes a BUS of a peer.
func (e *Engine) bulkStatus(now int64, p *Peer, m *syncproto.Bus) {
	b := &e.bulk
	if p.CreatorID == 0 {
		p.CreatorID = m.CreatorID
	}
	switch m.Status {
	case syncproto.BusStart:
		p.sending = true
		if b.state == SyncSent || b.state == SyncBulk && b.from != p.Addr && b.received == 0 {
			b.ask = false // this is the answer, or as good
			b.from, b.total, b.received, b.gen = p.Addr, p.States, 0, now
			p.toldAll = !p.naming
			e.bulkTo(SyncBulk, now+bulkProgress)
		}
	case syncproto.BusEnd:
		p.sending = false
		// An end without its start counts only from a BSD: OpenBSD sends no start
		// for an empty table. A Linux peer answers every request with a start.
		if b.state == SyncBulk && b.from == p.Addr || b.state == SyncSent && !p.Linux {
			p.told = b.state == SyncBulk && p.Linux
			if b.state == SyncBulk && !p.Linux {
				e.onlyPF.told(m)
			}
			e.bulkDone(SyncOK)
			if p.told {
				e.repair.sweepUnnamed(b.gen)
			}
		}
	}
}

// bulkLostEnd: a Linux peer that we have seen begin is no longer sending its
// table, so the frame with the end got lost. What else did is asked for by
// number (repair.go).
func (e *Engine) bulkLostEnd(x *rx) {
	b := &e.bulk
	if x.info == nil || x.late || b.state != SyncBulk || b.from != x.peer.Addr || x.info.Flags&syncproto.InfoSending != 0 {
		return
	}
	e.bulkStatus(x.now, x.peer, &syncproto.Bus{CreatorID: x.info.CreatorID, Status: syncproto.BusEnd})
}

// bulkRecord: a state of somebody's bulk transfer came.
func (e *Engine) bulkRecord(now int64, p *Peer) {
	if b := &e.bulk; b.state == SyncBulk && b.from == p.Addr {
		b.received++
		b.timer = now + bulkProgress
	}
}

// Status is what the engine says of itself.
type Status struct {
	Sync     Sync
	Percent  int        // of the bulk transfer
	Diverged bool       // the tables are known to differ and are being put right
	Lasting  int        // states that differ and cannot be put right, when there is nothing else
	LinkDown bool       // the syncdev is set and has no link
	Clash    netip.Addr // a machine with our hostid
	Demotion int        // for the demotion file
	States   int
	Carried  int

	From  netip.Addr // who sends the bulk
	Tries int        // requests sent
	Serve Serve
}

// Serve is how far our answer to bulk requests is.
type Serve struct {
	Sending bool
	To      [maxAckers]netip.Addr // who asked; not valid: nobody
	Sent    int                   // states so far
	Total   int                   // about
}

// Status returns the state of the machine.
func (e *Engine) Status(now int64) Status {
	s := Status{
		Sync:     e.bulk.state,
		Diverged: e.dump.diverged || e.repair.doubt() || e.differs() || e.answers < e.rest || e.peers.anyNaming(now),
		LinkDown: e.cfg.Sync && !e.link.Up,
		Clash:    e.peers.clash,
		Demotion: e.demotion(now),
		States:   e.tab.Len(),
		Carried:  e.carried,
	}
	if s.Diverged {
		s.Lasting = e.lasting()
	}
	if e.bulk.quiet && !e.bulk.over() {
		s.Sync = e.bulk.before
	}
	if !e.bulk.over() && e.bulk.state != SyncNone {
		s.From, s.Tries = e.bulk.from, e.bulk.tries
	}
	s.Serve = e.serving()
	if e.bulk.total > 0 {
		s.Percent = min(99, e.bulk.received*100/int(e.bulk.total))
	}
	return s
}

func (e *Engine) serving() Serve {
	v := &e.serve
	if !v.active {
		return Serve{}
	}
	s := Serve{Sending: true, Sent: v.sent, Total: max(v.sent, e.tab.Len())}
	for i := range v.by {
		s.To[i] = v.by[i].addr
	}
	return s
}

const (
	markEvery = 64 // records between two that ask for an INS_ACK
	maxMarks  = 4  // marks open at once
	blindPace = milli

	// Who has a Linux region acknowledges every mark, so it is waited for, and
	// more may be on the way: what a kernel takes in two or three milliseconds,
	// for a live insert may stand behind all of it.
	maxMarksLinux = 8
	markLost      = 200 * milli // after that no acknowledgement will come
	markDeaf      = 50 * milli  // the same once none came: what is not taken is not acknowledged
)

// serve is the answer to bulk requests: a walk over the table that all who
// asked hear.
type serve struct {
	active     bool
	start, end bool // a BUS is to be sent
	cursor     pfstate.Ref
	left       pfstate.Ref // slots still to look at
	asked      int64       // last request
	records    int         // since the last mark
	sent       int         // in all
	marks      [maxMarksLinux * 2]pfstate.ID
	marked     int  // marks set so far
	acked      int  // of them acknowledged, by the slowest who acknowledges
	deaf       bool // the last ones were not
	by         [maxAckers]acker
	lastFrame  int64
}

// maxAckers is how many of those who asked pace a transfer; more just listen.
const maxAckers = 4

// acker is one who asked.
type acker struct {
	addr  netip.Addr
	linux bool
	acked int
}

// serveRequest takes UPD_REQ 0/0. A request during a walk lets it go once more
// round, so that who came late misses nothing.
func (e *Engine) serveRequest(now int64, p *Peer) {
	if !p.admitBulk(now) {
		e.reason(ReasonRateBulk)
		return
	}
	e.serveAll(now)
	v := &e.serve
	for i := range v.by {
		if !v.by[i].addr.IsValid() || v.by[i].addr == p.Addr {
			v.by[i] = acker{p.Addr, p.Linux, v.marked}
			break
		}
	}
}

// serveAll begins a walk over the table, or lets one go once more round.
func (e *Engine) serveAll(now int64) {
	v := &e.serve
	if !v.active {
		*v = serve{active: true, cursor: 1}
	}
	v.start, v.end, v.asked = true, false, now
	v.left = e.tab.End() - 1
}

// serveLate serves those who asked before the first dump had told what there
// is: that nothing is there would have been no answer.
func (e *Engine) serveLate(now int64) {
	if e.serve.active {
		e.serveAll(now)
	}
}

// serveAck takes an INS_ACK that may close marks.
func (e *Engine) serveAck(p *Peer, id pfstate.ID) {
	v := &e.serve
	if !v.active {
		return
	}
	if r, _, ok := e.tab.ByName(id); ok {
		id = e.tab.At(r).MainName() // either name of a pair will do
	}
	for m := max(0, v.marked-len(v.marks)); m < v.marked; m++ {
		if v.marks[m%len(v.marks)] != id {
			continue
		}
		for i := range v.by {
			if v.by[i].addr == p.Addr {
				v.by[i].acked, v.deaf = max(v.by[i].acked, m+1), false
			}
		}
	}
	v.acked = v.marked
	for i := range v.by {
		if v.by[i].addr.IsValid() {
			v.acked = min(v.acked, v.by[i].acked)
		}
	}
}

// mark notes that a record asked for an acknowledgement.
func (v *serve) mark(id pfstate.ID) {
	v.marks[v.marked%len(v.marks)] = id
	v.marked++
	v.records = 0
}

// window is how many marks may be open, and how long after the last frame the
// walk goes on although they are: a BSD that knows a state does not acknowledge
// it.
func (v *serve) window() (marks int, pace int64) {
	for i := range v.by {
		if v.by[i].addr.IsValid() && !v.by[i].linux {
			return maxMarks, blindPace
		}
	}
	if v.deaf {
		return maxMarksLinux, markDeaf
	}
	return maxMarksLinux, markLost
}

// open reports whether the walk may go on.
func (v *serve) open(now int64) bool {
	marks, pace := v.window()
	return v.marked-v.acked < marks || now-v.lastFrame >= pace
}

// serveForget lets the window of Linux peers be open again once it is too late
// for acknowledgements, and no longer waits for who has gone.
func (e *Engine) serveForget(now int64) {
	v := &e.serve
	marks, pace := v.window()
	if pace == blindPace || v.marked-v.acked < marks {
		return
	}
	v.deaf = true
	for i := range v.by {
		if !e.peers.livingAt(now, v.by[i].addr) {
			v.by[i] = acker{}
		}
		v.by[i].acked = v.marked
	}
	v.acked = v.marked
}

func (v *serve) deadline(e *Engine) int64 {
	switch {
	case !v.active || !e.cfg.Sync || !e.link.Up || !e.claim.dumped:
		return never
	}
	marks, pace := v.window()
	if v.marked-v.acked < marks {
		return v.lastFrame
	}
	return v.lastFrame + pace
}

// serveNext returns the next state to send, 0 when the walk is over.
func (e *Engine) serveNext() pfstate.Ref {
	v := &e.serve
	for v.left > 0 {
		r := v.cursor
		if r >= e.tab.End() {
			r = 1
		}
		v.cursor = r + 1
		v.left--
		if e.tab.InUse(r) {
			s := e.tab.At(r)
			if !s.Has(pfstate.FlagDead) && !s.MainName().IsZero() && s.Queue != qIns {
				return r
			}
		}
	}
	return 0
}
