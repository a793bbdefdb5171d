package tuntest

import (
	"bytes"
	"net/netip"
	"os"
	"sync"

	"github.com/pfsync/pfsync/tunif"
	"github.com/pfsync/pfsync/tunif/syncdev"
)

// Link is a network that firewalls are connected to. Frames arrive at once and
// in order, unless the test says otherwise with SetDrop.
type Link struct {
	mu    sync.Mutex
	mtu   int     // guarded by mu, as all below
	conns []*Conn // open ones
	drop  func(from, to netip.Addr, frame []byte) bool
}

// NewLink gives a link of that MTU, in bytes of IPv4 packet.
func NewLink(mtu int) *Link { return &Link{mtu: mtu} }

// SetMTU changes the MTU.
func (l *Link) SetMTU(mtu int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mtu = mtu
}

// SetDrop lets a function decide which frames are lost on the way from one
// address to another; nil loses none. It must not call methods of the link or
// keep the frame.
func (l *Link) SetDrop(drop func(from, to netip.Addr, frame []byte) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop = drop
}

// Open connects a firewall with the given address, as syncdev.Open does.
func (l *Link) Open(cfg syncdev.Config, addr netip.Addr) *Conn {
	c := &Conn{link: l, dev: cfg.Dev, addr: addr, peer: cfg.Peer}
	if !c.peer.IsValid() {
		c.peer = syncdev.Group
	}
	c.arrived = sync.NewCond(&l.mu)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, c)
	return c
}

// IfIndex is the interface index that frames of a Link arrive by.
const IfIndex = 2

// Conn has the methods of syncdev.Conn.
type Conn struct {
	link       *Link
	dev        string
	addr, peer netip.Addr

	arrived *sync.Cond // of link.mu
	queue   []frame    // guarded by link.mu, as all below
	closed  bool
	state   syncdev.Link // as SetLink left it
}

// frame is one on its way to one receiver.
type frame struct {
	data     []byte
	src, dst netip.Addr
	ttl      int
}

// Dev is the name in the Config of Open.
func (c *Conn) Dev() string { return c.dev }

// Peer is the destination of all frames.
func (c *Conn) Peer() netip.Addr { return c.peer }

// SetLink keeps what it is told, for State.
func (c *Conn) SetLink(state syncdev.Link) error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	c.state = state
	return nil
}

// State is what SetLink was last told.
func (c *Conn) State() syncdev.Link {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	return c.state
}

// WriteBatch sends copies of frames to all others on the link, or to the one
// that has the peer's address. As with the real one, ErrTooBig means that the
// others were sent.
func (c *Conn) WriteBatch(frames [][]byte) (n int, err error) {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.closed {
		return 0, c.opError("write", os.ErrClosed)
	}
	for _, f := range frames {
		if len(f)+tunif.HeaderLen > l.mtu {
			err = c.opError("write", syncdev.ErrTooBig)
			continue
		}
		n++
		for _, to := range l.conns {
			if to != c && (c.peer.IsMulticast() && to.peer == c.peer || to.addr == c.peer) && !l.lost(c.addr, to.addr, f) {
				to.deliver(frame{data: bytes.Clone(f), src: c.addr, dst: c.peer, ttl: 255})
			}
		}
	}
	return n, err
}

// lost asks the test about a frame. The link is locked.
func (l *Link) lost(from, to netip.Addr, f []byte) bool {
	return l.drop != nil && l.drop(from, to, f)
}

// deliver queues a frame for ReadBatch. The link is locked.
func (c *Conn) deliver(f frame) {
	c.queue = append(c.queue, f)
	c.arrived.Broadcast()
}

// Inject makes a frame arrive, whoever sent it, with any TTL.
func (c *Conn) Inject(data []byte, src, dst netip.Addr, ttl int) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	c.deliver(frame{data: bytes.Clone(data), src: src, dst: dst, ttl: ttl})
}

// ReadBatch waits for frames as the real one does.
func (c *Conn) ReadBatch(p []syncdev.Packet) (n int, err error) {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(c.queue) == 0 && !c.closed {
		c.arrived.Wait()
	}
	if c.closed {
		return 0, c.opError("read", os.ErrClosed)
	}
	for n < len(p) && n < len(c.queue) {
		f := &c.queue[n]
		k := copy(p[n].Buf, f.data)
		p[n] = syncdev.Packet{
			Buf: p[n].Buf, Data: p[n].Buf[:k], Cut: k < len(f.data),
			Src: f.src, Dst: f.dst, TTL: f.ttl, IfIndex: IfIndex,
		}
		n++
	}
	c.queue = c.queue[n:]
	return n, nil
}

// Close takes the firewall from the link.
func (c *Conn) Close() error {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	c.closed = true
	for i, o := range l.conns {
		if o == c {
			l.conns = append(l.conns[:i:i], l.conns[i+1:]...)
			break
		}
	}
	c.arrived.Broadcast()
	return nil
}

func (c *Conn) opError(op string, err error) error {
	return &syncdev.OpError{Op: op, Dev: c.dev, Err: err}
}
