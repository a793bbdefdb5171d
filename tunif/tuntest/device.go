package tuntest

import (
	"bytes"
	"context"
	"os"
	"slices"
	"sync"

	"github.com/pfsync/pfsync/tunif"
)

// Device is a pseudo-device that keeps what is written to it.
type Device struct {
	name string

	mu      sync.Mutex
	mtu     int      // guarded by mu, as all below
	up      bool     // as SetUp left it; true at first
	alias   string   // as SetAlias left it
	packets [][]byte // copies of what was written
	end     error    // why it is no more: os.ErrClosed or tunif.ErrGone
	ended   chan struct{}
}

// NewDevice gives a device that is up.
func NewDevice(name string, mtu int) *Device {
	return &Device{name: name, mtu: mtu, up: true, ended: make(chan struct{})}
}

// Name is the name given to NewDevice.
func (d *Device) Name() string { return d.name }

// Index is always 1.
func (d *Device) Index() int { return 1 }

// MTU is the MTU last set.
func (d *Device) MTU() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.mtu
}

// SetMTU sets the MTU.
func (d *Device) SetMTU(mtu int) error {
	return d.change("set mtu of", func() { d.mtu = mtu })
}

// SetUp sets the device up or down.
func (d *Device) SetUp(up bool) error {
	return d.change("set flags of", func() { d.up = up })
}

// SetAlias sets the alias.
func (d *Device) SetAlias(text string) error {
	return d.change("set alias of", func() { d.alias = text })
}

// Write keeps a copy of pkt. It has the errors of tunif.Device: ErrDown,
// ErrGone and os.ErrClosed.
func (d *Device) Write(pkt []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	err := d.end
	if err == nil && !d.up {
		err = tunif.ErrDown
	}
	if err != nil {
		return 0, d.opError("write", err)
	}
	d.packets = append(d.packets, bytes.Clone(pkt))
	return len(pkt), nil
}

// Run returns nil when ctx is done or the device closed, and ErrGone when it
// was removed.
func (d *Device) Run(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-d.ended:
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.end == tunif.ErrGone {
		return d.opError("read", d.end)
	}
	return nil
}

// change calls fn under the lock if the device still is.
func (d *Device) change(op string, fn func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.end != nil {
		return d.opError(op, d.end)
	}
	fn()
	return nil
}

func (d *Device) finish(why error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.end == nil {
		close(d.ended)
	}
	d.end = why
}

func (d *Device) opError(op string, err error) error {
	return &tunif.OpError{Op: op, Dev: d.name, Err: err}
}

// Drained is always 0.
func (d *Device) Drained() uint64 { return 0 }

// Close ends Run.
func (d *Device) Close() error {
	d.finish(os.ErrClosed)
	return nil
}

// Remove is what ip link delete does.
func (d *Device) Remove() { d.finish(tunif.ErrGone) }

// Up tells whether the device is up.
func (d *Device) Up() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.up
}

// Alias is the alias last set.
func (d *Device) Alias() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.alias
}

// Packets gives what was written since the last call of Packets.
func (d *Device) Packets() [][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	p := slices.Clone(d.packets)
	d.packets = nil
	return p
}
