package syncdev

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Fields of the IP header of a frame (pfsync-protocol.md §2).
const (
	ttl = 255  // PFSYNC_DFLTTL
	tos = 0x10 // IPTOS_LOWDELAY; the IPv6 traffic class is 0
)

// sockopt is one integer option of a socket; name is for errors.
type sockopt struct {
	name            string
	level, opt, val int
}

// Options of the sockets. PMTUDISC_PROBE sets DF and makes the kernel answer
// EMSGSIZE to a frame larger than the interface's MTU instead of sending it in
// fragments, as it would with PMTUDISC_DONT.
var (
	sendOpts4 = []sockopt{
		{"IP_TTL", unix.IPPROTO_IP, unix.IP_TTL, ttl},
		{"IP_MULTICAST_TTL", unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, ttl},
		{"IP_MULTICAST_LOOP", unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0},
		{"IP_TOS", unix.IPPROTO_IP, unix.IP_TOS, tos},
		{"IP_MTU_DISCOVER", unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE},
	}
	recvOpts4 = []sockopt{
		{"IP_PKTINFO", unix.IPPROTO_IP, unix.IP_PKTINFO, 1},
		{"IP_MULTICAST_ALL", unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, 0},
	}
	sendOpts6 = []sockopt{
		{"IPV6_UNICAST_HOPS", unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, ttl},
		{"IPV6_MULTICAST_HOPS", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, ttl},
		{"IPV6_MULTICAST_LOOP", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, 0},
		{"IPV6_MTU_DISCOVER", unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_PROBE},
	}
	recvOpts6 = []sockopt{
		{"IPV6_RECVPKTINFO", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1},
		{"IPV6_RECVHOPLIMIT", unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1},
		{"IPV6_MULTICAST_ALL", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_ALL, 0},
	}
)

// socket is a raw socket of protocol 240.
type socket struct {
	conn *net.IPConn
	raw  syscall.RawConn
	is6  bool
}

// openSocket opens a raw socket of the family of addr, in the namespace of the
// calling thread, and calls setup before anything can arrive on it.
func openSocket(addr netip.Addr, setup func(fd int) error) (*socket, error) {
	network := "ip4:"
	if addr.Is6() {
		network = "ip6:"
	}
	lc := net.ListenConfig{Control: func(_, _ string, rc syscall.RawConn) error {
		return control(rc, setup)
	}}
	pc, err := lc.ListenPacket(context.Background(), network+strconv.Itoa(Protocol), "")
	if err != nil {
		return nil, err
	}
	conn, ok := pc.(*net.IPConn)
	if !ok {
		pc.Close()
		return nil, fmt.Errorf("raw socket is a %T", pc)
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &socket{conn: conn, raw: raw, is6: addr.Is6()}, nil
}

func (s *socket) close() error { return s.conn.Close() }

// control calls fn with the descriptor, which stays open meanwhile.
func control(rc syscall.RawConn, fn func(fd int) error) error {
	var ferr error
	if err := rc.Control(func(fd uintptr) { ferr = fn(int(fd)) }); err != nil {
		return err
	}
	return ferr
}

// setOpts sets the options in order.
func setOpts(fd int, opts []sockopt) error {
	for _, o := range opts {
		if err := unix.SetsockoptInt(fd, o.level, o.opt, o.val); err != nil {
			return os.NewSyscallError("setsockopt "+o.name, err)
		}
	}
	return nil
}

// deaf makes a socket receive nothing: a raw socket that only sends would
// otherwise be given a copy of every frame, and keep it.
func deaf(fd int) error {
	none := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	prog := unix.SockFprog{Len: uint16(len(none)), Filter: &none[0]}
	return os.NewSyscallError("setsockopt SO_ATTACH_FILTER",
		unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog))
}
