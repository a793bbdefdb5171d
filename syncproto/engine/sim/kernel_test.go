package sim

import (
	"fmt"

	"github.com/pfsync/pfsync/pfstate"
)

const (
	second = int64(1e9)
	milli  = int64(1e6)
)

// key is what tells kernel entries apart.
type key struct {
	pfstate.Tuple
	proto uint8
}

func origKey(f *pfstate.Flow) key  { return key{f.Orig, f.Proto} }
func replyKey(f *pfstate.Flow) key { return key{f.Reply, f.Proto} }

func (k key) String() string {
	return fmt.Sprintf("%d %v:%d>%v:%d", k.proto, k.Src.IP(pfstate.AFInet), k.SrcPort, k.Dst.IP(pfstate.AFInet), k.DstPort)
}

// entry is one of a kernel's table.
type entry struct {
	f      pfstate.Flow
	born   int64
	ends   int64
	conn   *conn // whose packets met it last, nil for what a peer told and no packet has met
	passed int64 // when the last packet passed here
	untold bool  // what has become of it was not told, for want of room
	told   int64 // when a dump made up for that
}

func (e *entry) key() key { return origKey(&e.f) }

// kernel is a model of nf_conntrack: entries with timeouts that packets
// refresh, lazy expiry, events for changes of state only (linux-facts 0, 2).
type kernel struct {
	w       *world
	n       *node
	list    []*entry // in the order in which they were made
	orig    map[key]*entry
	reply   map[key]*entry
	events  []pfstate.Event // not yet read
	overrun bool            // some did not fit
	max     int             // entries, 0 no limit
	deleted []*entry        // by the operations of this batch
}

// eventRoom is how many events the socket holds while nobody reads.
const eventRoom = 24

func newKernel(w *world, n *node) *kernel {
	return &kernel{w: w, n: n, orig: map[key]*entry{}, reply: map[key]*entry{}}
}

// clear is a reboot.
func (k *kernel) clear() {
	k.list, k.events, k.overrun = nil, nil, false
	clear(k.orig)
	clear(k.reply)
}

// tell queues an event, and reports whether there was room, or nobody to hear.
func (k *kernel) tell(kind pfstate.EventKind, f pfstate.Flow, has pfstate.Has, asked bool) bool {
	if !k.n.running() {
		return true
	}
	if len(k.events) >= eventRoom {
		k.overrun = true
		return false
	}
	f.Has = has | pfstate.HasStatus | pfstate.HasProto | f.Has&pfstate.HasWritten
	k.events = append(k.events, pfstate.Event{Kind: kind, Asked: asked, Flow: f})
	k.cross()
	return true
}

// cross lets an update overtake the event of its beginning, as when the packets
// of both directions meet different processors: every second time that the
// latter has not been read yet. It takes no random number, so that a seed stays
// what it is.
func (k *kernel) cross() {
	at := len(k.events) - 2
	if at < 0 || k.events[at].Kind != pfstate.EventNew || k.events[at+1].Kind != pfstate.EventUpdate {
		return
	}
	first, next := &k.events[at], &k.events[at+1]
	if first.Flow.Orig == next.Flow.Orig && first.Flow.Zone == next.Flow.Zone && first.Flow.Orig.SrcPort%2 == 0 {
		*first, *next = *next, *first
	}
}

// find looks a tuple up in either direction. What is over is reaped on the way.
func (k *kernel) find(id key) (e *entry, reply bool) {
	if e = k.orig[id]; e == nil {
		e, reply = k.reply[id], true
	}
	if e != nil && e.ends <= k.w.now {
		k.destroy(e, destroyExpired)
		return nil, false
	}
	return e, reply
}

func (k *kernel) add(e *entry) {
	e.born = k.w.now
	k.list = append(k.list, e)
	k.orig[origKey(&e.f)] = e
	k.reply[replyKey(&e.f)] = e
}

func (k *kernel) drop(e *entry) {
	for i, o := range k.list {
		if o == e {
			k.list = append(k.list[:i], k.list[i+1:]...)
			break
		}
	}
	delete(k.orig, origKey(&e.f))
	delete(k.reply, replyKey(&e.f))
}

// How an entry ends.
const (
	destroyExpired = iota
	destroyPacket  // a packet ends it
	destroyProgram // another program, as conntrack -D
)

// destroy removes an entry and tells: what was killed with the time it had left.
func (k *kernel) destroy(e *entry, how int) {
	k.drop(e)
	k.w.ended(k.n, e)
	f := e.f
	var has pfstate.Has
	if how != destroyExpired {
		has = pfstate.HasTimeout
		f.Timeout = e.left(k.w.now)
	}
	f.TCPFlags = [2]uint8{}
	k.tell(pfstate.EventDestroy, f, has, how == destroyProgram)
}

// left is the time that an entry has, as the kernel tells it.
func (e *entry) left(now int64) uint32 { return uint32(max(0, (e.ends-now)/second)) }

// reap expires what is over; late says of each whether it is left for later.
func (k *kernel) reap(late func() bool) {
	for i := 0; i < len(k.list); {
		if e := k.list[i]; e.ends <= k.w.now && !late() {
			k.destroy(e, destroyExpired)
			continue
		}
		i++
	}
}

// refresh starts the timeout of an entry again.
func (k *kernel) refresh(e *entry) {
	e.ends = k.w.now + int64(k.w.timeouts.For(e.f.Proto, e.f.ProtoState, e.f.Status))*second
	e.f.Timeout = e.left(k.w.now)
}
