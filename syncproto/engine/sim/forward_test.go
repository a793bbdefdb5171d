package sim

import (
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto/engine"
)

// heldPacket waits for its verdict.
type heldPacket struct {
	no   uint32
	p    packet
	at   int64 // when it came
	done func(ok bool)
}

// forward lets a packet pass, perhaps after a while; done is told whether it
// got through.
func (n *node) forward(p *packet, done func(ok bool)) {
	kind, hold := n.holds(p)
	if !hold {
		done(n.k.pass(p))
		n.step()
		return
	}
	n.pkts++
	n.held = append(n.held, heldPacket{n.pkts, *p, n.w.now, done})
	no, gen, f := n.pkts, n.starts, n.heldFlow(p, kind)
	n.w.q.put(max(n.w.now, n.frozen), func() { // when the daemon reads its queue
		if n.running() && n.starts == gen {
			n.see(&f)
			n.read()
			n.eng.Held(n.w.now, no, kind, &f)
			n.step()
		}
	})
}

// holds reports whether the rule of defer matches a packet (linux-facts 3).
func (n *node) holds(p *packet) (engine.HeldKind, bool) {
	if !n.running() || !n.cfg.Defer {
		return 0, false
	}
	id := origKey(&p.c.f)
	if p.reply {
		id = replyKey(&p.c.f)
	}
	e, back := n.k.find(id)
	source, _ := p.c.f.Translated()
	switch {
	case e == nil && !p.first:
		return 0, false
	case e == nil && n.guesses:
		return engine.HeldGuess, true
	case e == nil:
		return engine.HeldWhole, true
	}
	return engine.HeldReply, n.guesses && source && back && e.f.Status&pfstate.StatusAssured == 0
}

// heldFlow is what the daemon reads in a packet.
func (n *node) heldFlow(p *packet, kind engine.HeldKind) pfstate.Flow {
	f := p.c.f
	switch kind {
	case engine.HeldReply:
		f = pfstate.Flow{Orig: f.Reply, AF: f.AF, Proto: f.Proto}
	case engine.HeldGuess:
		plain := f.Orig.Inverse(f.Proto)
		f.Reply.Dst, f.Reply.DstPort = plain.Dst, plain.DstPort
		if f.Proto == pfstate.ProtoICMP {
			f.Reply = plain
		}
	}
	f.ProtoState = p.tcp
	if f.Proto == pfstate.ProtoTCP {
		f.Has |= pfstate.HasProto
	}
	return f
}

// releases lets go what the engine says may pass. Each packet is released once,
// in its order among those of its connection, and never later than deferdelay.
func (n *node) releases() {
	for _, no := range n.eng.Releases(nil) {
		i := n.heldIndex(no)
		if i < 0 {
			n.w.complain(key{}, "%s: packet %d is released that is not held", n.name, no)
			continue
		}
		h := n.held[i]
		for j := range n.held[:i] {
			if n.held[j].p.c == h.p.c {
				n.w.complain(h.p.c.key(), "%s: packet %d is released before %d", n.name, no, n.held[j].no)
			}
		}
		n.held = append(n.held[:i], n.held[i+1:]...)
		n.w.q.put(n.w.now, func() {
			h.done(n.k.pass(&h.p))
			n.step()
		})
	}
	n.overdue()
}

func (n *node) heldIndex(no uint32) int {
	for i := range n.held {
		if n.held[i].no == no {
			return i
		}
	}
	return -1
}

// overdue complains of what is held for too long.
func (n *node) overdue() {
	const slack = 2 * milli
	for i := range n.held {
		h := &n.held[i]
		if n.w.now > max(h.at, n.frozen)+int64(n.cfg.DeferDelay)+slack {
			n.w.complain(h.p.c.key(), "%s: packet %d is held for %d ms", n.name, h.no, (n.w.now-h.at)/milli)
		}
	}
}
