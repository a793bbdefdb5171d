package engine

import (
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// Repair between Linux peers (design section 7). Frames are numbered. Who
// misses some asks for them by number; the sender queues the states that
// those frames named, as they are now, and then says so. What is older than it
// remembers is settled by comparing the tables (check.go), or by a bulk
// transfer, after which states that the sender did not name, and nobody
// carries, are asked for one by one.

const (
	sentFrames = 1 << 12 // frames remembered
	sentNames  = 1 << 16 // names in them
	maxGaps    = 8       // ranges missing of one peer; more are joined

	gapPatience = 20 * milli // a frame may merely have been overtaken
	gapAgain    = 250 * milli
	gapNext     = 100 * milli // requests and answers get lost too: at once would be a storm
	gapTries    = 12
)

type sentFrame struct {
	no    uint32
	start uint64 // of its names, counted from the first ever
	n     int
}

// repair is what we sent, and what we have to say about it.
type repair struct {
	frames [sentFrames]sentFrame
	names  [sentNames]named
	total  uint64 // names ever
	open   int    // of the frame being made

	answers []answer // to be sent when the queues are empty
	gaps    int      // peers with gaps
	next    int64    // when a gap is to be asked for, never if none

	wantNow bool // a control message is due

	pending  bool // a sweep waits until nothing is missing
	since    int64
	sweep    pfstate.Ref // its cursor, 0 none
	sweepGen int64
}

type answer struct {
	to uint32 // creatorid
	syncproto.FramesAgain
}

// gap is what is missing of one peer.
type gap struct {
	ranges [maxGaps]syncproto.Frames
	n      int
	tries  int
	at     int64 // when to ask
}

// named notes a name in the frame being made.
func (p *repair) named(n named) {
	p.names[p.total%sentNames] = n
	p.total++
	p.open++
}

// sent closes the frame being made.
func (p *repair) sent(no uint32) {
	p.frames[no%sentFrames] = sentFrame{no, p.total - uint64(p.open), p.open}
	p.open = 0
}

// doubt reports whether something is known to be missing.
func (p *repair) doubt() bool { return p.gaps > 0 }

func (p *repair) deadline() int64 {
	if p.gaps == 0 {
		return never
	}
	return p.next
}

// missing adds a range, joining the last two when there are too many.
func (g *gap) missing(now int64, epoch, first, last uint32) {
	if g.n == 0 {
		g.at, g.tries = now+gapPatience, 0
	}
	if g.n == maxGaps {
		g.ranges[g.n-1].Last = last
		return
	}
	g.ranges[g.n] = syncproto.Frames{Epoch: epoch, First: first, Last: last}
	g.n++
}

// missingBefore is missing for a range before all that has been heard.
func (g *gap) missingBefore(now int64, epoch, first, last uint32) {
	if g.n == maxGaps {
		g.ranges[0].First = first
		return
	}
	g.missing(now, epoch, first, last)
}

// arrived takes frames first to last off what is missing.
func (g *gap) arrived(first, last uint32) {
	var kept gap
	keep := func(f syncproto.Frames) {
		if int32(f.Last-f.First) >= 0 && kept.n < maxGaps {
			kept.ranges[kept.n] = f
			kept.n++
		}
	}
	for _, f := range g.ranges[:g.n] {
		if int32(last-f.First) < 0 || int32(f.Last-first) < 0 {
			keep(f)
			continue
		}
		keep(syncproto.Frames{Epoch: f.Epoch, First: f.First, Last: frameBefore(first)})
		keep(syncproto.Frames{Epoch: f.Epoch, First: frameAfter(last), Last: f.Last})
	}
	g.ranges, g.n = kept.ranges, kept.n
}

// repairHeard looks at the number of a frame.
func (e *Engine) repairHeard(now int64, p *Peer, info *syncproto.FrameInfo, returned bool) {
	if p.Epoch != info.Epoch {
		restarted := p.Epoch != 0
		p.Epoch, p.Frame, p.oldest, p.gap, p.runSince = info.Epoch, info.Frame, info.Frame, gap{}, now
		p.knows = 0
		p.fromStart = !e.imported
		e.countGaps()
		switch {
		case restarted:
			e.doubt(now, p)
		case returned || info.Frame > 1 && e.bulk.over(), e.bulk.state == SyncAlone, e.bulk.state == SyncFailed:
			e.bulkQuietly(now) // its table was never heard
		}
		return
	}
	d := framesFrom(p.Frame, info.Frame)
	switch {
	case d < 0:
		p.gap.arrived(info.Frame, info.Frame)
		e.repairEarlier(now, p, info)
	case d > sentFrames:
		p.Frame, p.gap = info.Frame, gap{}
		e.lostFrames(p, uint64(d-1))
		e.missed(now, p)
	case d > 1:
		e.lostFrames(p, uint64(d-1))
		p.gap.missing(now, info.Epoch, frameAfter(p.Frame), frameBefore(info.Frame))
	}
	if d > 0 {
		p.Frame = info.Frame
	}
	e.countGaps()
}

// maxLate is how many frames a frame may be late and say something about
// those between.
const maxLate = 64

// repairEarlier: a frame may have been overtaken by the first one that we heard
// of this run, the start of a transfer say; then those between are missing too.
func (e *Engine) repairEarlier(now int64, p *Peer, info *syncproto.FrameInfo) {
	d := framesFrom(info.Frame, p.oldest)
	if d <= 0 || d > maxLate {
		return
	}
	if d > 1 {
		e.lostFrames(p, uint64(d-1))
		p.gap.missingBefore(now, info.Epoch, frameAfter(info.Frame), frameBefore(p.oldest))
	}
	p.oldest = info.Frame
}

func (e *Engine) lostFrames(p *Peer, n uint64) {
	p.Lost += n
	e.Stats.Reason[ReasonFrameLost] += n
}

// countGaps keeps the number of peers with gaps and when to ask next.
func (e *Engine) countGaps() {
	e.repair.gaps, e.repair.next = 0, never
	for i := range e.peers.list {
		if g := &e.peers.list[i].gap; e.peers.list[i].used && g.n > 0 {
			e.repair.gaps++
			e.repair.next = min(e.repair.next, g.at)
		}
	}
}

// missed: frames of a peer are lost for good, and with them what they told.
func (e *Engine) missed(now int64, p *Peer) {
	p.missed = p.Digests
	e.doubt(now, p)
}

// controls reads what a peer wants of us, or answers.
func (e *Engine) controls(x *rx) {
	var ex syncproto.Extra
	for i := 1; i < x.extra.Whole(); i++ {
		if syncproto.ParseExtra(x.extra.Message(i), &ex) != nil || ex.ID != 0 || ex.CreatorID != e.cfg.HostID {
			continue
		}
		for t, v, rest, ok := syncproto.NextTLV(ex.TLVs); ok; t, v, rest, ok = syncproto.NextTLV(rest) {
			switch t {
			case syncproto.TLVWantFrames:
				for f, more, ok := syncproto.NextFrames(v); ok; f, more, ok = syncproto.NextFrames(more) {
					e.resend(x, f)
				}
			case syncproto.TLVFramesAgain:
				e.again(x, v)
			default:
				e.asked(x, t, v)
			}
		}
	}
}

// maxAnswers bounds what waits to be answered; who is left out asks again.
const maxAnswers = 64

// resend queues the states that frames of ours named, as they are now.
func (e *Engine) resend(x *rx, f syncproto.Frames) {
	p := &e.repair
	if len(p.answers) >= maxAnswers || f.Epoch != e.cfg.Epoch || int32(f.Last-f.First) < 0 || int32(e.frameNo-f.Last) < 0 {
		return
	}
	a := answer{x.peer.CreatorID, syncproto.FramesAgain{Frames: f}}
	if f.Last-f.First >= sentFrames {
		a.Forgotten = true
	}
	for no := f.First; !a.Forgotten && int32(f.Last-no) >= 0; no = frameAfter(no) {
		s := &p.frames[no%sentFrames]
		if s.no != no || p.total-s.start > sentNames {
			a.Forgotten = true
			break
		}
		e.Stats.Reason[ReasonFrameResent]++
		for k := s.start; k < s.start+uint64(s.n) && !a.Forgotten; k++ {
			n := p.names[k%sentNames]
			if n.deleted && e.buried.sentAfter(n.ID, f.Last) {
				continue // else what is lost while it is sent again grows and grows
			}
			if a.Forgotten = !e.mayReply(x.now, x.peer); !a.Forgotten {
				e.resendName(x.now, n)
			}
		}
	}
	p.answers = append(p.answers, a)
}

func (e *Engine) resendName(now int64, n named) {
	r, _, ok := e.tab.ByName(n.ID)
	switch {
	case n.asked:
		e.reqs.put(named{ID: n.ID, asked: true, again: true})
		e.dueBy(now)
	case ok && e.tab.At(r).Has(pfstate.FlagDead):
	case ok && !n.deleted:
		e.push(now, r)
	case !ok && n.deleted:
		e.buried.sent(n.ID, n.killed, frameAfter(e.frameNo))
		e.deleteName(now, n.ID, n.killed)
		e.dueBy(now)
	}
}

// again: a peer has sent again what we missed, or cannot.
func (e *Engine) again(x *rx, v []byte) {
	var m syncproto.FramesAgain
	if syncproto.ParseFramesAgain(v, &m) != nil || m.Epoch != x.peer.Epoch {
		return
	}
	if g := &x.peer.gap; g.n > 0 {
		g.arrived(m.First, m.Last)
		g.at, g.tries = min(g.at, x.now+gapNext), 0 // it answers: on with the rest
	}
	e.countGaps()
	if m.Forgotten {
		e.missed(x.now, x.peer)
	}
}

// wants reports whether a control message is due.
func (p *repair) wants() bool { return p.wantNow }

// addControls puts what is due for peers at the head of the extras.
func (e *Engine) addControls(f *frame) {
	p := &e.repair
	p.wantNow = false
	if e.cfg.Format != syncproto.Format6 || !e.cfg.Sync {
		return
	}
	for i := range e.peers.list {
		q := &e.peers.list[i]
		if q.used && q.gap.n > 0 && q.gap.at == 0 {
			const atOnce = 4 // ranges, to keep the region narrow
			f.control(q.CreatorID, syncproto.AppendWantFrames(e.scratch.tlvs[:0], q.gap.ranges[:min(q.gap.n, atOnce)]))
			p.wantNow = true
		}
	}
	if !e.queued() {
		for i := range p.answers[:min(len(p.answers), 4)] {
			f.control(p.answers[i].to, syncproto.AppendFramesAgain(e.scratch.tlvs[:0], &p.answers[i].FramesAgain))
			p.wantNow = true
		}
	}
}

// control adds a control message for a peer.
func (f *frame) control(to uint32, tlvs []byte) {
	f.stride = max(f.stride, syncproto.Stride(len(tlvs)))
	f.extras = append(f.extras, extraRef{pfstate.ID{CreatorID: to}, len(f.tlvs), len(f.tlvs) + len(tlvs)})
	f.tlvs = append(f.tlvs, tlvs...)
}

// controlsSent: the frame with the controls has left.
func (e *Engine) controlsSent(now int64) {
	p := &e.repair
	if !p.wantNow {
		return
	}
	p.wantNow = false
	for i := range e.peers.list {
		if g := &e.peers.list[i].gap; g.n > 0 && g.at == 0 {
			g.tries++
			g.at = now + gapAgain*int64(min(g.tries, 8))
			e.reason(ReasonFrameAsked)
		}
	}
	if !e.queued() {
		p.answers = p.answers[min(len(p.answers), 4):]
	}
	e.countGaps()
}

// sweepUnnamed settles, once nothing is missing, what a whole bulk transfer
// that began at since did not name.
func (p *repair) sweepUnnamed(since int64) { p.pending, p.since = true, since }

// repairTick makes due requests due, and gives up on peers that do not answer.
func (e *Engine) repairTick(now int64) {
	p := &e.repair
	if p.gaps > 0 && now >= p.next {
		for i := range e.peers.list {
			q := &e.peers.list[i]
			switch {
			case !q.used || q.gap.n == 0 || q.gap.at == 0 || now < q.gap.at:
			case q.gap.tries >= gapTries:
				q.gap = gap{}
				e.missed(now, q)
			default:
				q.gap.at = 0
			}
		}
		e.countGaps()
	}
	if p.pending && p.gaps == 0 && e.bulk.over() {
		p.pending, p.sweep, p.sweepGen = false, 1, p.since
	}
	if p.sweep != 0 {
		e.sweepStep(now)
	}
}

// sweepStep asks for states that the last whole bulk transfer did not name and
// that are not carried here: they ended while we did not hear, or another peer
// has them.
func (e *Engine) sweepStep(now int64) {
	p := &e.repair
	end := min(p.sweep+sweepStep, e.tab.End())
	for ; p.sweep < end; p.sweep++ {
		if e.reqs.len() > ringSize/2 { // on when some have left
			if !e.link.Up {
				p.sweep = 0 // all is asked for anew
			}
			return
		}
		if !e.tab.InUse(p.sweep) {
			continue
		}
		s := e.tab.At(p.sweep)
		const other = pfstate.FlagDead | pfstate.FlagCarried | pfstate.FlagUnclaimed
		if s.Flags&other != 0 || s.LastPeer >= p.sweepGen || s.LastLocal >= p.sweepGen || !s.Has(pfstate.FlagAnnounced) {
			continue
		}
		e.reason(ReasonLost)
		s.Tries = 1
		e.requestState(now, s)
		e.peers.lost.put(named{ID: s.MainName()})
		e.peers.lostAt(now)
	}
	if p.sweep >= e.tab.End() {
		p.sweep = 0
	}
}
