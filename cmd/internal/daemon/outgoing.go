package daemon

import (
	"net/netip"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/syncproto/engine"
	"github.com/pfsync/pfsync/tunif"
	"github.com/pfsync/pfsync/tunif/syncdev"
)

// drainFrames lets the engine make the frames that are due, as far as the
// sender has room: what waits in the queues collapses, what is made does not.
func (l *loop) drainFrames(now int64) (made int) {
	for len(l.spareFrames) > 0 && now >= l.eng.Deadline() {
		b := l.spareFrames[len(l.spareFrames)-1]
		n := l.fill(now, b)
		if n == 0 {
			break
		}
		made += n
		l.idle = 0
		pop(&l.spareFrames)
		l.frames.full <- b
	}
	return made
}

// fill makes frames until the batch is full or none is due.
func (l *loop) fill(now int64, b *frames) int {
	size := l.mtu()
	b.n, b.port, b.src, b.down = 0, l.sendPort(), l.link.Addr4, !l.set.conf.Up
	for b.n < framesPerBatch {
		buf := b.room(b.n, size)
		fr, ok := l.eng.NextFrame(now, buf[tunif.HeaderLen:tunif.HeaderLen:len(buf)])
		if !ok {
			break
		}
		b.pkt[b.n] = withHeadroom(buf, fr.Data)
		b.show[b.n] = fr.Show
		if l.monitors.any() {
			l.monitors.publish(l.outRecord(fr.Data))
		}
		b.n++
	}
	return b.n
}

// withHeadroom is the packet of a frame that was made in buf behind its
// headroom; one that outgrew buf is copied.
func withHeadroom(buf, data []byte) []byte {
	if &buf[tunif.HeaderLen] == &data[0] {
		return buf[:tunif.HeaderLen+len(data)]
	}
	return append(make([]byte, tunif.HeaderLen), data...)
}

// sendPort is where frames go beside the pseudo-device.
func (l *loop) sendPort() *port {
	if p := l.set.port; p != nil && p.wire != nil {
		return p
	}
	return nil
}

// outRecord tells a frame of ours as it leaves.
func (l *loop) outRecord(data []byte) control.Record {
	r := control.Record{Time: l.wall(), Dir: control.RecordOut, Src: l.self(), Dst: l.peerAddr(), TTL: 255, Data: data}
	if r.Dst.Is4() {
		r.TOS, r.DF = 0x10, true
	}
	if !r.Src.IsValid() {
		r.Src = netip.IPv4Unspecified()
	}
	return r
}

// sent takes a batch back from the sender.
func (l *loop) sent(b *frames) {
	l.eng.Stats.Count[engine.CountOErrors] += uint64(b.errs)
	if b.tooBig > 0 && b.port == l.set.port {
		l.shrink(b.tooBig)
	}
	if b.port != nil && l.peerAddr().Is6() {
		l.out6 += uint64(b.n)
	}
	b.port = nil
	l.spareFrames = append(l.spareFrames, b)
}

// leastMTU is what every syncdev is taken to carry.
const leastMTU = 576

// shrink makes frames smaller than one that did not fit, until the syncdev says
// something new about its MTU.
func (l *loop) shrink(tooBig int) {
	smaller := max(leastMTU, tooBig-tooBig/8)
	if l.mtuCap != 0 && smaller >= l.mtuCap {
		return
	}
	l.shrunk++
	l.mtuCap = smaller
	l.log.Warn("frames do not fit the syncdev, sending smaller ones", "syncdev", l.set.conf.SyncDev, "mtu", smaller)
	l.eng.Link(l.now, l.engineLink())
}

// mtu is the largest IP packet that leaves.
func (l *loop) mtu() int {
	m := effectiveMTU(l.set.conf, l.link)
	return max(m, leastMTU)
}

// defaultMTU is that of a pseudo-device without syncdev.
const defaultMTU = 1500

// effectiveMTU is that of the pseudo-device: the word mtu, or else the
// syncdev's, and never more than the syncdev's.
func effectiveMTU(c control.Config, l syncdev.Link) int {
	m := c.MTU
	if c.SyncDev != "" && l.Present && l.MTU > 0 && (m == 0 || l.MTU < m) {
		m = l.MTU
	}
	if m == 0 {
		m = defaultMTU
	}
	return m
}
