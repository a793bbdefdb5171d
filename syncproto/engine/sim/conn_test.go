package sim

import (
	"math/rand/v2"

	"github.com/pfsync/pfsync/pfstate"
)

// How a connection ends.
const (
	endFIN = iota
	endRST
	endSilent // nobody says anything any more
	endNever
	endings
)

// connSpec is a connection of a scenario.
type connSpec struct {
	at, life int64
	proto    uint8
	nat      int // bit 0: source, bit 1: destination
	src      int // client, port and server: few, so that tuples are used again
	port     int
	gap      int64 // most between two packets
	ending   int
	asym     bool // answers go through another firewall
	mark     uint32
	seed     uint64
}

// conn is one connection of the outside world.
type conn struct {
	connSpec
	w       *world
	no      int
	rng     *rand.Rand
	f       pfstate.Flow // as its first packet makes it
	began   int64
	step    int
	tries   int   // packets lost in a row
	over    bool  // no more packets
	where   *node // that let the last packet pass
	last    int64 // when
	gone    bool  // its entry ended where the last packet passed
	excused bool  // ended on purpose: flushed, withdrawn
}

func (c *conn) translated() bool {
	src, dst := c.f.Translated()
	return src || dst
}

// reply is the reply tuple of its entry, as a firewall has it that has seen a
// packet of the original direction first, or of the other one.
func (c *conn) reply(asOrig bool) pfstate.Tuple {
	if asOrig {
		return c.f.Reply
	}
	return c.f.Orig
}

// translate: the first packet met an entry of an earlier connection, and shares
// its translation.
func (w *world) translate(c *conn, reply pfstate.Tuple) {
	c.f.Reply = reply
	w.latest[replyKey(&c.f)] = c
}

// flow makes the entry of the first packet.
func (c *connSpec) flow() (f pfstate.Flow) {
	f.AF, f.Proto, f.Mark = pfstate.AFInet, c.proto, c.mark
	f.Orig = pfstate.Tuple{Src: pfstate.Addr{192, 168, 0, byte(c.src)}, Dst: pfstate.Addr{8, 8, 8, 8},
		SrcPort: uint16(1024 + c.port), DstPort: 443}
	switch c.proto {
	case pfstate.ProtoICMP:
		f.Orig.DstPort = 8 << 8
	case pfstate.ProtoGRE:
	default:
	}
	if c.nat&2 != 0 {
		f.Orig.Dst = pfstate.Addr{203, 0, 113, 2}
	}
	f.Reply = f.Orig.Inverse(c.proto)
	if c.nat&2 != 0 {
		f.Reply.Src = pfstate.Addr{10, 1, 1, 1}
	}
	if c.nat&1 != 0 {
		f.Reply.Dst = pfstate.Addr{203, 0, 113, 1}
		if c.proto == pfstate.ProtoICMP {
			f.Reply.SrcPort = uint16(20000 + c.src*300 + c.port)
		} else {
			f.Reply.DstPort = uint16(20000 + c.src*300 + c.port)
		}
	}
	return f
}

// open sends the first packet, unless the client still uses the port.
func (w *world) open(no int, spec *connSpec) {
	f := spec.flow()
	o := w.latest[origKey(&f)]
	if o != nil && !o.over {
		return
	}
	c := &conn{connSpec: *spec, w: w, no: no, f: f, began: w.now, excused: o != nil && w.now < w.clashing, rng: rand.New(rand.NewPCG(spec.seed, 3))}
	w.latest[origKey(&f)], w.latest[replyKey(&f)] = c, c
	w.conns = append(w.conns, c)
	if w.tracing {
		w.say(origKey(&f), "connection %d begins at %s, reply %v, asymmetric %v", no, w.master.name, replyKey(&f), c.asym)
	}
	tcp := uint8(0)
	if c.proto == pfstate.ProtoTCP {
		tcp = pfstate.TCPSynSent
	}
	c.send(packet{c: c, tcp: tcp, first: true}, milli+c.rng.Int64N(20*milli))
	c.burst()
}

// burst sends some packets after the first without waiting for an answer, as
// many a client of UDP does. They go where the first one went, in their order.
func (c *conn) burst() {
	if c.proto != pfstate.ProtoUDP || c.seed%4 != 0 {
		return
	}
	for i := range int64(3) {
		c.w.at((1+i)*milli/3, func() {
			if n := c.w.path(c, false); n != nil {
				n.forward(&packet{c: c, first: true}, func(bool) {})
			}
		})
	}
}

