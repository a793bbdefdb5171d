package tunif

import (
	"context"
	"errors"
	"os"
	"regexp"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// validName is what the device may be called: as ifconfig(8) names it, and
// short enough for the kernel (IFNAMSIZ, 16 with the final zero).
var validName = regexp.MustCompile(`^pfsync[0-9]{1,9}$`)

// ValidName tells whether Create takes the name.
func ValidName(name string) bool { return validName.MatchString(name) }

// Device is a pfsync pseudo-device. It is removed from the system by Close or
// by the end of the process. All methods may be called from any goroutine.
type Device struct {
	name  string
	index int
	file  *os.File
	link  *rtnl // bound to the namespace Create was called in
	mtu   atomic.Int64

	drained atomic.Uint64 // packets Run has thrown away
}

// Create makes the TUN interface name in the network namespace of the calling
// thread: with IPv6 disabled, without address, with the given MTU (68 to
// 65535), and sets it up. Errors are of type *OpError and are or wrap ErrName,
// ErrBusy, ErrNoTun, ErrPerm or what the system said.
func Create(name string, mtu int) (*Device, error) {
	if !ValidName(name) {
		return nil, &OpError{Op: "create", Dev: name, Err: ErrName}
	}
	link, err := dialRtnl()
	if err != nil {
		return nil, &OpError{Op: "create", Dev: name, Err: err}
	}
	d, err := openTun(name, link)
	if err != nil {
		link.close()
		return nil, createError(name, err)
	}
	if err := d.configure(mtu); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// configure makes a fresh interface quiet and sets it up, in this order: what
// IPv6 does to an interface it does when that comes up.
func (d *Device) configure(mtu int) error {
	if err := d.link.disableIPv6(d.name, d.index); err != nil {
		return d.opError("disable ipv6 on", err)
	}
	if err := d.SetMTU(mtu); err != nil {
		return err
	}
	return d.SetUp(true)
}

// Name is the name the interface was created with.
func (d *Device) Name() string { return d.name }

// Index is the interface index.
func (d *Device) Index() int { return d.index }

// MTU is the MTU last set, in bytes of IP packet.
func (d *Device) MTU() int { return int(d.mtu.Load()) }

// SetMTU sets the MTU, 68 to 65535.
func (d *Device) SetMTU(mtu int) error {
	if err := d.link.setMTU(d.index, mtu); err != nil {
		return d.opError("set mtu of", err)
	}
	d.mtu.Store(int64(mtu))
	return nil
}

// SetUp sets the interface up or down.
func (d *Device) SetUp(up bool) error {
	return d.opError("set flags of", d.link.setUp(d.index, up))
}

// SetAlias sets the text that ip link shows under the interface, at most 255
// bytes; an empty one removes it.
func (d *Device) SetAlias(text string) error {
	return d.opError("set alias of", d.link.setAlias(d.index, text))
}

// Drained is the number of packets the host has sent into the device.
func (d *Device) Drained() uint64 { return d.drained.Load() }

// Write shows one IPv4 packet, as PutHeader begins it, to who listens on the
// device. It does not block and does not keep pkt. Errors: ErrDown, ErrGone,
// os.ErrClosed.
func (d *Device) Write(pkt []byte) (int, error) {
	n, err := d.file.Write(pkt)
	if err != nil {
		return n, d.opError("write", err)
	}
	return n, nil
}

// Run reads and throws away what the host routes into the device, for
// otherwise it fills its queue. It returns nil when ctx is done or the device
// closed, and ErrGone when somebody else has deleted it.
func (d *Device) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { d.file.SetReadDeadline(time.Unix(1, 0)) })()
	buf := make([]byte, 1<<16)
	for {
		_, err := d.file.Read(buf)
		switch {
		case err == nil:
			d.drained.Add(1)
		case ctx.Err() != nil || errors.Is(err, os.ErrClosed):
			return nil
		default:
			return d.opError("read", err)
		}
	}
}

// Close removes the interface and ends Run.
func (d *Device) Close() error {
	d.link.close()
	return d.file.Close()
}

// opError names the operation in an error of the system; nil stays nil.
func (d *Device) opError(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, os.ErrClosed):
		err = os.ErrClosed
	case errors.Is(err, unix.EIO):
		err = ErrDown
	case errors.Is(err, unix.EBADFD), errors.Is(err, unix.ENODEV):
		err = ErrGone
	}
	return &OpError{Op: op, Dev: d.name, Err: err}
}
