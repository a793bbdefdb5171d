package engine

import (
	"net/netip"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

const (
	maxPeers = 16

	heartbeatEvery = second      // design section 7
	linuxSilent    = 3 * second  // a Linux peer unheard for so long is gone
	bsdSilent      = 60 * second // a BSD has nothing to say when idle
	forgetPeer     = 3600 * second

	lostWait = 3 * second // how long an answer for a lost state is waited for
)

// Peer is another firewall, known by its address on the link.
type Peer struct {
	Addr      netip.Addr
	Version   uint8            // of its last frame
	Format    syncproto.Format // of its last state record
	Spoken    bool             // Format is known
	Linux     bool             // its frames have a Linux region
	CreatorID uint32           // Linux, or told in a BUS; 0 unknown
	Demotion  uint8
	InSync    bool
	Digests   bool   // answers what compares tables
	States    uint32 // Linux: its table size
	Epoch     uint32
	Frame     uint32 // newest frame number

	First, Last int64 // heard
	Frames      uint64
	Lost        uint64 // missing frame numbers, whether they came later or not

	used     bool
	known    bool // from before this start
	silent   bool // has been logged
	mismatch bool // has been logged
	sending  bool // between its BUS start and end
	inserts  int  // of this second
	second   int64
	lastBulk int64
	bulkLate int64  // when a request that came too soon is served, 0 none
	bulks    bucket // requests for the table
	replies  bucket // records sent for its sake
	clrs     bucket // walks for its CLR
	gap      gap
	oldest   uint32 // oldest frame heard of its present run

	runSince   int64 // since when we know that its present run lasts
	doubt      bool  // a check is due at doubtAt
	missed     bool  // for frames of it are lost for good
	doubtAt    int64
	doubtTries int
	bulked     int64 // when too much differed to be named, 0 never
	nextCheck  int64
	checkEvery int64    // longer each time that a check in vain follows another, 0 the last one was not
	explained  []uint64 // by bucket, by how much it differs for good; nil nothing
	lasting    []uint16 // by bucket, states that differ for good and should not
	unhealed   int      // sum of lasting
	forgiven   int64    // when an acknowledgement last had us forget these, 0 never
	knows      uint64   // 1 + states written when it last knew all that was, 0 never
	told       bool     // Linux: all that it has a name for, since we last asked
	toldAll    bool     // and that is all that its kernel has
	naming     bool     // Linux: it has not told yet all that its kernel has
	fromStart  bool     // Linux: this run of it was there before we had a peer's state
}

type peers struct {
	list  [maxPeers]Peer
	clash netip.Addr // a machine with our hostid
	at    int64      // clash: when last heard
	pf    int64      // until when a pf may be listening
	lost  ring       // names asked for because they expired here
	lostT int64      // when the oldest of them are given up, never if none
}

func (p *peers) init() { p.lostT, p.lost.most = never, maxHeld }

func (p *peers) lostAt(now int64) {
	if p.lostT == never {
		p.lostT = now + lostWait
	}
}

// Peers appends all known peers to dst.
func (e *Engine) Peers(dst []Peer) []Peer {
	for i := range e.peers.list {
		if p := &e.peers.list[i]; p.used && !e.peers.moved(p) {
			dst = append(dst, *p)
		}
	}
	return dst
}

// moved reports whether a peer that has fallen silent goes on under another
// address: its interface got a new one.
func (p *peers) moved(old *Peer) bool {
	if !old.silent || !old.Linux || old.CreatorID == 0 {
		return false
	}
	for i := range p.list {
		if q := &p.list[i]; q.used && !q.silent && q.Linux && q.CreatorID == old.CreatorID {
			return true
		}
	}
	return false
}

// PeerCount is how many peers are known.
func (e *Engine) PeerCount() (n int) {
	for i := range e.peers.list {
		if e.peers.list[i].used {
			n++
		}
	}
	return n
}

// Living reports whether the peer was heard lately.
func (p *Peer) Living(now int64) bool {
	limit := int64(bsdSilent)
	if p.Linux {
		limit = linuxSilent
	}
	return p.used && now-p.Last <= limit
}

func (p *peers) anyLiving(now int64) bool {
	for i := range p.list {
		if p.list[i].Living(now) {
			return true
		}
	}
	return false
}

// anyNaming reports whether a peer has started and not told yet all that it
// has.
func (p *peers) anyNaming(now int64) bool {
	for i := range p.list {
		if p.list[i].naming && p.list[i].Living(now) {
			return true
		}
	}
	return false
}

// heardSince reports whether any peer was.
func (p *peers) heardSince(at int64) bool {
	for i := range p.list {
		if p.list[i].used && p.list[i].Last >= at {
			return true
		}
	}
	return false
}

// livingAt reports whether a living peer has that address.
func (p *peers) livingAt(now int64, addr netip.Addr) bool {
	for i := range p.list {
		if p.list[i].Addr == addr && p.list[i].Living(now) {
			return true
		}
	}
	return false
}

func (p *peers) count(now int64) (living int) {
	for i := range p.list {
		if p.list[i].Living(now) {
			living++
		}
	}
	return living
}

// heard notes a frame of a peer. info is nil if it has no Linux region.
func (e *Engine) heard(now int64, p *Peer, version uint8, info *syncproto.FrameInfo) {
	returned := p.Frames > 0 && !p.Living(now)
	if (p.Frames == 0 || returned) && info != nil && e.bulk.state == SyncSent {
		e.bulk.ask, e.bulk.timer = true, now+bulkRetry // it was not there when we asked
	}
	if p.silent {
		p.silent = false
		e.log("peer heard again", "peer", p.Addr)
	}
	p.Version = version
	p.Linux = info != nil
	if info == nil {
		e.peers.pf = now + forgetPeer
		e.pfAppears(now, p, returned)
	}
	p.Frames++
	if version == syncproto.Version6 {
		e.speaks(p, syncproto.Format6)
	}
	if info != nil {
		p.CreatorID, p.Demotion, p.States = info.CreatorID, info.Demotion, info.TableSize
		p.InSync = info.Flags&syncproto.InfoInSync != 0
		p.Digests = info.Flags&syncproto.InfoDigests != 0
		if p.naming {
			e.rest = e.opsOut() + uint64(e.ops.Len())
		}
		p.naming = info.Flags&syncproto.InfoNaming != 0
		e.repairHeard(now, p, info, returned)
	}
	p.Last = now
}

// pfAppears has a peer without a Linux region that comes, or comes back, asked
// for the table that nobody has given us, once it has had the time to ask for
// ours. A Linux peer repairHeard asks.
func (e *Engine) pfAppears(now int64, p *Peer, returned bool) {
	if (p.Frames == 0 || returned) && (e.bulk.state == SyncAlone || e.bulk.state == SyncFailed) {
		e.bulk.again = now + bulkRetry
	}
}

// speaks notes the format of a peer's states, and says once if it is not the one
// that is sent: a pf drops what it does not know, and may not say so.
func (e *Engine) speaks(p *Peer, f syncproto.Format) {
	p.Format, p.Spoken = f, true
	if f != e.cfg.Format && !p.mismatch {
		p.mismatch = true
		e.log("peer speaks another format than is sent", "peer", p.Addr, "set", "version "+f.String())
	}
}

func (p *peers) deadline() int64 { return p.lostT }

// peersTick notices silent peers and gives up lost states that nobody answered
// for: they ended.
func (e *Engine) peersTick(now int64) {
	e.sweepTick(now)
	for i := range e.peers.list {
		p := &e.peers.list[i]
		if p.used && !p.silent && !p.Living(now) {
			p.silent, p.sending = true, false
			e.log("peer is silent", "peer", p.Addr)
		}
	}
	if e.peers.clash.IsValid() && now-e.peers.at > linuxSilent {
		e.clashOver(now)
	}
	if now < e.peers.lostT {
		return
	}
	e.peers.lostT = never
	for n := e.peers.lost.len(); n > 0; n-- {
		e.giveUpLost(now, e.peers.lost.get().ID)
	}
}

// giveUpLost asks a second time; a third time it forgets what is in no kernel.
func (e *Engine) giveUpLost(now int64, id pfstate.ID) {
	r, _, ok := e.tab.ByName(id)
	if !ok {
		return
	}
	s := e.tab.At(r)
	if s.Tries == 0 || s.Has(pfstate.FlagDead) || s.Carried() {
		return
	}
	denied := s.Tries & triesDenied
	if s.Tries&^triesDenied < 2 {
		s.Tries++
		e.requestState(now, s)
		e.peers.lost.put(named{ID: id})
		e.peers.lostAt(now)
		return
	}
	s.Tries = 0
	if s.Has(pfstate.FlagInKernel) && denied == 0 {
		return // nobody knows it, or no answer got through: its own timeout decides
	}
	e.unsureEnd(s)
	e.erase(r, false)
}

// heartbeatAt is when a frame must leave so that peers know we live.
func (e *Engine) heartbeatAt() int64 {
	if !e.cfg.Sync || !e.link.Up {
		return never
	}
	return e.lastOut + heartbeatEvery
}
