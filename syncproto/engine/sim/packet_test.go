package sim

import "github.com/pfsync/pfsync/pfstate"

// packet is one of a connection that meets a firewall.
type packet struct {
	c     *conn
	reply bool
	tcp   uint8 // conntrack state that it leads to
	first bool  // a SYN, or the first of another protocol
}

// pass lets a packet through a kernel under a strict ruleset, and reports
// whether it got through.
func (k *kernel) pass(p *packet) bool {
	id := origKey(&p.c.f)
	if p.reply {
		id = replyKey(&p.c.f)
	}
	e, back := k.find(id)
	switch {
	case e != nil && p.first && e.f.Proto == pfstate.ProtoTCP && e.f.ProtoState >= pfstate.TCPLastAck && e.f.ProtoState <= pfstate.TCPClose:
		k.destroy(e, destroyPacket) // the port is used again
		return k.begin(p)
	case e != nil && p.tcp >= pfstate.TCPEstablished && e.f.ProtoState < pfstate.TCPSynRecv:
		return false // of a handshake of which half passed elsewhere
	case e != nil && e.f.Proto == pfstate.ProtoTCP && !p.first && p.tcp < e.f.ProtoState &&
		(e.f.ProtoState >= pfstate.TCPLastAck || p.tcp == pfstate.TCPSynRecv):
		return false // this firewall has yet to hear that the port is used again
	case e != nil && p.c.where != nil && !p.c.gone && e.f.Reply != p.c.reply(back == p.reply):
		return false // it arrives, if at all, as of another connection: the leftover translates
	case e != nil:
		k.meet(e, p, back)
		return true
	case p.first:
		return k.begin(p)
	case p.reply && p.c.f.Proto == pfstate.ProtoUDP && !p.c.translated():
		return k.begin(p) // asymmetric: the kernel takes the answer for a first packet
	}
	return false
}

// begin makes the entry of a first packet.
func (k *kernel) begin(p *packet) bool {
	f := p.c.f
	if p.reply {
		f = f.Reversed()
	}
	if _, taken := k.reply[replyKey(&f)]; taken || k.max > 0 && len(k.list) >= k.max {
		return false
	}
	if o, _ := k.find(replyKey(&f)); o != nil {
		return false
	}
	e := &entry{f: f, conn: p.c, passed: k.w.now}
	e.f.ProtoState = p.tcp
	e.f.Status = pfstate.StatusConfirmed
	k.refresh(e)
	k.add(e)
	k.w.passed(k.n, p.c, e)
	k.tell(pfstate.EventNew, e.f, pfstate.HasTimeout, false)
	return true
}

// meet lets a packet change the entry it belongs to.
func (k *kernel) meet(e *entry, p *packet, back bool) {
	if !p.reply && !back && e.f.Reply != p.c.f.Reply {
		k.w.translate(p.c, e.f.Reply)
	}
	changed := false
	if p.tcp > e.f.ProtoState || e.f.ProtoState == pfstate.TCPSynSent2 {
		e.f.ProtoState, changed = p.tcp, true
		if p.tcp == pfstate.TCPFinWait {
			d := 0
			if back {
				d = 1
			}
			e.f.TCPFlags[d] |= pfstate.TCPFlagCloseInit
		}
	}
	add := uint32(0)
	if back {
		add |= pfstate.StatusSeenReply
	}
	tcp := e.f.Proto == pfstate.ProtoTCP
	if tcp && e.f.ProtoState >= pfstate.TCPEstablished ||
		e.f.Proto == pfstate.ProtoUDP && (e.f.Status|add)&pfstate.StatusSeenReply != 0 && k.w.now-p.c.began > 2*second {
		add |= pfstate.StatusAssured
	}
	changed = changed || add&^e.f.Status != 0
	e.f.Status |= add
	e.conn, e.passed = p.c, k.w.now
	k.w.passed(k.n, p.c, e)
	k.refresh(e)
	if p.tcp == pfstate.TCPClose && !k.n.running() {
		p.c.excused = true // where it was seen to end nobody looked, and the entry may be gone when somebody does
	}
	if changed {
		e.untold = !k.tell(pfstate.EventUpdate, e.f, pfstate.HasTimeout, false)
	}
}
