package engine

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// Errors of Verify.
var (
	ErrNoPeer      = errors.New("no peer heard")
	ErrUnknownPeer = errors.New("no such peer heard")
	ErrBusy        = errors.New("another verification runs")
	ErrNoDigests   = errors.New("frames of version 5 have no digests")
)

// Outcome is what has become of the verification of a peer.
type Outcome uint8

// Outcomes. Behind VerifyEqual the counts say how equal.
const (
	VerifyWaiting Outcome = iota
	VerifyRunning
	VerifyEqual  // gone through to the end
	VerifyBSD    // has no digests
	VerifyOld    // a Linux peer that has none
	VerifySilent // is not heard any more
	VerifyMute   // is heard, and does not answer
	VerifyBroken // it, or we, began anew meanwhile
	Outcomes
)

var outcomeNames = [Outcomes]string{"waiting", "running", "done", "bsd", "old", "silent", "mute", "broken"}

func (o Outcome) String() string { return outcomeNames[o] }

// over reports whether nothing more will come.
func (o Outcome) over() bool { return o > VerifyRunning }

// VerifyPeer is the verification of one peer.
type VerifyPeer struct {
	Addr     netip.Addr
	Outcome  Outcome
	States   int // in the larger of the two tables
	Buckets  int // compared so far
	Of       int // buckets in all
	Differed int // states that did
	Healed   int // of them
	Unhealed int // of them
	Withheld int // of Unhealed: kept out by our filter
}

// Differing is one state that differed.
type Differing struct {
	Addr     netip.Addr // of the peer
	ID       pfstate.ID
	Kind     Difference
	Healed   bool
	Unhealed bool            // and will not be; neither: not yet
	Why      string          // counter that tells why the state is not taken here, "" none
	Detail   string          // contents: what differs
	Record   syncproto.State // version 6; with Known
	Known    bool
}

// maxDiffering bounds what a verification remembers by name.
const maxDiffering = 1000

// Verification is what was asked for last.
type Verification struct {
	Number  uint32 // of it, from 1
	Running bool
	Peers   []VerifyPeer
	List    []Differing
	More    int // differed and are not in List
}

// Verify compares our table with that of a peer, or of all if addr is not
// valid, and heals what differs. It begins as soon as the tables can be
// compared; Verification tells how far it is.
func (e *Engine) Verify(now int64, addr netip.Addr) error {
	switch {
	case e.cfg.Format != syncproto.Format6:
		return ErrNoDigests
	case e.verify.Running && e.verifies(addr):
		return nil // as asked
	case e.verify.Running:
		return ErrBusy
	}
	v := Verification{Number: e.verify.Number + 1}
	for i := range e.peers.list {
		if p := &e.peers.list[i]; p.used && (!addr.IsValid() || p.Addr == addr) {
			v.Peers = append(v.Peers, VerifyPeer{Addr: p.Addr, Outcome: p.canVerify(now)})
		}
	}
	switch {
	case len(v.Peers) == 0 && addr.IsValid():
		return ErrUnknownPeer
	case len(v.Peers) == 0:
		return ErrNoPeer
	}
	e.verify = v
	e.verifyOver()
	if e.verify.Running && e.check.on {
		e.checkEnd(now, VerifyBroken) // whatever it was, it can wait
	}
	return nil
}

func (p *Peer) canVerify(now int64) Outcome {
	switch {
	case !p.Living(now):
		return VerifySilent
	case !p.Linux:
		return VerifyBSD
	case !p.Digests:
		return VerifyOld
	}
	return VerifyWaiting
}

// verifies reports whether the verification under way is the one of addr.
func (e *Engine) verifies(addr netip.Addr) bool {
	if !addr.IsValid() {
		return len(e.verify.Peers) == len(e.Peers(nil))
	}
	for i := range e.verify.Peers {
		if e.verify.Peers[i].Addr == addr {
			return true
		}
	}
	return false
}

// Verification returns what was asked for last; its slices must not be changed
// and are good until the next call of the engine.
func (e *Engine) Verification() *Verification {
	if p := e.verifying(); p != nil {
		p.Buckets, p.Of = e.check.count-e.check.left, e.check.buckets
	}
	return &e.verify
}

