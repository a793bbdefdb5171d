package daemon

import (
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/pfsync/pfsync/tunif"
	"github.com/pfsync/pfsync/tunif/syncdev"
)

// sender writes frames to the syncdev and to the pseudo-device.
type sender struct {
	dev  Device
	x    exchange[frames]
	log  *slog.Logger
	id   uint16 // IPv4 identification on the pseudo-device
	list [][]byte
	told time.Time // when an error was last logged
}

// run sends until the loop closes the channel: what is queued when the daemon
// stops still leaves.
func (s *sender) run() error {
	for b := range s.x.full {
		b.errs, b.tooBig = 0, 0
		if b.port != nil {
			s.toWire(b)
		}
		s.toDevice(b)
		s.x.free <- b
	}
	return nil
}

// toWire sends first: a peer waits, tcpdump does not.
func (s *sender) toWire(b *frames) {
	s.list = s.list[:0]
	for _, pkt := range b.pkt[:b.n] {
		s.list = append(s.list, pkt[tunif.HeaderLen:])
	}
	n, err := b.port.wire.WriteBatch(s.list)
	if err == nil || errors.Is(err, os.ErrClosed) { // closed: another syncdev was set meanwhile
		return
	}
	b.errs = b.n - n
	if errors.Is(err, syncdev.ErrTooBig) {
		for _, pkt := range b.pkt[:b.n] {
			b.tooBig = max(b.tooBig, len(pkt))
		}
	}
	if now := time.Now(); now.Sub(s.told) > logEvery {
		s.told = now
		s.log.Warn("cannot send", "err", err)
	}
}

// logEvery keeps an error that repeats from filling the log.
const logEvery = 10 * time.Second

func (s *sender) toDevice(b *frames) {
	for i, pkt := range b.pkt[:b.n] {
		if !b.show[i] || b.down {
			continue
		}
		s.id++
		tunif.PutHeader(pkt, b.src, s.id)
		s.dev.Write(pkt) // nobody to tell: that it is gone, or down, the watcher says
	}
}
