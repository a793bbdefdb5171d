package syncdev

import (
	"errors"
	"net"
	"net/netip"
	"os"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// batchWriter is what ipv4.PacketConn and ipv6.PacketConn have in common.
type batchWriter interface {
	WriteBatch(ms []ipv4.Message, flags int) (int, error)
}

// sender is the socket frames leave by.
type sender struct {
	*socket
	batch batchWriter
	to    *net.IPAddr
	msgs  []ipv4.Message // reused from call to call
}

func openSender(peer netip.Addr) (*sender, error) {
	opts := sendOpts4
	if peer.Is6() {
		opts = sendOpts6
	}
	sock, err := openSocket(peer, func(fd int) error {
		if err := deaf(fd); err != nil {
			return err
		}
		return setOpts(fd, opts)
	})
	if err != nil {
		return nil, err
	}
	s := &sender{socket: sock, to: &net.IPAddr{IP: peer.AsSlice()}}
	if peer.Is6() {
		s.batch = ipv6.NewPacketConn(sock.conn)
	} else {
		s.batch = ipv4.NewPacketConn(sock.conn)
	}
	return s, nil
}

// bind makes the socket send by the interface alone. That gives link-local
// destinations their scope, too.
func (s *sender) bind(dev string, index int) error {
	return control(s.raw, func(fd int) error {
		if err := unix.BindToDevice(fd, dev); err != nil {
			return os.NewSyscallError("setsockopt SO_BINDTODEVICE", err)
		}
		if s.is6 {
			return os.NewSyscallError("setsockopt IPV6_MULTICAST_IF",
				unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, index))
		}
		return os.NewSyscallError("setsockopt IP_MULTICAST_IF",
			unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: int32(index)}))
	})
}

// prepare points one message at each frame.
func (s *sender) prepare(frames [][]byte) []ipv4.Message {
	for len(s.msgs) < len(frames) {
		s.msgs = append(s.msgs, ipv4.Message{Buffers: make([][]byte, 1), Addr: s.to})
	}
	ms := s.msgs[:len(frames)]
	for i := range ms {
		ms[i].Buffers[0] = frames[i]
	}
	return ms
}

// WriteBatch sends frames, each from the pfsync header on, in as few system
// calls as possible, and gives the number sent. It waits while the socket's
// buffer is full and keeps no frame.
//
// Frames that do not fit the MTU are left out and the others sent: the error is
// then ErrTooBig, and len(frames)-n were too big. After any other error (no
// address, no route, the interface gone or down) the rest is not sent.
func (c *Conn) WriteBatch(frames [][]byte) (n int, err error) {
	ms := c.send.prepare(frames)
	tooBig := false
	for len(ms) > 0 {
		k, err := c.send.batch.WriteBatch(ms, 0)
		switch {
		case err == nil: // k is at least 1
			n += k
			ms = ms[k:]
		case errors.Is(err, unix.EMSGSIZE): // of the first message: those before it were counted
			tooBig = true
			ms = ms[1:]
		default:
			return n, c.opError("write", err)
		}
	}
	if tooBig {
		return n, c.opError("write", ErrTooBig)
	}
	return n, nil
}