// verifying is the peer whose check is under way on demand.
func (e *Engine) verifying() *VerifyPeer {
	c := &e.check
	if !c.on || c.why != checkDemand {
		return nil
	}
	return e.verifyOf(e.peers.list[c.peer].Addr)
}

func (e *Engine) verifyOf(addr netip.Addr) *VerifyPeer {
	for i := range e.verify.Peers {
		if e.verify.Peers[i].Addr == addr {
			return &e.verify.Peers[i]
		}
	}
	return nil
}

// verifyNext returns the place of the next peer to be verified.
func (e *Engine) verifyNext(now int64) (int, bool) {
	for i := range e.verify.Peers {
		v := &e.verify.Peers[i]
		if v.Outcome != VerifyWaiting {
			continue
		}
		for k := range e.peers.list {
			if p := &e.peers.list[k]; p.Addr == v.Addr && p.checkable(now) {
				v.Outcome = VerifyRunning
				v.States = max(e.tab.Len(), int(p.States))
				return k, true
			}
		}
		v.Outcome = VerifySilent
	}
	e.verifyOver()
	return 0, false
}

// verifyStop gives up what has not begun: there is no link.
func (e *Engine) verifyStop() {
	if !e.verify.Running {
		return
	}
	for i := range e.verify.Peers {
		if v := &e.verify.Peers[i]; v.Outcome == VerifyWaiting {
			v.Outcome = VerifyBroken
		}
	}
	e.verifyOver()
}

func (e *Engine) verifyOver() {
	e.verify.Running = false
	for i := range e.verify.Peers {
		if !e.verify.Peers[i].Outcome.over() {
			e.verify.Running = true
		}
	}
}

// verifyEnded: the check of a peer, the one that runs, is over. Its place in the
// list of peers may be another's by now.
func (e *Engine) verifyEnded(_ int64, how Outcome) {
	for i := range e.verify.Peers {
		if v := &e.verify.Peers[i]; v.Outcome == VerifyRunning {
			v.Outcome, v.Buckets, v.Of = how, e.check.buckets, e.check.buckets
		}
	}
	e.verifyOver()
}

// verifyAdd notes a state, and returns its place, counted from 1.
func (e *Engine) verifyAdd(now int64, d Differing) int {
	v := e.verifying()
	if v == nil {
		return 0
	}
	v.Differed++
	if len(e.verify.List) >= maxDiffering {
		e.verify.More++
		return 0
	}
	d.Addr = v.Addr
	e.verifyRecord(now, &d)
	e.verify.List = append(e.verify.List, d)
	return len(e.verify.List)
}

// verifyRecord keeps what the state is, if we have it.
func (e *Engine) verifyRecord(now int64, d *Differing) {
	if r, _, ok := e.tab.ByName(d.ID); ok && !d.Known {
		e.Record(now, r, &d.Record)
		d.Known = true
	}
}

func (e *Engine) verifyDiffers(now int64, s *suspect) {
	if s.told == 0 {
		s.told = e.verifyAdd(now, Differing{ID: s.id, Kind: s.kind})
	}
}

func (e *Engine) verifyHealed(now int64, s *suspect) {
	if v := e.verifying(); v != nil {
		v.Healed++
	}
	if s.told > 0 {
		d := &e.verify.List[s.told-1]
		d.Healed = true
		e.verifyRecord(now, d)
	}
}

func (e *Engine) verifyUnhealed(now int64, s *suspect) {
	if v := e.verifying(); v != nil {
		v.Unhealed++
		if s.withheld {
			v.Withheld++
		}
	}
	if s.told > 0 {
		d := &e.verify.List[s.told-1]
		d.Unhealed = true
		e.verifyRecord(now, d)
	}
}

// verifyFound: a look has found a state other than thought, which is put right
// by that alone.
func (e *Engine) verifyFound(now int64, id pfstate.ID, kind Difference, w *syncproto.State) {
	d := Differing{ID: id, Kind: kind, Healed: true}
	if w != nil {
		d.Record, d.Known = *w, true
	}
	e.verifyAdd(now, d)
	if v := e.verifying(); v != nil {
		v.Healed++
	}
}

