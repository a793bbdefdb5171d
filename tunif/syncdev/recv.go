package syncdev

import (
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// receiver is the socket frames arrive on. It calls recvmmsg itself: the
// ReadBatch of x/net allocates two objects for the source of each packet, and
// for an IPv6 one looks up the name of the interface, in the namespace of
// whatever thread it runs on.
type receiver struct {
	*socket
	joined int // interface index the group was last joined on, 0 for none

	msgs  []mmsghdr // as all below reused from call to call, one of each for a packet
	iovs  []unix.Iovec
	names []unix.RawSockaddrInet6 // large enough for IPv4, too
	oobs  [][oobLen]byte

	call  func(fd uintptr) bool // r.recvmmsg, made once so that a read allocates nothing
	n     int                   // result of call
	errno unix.Errno            // result of call
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32 // bytes received
}

// oobLen is room for the control messages asked for: in6_pktinfo and the hop
// limit, each aligned behind its header.
const oobLen = 128

func openReceiver(peer netip.Addr) (*receiver, error) {
	opts := recvOpts4
	if peer.Is6() {
		opts = recvOpts6
	}
	sock, err := openSocket(peer, func(fd int) error { return setOpts(fd, opts) })
	if err != nil {
		return nil, err
	}
	r := &receiver{socket: sock}
	r.call = r.recvmmsg
	return r, nil
}

// setBuffer forces the size of the receive buffer; without the right to, it
// asks for it and reports the error of forcing.
func (r *receiver) setBuffer(size int) error {
	return control(r.raw, func(fd int) error {
		err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size)
		if err == nil {
			return nil
		}
		if err2 := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size); err2 != nil {
			err = err2
		}
		return os.NewSyscallError("setsockopt SO_RCVBUFFORCE", err)
	})
}

// join makes the socket a member of the group on the interface, and on no other
// any more. The socket may believe to be a member of an interface that has
// vanished, even of one that is back with the same index: hence leave, then
// join; nothing is lost if there is nothing to leave.
func (r *receiver) join(group netip.Addr, index int) error {
	return control(r.raw, func(fd int) error {
		if r.joined != 0 {
			r.member(fd, group, r.joined, false)
			r.joined = 0
		}
		if err := r.member(fd, group, index, true); err != nil {
			return err
		}
		r.joined = index
		return nil
	})
}

func (r *receiver) member(fd int, group netip.Addr, index int, in bool) error {
	if r.is6 {
		opt := unix.IPV6_LEAVE_GROUP
		if in {
			opt = unix.IPV6_JOIN_GROUP
		}
		mreq := unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(index)}
		return os.NewSyscallError("setsockopt IPV6_JOIN_GROUP",
			unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, opt, &mreq))
	}
	opt := unix.IP_DROP_MEMBERSHIP
	if in {
		opt = unix.IP_ADD_MEMBERSHIP
	}
	mreq := unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(index)}
	return os.NewSyscallError("setsockopt IP_ADD_MEMBERSHIP",
		unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, opt, &mreq))
}

// prepare points one message at the buffer of each packet.
func (r *receiver) prepare(p []Packet) {
	if len(p) > len(r.msgs) {
		r.msgs = make([]mmsghdr, len(p))
		r.iovs = make([]unix.Iovec, len(p))
		r.names = make([]unix.RawSockaddrInet6, len(p))
		r.oobs = make([][oobLen]byte, len(p))
	}
	for i := range p {
		iov, h := &r.iovs[i], &r.msgs[i].hdr
		iov.Base = unsafe.SliceData(p[i].Buf)
		iov.SetLen(len(p[i].Buf))
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&r.names[i])), unix.SizeofSockaddrInet6
		h.Iov = iov
		h.SetIovlen(1)
		h.Control = &r.oobs[i][0]
		h.SetControllen(oobLen)
		h.Flags = 0
	}
}

// recvmmsg reads up to r.n messages into r.msgs and leaves the result in r.n
// and r.errno. It answers false if there was none: the runtime then waits for
// the next to arrive.
func (r *receiver) recvmmsg(fd uintptr) bool {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.msgs[0])), uintptr(r.n),
			unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		case 0:
			r.n, r.errno = int(n), 0
		default:
			r.n, r.errno = 0, errno
		}
		return true
	}
}

// ReadBatch waits for frames and reads as many as are there and p has room for.
// The caller owns the memory of p, Buf of each, before and after; a frame
// longer than its Buf is cut and marked. After Close the error is os.ErrClosed.
func (c *Conn) ReadBatch(p []Packet) (n int, err error) {
	r := c.recv
	if len(p) == 0 {
		return 0, nil
	}
	r.prepare(p)
	r.n = len(p)
	if err := r.raw.Read(r.call); err != nil {
		return 0, c.opError("read", err)
	}
	if r.errno != 0 {
		return 0, c.opError("read", os.NewSyscallError("recvmmsg", r.errno))
	}
	for i := range p[:r.n] {
		m := &r.msgs[i]
		p[i].Cut = m.hdr.Flags&unix.MSG_TRUNC != 0
		oob := r.oobs[i][:m.hdr.Controllen]
		if r.is6 {
			p[i].parse6(int(m.len), &r.names[i], oob)
		} else {
			p[i].parse4(int(m.len), oob)
		}
	}
	return r.n, nil
}
