package daemon

import (
	"bytes"
	"context"
	"slices"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// monitorQueue is how many frames a client may be behind.
const monitorQueue = 1024

// monitors are the clients that want to see frames. They belong to the loop.
type monitors struct {
	list []*monitor
}

type monitor struct {
	recs chan control.Record
	lost uint64 // since the last one that fit; of the loop
}

func (m *monitors) any() bool { return len(m.list) > 0 }

// publish hands every client the record, with a copy of the frame. Who is
// behind loses it.
func (m *monitors) publish(r control.Record) {
	r.Data = bytes.Clone(r.Data)
	for _, c := range m.list {
		r.Lost = c.lost
		select {
		case c.recs <- r:
			c.lost = 0
		default:
			c.lost++
		}
	}
}

func (m *monitors) add(c *monitor) { m.list = append(m.list, c) }

func (m *monitors) remove(c *monitor) {
	m.list = slices.DeleteFunc(m.list, func(o *monitor) bool { return o == c })
}

// Monitor implements control.Backend.
func (d *Daemon) Monitor(ctx context.Context, emit func(control.Record) error) error {
	m := &monitor{recs: make(chan control.Record, monitorQueue)}
	if err := d.loop.do(ctx, func() { d.loop.monitors.add(m) }); err != nil {
		return err
	}
	defer d.loop.do(context.Background(), func() { d.loop.monitors.remove(m) })
	for {
		select {
		case r := <-m.recs:
			if err := emit(r); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		case <-d.loop.ended:
			return control.ErrStopping
		}
	}
}
