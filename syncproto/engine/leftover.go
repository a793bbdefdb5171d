package engine

import (
	"slices"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// What a daemon finds in its kernel at start and no peer names is of one of
// three kinds: packets made it while nobody listened, or it is what an earlier
// run wrote of a peer's, and that has ended since, or has moved here. The
// kernel tells what a program wrote, whatever the protocol (linux-facts 2), and
// the timeout when the last packet passed. That a peer's connection has ended
// is believed only if that peer has been there all the time: one that has been
// restarted may have lost its table.

// What peers have and our kernel has not, nor anybody carries, is the other
// side of it: it ended while nobody listened here, if our last run had it.

// Settled is what the next run has to know of this one. What was told stays
// true, as long as the kernel's table is the same, until something else is.
type Settled struct {
	// Whole: the kernel has had every state that a peer knew under a name of
	// ours, so what it does not have has ended.
	Whole bool
	// Peers have been told of all that was written into this kernel, by them or
	// by others.
	Peers []PeerRun
	// OnlyPF is the creatorid of the pf that told all that programs have written
	// into this kernel, if nothing of that has passed here; 0 if there is none.
	OnlyPF uint32
}

// Equal reports whether both tell the same.
func (s *Settled) Equal(o *Settled) bool {
	return s.Whole == o.Whole && s.OnlyPF == o.OnlyPF && slices.Equal(s.Peers, o.Peers)
}

// PeerRun names one run of a peer's daemon.
type PeerRun struct {
	CreatorID uint32
	Epoch     uint32
}

// Settled returns that, its peers appended to a slice. ok is false while nothing
// can be told.
func (e *Engine) Settled(now int64, peers []PeerRun) (s Settled, ok bool) {
	c := &e.claim
	over := !c.active && e.bulk.over() && e.settling.passed(e)
	if !over && (!c.dumped || c.written > 0) || e.repair.doubt() || e.dump.diverged {
		return s, false
	}
	for i := range e.peers.list {
		p := &e.peers.list[i]
		if p.Linux && p.Living(now) && (p.fromStart || p.InSync && over) {
			p.knows = 1 + e.Stats.OpsCreate
		}
		if p.knows == 1+e.Stats.OpsCreate { // it may be silent since, if nothing was written since
			peers = append(peers, PeerRun{p.CreatorID, p.Epoch})
		}
	}
	over = over && (e.bulk.was || e.nobody()) // a peer that was not there may know more
	evicted := e.Stats.Reason[ReasonEvicted]
	refused := e.Stats.Reason[ReasonMaxStates] + e.Stats.Reason[ReasonRateInsert] + e.Stats.Reason[ReasonKernelFull]
	s = Settled{Whole: (e.cfg.KernelKept && e.cfg.LastRun.Whole || over && refused == 0) && evicted == 0, Peers: peers}
	if !e.serve.active { // who asks for our table may have lost its own
		s.OnlyPF = e.onlyPF.name()
	}
	return s, true
}

// settling is how far the queues must have moved on for all that stood in them
// when the last entry got its name to be gone; under load they are never empty.
type settling struct {
	ins, ops uint64
}

// settles begins to wait.
func (e *Engine) settles() {
	e.settling = settling{e.Stats.Out[syncproto.ActIns] + uint64(e.queues[qIns].Len()), e.opsOut() + uint64(e.ops.Len())}
}

// opsOut is how many operations the kernel has been asked for.
func (e *Engine) opsOut() uint64 {
	return e.Stats.OpsCreate + e.Stats.OpsUpdate + e.Stats.OpsDelete + e.Stats.OpsGet
}

func (s *settling) passed(e *Engine) bool {
	return e.answers >= s.ops && (e.queues[qIns].Len() == 0 || e.Stats.Out[syncproto.ActIns] >= s.ins)
}

// written reports whether a program, so likely an earlier run of ours, wrote
// the kernel's entry. Where the kernel does not say, packets alone do not make
// a TCP entry liberal both ways.
func written(f *pfstate.Flow) bool {
	return f.Has&pfstate.HasWritten != 0 || f.TCPFlags[0]&f.TCPFlags[1]&pfstate.TCPFlagLiberal != 0
}

// nameRest settles an entry that nobody has named.
func (e *Engine) nameRest(now int64, r pfstate.Ref) {
	if s := e.tab.At(r); s.Has(pfstate.FlagImported) && !s.Carried() && (e.witnessed(now) && e.untouched(now, s) || e.overAtPF(now, s)) {
		e.reason(ReasonLeftover)
		e.erase(r, false)
		return
	}
	e.nameLeft(now, r)
}

// nameLeft gives our name to an entry that peers do not know. It is carried
// here, but for what an earlier run of ours wrote and no packet has passed of
// since: of that the next dump will tell.
func (e *Engine) nameLeft(now int64, r pfstate.Ref) {
	s := e.tab.At(r)
	if !s.Carried() {
		e.setCarried(s, !s.Has(pfstate.FlagImported) || e.passedSince(now, s))
		s.Flags |= pfstate.FlagUnsure
	}
	s.Flags &^= pfstate.FlagImported
	e.nameIt(now, r)
}

// witnessed reports whether a peer has told us all that it has, misses nothing
// that a third may have told, and has been there since it knew all that the last
// run had written.
func (e *Engine) witnessed(now int64) bool {
	for i := range e.peers.list {
		if p := &e.peers.list[i]; e.saw(now, p) && (p.InSync || len(e.cfg.LastRun.Peers) <= 1) {
			return true
		}
	}
	return false
}

// saw is the same of one peer, whatever it misses.
func (e *Engine) saw(now int64, p *Peer) bool {
	if !p.told || !p.Living(now) || !e.cfg.KernelKept {
		return false
	}
	for _, w := range e.cfg.LastRun.Peers {
		if w.CreatorID == p.CreatorID && (w.Epoch == p.Epoch || w.goesOn(p.Epoch) && p.toldAll) {
			return true
		}
	}
	return false
}

// witnessWait is how long a peer that misses something is waited for, that it may
// be a witness.
const witnessWait = 20 * second

// awaitsWitness reports whether what an earlier run wrote, and nobody names, is
// to wait for a peer that has yet to find out what it misses.
func (e *Engine) awaitsWitness(now int64) bool {
	c := &e.claim
	if c.written == 0 || e.witnessed(now) {
		return false
	}
	if c.told == 0 {
		c.told = now
	}
	return now-c.told < witnessWait && slices.ContainsFunc(e.peers.list[:], func(p Peer) bool { return e.saw(now, &p) })
}

// epochsOn is how many runs may follow on one kernel table for peers to know
// that they do.
const epochsOn = 1 << 12

// goesOn reports whether a run of that epoch follows the same table of the same
// kernel, whole then (FrameInfo.Epoch).
func (w *PeerRun) goesOn(epoch uint32) bool { return epoch-w.Epoch < epochsOn }

// NextEpoch is the epoch of a run that goes on with the kernel's table where the
// one with epoch last had all that peers knew.
func NextEpoch(last uint32) uint32 { return max(last+1, 1) }

// runSlack is how exact the end of the last run is known: its last stamp is two
// seconds old at most, and the kernel tells timeouts in whole seconds.
const runSlack = 4 * second

// aloneSlack is how far, beside 3/8 of the whole, the time of a state can be
// behind at a peer: signs of life go out where a dump finds an eighth gained
// (dumpKnown), and the peer's kernel follows where a quarter is missing.
const aloneSlack = 10 * second

// sinceLastRun is how long ago the last run ended, or less.
func (e *Engine) sinceLastRun(now int64) int64 {
	return int64(e.cfg.DownFor) + now - e.started - runSlack
}

// passedSince reports whether a packet of s may have passed here since. One gives
// it the whole of its time and no more: a pf's timeouts may be longer.
func (e *Engine) passedSince(now int64, s *pfstate.State) bool {
	idle := e.idle(now, s)
	return e.cfg.DownFor > 0 && idle < e.sinceLastRun(now) && idle >= -refreshSlack
}

// lasts reports whether what has so much time left, of so much, cannot be over
// where nothing but time ends it.
func lasts(left, full int64) bool { return left > full*3/8+aloneSlack }

// untouched reports whether no packet of s has passed here since the last run
// ended, and a peer that did not hear of those before cannot have lost it by
// time alone.
func (e *Engine) untouched(now int64, s *pfstate.State) bool {
	full := int64(e.cfg.Timeouts.For(s.Proto, s.ProtoState, s.Status)) * second
	return e.cfg.DownFor > 0 && e.idle(now, s) > e.sinceLastRun(now) && lasts(s.KernExpire-now, full)
}

// endedBetweenRuns reports whether our kernel, which outlived our last run, had
// this state then, for that run had all that peers knew, and has it no more.
// Where there is only one other firewall a name of an earlier run of ours says
// that. Otherwise the state must be older than the end of our last run, no sign
// of its life younger, and its time not be over: then it was killed here. What a
// peer announces while it names what it found is what an earlier run of it
// wrote into its kernel, or it would be carried there.
func (e *Engine) endedBetweenRuns(x *rx, m *record) bool {
	if !e.cfg.KernelKept || !e.cfg.LastRun.Whole || !e.claim.dumped {
		return false
	}
	if !m.linux || m.carried || m.unsure || m.isNew && x.info.Flags&syncproto.InfoNaming == 0 {
		return false
	}
	pair := e.cfg.KnownPeers == 1 && e.peers.count(x.now) == 1
	old := e.ours(m.name) && m.name.ID < e.cfg.StartID
	if pair && old {
		return true
	}
	if e.cfg.DownFor == 0 {
		return false
	}
	since := e.sinceLastRun(x.now)
	if !old { // its name does not tell when it began, so nothing may be guessed
		since += runSlack + second
	}
	seen := old || int64(m.age)*second > since
	return (pair || seen && e.idleThere(m) > since) && lasts(int64(m.expire)*second, int64(e.timeoutOf(m))*second)
}
