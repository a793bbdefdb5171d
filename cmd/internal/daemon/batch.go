package daemon

import (
	"net/netip"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif"
	"github.com/pfsync/pfsync/tunif/syncdev"
)

// Sizes and numbers of batches. Two would do for one to be filled while the
// other is worked on; more of the small ones ride out bursts.
const (
	eventBatches, eventsPerBatch = 8, 64
	dumpBatches, dumpPerBatch    = 3, 192 // a datagram of a dump holds some 150
	packetBatches, packetsPer    = 3, 16
	opBatches, opsPerBatch       = 2, 256
	frameBatches, framesPerBatch = 2, 16
)

// exchange circulates batches between two goroutines. Both channels have room
// for all, so giving one on never blocks.
type exchange[T any] struct {
	free, full chan *T
}

// newExchange puts n batches into free.
func newExchange[T any](n int, make1 func() *T) exchange[T] {
	x := exchange[T]{make(chan *T, n), make(chan *T, n)}
	for range n {
		x.free <- make1()
	}
	return x
}

// events is a batch of news from the kernel.
type events struct {
	evs   []pfstate.Event
	n     int
	cost  int64     // of a dump so far: nanoseconds of a processor
	inner bool      // of a dump within another
	at    time.Time // of a dump: since when the kernel may have written it
}

// age takes from the time that each entry of a dump had left what has passed
// since. Where a rest, or a machine that stood still, was between the kernel and
// the engine, an entry would seem to have been refreshed, by a packet.
func (b *events) age(now time.Time) {
	late := uint32(max(0, now.Sub(b.at)) / time.Second)
	if late == 0 {
		return
	}
	for i := range b.evs[:b.n] {
		if f := &b.evs[i].Flow; b.evs[i].Kind == pfstate.EventDump && f.Has&pfstate.HasTimeout != 0 {
			f.Timeout -= min(late, f.Timeout)
		}
	}
}

func newEvents(n int) *events { return &events{evs: make([]pfstate.Event, n)} }

// packets is a batch from a syncdev.
type packets struct {
	pkts []syncdev.Packet
	n    int
	port *port // they came by
}

func newPackets() *packets {
	b := &packets{pkts: make([]syncdev.Packet, packetsPer)}
	for i := range b.pkts {
		b.pkts[i].Buf = make([]byte, syncdev.MaxPacket) // pages never used cost nothing
	}
	return b
}

// ops is a batch of operations with their results.
type ops struct {
	ops []pfstate.Op
	res []pfstate.Result
	n   int
}

func newOps() *ops {
	return &ops{ops: make([]pfstate.Op, opsPerBatch), res: make([]pfstate.Result, opsPerBatch)}
}

// frames is a batch to send.
type frames struct {
	buf  [framesPerBatch][]byte // each with headroom for the IPv4 header
	pkt  [framesPerBatch][]byte // headroom and frame, in buf
	show [framesPerBatch]bool   // to be seen on the pseudo-device
	n    int

	port *port      // where to; nil: on the pseudo-device only
	src  netip.Addr // for the header on the pseudo-device
	down bool       // the pseudo-device is down

	// What became of them, for the loop.
	errs   int // not sent
	tooBig int // length of the longest that did not fit, with IPv4 header; 0 none
}

func newFrames() *frames { return &frames{} }

// room returns memory for the i-th frame of at most n bytes with its headroom.
func (b *frames) room(i, n int) []byte {
	if len(b.buf[i]) < tunif.HeaderLen+n {
		b.buf[i] = make([]byte, tunif.HeaderLen+n)
	}
	return b.buf[i]
}

// port is a syncdev that is open, or waited for.
type port struct {
	wire Wire // nil: waited for
}
