package daemon

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/pfstate/nfqueue"
	"github.com/pfsync/pfsync/syncproto/engine"
)

// hold is a queue of packets that wait for their verdict, with the rules that
// send them there. The way of a packet:
//
//  1. run reads it, with others, and gives the batch to the loop.
//  2. The engine announces its connection and says when it may go.
//  3. The loop gives the verdict; the kernel then sends the packet on.
type hold struct {
	q     Queue
	rules *nfqueue.Rules // guarded by the daemon's mu
	whole bool           // what conntrack tells of a packet is final
	x     exchange[held]

	quit    chan struct{} // closed: run ends
	done    chan struct{} // closed: run has ended
	started bool          // guarded by the daemon's mu
	once    sync.Once
}

// held is a batch of packets.
type held struct {
	pkts []nfqueue.Packet
	n    int
}

const heldBatches, heldPerBatch = 4, 32

// openHold opens the queue and installs the rules if the change is about them.
// The rules of old are replaced; undoHold brings them back.
func (d *Daemon) openHold(s, old *setup) error {
	c := &s.conf
	switch {
	case !c.Defer:
		return nil
	case old.hold != nil && c.DeferQueue == old.conf.DeferQueue:
		s.hold = old.hold
		return nil
	}
	q, err := d.host.OpenQueue(uint16(c.DeferQueue))
	if err != nil {
		return holdError(err)
	}
	rules, err := d.installRules(uint16(c.DeferQueue), q, old.hold)
	if err != nil {
		q.Close()
		d.undoHold(&setup{}, old)
		return holdError(err)
	}
	s.hold = &hold{
		q: q, rules: rules, whole: rules.Whole, quit: make(chan struct{}), done: make(chan struct{}),
		x: newExchange(heldBatches, func() *held { return &held{pkts: make([]nfqueue.Packet, heldPerBatch)} }),
	}
	return nil
}

// installRules puts in rules, in place of those of old. The file that tells of
// them says which tables they bring, before and after: a daemon can be killed
// at any moment.
func (d *Daemon) installRules(num uint16, q Queue, old *hold) (*nfqueue.Rules, error) {
	var made []string
	if old != nil {
		made = old.rules.Made
	} else {
		made = d.host.MissingTables()
	}
	if err := d.noteRules(made); err != nil {
		return nil, err
	}
	rules, err := d.host.InstallRules(d.name, num, q.Conntrack(), made)
	if err != nil {
		return nil, err
	}
	if err := d.noteRules(rules.Made); err != nil {
		d.host.RemoveRules(rules)
		return nil, err
	}
	return rules, nil
}

func (d *Daemon) noteRules(made []string) error {
	return writeFile(d.holdPath(), strings.Join(made, "\n"), 0o600)
}

// holdError says it as the other words do.
func holdError(err error) error {
	var op *nfqueue.OpError
	text := err.Error()
	if errors.As(err, &op) {
		text = op.Op + ": " + op.Err.Error()
	}
	return &control.Error{Code: control.CodeError, Text: "defer: " + strings.ReplaceAll(text, "\n", "; ")}
}

// undoHold takes back what openHold did for s.
func (d *Daemon) undoHold(s, old *setup) {
	if s.hold == old.hold && s.hold != nil {
		return
	}
	if s.hold != nil {
		d.host.RemoveRules(s.hold.rules)
		s.hold.stop()
	}
	if old.hold == nil {
		os.Remove(d.holdPath())
		return
	}
	rules, err := d.installRules(uint16(old.conf.DeferQueue), old.hold.q, old.hold)
	if err != nil {
		d.log.Error("no packets are held any more", "err", err)
		return
	}
	old.hold.rules = rules
}

// closeHold ends the queue of old once s is in force.
func (d *Daemon) closeHold(s, old *setup) {
	if old.hold == nil || old.hold == s.hold {
		return
	}
	if s.hold == nil {
		d.removeRules(old.hold)
	}
	old.hold.stop()
}

func (d *Daemon) removeRules(h *hold) {
	d.host.RemoveRules(h.rules)
	os.Remove(d.holdPath())
}

// holdPath is the file that is there while there are rules, in the run
// directory: like them it does not outlive a boot. It has the tables that are
// there for them only, one a line.
func (d *Daemon) holdPath() string { return filepath.Join(d.dirs.Run, d.name+".defer") }