// send lets a packet pass where it has to; next is when the next one goes.
// One that gets through nowhere is sent again some times.
func (c *conn) send(p packet, next int64) {
	n := c.w.path(c, p.reply)
	done := func(ok bool) {
		switch {
		case !ok:
			c.again(p, next)
		default:
			c.tries = 0
			c.w.at(next, c.live)
		}
	}
	if n == nil {
		done(false)
		return
	}
	n.forward(&p, done)
}

const packetTries = 5

func (c *conn) again(p packet, next int64) {
	c.tries++
	if c.tries > packetTries {
		c.over = true
		c.w.lostConns++
		c.w.say(c.key(), "connection %d is lost", c.no)
		return
	}
	c.w.say(c.key(), "connection %d loses a packet, reply %v", c.no, p.reply)
	c.w.at(200*milli<<c.tries, func() {
		if !c.w.hushed {
			c.send(p, next)
		}
	})
}

func (c *conn) key() key { return origKey(&c.f) }

// live does the next thing of a connection.
func (c *conn) live() {
	if c.over || c.w.hushed {
		return
	}
	c.step++
	gap := milli + c.rng.Int64N(c.gap)
	closing := c.ending != endNever && c.w.now-c.began > c.life
	switch {
	case c.proto != pfstate.ProtoTCP:
		if closing {
			c.over = true
			return
		}
		reply := c.step%2 == 1
		c.send(packet{c: c, reply: reply, first: !reply}, gap)
	case c.step == 1:
		c.send(packet{c: c, reply: true, tcp: pfstate.TCPSynRecv}, milli)
	case c.step == 2:
		c.send(packet{c: c, tcp: pfstate.TCPEstablished}, gap)
	case closing:
		c.close()
	default:
		c.send(packet{c: c, reply: c.rng.IntN(2) == 0, tcp: pfstate.TCPEstablished}, gap)
	}
}

// close says goodbye, or does not.
func (c *conn) close() {
	switch c.ending {
	case endRST:
		c.send(packet{c: c, reply: c.rng.IntN(2) == 0, tcp: pfstate.TCPClose}, second)
		c.over = true
	case endSilent:
		c.over = true
	case endFIN:
		switch {
		case c.step < 1000:
			c.step = 1000
			c.send(packet{c: c, reply: c.rng.IntN(2) == 0, tcp: pfstate.TCPFinWait}, 5*milli)
		case c.step == 1001:
			c.send(packet{c: c, reply: true, tcp: pfstate.TCPLastAck}, milli)
		default:
			c.send(packet{c: c, tcp: pfstate.TCPTimeWait}, second)
			c.over = true
		}
	}
}

// path is the firewall that a packet comes to, nil if there is none.
func (w *world) path(c *conn, reply bool) *node {
	m := w.master
	if !m.up {
		return nil
	}
	if c.asym && reply {
		for i := range w.nodes {
			if n := w.nodes[(m.no+1+i)%len(w.nodes)]; n.up {
				return n
			}
		}
	}
	return m
}

// passed: a packet of a connection got through by an entry, perhaps an earlier
// connection's.
func (w *world) passed(n *node, c *conn, e *entry) {
	c.where, c.last, c.gone = n, w.now, false
	n.see(&e.f)
}

// ended: a kernel's entry is gone by itself, or because somebody wished so.
func (w *world) ended(n *node, e *entry) {
	if c := w.latest[e.key()]; c != nil && c.where == n {
		c.gone = true
	}
}

// deleted: an operation of the daemon removes an entry. Of ICMP the next packet
// makes another one like it, and a few seconds of life are below what a guard
// of whole seconds can tell. And where a new connection goes on by the open entry
// of an earlier one nobody can tell the two apart: the end of that is its end.
func (w *world) deleted(n *node, e *entry) {
	const fresh, guess = 5 * second, 100 * milli
	if n.cfg.Defer && w.now-e.born < guess {
		return // what a held packet told before its translation was known is taken back at once
	}
	if c := e.conn; c != nil && e.born >= c.began && c.proto != pfstate.ProtoICMP && !c.over && !c.excused && c.where == n && w.now-e.passed < fresh && w.latest[c.key()] == c && e.born > w.purged[e.key()] {
		w.complain(e.key(), "%s: a peer's delete kills a connection that lives", n.name)
	}
}
