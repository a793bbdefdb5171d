package engine

import (
	"github.com/pfsync/pfsync/pfstate"
)

// The way of a held packet (pfsync-protocol.md section 14):
//
//  1. Held is told of it, and makes its state: named, announced at once, with
//     the request for an acknowledgement. The kernel does not tell of the
//     connection before the packet is on its way.
//  2. INS_ACK, an update of a peer, or the time releases it; Releases hands the
//     packet out.
//  3. The kernel's NEW event finds the state and tells nothing new. If it does
//     not come, the packet was dropped: the state goes, with a delete.

const (
	maxDeferred = 128 // packets held, as if_pfsync.c sc_deferred
	// pendingWait is how long after the latest release the kernel may take to
	// tell of the connection.
	pendingWait = second
	guessSlots  = 1 << 10
)

// HeldKind says what is known of the connection of a held packet.
type HeldKind uint8

// Kinds of packets.
const (
	HeldWhole HeldKind = iota // its first packet; the flow is as the kernel will tell it
	HeldGuess                 // its first packet; the source may yet be translated
	HeldReply                 // an answer; the flow's original tuple is the packet's, the kernel's reply tuple
)

// DeferCount numbers what became of packets that were to be held.
type DeferCount uint8

// Counters of defer.
const (
	DeferHeld     DeferCount = iota // held at all
	DeferAcked                      // released by INS_ACK
	DeferUpdated                    // by a peer's update
	DeferTimeout                    // after the longest time
	DeferOverflow                   // to make room for others
	DeferGone                       // because the state was deleted
	DeferStopped                    // link lost, or defer off
	DeferPassed                     // not held: nobody to wait for, or it is known already
	DeferVanished                   // states that the kernel did not tell of in time: the packet was dropped
	DeferGuessed                    // states announced without the translation that followed
	DeferCounts
)

var deferNames = [DeferCounts]string{
	"deferheld", "deferacked", "deferupdated", "defertimeout", "deferoverflow", "defergone", "deferstopped", "deferpassed",
	"defervanished", "deferguessed",
}

func (c DeferCount) String() string { return deferNames[c] }

// deferral is one held packet.
type deferral struct {
	pkt uint32
	ref pfstate.Ref // 0: an answer whose state is not known yet
	at  int64       // when it is released at the latest
	key entryKey    // of the answer
}

// pending is a state that the kernel has not told of yet.
type pending struct {
	id pfstate.ID
	at int64 // when it is given up
}

type defers struct {
	held    []deferral // oldest first
	loose   int        // of held: without state
	next    int64      // the earliest at of held
	out     []uint32   // released, not yet pulled
	pending []pending  // oldest first
	first   int        // of pending, those before are done with

	// translated remembers whether the source of connections from an address
	// was translated: then the first packet tells too little to be announced.
	translated [guessSlots]bool
}

func (d *defers) init() { d.next = never }

func (d *defers) deadline() int64 {
	if d.first < len(d.pending) {
		return min(d.next, d.pending[d.first].at)
	}
	return d.next
}

// Held takes a packet that waits for its verdict, which Releases gives, be it
// at once. f is changed.
func (e *Engine) Held(now int64, pkt uint32, kind HeldKind, f *pfstate.Flow) {
	if !e.cfg.Defer || !e.cfg.Sync || !e.link.Up || !e.peers.anyLiving(now) {
		e.pass(pkt)
		return
	}
	if kind == HeldReply {
		e.heldReply(now, pkt, f)
		return
	}
	if e.cfg.Filter.Match(f) {
		e.pass(pkt)
		return
	}
	r, seen := e.find(f)
	if kind == HeldGuess && *e.guess(f) && (r == 0 || e.tab.At(r).Defer&pfstate.DeferPending == 0) { // else there are some before it
		e.pass(pkt)
		return
	}
	if r != 0 && e.laterThan(now, r, seen) {
		e.reason(ReasonReused)
		e.bury(now, r, true)
		r = 0
	}
	if r == 0 {
		r = e.heldFirst(now, f)
	} else if e.tab.At(r).Defer&pfstate.DeferPending == 0 {
		e.pass(pkt) // a peer told of it, or the kernel
		return
	}
	e.hold(now, pkt, r)
}

// pass lets a packet go that was never held.
func (e *Engine) pass(pkt uint32) {
	e.Stats.Defer[DeferPassed]++
	e.defers.out = append(e.defers.out, pkt)
}