// removeLeft takes out the rules that a killed daemon has left.
func (d *Daemon) removeLeft() {
	made, err := os.ReadFile(d.holdPath())
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	d.host.RemoveLeft(d.name, strings.Fields(string(made)))
	os.Remove(d.holdPath())
	d.log.Info("removed the rules of an earlier daemon")
}

// startHold reads the queue.
func (d *Daemon) startHold(h *hold) {
	if h != nil && !h.started {
		h.started = true
		d.group.Go("queue", h.run)
	}
}

// stopHold ends the queue with the daemon: first nothing more is sent there,
// then the loop lets all go, then the queue is closed.
func (d *Daemon) stopHold() {
	d.mu.Lock()
	d.stopped = true
	h := d.set.hold
	if h != nil {
		d.removeRules(h)
	}
	d.mu.Unlock()
	<-d.loop.ended
	if h != nil {
		h.stop()
	}
}

// run hands packets to the loop until stop. Once ctx is done the loop may not
// take them any more, and they are let go.
func (h *hold) run(ctx context.Context) error {
	defer close(h.done)
	for {
		var b *held
		select {
		case b = <-h.x.free:
		case <-h.quit:
			return nil
		}
		n, err := h.q.Read(b.pkts)
		if err != nil {
			h.x.free <- b
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil
			}
			return ended(ctx, err)
		}
		b.n = n
		if ctx.Err() == nil {
			h.x.full <- b
			continue
		}
		h.letGo(b)
	}
}

// letGo gives the verdicts of a batch that nobody looks at.
func (h *hold) letGo(b *held) {
	ids := make([]uint32, 0, heldPerBatch)
	for i := range b.pkts[:b.n] {
		ids = append(ids, b.pkts[i].ID)
	}
	h.q.Accept(ids)
	h.x.free <- b
}

// pass lets go what waits for the loop.
func (h *hold) pass() {
	for {
		select {
		case b := <-h.x.full:
			h.letGo(b)
		default:
			return
		}
	}
}

// stop lets everything go and closes the queue.
func (h *hold) stop() {
	h.once.Do(func() {
		close(h.quit)
		h.q.Wake()
		if h.started {
			<-h.done
		}
		h.pass()
		h.q.Drain()
		h.q.Close()
	})
}

// heldFull is where packets come from, nil if none are held.
func (l *loop) heldFull() chan *held {
	if l.set.hold == nil {
		return nil
	}
	return l.set.hold.x.full
}

// tellHeld hands held packets to the engine.
func (l *loop) tellHeld(b *held) {
	h := l.set.hold
	for i := range b.pkts[:b.n] {
		p := &b.pkts[i]
		kind := engine.HeldGuess
		switch {
		case p.Hook == nfqueue.HookPrerouting:
			kind = engine.HeldReply
		case p.CT && h.whole:
			kind = engine.HeldWhole
		}
		l.eng.Held(l.now, p.ID, kind, &p.Flow)
	}
	h.x.free <- b
}

// giveVerdicts lets go what the engine releases. The kernel does the work at
// once, in this goroutine: it never waits.
func (l *loop) giveVerdicts() {
	l.verdicts = l.eng.Releases(l.verdicts[:0])
	if len(l.verdicts) == 0 || l.set.hold == nil {
		return
	}
	l.idle = 0
	if err := l.set.hold.q.Accept(l.verdicts); err != nil {
		l.log.Warn("cannot let packets go", "count", len(l.verdicts), "err", err)
	}
}

// releaseHeld lets go everything that waits.
func (l *loop) releaseHeld() {
	l.eng.ReleaseAll()
	l.giveVerdicts()
	if l.set.hold != nil {
		l.set.hold.pass()
	}
}

// addDefer adds the counters of defer.
func (l *loop) addDefer(m map[string]uint64) {
	st := &l.eng.Stats
	for c := range engine.DeferCounts {
		m[c.String()] = st.Defer[c]
	}
	m["defermax"] = uint64(st.DeferMax)
	var q nfqueue.Stats // of the queue that is open
	if h := l.set.hold; h != nil {
		q = h.q.Stats()
	}
	m["deferunread"], m["defermalformed"] = q.Passed, q.Malformed
}
