package daemon

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto/engine"
)

// makeLoop reads what is kept on disk and makes the engine.
func (d *Daemon) makeLoop() (err error) {
	if d.kept, err = readHostID(d.dirs.HostID(d.name)); err != nil {
		return fmt.Errorf("hostid: %w", err)
	}
	kernel := kernelFile{path: kernelPath(d.dirs, d.name), id: d.host.KernelID()}
	last := readLastRun(kernel.path, kernel.id)
	kernel.start, kernel.epoch = last.firstID(d.started), last.nextEpoch(binary.NativeEndian.Uint32(random(4)))
	if err := kernel.begin(&last); err != nil {
		return fmt.Errorf("run directory: %w", err)
	}
	demoted, err := readDemotion(d.dirs.Demotion(d.name))
	if err != nil {
		return fmt.Errorf("demotion: %w", err)
	}
	d.set = setup{conf: control.DefaultConfig(), hostID: d.kept}
	if d.set.filter, d.set.localFilter, err = newFilter(d.set.conf.NoSync); err != nil {
		return err
	}
	d.keep = newKeeper(d.dirs, d.name, d.log)
	d.keep.kernel = kernel
	l := &loop{
		log: d.log, clock: monotonic(), wall: time.Now, keep: d.keep,
		events:    newExchange(eventBatches, func() *events { return newEvents(eventsPerBatch) }),
		dumps:     newExchange(dumpBatches, func() *events { return newEvents(dumpPerBatch) }),
		input:     newExchange(packetBatches, newPackets),
		ops:       exchange[ops]{make(chan *ops, opBatches), make(chan *ops, opBatches)},
		frames:    exchange[frames]{make(chan *frames, frameBatches), make(chan *frames, frameBatches)},
		expecting: newExpecting(),
		asks:      make(chan func()), ended: make(chan struct{}),
		set: d.set, known: knownPeers(d.dirs.Peers(d.name)),
		demotion: demoted, dump: newDumping(), peerBuf: make([]engine.Peer, 0, maxPeers),
	}
	for range opBatches {
		l.spareOps = append(l.spareOps, newOps())
	}
	for range frameBatches {
		l.spareFrames = append(l.spareFrames, newFrames())
	}
	l.begun = l.clock()
	l.timeouts, l.kernMax = d.kernelLimits()
	c := l.engineConfig()
	c.Seed = binary.NativeEndian.Uint64(random(8))
	c.StartID, c.Epoch = kernel.start, kernel.epoch
	c.KernelKept, c.DownFor, c.LastRun, c.Demoted = last.same, last.down, last.settled, demoted
	c.Log = d.log.Info
	l.eng = engine.New(l.clock(), c)
	l.ignored = d.lis.Ignore
	l.ignore(&c.Filter)
	d.loop = l
	return nil
}

// maxPeers is how many the engine listens to (design section 6).
const maxPeers = 16

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b) // never fails, crypto/rand
	return b
}

// monotonic is a clock that no setting of the time moves and that is never 0.
func monotonic() func() int64 {
	start := time.Now()
	return func() int64 { return int64(time.Second + time.Since(start)) }
}

// kernelLimits reads what the kernel's table is limited to. Where that cannot
// be read its defaults stand.
func (d *Daemon) kernelLimits() (pfstate.Timeouts, int) {
	t, err := d.host.Timeouts()
	if err != nil {
		d.log.Warn("cannot read timeouts, taking the defaults", "err", err)
	}
	most, err := d.host.Max()
	if err != nil {
		d.log.Warn("cannot read the size of the kernel's table", "err", err)
	}
	return t, int(most)
}
