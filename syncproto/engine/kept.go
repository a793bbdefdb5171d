package engine

import (
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// What a BSD has and no Linux kernel can hold is kept beside the table, as it
// came (design section 5): no operation, queue, digest or bulk transfer ever
// meets it. Its own firewall updates and deletes it like others; it becomes a
// state as soon as a record of it fits, as that of a synproxy's connection does
// when both ends have shaken hands.

// maxKept bounds what is kept, whatever maxstates allows.
const maxKept = 1 << 16

// keptEvery is the least time between two looks for what has expired.
const keptEvery = second

// Kept is a state of a BSD that the kernel here cannot hold.
type Kept struct {
	State syncproto.State // as it came, its halves brought up to date
	Why   Reason          // ReasonAfTo, ReasonRDomain or ReasonSynproxy

	used    bool
	format  syncproto.Format
	at      int64 // when the record came
	expires int64
}

// kept holds them. Places are stable, so that a walk may pause.
type kept struct {
	list   []Kept
	byName map[pfstate.ID]int // places
	free   []int
	wake   int64 // when one may have expired, if there are any
}

func (k *kept) len() int { return len(k.byName) }

func (k *kept) find(id pfstate.ID) *Kept {
	if i, ok := k.byName[id]; ok {
		return &k.list[i]
	}
	return nil
}

// need returns the one of a name, made if there is none.
func (k *kept) need(id pfstate.ID) *Kept {
	if c := k.find(id); c != nil {
		return c
	}
	if k.byName == nil {
		k.byName = map[pfstate.ID]int{}
	}
	if len(k.byName) == 0 {
		k.wake = never
	}
	i := len(k.list)
	if n := len(k.free); n > 0 {
		i, k.free = k.free[n-1], k.free[:n-1]
	} else {
		k.list = append(k.list, Kept{})
	}
	k.byName[id] = i
	k.list[i] = Kept{used: true}
	return &k.list[i]
}

// drop forgets a name and reports whether it was kept.
func (k *kept) drop(id pfstate.ID) bool {
	i, ok := k.byName[id]
	if !ok {
		return false
	}
	delete(k.byName, id)
	k.list[i] = Kept{}
	k.free = append(k.free, i)
	if len(k.byName) == 0 {
		*k = kept{}
	}
	return true
}

// dropAny forgets one, and reports whether there was any.
func (k *kept) dropAny() bool {
	for id := range k.byName {
		return k.drop(id)
	}
	return false
}

// dropIf forgets those for which gone says so.
func (k *kept) dropIf(gone func(*Kept) bool) {
	for i := 0; i < len(k.list); i++ {
		if c := &k.list[i]; c.used && gone(c) {
			k.drop(pfstate.ID(c.State.StateID()))
		}
	}
}

func (k *kept) deadline() int64 {
	if k.len() == 0 {
		return never
	}
	return k.wake
}

// tick forgets what has expired.
func (k *kept) tick(now int64) {
	if now < k.deadline() {
		return
	}
	k.dropIf(func(c *Kept) bool { return c.expires <= now })
	k.wake = never
	for i := range k.list {
		if c := &k.list[i]; c.used {
			k.wake = min(k.wake, max(c.expires, now+keptEvery))
		}
	}
}

// unfit says why no kernel here can hold what a record tells, if so. What makes
// no sense at all is ReasonUnfit.
func unfit(f syncproto.Format, w *syncproto.State) (Reason, bool) {
	wire, stack := w.Families(f)
	switch proxied := proxied(&w.Src, &w.Dst); {
	case familyOf(wire) == 0 || familyOf(stack) == 0 || w.Direction > syncproto.DirOut, proxied && w.Proto != pfstate.ProtoTCP:
		return ReasonUnfit, true
	case familyOf(wire) != familyOf(stack):
		return ReasonAfTo, true
	case w.Key[0].RDomain|w.Key[1].RDomain != 0:
		return ReasonRDomain, true // the same endpoints may be others' in another routing domain
	case proxied:
		return ReasonSynproxy, true
	}
	return 0, false
}

// proxied reports whether a half is one that a synproxy has to finish.
func proxied(src, dst *syncproto.Peer) bool {
	return max(src.State, dst.State) > pfstate.PFTimeWait
}

// keep keeps what a BSD told and the kernel cannot hold, if there is room. It
// reports false for what is not to be kept. Linux peers tell no such states.
func (e *Engine) keep(x *rx, f syncproto.Format, w *syncproto.State, why Reason) bool {
	id := pfstate.ID(w.StateID())
	if _, _, known := e.tab.ByName(id); known || x.info != nil || e.ours(id) || why < ReasonAfTo || why > ReasonSynproxy {
		return false
	}
	if e.kept.find(id) == nil {
		switch {
		case e.filteredKept(f, w):
			e.reason(ReasonNoSync)
			e.refusals.put(x, id, ReasonNoSync)
			return true
		case !x.peer.admitInsert(x.now):
			e.reason(ReasonRateInsert)
			return true
		case !e.roomFor() || e.kept.len() >= maxKept:
			e.reason(ReasonMaxStates)
			e.refusals.put(x, id, ReasonMaxStates)
			return true
		}
		e.reason(why)
	}
	*e.kept.need(id) = Kept{State: *w, Why: why, used: true, format: f, at: x.now}
	e.keptLives(x.now, id, w.Expire)
	return true
}

// keptLives: it has so many seconds left; 0 is the timeout of what it is.
func (e *Engine) keptLives(now int64, id pfstate.ID, left uint32) {
	c := e.kept.find(id)
	if left == 0 {
		state, _ := pfstate.TCPFromPeers(c.State.Src.State, c.State.Dst.State)
		left = e.cfg.Timeouts.For(c.State.Proto, state, pfstate.StatusFromPeers(c.State.Proto, c.State.Src.State, c.State.Dst.State))
	}
	c.expires = now + int64(left)*second
	e.kept.wake = min(e.kept.wake, max(c.expires, now+keptEvery))
}

// filteredKept reports whether a nosync filter matches either side of a state
// that is not one flow.
func (e *Engine) filteredKept(f syncproto.Format, w *syncproto.State) bool {
	var m record
	m.proto = w.Proto
	wire, stack := w.Families(f)
	for side, af := range [...]uint8{syncproto.KeyWire: wire, syncproto.KeyStack: stack} {
		from, to := 0, 1
		if w.Direction == syncproto.DirOut {
			from, to = 1, 0
		}
		m.af = familyOf(af)
		m.orig = m.tuple(&w.Key[side], from, to, false)
		m.reply = m.orig.Inverse(m.proto)
		if flow := m.flow(); e.cfg.Filter.Match(&flow) {
			return true
		}
	}
	return false
}

// keptUpdC takes a compressed update of what is kept and reports whether it was:
// if the state fits now, it becomes one. A Linux peer that tells of it has it as
// a state, which is then asked for like any other.
func (e *Engine) keptUpdC(x *rx, u *syncproto.UpdC) bool {
	id := pfstate.ID{ID: u.ID, CreatorID: u.CreatorID}
	c := e.kept.find(id)
	if c == nil || x.info != nil {
		return false
	}
	w := &c.State
	halves := [...]struct {
		have *syncproto.Peer
		got  *syncproto.Peer
		src  bool
	}{{&w.Src, &u.Src, true}, {&w.Dst, &u.Dst, false}}
	for _, h := range halves {
		have, got := peerFromWire(h.have), peerFromWire(h.got)
		if !staleHalf(w.Proto, &have, &got, h.src) {
			*h.have = *h.got
		}
	}
	w.Timeout = u.Timeout
	if _, still := unfit(c.format, w); still {
		e.keptLives(x.now, id, 0)
		return true
	}
	fits, format := *w, c.format
	fits.Creation, fits.Expire = c.age(x.now), 0
	e.kept.drop(id)
	m := &e.scratch.record
	if why, ok := e.fromWire(x, format, &fits, m); !ok {
		e.reason(why)
		return true
	}
	e.record(x, m)
	e.heardOf(id)
	return true
}

// age is how old the state is, seconds.
func (c *Kept) age(now int64) uint32 { return c.State.Creation + seconds(now-c.at) }

// keptCleared forgets what CLR messages are about.
func (e *Engine) keptCleared(list []syncproto.Clr) {
	e.kept.dropIf(func(c *Kept) bool {
		for i := range list {
			if m := &list[i]; m.CreatorID == c.State.CreatorID && (m.IfName == syncproto.Name{} || m.IfName == c.State.IfName) {
				return true
			}
		}
		return false
	})
}

// KeptLen is how many states of BSDs are kept that the kernel cannot hold.
func (e *Engine) KeptLen() int { return e.kept.len() }

// Kept copies the first of them at place or after, as a version 6 record of this
// moment, and returns the place behind it; 0 if there is none. A walk begins
// with 0.
func (e *Engine) Kept(now int64, place int, dst *Kept) (next int) {
	for i := place; i < len(e.kept.list); i++ {
		c := &e.kept.list[i]
		if !c.used {
			continue
		}
		*dst = *c
		w := &dst.State
		wire, stack := w.Families(c.format)
		w.AF, w.StackAF = shownFamily(wire), shownFamily(stack)
		w.Key[syncproto.KeyWire].AF, w.Key[syncproto.KeyStack].AF = w.AF, w.StackAF
		w.Rt = rtFromWire(c.format, w.Rt)
		w.Creation, w.Expire = c.age(now), seconds(max(0, c.expires-now))
		return i + 1
	}
	return 0
}

// shownFamily is OpenBSD's number, whoever told.
func shownFamily(wire uint8) uint8 {
	if familyOf(wire) == pfstate.AFInet {
		return syncproto.FamilyIPv4
	}
	return syncproto.FamilyIPv6OpenBSD
}