// laterThan reports whether a first packet begins a later connection than r.
func (e *Engine) laterThan(now int64, r pfstate.Ref, f *pfstate.Flow) bool {
	s := e.tab.At(r)
	return s.Defer&pfstate.DeferPending == 0 && !s.Has(pfstate.FlagUnclaimed) && s.Op == 0 && s.InFlight == 0 && e.madeAnew(now, s, f)
}

// heldFirst makes the state of a first packet and announces it at once.
func (e *Engine) heldFirst(now int64, f *pfstate.Flow) pfstate.Ref {
	f.Has |= pfstate.HasTimeout | pfstate.HasStatus
	f.Status |= pfstate.StatusConfirmed
	f.Timeout = e.cfg.Timeouts.For(f.Proto, f.ProtoState, f.Status)
	f.CtID = 0
	r := e.localMade(now, f)
	s := e.tab.At(r)
	s.Defer |= pfstate.DeferAsk | pfstate.DeferPending
	e.defers.pending = append(e.defers.pending, pending{s.MainName(), now + int64(e.cfg.DeferDelay) + pendingWait})
	e.dueBy(now)
	return r
}

// heldReply takes an answer of a translated connection, whose state the kernel
// has told, or is about to.
func (e *Engine) heldReply(now int64, pkt uint32, f *pfstate.Flow) {
	key := entryKey{f.Orig, f.Zone[0], f.AF, f.Proto}
	r, _, ok := e.tab.ByTuple(&key.Tuple, key.af, key.proto, key.zone)
	if ok && !e.awaited(r) {
		e.pass(pkt)
		return
	}
	if !ok {
		r = 0
		e.makeRoom()
		e.defers.loose++
		e.put(deferral{pkt, 0, now + int64(e.cfg.DeferDelay), key})
		return
	}
	e.dueBy(now)
	e.hold(now, pkt, r)
}

// awaited reports whether a packet of r has to wait for a peer.
func (e *Engine) awaited(r pfstate.Ref) bool {
	s := e.tab.At(r)
	return s.Defer&(pfstate.DeferAsk|pfstate.DeferKnown|pfstate.DeferGivenUp) == pfstate.DeferAsk && s.Carried() && !s.Has(pfstate.FlagDead)
}

// hold keeps a packet of r, unless a peer has the state or has let us wait
// already. Packets of one connection leave together.
func (e *Engine) hold(now int64, pkt uint32, r pfstate.Ref) {
	if !e.awaited(r) {
		e.pass(pkt)
		return
	}
	at := now + int64(e.cfg.DeferDelay)
	for i := range e.defers.held {
		if e.defers.held[i].ref == r {
			at = e.defers.held[i].at
			break
		}
	}
	e.makeRoom()
	if !e.awaited(r) { // its own oldest packet went
		e.pass(pkt)
		return
	}
	e.put(deferral{pkt: pkt, ref: r, at: at})
}

func (e *Engine) put(d deferral) {
	e.Stats.Defer[DeferHeld]++
	e.defers.held = append(e.defers.held, d)
	e.defers.next = min(e.defers.next, d.at)
	e.Stats.DeferMax = max(e.Stats.DeferMax, len(e.defers.held))
}

// makeRoom releases the oldest connection when as many packets are held as may
// be.
func (e *Engine) makeRoom() {
	if d := &e.defers; len(d.held) >= maxDeferred {
		oldest := d.held[0]
		e.letGo(DeferOverflow, func(h *deferral) bool { return h.pkt == oldest.pkt || oldest.ref != 0 && h.ref == oldest.ref })
	}
}

// letGo releases the packets that are meant, in their order. A state that was
// not acknowledged by then is not waited for again.
func (e *Engine) letGo(why DeferCount, meant func(*deferral) bool) {
	d := &e.defers
	kept := d.held[:0]
	d.next, d.loose = never, 0
	for i := range d.held {
		h := d.held[i]
		if !meant(&h) {
			kept = append(kept, h)
			d.next = min(d.next, h.at)
			if h.ref == 0 {
				d.loose++
			}
			continue
		}
		if h.ref != 0 {
			e.tab.At(h.ref).Defer |= pfstate.DeferGivenUp
		}
		e.Stats.Defer[why]++
		d.out = append(d.out, h.pkt)
	}
	d.held = kept
}

// deferRelease releases the packets of a state.
func (e *Engine) deferRelease(r pfstate.Ref, why DeferCount) {
	if len(e.defers.held) > 0 && e.tab.At(r).Defer != 0 {
		e.letGo(why, func(h *deferral) bool { return h.ref == r })
	}
}

