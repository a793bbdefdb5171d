package syncdev

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Protocol is the IP protocol number of pfsync, IPPROTO_PFSYNC.
const Protocol = 240

var (
	// Group is the IPv4 multicast group of pfsync, the default peer.
	Group = netip.AddrFrom4([4]byte{224, 0, 0, 240})
	// Group6 is the IPv6 group of FreeBSD: transient, link-local scope.
	Group6 = netip.AddrFrom16([16]byte{0: 0xff, 1: 0x12, 15: 0xf0})
)

// DefaultRcvBuf is the size asked for the receive buffer, in bytes: a second of
// full frames at a hundred megabit.
const DefaultRcvBuf = 8 << 20

// Config says where to send and what to hear.
type Config struct {
	Dev    string     // interface
	Peer   netip.Addr // destination of all frames: unicast or group, either family; zero is Group
	RcvBuf int        // receive buffer in bytes, DefaultRcvBuf if 0

	// Warn, if set, is told what is less than good but no error. Its
	// arguments are those of slog.Logger.Warn.
	Warn func(msg string, args ...any)
}

// Conn sends and receives the frames of one syncdev, of the address family of
// its peer. ReadBatch, WriteBatch and the other methods may each be called from
// one goroutine at a time, together from several.
type Conn struct {
	dev  string
	peer netip.Addr // without zone
	send *sender
	recv *receiver

	mu    sync.Mutex
	bound Link // guarded by mu: what the sockets are bound to and the group joined on
}

// Open opens the sockets in the network namespace of the calling thread, binds
// them to the interface and, if the peer is a group, joins it there. The
// interface must exist and have an address of the peer's family; it need not
// be up. The error is an *OpError.
func Open(cfg Config) (*Conn, error) {
	peer := cfg.Peer.Unmap().WithZone("")
	if !peer.IsValid() {
		peer = Group
	}
	link, err := Lookup(cfg.Dev)
	if err != nil {
		return nil, err
	}
	if err := usable(cfg.Dev, link, peer); err != nil {
		return nil, err
	}
	c := &Conn{dev: cfg.Dev, peer: peer}
	if c.send, err = openSender(peer); err != nil {
		return nil, c.opError("open", err)
	}
	if c.recv, err = openReceiver(peer); err != nil {
		c.send.close()
		return nil, c.opError("open", err)
	}
	c.growBuffer(cfg)
	if err := c.SetLink(link); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// usable tells why a link cannot carry frames to the peer. An IPv6 address
// comes with the carrier, so its absence is no error before that.
func usable(dev string, l Link, peer netip.Addr) error {
	e := &OpError{Op: "open", Dev: dev}
	switch {
	case !l.Present:
		e.Err, e.Hint = ErrNoDevice, "see ip link for those there are"
	case peer.Is4() && !l.Addr4.IsValid():
		e.Err, e.Hint = ErrNoAddress, "ip addr add ADDRESS/24 dev "+dev
	case peer.Is6() && !l.Addr6.IsValid() && l.Up:
		e.Err, e.Hint = ErrNoAddress, "ip addr add ADDRESS/64 dev "+dev+"; sysctl net.ipv6.conf."+dev+".disable_ipv6=0"
	default:
		return nil
	}
	return e
}

// growBuffer sizes the receive buffer beyond net.core.rmem_max if it may.
func (c *Conn) growBuffer(cfg Config) {
	want := cfg.RcvBuf
	if want == 0 {
		want = DefaultRcvBuf
	}
	err := c.recv.setBuffer(want)
	if err != nil && cfg.Warn != nil {
		cfg.Warn("receive buffer is small", "syncdev", c.dev, "err", err,
			"remedy", fmt.Sprintf("sysctl net.core.rmem_max=%d", want))
	}
}

// Dev is the name of the interface.
func (c *Conn) Dev() string { return c.dev }

// Peer is the destination of all frames.
func (c *Conn) Peer() netip.Addr { return c.peer }

// SetLink tells the connection what has become of its interface, as a Watcher
// reports it. If it is another one of the same name, or may be, the sockets are
// bound to it and the group is joined again. It is cheap when nothing changed.
func (c *Conn) SetLink(l Link) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !l.Present {
		c.bound = Link{}
		return nil
	}
	// A changed MTU is a reason too: below the minimum of its family the
	// kernel takes the interface out of all groups, and forgets them.
	b := &c.bound
	if b.Present && b.Index == l.Index && b.Epoch == l.Epoch && b.MTU == l.MTU {
		return nil
	}
	if err := c.send.bind(c.dev, l.Index); err != nil {
		return c.opError("bind to", err)
	}
	if c.peer.IsMulticast() {
		if err := c.recv.join(c.peer, l.Index); err != nil {
			return c.opError("join "+c.peer.String()+" on", err)
		}
	}
	c.bound = l
	return nil
}

// Close closes the sockets; blocked calls return os.ErrClosed.
func (c *Conn) Close() error {
	return errors.Join(c.send.close(), c.recv.close())
}

// opError names the operation in an error of the system and adds what helps.
func (c *Conn) opError(op string, err error) error {
	e := &OpError{Op: op, Dev: c.dev, Err: err}
	switch {
	case errors.Is(err, net.ErrClosed):
		e.Err = os.ErrClosed
	case errors.Is(err, unix.EPERM) && op != "write", errors.Is(err, unix.EACCES) && op != "write":
		e.Err, e.Hint = fmt.Errorf("%w: %w", ErrPerm, err), "CAP_NET_RAW is needed"
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		e.Err = fmt.Errorf("%w: %w", ErrNoDevice, err)
	case errors.Is(err, unix.EPERM):
		e.Hint = "a firewall rule of this host drops protocol 240 in output"
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EADDRNOTAVAIL):
		e.Hint = "no address or no route on the interface"
	}
	return e
}
