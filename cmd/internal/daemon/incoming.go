package daemon

import (
	"encoding/binary"
	"net/netip"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/syncproto/engine"
	"github.com/pfsync/pfsync/tunif/syncdev"
)

// received checks the packets of a syncdev and hands their frames to the
// engine (pfsync-protocol.md section 9, design section 6).
func (l *loop) received(b *packets) {
	if b.port != l.set.port {
		return // of a syncdev that is no longer ours
	}
	for i := range b.pkts[:b.n] {
		p := &b.pkts[i]
		if l.monitors.any() && p.IfIndex == l.link.Index {
			l.monitors.publish(l.inRecord(p))
		}
		if p.Src.Is6() {
			l.in6++
		}
		if !l.refuse(p) {
			l.eng.Remote(l.now, p.Src, p.Data)
		}
	}
}

// refuse counts a packet that is none of ours, or forged.
func (l *loop) refuse(p *syncdev.Packet) bool {
	st := &l.eng.Stats
	switch {
	case p.IfIndex != l.link.Index:
		st.Count[engine.CountBadIf]++
	case p.TTL != 255:
		st.Count[engine.CountBadTTL]++
	case p.Cut:
		st.Count[engine.CountBadLen]++
	case l.badSource(p.Src):
		st.Reason[engine.ReasonBadSrc]++
	default:
		return false
	}
	st.Count[engine.CountIPackets]++ // others are counted by the engine
	return true
}

// badSource reports whether a syncpeer is set and this is another.
func (l *loop) badSource(src netip.Addr) bool {
	peer := l.set.conf.SyncPeer.WithZone("") // packets come by the syncdev, and say no more
	return peer.IsValid() && !peer.IsMulticast() && src != peer
}

// inRecord tells a packet as it came.
func (l *loop) inRecord(p *syncdev.Packet) control.Record {
	r := control.Record{Time: l.wall(), Dir: control.RecordIn, Src: p.Src, Dst: p.Dst, TTL: uint8(p.TTL), Data: p.Data}
	if p.Src.Is4() && len(p.Buf) >= 8 {
		r.TOS = p.Buf[1]
		r.IPID = binary.BigEndian.Uint16(p.Buf[4:])
		r.DF = p.Buf[6]&0x40 != 0
	}
	return r
}