// ReleaseAll releases every packet.
func (e *Engine) ReleaseAll() {
	if len(e.defers.held) > 0 {
		e.letGo(DeferStopped, func(*deferral) bool { return true })
	}
}

// Releases appends the packets that may go to dst, in order.
func (e *Engine) Releases(dst []uint32) []uint32 {
	dst = append(dst, e.defers.out...)
	e.defers.out = e.defers.out[:0]
	return dst
}

// deferAsk has the insert of a translated connection ask for an
// acknowledgement: its answer may be held.
func (e *Engine) deferAsk(r pfstate.Ref) {
	if !e.cfg.Defer {
		return
	}
	s := e.tab.At(r)
	f := pfstate.Flow{Orig: s.Orig, Reply: s.Reply, AF: s.AF, Proto: s.Proto}
	src, dst := f.Translated()
	*e.guess(&f) = src
	if (src || dst) && s.Carried() {
		s.Defer |= pfstate.DeferAsk
	}
}

// deferAsks reports whether an insert asks for an acknowledgement.
func (e *Engine) deferAsks(r pfstate.Ref) bool {
	return e.tab.At(r).Defer&(pfstate.DeferAsk|pfstate.DeferKnown) == pfstate.DeferAsk
}

// deferAcked takes an INS_ACK. One for a state that we do not have, or never
// asked about, means nothing.
func (e *Engine) deferAcked(id pfstate.ID) {
	if !e.cfg.Defer {
		return
	}
	if r, _, ok := e.tab.ByName(id); ok {
		e.deferKnown(r, DeferAcked)
	}
}

// deferKnown: a peer has the state.
func (e *Engine) deferKnown(r pfstate.Ref, why DeferCount) {
	if s := e.tab.At(r); s.Defer&pfstate.DeferAsk != 0 {
		s.Defer |= pfstate.DeferKnown
		e.deferRelease(r, why)
	}
}

// deferMade takes the NEW event of a state that a held packet made. If the
// kernel has translated it otherwise, what peers have is another connection.
func (e *Engine) deferMade(now int64, r pfstate.Ref, f *pfstate.Flow) {
	s := e.tab.At(r)
	s.Defer &^= pfstate.DeferPending
	if f.Reply == s.Reply {
		e.localNews(now, r, f)
		return
	}
	e.Stats.Defer[DeferGuessed]++
	e.bury(now, r, true)
	e.localMade(now, f)
	e.dueBy(now)
}

// guess is what is remembered of the address that f comes from.
func (e *Engine) guess(f *pfstate.Flow) *bool {
	h := uint32(f.AF)
	for _, b := range f.Orig.Src {
		h = (h ^ uint32(b)) * 16777619 // FNV-1a
	}
	return &e.defers.translated[(h^h>>16)%guessSlots]
}

// deferBind gives held answers their states, once the kernel has told of them.
func (e *Engine) deferBind(now int64) {
	d := &e.defers
	if d.loose == 0 {
		return
	}
	done := false
	for i := range d.held {
		h := &d.held[i]
		if h.ref != 0 {
			continue
		}
		if r, _, ok := e.tab.ByTuple(&h.key.Tuple, h.key.af, h.key.proto, h.key.zone); ok {
			h.ref = r
			d.loose--
			done = done || !e.awaited(r)
			e.dueBy(now)
		}
	}
	if done {
		e.letGo(DeferUpdated, func(h *deferral) bool { return h.ref != 0 && !e.awaited(h.ref) })
	}
}

// deferTick releases what was held long enough, and gives up the states whose
// packet was dropped.
func (e *Engine) deferTick(now int64) {
	d := &e.defers
	if now >= d.next {
		e.letGo(DeferTimeout, func(h *deferral) bool { return h.at <= now })
	}
	for d.first < len(d.pending) && d.pending[d.first].at <= now {
		e.giveUpPending(d.pending[d.first].id)
		d.first++
	}
	if d.first > len(d.pending)/2 {
		d.pending = d.pending[:copy(d.pending, d.pending[d.first:])]
		d.first = 0
	}
}

// giveUpPending asks the kernel, for its event may have been lost; what it does
// not have ends as any entry that is gone.
func (e *Engine) giveUpPending(id pfstate.ID) {
	r, _, ok := e.tab.ByName(id)
	if !ok || e.tab.At(r).Defer&pfstate.DeferPending == 0 {
		return
	}
	s := e.tab.At(r)
	s.Defer &^= pfstate.DeferPending
	if !s.Has(pfstate.FlagDead) {
		e.Stats.Defer[DeferVanished]++
		e.wantOp(r, pfstate.OpGet)
	}
}