// verifyFoundThere takes what the peer's look has found.
func (e *Engine) verifyFoundThere(now int64, m *syncproto.Looked) {
	v := e.verifying()
	if v == nil {
		return
	}
	for i := range m.Len() {
		f := m.At(i)
		e.verifyFound(now, pfstate.ID(f.ID), foundKind(f.How, DifferGoneThere), nil)
	}
	if rest := int(m.Total) - m.Len(); rest > 0 {
		rest = min(rest, maxTold)
		v.Differed, v.Healed = v.Differed+rest, v.Healed+rest
		e.verify.More += rest
	}
}

// maxTold bounds what is believed of a number that a peer tells.
const maxTold = 1 << 24

// foundKind is the kind of difference of what a look found; gone is that of
// FoundGone, the others follow it.
func foundKind(how uint8, gone Difference) Difference {
	switch how {
	case syncproto.FoundGone:
		return gone
	case syncproto.FoundChanged:
		return gone + 1
	}
	return gone + 2
}

// checkRefused: a record of a peer was not taken.
func (e *Engine) checkRefused(id pfstate.ID, why Reason) {
	c := &e.check
	if !c.on || len(c.suspects) == 0 {
		return
	}
	i, ok := c.byName[id]
	if !ok || !c.suspects[i].confirmed {
		return
	}
	s := &c.suspects[i]
	s.withheld = why == ReasonNoSync
	if s.told == 0 {
		return
	}
	d := &e.verify.List[s.told-1]
	d.Why = why.String()
	if !d.Known {
		d.Record, d.Known = e.scratch.wire, true
	}
}

// checkContents notes what differs between a state and a peer's record of it.
func (e *Engine) checkContents(s *pfstate.State, m *record) {
	c := &e.check
	if !c.on || len(c.suspects) == 0 || c.why != checkDemand {
		return
	}
	i, ok := c.byName[m.name]
	if !ok || c.suspects[i].told == 0 || e.verify.List[c.suspects[i].told-1].Detail != "" {
		return
	}
	e.verify.List[c.suspects[i].told-1].Detail = contents(s, m, e.tab.Extra(s))
}

// contents says in words what differs.
func contents(s *pfstate.State, m *record, x *pfstate.Extra) string {
	var out []string
	note := func(differs bool, what string, here, there any) {
		if differs {
			out = append(out, fmt.Sprintf("%s %v here, %v there", what, here, there))
		}
	}
	halves := func(a, b uint8) string { return fmt.Sprintf("%d:%d", a, b) }
	note(s.Src.State != m.src.State || s.Dst.State != m.dst.State, "state", halves(s.Src.State, s.Dst.State), halves(m.src.State, m.dst.State))
	const told = pfstate.StatusSeenReply | pfstate.StatusAssured | pfstate.StatusFixedTimeout
	note(m.statusOf && (s.Status^m.status)&told != 0, "status", fmt.Sprintf("%#x", s.Status&told), fmt.Sprintf("%#x", m.status&told))
	note(!m.compressed && s.Mark != m.mark, "mark", s.Mark, m.mark)
	note(!m.compressed && s.Zone != m.zone, "zone", s.Zone, m.zone)
	note(!m.compressed && s.Reply != m.reply, "translation", endText(s.AF, &s.Reply), endText(m.af, &m.reply))
	if x == nil {
		x = &pfstate.Extra{}
	}
	note(!m.compressed && x.Labels != m.ext.Labels, "labels", fmt.Sprintf("%x", x.Labels), fmt.Sprintf("%x", m.ext.Labels))
	note(!m.compressed && x.Helper != m.ext.Helper, "helper", text(x.Helper[:]), text(m.ext.Helper[:]))
	return strings.Join(out, "; ")
}

func text(b []byte) string { return `"` + string(trimZero(b)) + `"` }

// endText is the translated source of a reply tuple.
func endText(af uint8, t *pfstate.Tuple) string {
	return fmt.Sprintf("%s:%d<-%s:%d", t.Dst.IP(af), t.DstPort, t.Src.IP(af), t.SrcPort)
}
