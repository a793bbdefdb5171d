package engine

// What one source can make us do is bounded: the link has no authentication,
// and a few bytes of a request are worth a table. Nobody's limit is touched by
// what another source says.
const (
	insertRate = 200_000 // inserts a second and source
	bulkEvery  = second  // between two bulk requests of a source

	// Of bulk requests a source has as many as pf tries, then one in ten seconds.
	bulkBurst = 12
	bulkAgain = 10 * second

	// A record that a source makes us send costs one, whatever it asked with. It
	// has one for each 32 bytes that it sends, so that it gets some ten times
	// back what it says (twenty where a pf listens, which needs two records for a
	// connection), and some for nothing: who lost frames asks for many at once.
	replyBytes = 32
	replyBurst = 1 << 14
	replyEvery = second / 2048

	// A CLR walks the table, once for all messages of a region.
	clrBurst = 4
	clrEvery = second
	// All sources together: a share of a core with a million states.
	clrsBurst = 8
	clrsEvery = second / 4
)

// bucket is how much of a limit is used. It drains with time; the zero value is
// empty.
type bucket struct {
	at   int64 // up to when it has drained
	used int64
}

// take uses n of at most burst; every is the time in which one drains. It
// reports whether there was room, and uses nothing if not.
func (b *bucket) take(now, n, burst, every int64) bool {
	if drained := (now - b.at) / every; drained >= b.used {
		b.at, b.used = now, 0
	} else {
		b.at += drained * every
		b.used -= drained
	}
	if b.used+n > burst {
		return false
	}
	b.used += n
	return true
}

// back takes n off what is used.
func (b *bucket) back(n int64) { b.used = max(0, b.used-n) }

// admitInsert counts an insert of a peer against its rate.
func (p *Peer) admitInsert(now int64) bool {
	if now-p.second >= second {
		p.second, p.inserts = now, 0
	}
	p.inserts++
	return p.inserts <= insertRate
}

// admitBulk counts a request for the whole table. One that comes too soon after
// another is to be served later.
func (p *Peer) admitBulk(now int64) bool {
	if !p.bulks.take(now, 1, bulkBurst, int64(bulkAgain)) {
		return false
	}
	if p.lastBulk != 0 && now-p.lastBulk < bulkEvery {
		p.bulks.back(1)
		p.bulkLate = p.lastBulk + bulkEvery
		return false
	}
	p.lastBulk, p.bulkLate = now, 0
	return true
}

// bulkLater serves the requests that came too soon.
func (e *Engine) bulkLater(now int64) {
	for i := range e.peers.list {
		if p := &e.peers.list[i]; p.used && p.bulkLate != 0 && now >= p.bulkLate {
			p.bulkLate = 0
			e.serveRequest(now, p)
		}
	}
}

// bulkLaterAt is when the next of them is due.
func (e *Engine) bulkLaterAt() int64 {
	at := int64(never)
	for i := range e.peers.list {
		if p := &e.peers.list[i]; p.used && p.bulkLate != 0 {
			at = min(at, p.bulkLate)
		}
	}
	return at
}

// mayReply reports whether a source may make us send one more record.
func (e *Engine) mayReply(now int64, p *Peer) bool {
	if p.replies.take(now, 1, replyBurst, replyEvery) {
		return true
	}
	e.reason(ReasonRateReply)
	return false
}

// mayClear reports whether a source may make us walk the table for a CLR.
func (e *Engine) mayClear(now int64, p *Peer) bool {
	if p.clrs.take(now, 1, clrBurst, clrEvery) && e.clrWalks.take(now, 1, clrsBurst, clrsEvery) {
		return true
	}
	e.reason(ReasonRateClr)
	return false
}

// kernelReserve is the part of the kernel's table, one in so many, that states
// of peers leave to connections that begin here. Of the kernel's own default of
// 262144 it leaves 253952 to peers.
const kernelReserve = 32

// KernelRoom is how many entries a kernel's table of that size may have for one
// more to be made for a peer.
func KernelRoom(most int) int { return most - most/kernelReserve }

// roomFor reports whether there is room for one more state of a peer. What only
// waits for its delete to be sent is in no kernel.
func (e *Engine) roomFor() bool {
	return e.roomInKernel() && (e.cfg.MaxStates == 0 || e.tab.Len()-e.held-e.carried+e.kept.len() < e.cfg.MaxStates)
}

func (e *Engine) roomInKernel() bool {
	return e.cfg.KernelMax == 0 || e.tab.Len()-e.held < KernelRoom(e.cfg.KernelMax)
}
