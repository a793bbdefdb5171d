package engine

import (
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// A pf says nothing of its runs, and its frames have no numbers. What it does
// not name of the entries found at start has ended nonetheless
//
//   - if all that programs ever wrote into this kernel was of this one pf, and
//     nothing of that has passed here, so that the pf knows better than we;
//   - if its table is older than the time that no daemon ran here: it names an
//     entry by a state that is, so it has not been restarted since;
//   - if it did not name it in two transfers, for a frame of one may be lost.
//
// If all that is mistaken, its next packet has the pf tell of it, and it is
// asked for. Without this rule the entry would stay for a day, and be told as
// ours, so that the pf has it again too.

// onlyPF is the pf of which all is that programs wrote into this kernel.
type onlyPF struct {
	creator   uint32 // 0: nothing has been written yet
	mixed     bool   // there is none: others wrote too, or what was written passes here
	transfers int    // of its whole table, since we started
	older     bool   // it has named an entry by a state older than our pause
	again     bool   // it was asked for a second one
}

// began: the first dump has told what was written before, and the last run by
// whom.
func (o *onlyPF) began(written int, last uint32) {
	switch {
	case written == 0:
	case last != 0 && o.creator == 0:
		o.creator = last
	default:
		o.mixed = o.mixed || o.creator != last || last == 0
	}
}

// writes: a peer's state goes to the kernel. Who the peer is may not be known
// yet: it is who made the state.
func (o *onlyPF) writes(p *Peer, name pfstate.ID) {
	from := p.CreatorID
	if from == 0 {
		from = name.CreatorID
	}
	if o.creator == 0 {
		o.creator = from
	}
	o.mixed = o.mixed || p.Linux || o.creator != from
}

// passes: what a peer told passes here now.
func (o *onlyPF) passes() { o.mixed = true }

// name is its creatorid, 0 if there is none.
func (o *onlyPF) name() uint32 {
	if o.mixed {
		return 0
	}
	return o.creator
}

// told: a transfer of a pf has ended that we have seen begin.
func (o *onlyPF) told(m *syncproto.Bus) {
	if m.CreatorID == o.creator {
		o.transfers++
	}
}

// names: a record names an entry that was found at start.
func (o *onlyPF) names(m *record, pause int64) {
	o.older = o.older || !m.linux && m.name.CreatorID == o.creator && int64(m.age)*second > pause+second
}

// asksAgain has the pf asked a second time for its table if there is something
// to be learnt by that.
func (e *Engine) asksAgain(now int64) bool {
	if o := &e.onlyPF; o.again || o.transfers != 1 || !o.older || e.claim.waiting == 0 || e.bulk.state != SyncOK {
		return false
	}
	e.onlyPF.again = true
	e.bulkQuietly(now)
	return true
}

// overAtPF reports whether an entry that nobody has named has ended at its pf.
func (e *Engine) overAtPF(now int64, s *pfstate.State) bool {
	o := &e.onlyPF
	only := o.name() != 0 && e.cfg.KnownPeers <= 1 && e.PeerCount() == 1 && e.peers.anyLiving(now)
	return only && o.transfers >= 2 && o.older && e.cfg.KernelKept && e.cfg.DownFor > 0 && !e.passedSince(now, s)
}
