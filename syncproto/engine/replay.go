package engine

import (
	"net/netip"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// replayHost is the creatorid of a Replay, which never sends.
const replayHost = 0x7265706c

// Replay is an engine without a kernel: it listens to frames, answers its own
// operations as a kernel that can do everything, and says which states the
// firewalls that sent them must have had. `pfsyncctl replay` is made of it.
//
//	rp := engine.NewReplay(first)
//	for each packet { rp.Frame(at, src, payload) }
//	for _, st := range rp.States(last, nil) { … }
//
// Times are nanoseconds of any origin that do not go back, such as those of a
// capture file. Timeouts are pf's defaults, for there is no kernel that has
// others: a compressed update does not tell any. A state that has expired
// stays until its delete has been seen, as in a pf that has not purged it.
type Replay struct {
	e   *Engine
	ops []pfstate.Op
	res []pfstate.Result
	buf []byte
}

// NewReplay returns a Replay whose time begins at now.
func NewReplay(now int64) *Replay {
	e := New(now, Config{HostID: replayHost, Timeouts: pfTimeouts(), MTU: minMTU})
	return &Replay{e: e, ops: make([]pfstate.Op, 64), res: make([]pfstate.Result, 64), buf: make([]byte, 0, minMTU)}
}

// pfTimeouts returns pf's defaults (pfsync-protocol.md section 7.1) by
// conntrack's states.
func pfTimeouts() pfstate.Timeouts {
	t := pfstate.DefaultTimeouts()
	t.TCP = [pfstate.TCPMax]uint32{
		pfstate.TCPNone: 120, pfstate.TCPSynSent: 120, pfstate.TCPSynSent2: 30, pfstate.TCPSynRecv: 30,
		pfstate.TCPEstablished: 86400, pfstate.TCPFinWait: 900, pfstate.TCPCloseWait: 900,
		pfstate.TCPLastAck: 45, pfstate.TCPTimeWait: 90, pfstate.TCPClose: 90,
	}
	t.UDP, t.UDPStream = 30, 60
	t.GRE, t.GREStream, t.Generic = 60, 60, 60
	t.ICMP, t.ICMPv6 = 20, 20
	return t
}

// Frame takes a frame, the payload of an IP packet from a source, in the order
// of capture.
func (p *Replay) Frame(now int64, from netip.Addr, frame []byte) {
	p.e.Tick(now)
	p.e.Remote(now, from, frame)
	p.settle(now)
}

// settle does what the engine asks for, and throws away what it would send.
func (p *Replay) settle(now int64) {
	for n := p.e.Ops(now, p.ops); n > 0; n = p.e.Ops(now, p.ops) {
		for i := range n {
			p.res[i] = pfstate.Result{Kind: p.ops[i].Kind, Ref: p.ops[i].Ref, Flow: p.ops[i].Flow}
		}
		p.e.Done(now, p.res[:n])
	}
	for _, ok := p.e.NextFrame(now, p.buf); ok; _, ok = p.e.NextFrame(now, p.buf) {
	}
}

// States appends a version 6 record of each state to dst, in no order: of the
// two that a pf has for a forwarded connection, both.
func (p *Replay) States(now int64, dst []syncproto.State) []syncproto.State {
	for r := pfstate.Ref(1); r < p.e.tab.End(); r++ {
		if !p.e.tab.InUse(r) || p.e.tab.At(r).Has(pfstate.FlagDead) {
			continue
		}
		s := p.e.tab.At(r)
		for _, side := range [...]pfstate.Side{pfstate.SideIn, pfstate.SideOut} {
			if !s.Name(side).IsZero() {
				dst = append(dst, syncproto.State{})
				p.e.toWire(now, s, side, &dst[len(dst)-1])
				p.e.countsToWire(r, &dst[len(dst)-1])
			}
		}
	}
	var k Kept
	for next := p.e.Kept(now, 0, &k); next != 0; next = p.e.Kept(now, next, &k) {
		dst = append(dst, k.State)
	}
	return dst
}
