package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

func (d *Daemon) startTasks(g *group) {
	l := d.loop
	sent := make(chan struct{})
	g.Go("listener", func(ctx context.Context) error { return listen(ctx, d.lis, l.events) })
	g.Go("dumper", l.dump.dumper(d.dmp, l.dumps, d.log).run)
	g.Go("injector", func(context.Context) error { return inject(d.inj, l.ops) })
	g.Go("expectations", func(ctx context.Context) error { return hearExpects(ctx, d.exp, l.expecting.news) })
	g.Go("expecter", func(context.Context) error { return makeExpects(d.exp, l.expecting.ops) })
	g.Go("sender", func(context.Context) error {
		defer close(sent)
		return (&sender{dev: d.dev, x: l.frames, log: d.log}).run()
	})
	g.Go("keeper", func(context.Context) error { return d.keep.run() })
	g.Go("device", d.drainDevice)
	g.Go("limits", d.followLimits)
	g.Go("release", func(ctx context.Context) error { <-ctx.Done(); d.stopHold(); return nil })
	g.Go("closer", func(context.Context) error { d.closePort(sent); return nil })
	g.Go("loop", func(ctx context.Context) error {
		err := l.run(ctx)
		if err == nil && ctx.Err() == nil {
			err = errors.New("ended by itself")
		}
		return err
	})
}

// serve runs the control server. It must answer the request that ends the
// daemon, so it is stopped, by the function returned, after all else.
func (d *Daemon) serve(g *group) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := g.guard("control", func(context.Context) error {
			return (&control.Server{Backend: d, NetNS: d.netns, Log: d.log}).Run(ctx, d.ln)
		})
		if err != nil {
			g.fail(err)
		}
	}()
	return func() { cancel(); <-done }
}

// drainDevice throws away what the host routes into the pseudo-device, and
// notices when it is deleted.
func (d *Daemon) drainDevice(ctx context.Context) error {
	if err := d.dev.Run(ctx); err != nil {
		return fmt.Errorf("%s: %w: %w", d.name, ErrDeleted, err)
	}
	return nil
}

// limitsEvery is how often the kernel's timeouts and table size are read again.
const limitsEvery = 10 * time.Second

func (d *Daemon) followLimits(ctx context.Context) error {
	t := time.NewTicker(limitsEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
		timeouts, most := d.kernelLimits()
		if d.loop.do(ctx, func() { d.loop.setKernel(timeouts, most) }) != nil {
			return nil
		}
	}
}

// sendLast is how long the last frames may take to leave.
const sendLast = time.Second

// closePort closes the sockets of the syncdev once the last frame has left.
func (d *Daemon) closePort(sent <-chan struct{}) {
	<-d.loop.ended
	select {
	case <-sent:
	case <-time.After(sendLast):
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	d.set.port.close()
}

// teardown takes back what the daemon has changed on the host, apart from
// kernel entries.
func (d *Daemon) teardown() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.setLiberal(false)
	if d.watch != nil {
		d.watch.w.Close()
	}
	d.exp.Close()
	if err := d.dev.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
		d.log.Warn("cannot close the interface", "err", err)
	}
}

// stop ends the daemon without an error.
func (d *Daemon) stop() { d.group.cancel() }
