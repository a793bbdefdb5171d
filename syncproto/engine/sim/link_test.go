package sim

import (
	"hash/crc32"

	"github.com/pfsync/pfsync/syncproto"
)

// wire is the link between the firewalls.
type wire struct {
	loss   float64
	dup    float64
	jitter int64             // most that a frame is late
	cut    bool              // for all
	lossTo [maxNodes]float64 // more of it, by receiver
	deaf   map[[2]int]bool   // from, to: nothing gets through
}

const (
	delay    = milli / 10
	boxRoom  = 64   // frames that a daemon that stands still has room for
	stormMax = 5000 // frames in a second; no honest reason needs as many
)

// send puts a frame on the link.
func (w *world) send(from *node, data []byte) {
	w.digest = (w.digest ^ uint64(crc32.ChecksumIEEE(data))) * 1099511628211
	w.counted(from, data)
	if w.wire.cut || !from.cable {
		return
	}
	b := append([]byte(nil), data...)
	for _, to := range w.nodes {
		if to == from || w.wire.deaf[[2]int{from.no, to.no}] {
			continue
		}
		copies := 1
		if w.wire.dup > 0 && w.rng.Float64() < w.wire.dup {
			copies = 2
		}
		for range copies {
			if l := w.wire.loss + w.wire.lossTo[to.no]; l > 0 && w.rng.Float64() < l {
				continue
			}
			w.at(delay+w.rng.Int64N(w.wire.jitter+1), func() { w.arrive(from, to, b) })
		}
	}
}

func (w *world) arrive(from, to *node, b []byte) {
	if !to.running() || !to.cable || w.wire.cut || len(to.inBox) >= boxRoom {
		return
	}
	to.inBox = append(to.inBox, frame{from.addr, b})
	to.step()
}

// counted looks at a frame that leaves.
func (w *world) counted(from *node, b []byte) {
	if w.now-w.stormAt > second {
		w.stormAt, w.storm = w.now, 0
	}
	if w.storm++; w.storm == stormMax {
		w.complain(key{}, "frames answer frames for ever")
	}
	w.own(from, b)
	if w.tracing || w.listening {
		w.read(from, b)
	}
}

// read goes through the messages of a frame.
func (w *world) read(from *node, b []byte) {
	var rd syncproto.Reader
	rd.BulkAsked = true
	if rd.Reset(b) != nil {
		w.complain(key{}, "%s: sends a frame that cannot be read", from.name)
		return
	}
	w.frameNo = 0
	if w.tracing {
		w.words = wordsIn(b)
	}
	for reg, ok := rd.Next(); ok; reg, ok = rd.Next() { // the Linux region is the last
		var info syncproto.FrameInfo
		if reg.Action == syncproto.ActLinux && reg.Whole() > 0 && syncproto.ParseFrameInfo(reg.Message(0), &info) == nil {
			w.frameNo = info.Frame
		}
	}
	_ = rd.Reset(b) // it was good a moment ago
	for reg, ok := rd.Next(); ok; reg, ok = rd.Next() {
		for i := range reg.Whole() {
			w.message(from, &reg, reg.Message(i))
		}
	}
}
