package sim

import (
	"net/netip"

	"github.com/pfsync/pfsync/syncproto"
)

// A pf in the group: it holds what it is told and says next to nothing, but
// that it is there makes everybody tell each connection under two names.

var pfAddr = netip.AddrFrom4([4]byte{10, 0, 0, 99})

// pfFrame is what a pf may send at any time: it has no Linux region.
func pfFrame() []byte {
	var b syncproto.Builder
	b.Begin(nil, syncproto.Format6.Version(), 1480, nil)
	b.AddID(syncproto.ActInsAck, &syncproto.ID{ID: 1, CreatorID: 0x99})
	return b.End()
}

func (n *node) hearPF() { n.inBox = append(n.inBox, frame{pfAddr, pfFrame()}) }

// pfSpeaks lets the pf be heard again and again.
func (w *world) pfSpeaks() {
	for _, n := range w.nodes {
		if n.running() && n.cable && !w.wire.cut {
			n.hearPF()
		}
	}
	w.at(20*second, w.pfSpeaks)
}
