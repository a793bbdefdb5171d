package daemon

import (
	"context"
	"fmt"

	"github.com/pfsync/pfsync/tunif/syncdev"
)

// watch follows the pseudo-device and a syncdev. Another syncdev means another
// watch.
type watch struct {
	w   Watcher
	dev string // syncdev, "" none
}

// startWatch replaces the watch. d.mu is held.
func (d *Daemon) startWatch(dev string) error {
	devs := []string{d.name}
	if dev != "" {
		devs = append(devs, dev)
	}
	w, err := d.host.NewWatcher(devs...)
	if err != nil {
		return err
	}
	if d.watch != nil {
		d.watch.w.Close()
	}
	n := &watch{w: w, dev: dev}
	d.watch = n
	d.group.Go("watcher", func(ctx context.Context) error {
		defer w.Close()
		return w.Run(ctx, func(st syncdev.Status) { d.report(ctx, n, st) })
	})
	return nil
}

// report takes what a watch saw.
func (d *Daemon) report(ctx context.Context, w *watch, st syncdev.Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.watch != w || d.stopped || ctx.Err() != nil {
		return
	}
	if !st.Links[0].Present {
		d.group.fail(fmt.Errorf("%s: %w", d.name, ErrDeleted))
		return
	}
	d.followFlags(st.Links[0])
	var link syncdev.Link
	if w.dev != "" {
		link = st.Links[1]
		d.followSyncdev(&link)
	}
	d.loop.do(ctx, func() { d.loop.setLink(link, st.Local) })
}

// followFlags makes of ip link set up or down what the words would. A report
// may be older than a change of ours, so it is looked at again.
func (d *Daemon) followFlags(seen syncdev.Link) {
	if seen.Admin == d.set.conf.Up {
		return
	}
	now, err := d.host.Lookup(d.name)
	if err != nil || !now.Present || now.Admin == d.set.conf.Up {
		return
	}
	next := d.set.conf.Clone()
	next.Up = now.Admin
	d.log.Info("interface changed from outside", "up", next.Up)
	if err := d.change(next, true); err != nil {
		d.log.Error("cannot follow", "err", err)
	}
}

// followSyncdev binds the sockets to a syncdev that has come back, or opens
// those that were waited for. A link that cannot be used counts as down.
func (d *Daemon) followSyncdev(link *syncdev.Link) {
	s := d.set
	if s.port == nil {
		return
	}
	if s.port.open() {
		if err := s.port.wire.SetLink(*link); err != nil {
			d.log.Error("cannot use the syncdev", "syncdev", s.conf.SyncDev, "err", err)
			link.Up = false
		}
		d.fitDevice(*link)
		return
	}
	if !link.Present {
		return
	}
	wire, err := d.host.OpenWire(d.wireConfig(&s.conf))
	if err != nil {
		d.log.Debug("syncdev is not ready", "syncdev", s.conf.SyncDev, "err", err)
		return
	}
	s.port, s.link, s.resync = &port{wire: wire}, *link, true
	if err := d.install(s); err != nil {
		wire.Close()
		return
	}
	d.fitDevice(*link)
}

// fitDevice makes the MTU of the pseudo-device follow the syncdev's.
func (d *Daemon) fitDevice(link syncdev.Link) {
	if link.MTU == d.set.link.MTU || !link.Present {
		return
	}
	d.set.link = link
	if err := d.setDevice(&d.set.conf, link); err != nil {
		d.log.Error("cannot set the MTU", "err", err)
	}
}
