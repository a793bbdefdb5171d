package conntrack

import (
	"os"

	"golang.org/x/sys/unix"
)

// socket is a netlink socket of NETLINK_NETFILTER in the namespace of the
// thread that opened it.
type socket struct {
	fd     int
	portID uint32
}

// openSocket opens a socket; before runs before it is bound, so that nothing
// arrives unfiltered.
func openSocket(nonblock int, groups uint32, before func(fd int) error) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|nonblock, unix.NETLINK_NETFILTER)
	if err != nil {
		if err == unix.EPROTONOSUPPORT || err == unix.EAFNOSUPPORT {
			return nil, ErrNoNetlink
		}
		return nil, opError("netlink socket", err)
	}
	s := &socket{fd: fd}
	if err := s.setup(groups, before); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return s, nil
}

func (s *socket) setup(groups uint32, before func(fd int) error) error {
	if err := before(s.fd); err != nil {
		return err
	}
	if err := unix.Bind(s.fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return opError("bind netlink socket", err)
	}
	sa, err := unix.Getsockname(s.fd)
	if err != nil {
		return opError("getsockname", err)
	}
	if nl, ok := sa.(*unix.SockaddrNetlink); ok {
		s.portID = nl.Pid
	}
	return nil
}

// forceRcvBuf asks for a receive buffer of n bytes, past net.core.rmem_max if
// permitted, and tells how many bytes the kernel counts it as (it doubles n,
// and charges a small message with 768 bytes and more).
func forceRcvBuf(fd, n int) (got int, forced bool) {
	forced = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, n) == nil
	if !forced {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, n)
	}
	got, _ = unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	return got, forced
}

// forceSndBuf asks for a send buffer of n bytes, past net.core.wmem_max if
// permitted.
func forceSndBuf(fd, n int) {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, n) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, n)
	}
}

// pollable hands the socket's descriptor, which has to be non-blocking, to the
// runtime's poller. The socket is closed with the file.
func (s *socket) pollable() *os.File {
	return os.NewFile(uintptr(s.fd), "ctnetlink")
}
