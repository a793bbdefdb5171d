package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/tunif/syncdev"
)

// Configure implements control.Backend. Whatever can go wrong is tried before
// anything takes effect.
func (d *Daemon) Configure(_ context.Context, ch control.Change) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped {
		return control.ErrStopping
	}
	next, err := d.set.conf.Apply(ch)
	if err != nil || next.Equal(d.set.conf) {
		return err
	}
	return d.change(next, ch.Wait)
}

// change puts a configuration into force, or leaves everything as it was.
func (d *Daemon) change(next control.Config, wait bool) error {
	old := d.set
	s := setup{conf: next, hostID: next.HostID, port: old.port, link: old.link}
	if s.hostID == 0 {
		s.hostID = d.kept
	}
	var err error
	if s.filter, s.localFilter, err = newFilter(next.NoSync); err != nil {
		return err
	}
	if err := d.openPort(&s, &old.conf, wait); err != nil {
		return err
	}
	if err := d.openHold(&s, &old); err != nil {
		if s.port != old.port {
			s.port.close()
		}
		return err
	}
	if err := d.commit(&s, &old); err != nil {
		d.undoHold(&s, &old)
		if s.port != old.port {
			s.port.close()
		}
		return err
	}
	if s.port != old.port {
		old.port.close()
	}
	d.closeHold(&s, &old)
	return nil
}

// openPort opens the syncdev anew if the change is about it, else checks what
// depends on it.
func (d *Daemon) openPort(s *setup, old *control.Config, wait bool) error {
	c := &s.conf
	moved := c.SyncDev != old.SyncDev || c.SyncPeer != old.SyncPeer || c.Up != old.Up
	if c.SyncDev == "" {
		s.port, s.link = nil, syncdev.Link{}
		return nil
	}
	link, err := d.host.Lookup(c.SyncDev)
	if err != nil {
		return err
	}
	if peer := c.SyncPeer.WithZone(""); peer.IsValid() && (peer == link.Addr4 || peer == link.Addr6.WithZone("")) {
		return &control.WordError{Word: "syncpeer", Arg: peer.String(), Err: fmt.Errorf("%w: that of %s itself", control.ErrInvalid, c.SyncDev)}
	}
	if c.MTU > link.MTU && link.Present {
		return &control.WordError{Word: "mtu", Arg: fmt.Sprint(c.MTU), Err: fmt.Errorf("%w: that of %s is %d", control.ErrTooLarge, c.SyncDev, link.MTU)}
	}
	if !moved {
		return nil
	}
	s.link, s.resync = link, true
	if !c.Up {
		s.port = nil
		if !link.Present && !wait {
			return wireError(c, syncdev.ErrNoDevice)
		}
		return nil
	}
	s.port = &port{}
	s.port.wire, err = d.host.OpenWire(d.wireConfig(c))
	if wait && (errors.Is(err, syncdev.ErrNoDevice) || errors.Is(err, syncdev.ErrNoAddress)) {
		d.log.Warn("waiting for the syncdev", "syncdev", c.SyncDev, "err", err)
		return nil
	}
	if err != nil {
		return wireError(c, err)
	}
	return nil
}

func (d *Daemon) wireConfig(c *control.Config) syncdev.Config {
	return syncdev.Config{Dev: c.SyncDev, Peer: c.SyncPeer, Warn: d.log.Warn}
}

// wireError says it as ifconfig(8) does, with the remedy.
func wireError(c *control.Config, err error) error {
	text := err.Error()
	var op *syncdev.OpError
	switch {
	case errors.Is(err, syncdev.ErrNoDevice):
		text = "no such device; see ip link for those there are"
	case errors.As(err, &op) && errors.Is(err, syncdev.ErrNoAddress):
		text = "no address on it; " + op.Hint
	case errors.As(err, &op):
		text = op.Op + ": " + op.Err.Error()
		if op.Hint != "" {
			text += "; " + op.Hint
		}
	}
	return &control.Error{Code: control.CodeError, Text: "syncdev " + c.SyncDev + ": " + text}
}

// commit makes the change. What may fail comes first, and is taken back.
func (d *Daemon) commit(s, old *setup) error {
	if err := d.setDevice(&s.conf, s.link); err != nil {
		d.setDevice(&old.conf, old.link)
		return err
	}
	if s.conf.HostID != 0 && s.conf.HostID != d.kept {
		if err := writeHostID(d.dirs.HostID(d.name), s.conf.HostID); err != nil {
			d.setDevice(&old.conf, old.link)
			return fmt.Errorf("hostid: %w", err)
		}
		d.kept = s.conf.HostID
	}
	if s.conf.SyncDev != old.conf.SyncDev {
		if err := d.startWatch(s.conf.SyncDev); err != nil {
			d.setDevice(&old.conf, old.link)
			return err
		}
	}
	if err := d.install(*s); err != nil {
		return err
	}
	d.setLiberal(s.conf.SyncDev != "" && s.conf.Liberal)
	if exchanges(&s.conf) {
		d.tellUntracked()
	}
	return nil
}

// install hands the loop a setup and starts to receive.
func (d *Daemon) install(s setup) error {
	err := d.loop.do(context.Background(), func() { d.loop.apply(s) })
	if err != nil {
		return err
	}
	received := d.set.port
	s.resync = false
	d.set = s
	d.startHold(s.hold)
	if s.port != received && s.port.open() {
		d.group.Go("receiver", func(ctx context.Context) error { return receive(ctx, s.port, d.loop.input, d.log) })
	}
	return nil
}

// setDevice makes the pseudo-device show the configuration.
func (d *Daemon) setDevice(c *control.Config, link syncdev.Link) error {
	alias := c.Description
	if alias == "" && c.SyncDev != "" {
		alias = "pfsync: syncdev: " + c.SyncDev
	}
	return errors.Join(
		d.dev.SetMTU(max(effectiveMTU(*c, link), leastTunMTU)),
		d.dev.SetAlias(alias),
		d.dev.SetUp(c.Up))
}

// leastTunMTU is ETH_MIN_MTU, which TUN devices have.
const leastTunMTU = 68

// open reports whether there are sockets.
func (p *port) open() bool { return p != nil && p.wire != nil }

func (p *port) close() {
	if p.open() {
		p.wire.Close()
	}
}

// Bulk implements control.Backend.
func (d *Daemon) Bulk(ctx context.Context) error {
	var err error
	l := d.loop
	derr := l.do(ctx, func() {
		switch {
		case !exchanges(&l.set.conf):
			err = &control.Error{Code: control.CodeNotInSync, Text: "no syncdev to ask on; see the word syncdev"}
		case !l.engineLink().Up:
			err = &control.Error{Code: control.CodeNotInSync, Text: "syncdev " + l.set.conf.SyncDev + " has no link"}
		default:
			l.eng.Bulk(l.now)
		}
	})
	return errors.Join(derr, err)
}

// Flush implements control.Backend.
func (d *Daemon) Flush(ctx context.Context) (r control.FlushResult, err error) {
	l := d.loop
	err = l.do(ctx, func() {
		r.States = l.eng.Table().Len()
		l.eng.Flush(l.now)
	})
	return r, err
}

// Destroy implements control.Backend: it answers when the interface is gone.
func (d *Daemon) Destroy(ctx context.Context) error {
	d.stop()
	select {
	case <-d.down:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(destroyWait):
		return errors.New("daemon does not end")
	}
}

// destroyWait is how long a client waits for the end.
const destroyWait = 20 * time.Second
