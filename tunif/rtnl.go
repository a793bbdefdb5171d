package tunif

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// rtnl changes interfaces through a route netlink socket, which stays in the
// namespace it was opened in: /proc/sys and /sys do not.
type rtnl struct {
	mu     sync.Mutex // one request at a time; guards closed
	conn   *netlink.Conn
	closed bool
}

func dialRtnl() (*rtnl, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return nil, err
	}
	return &rtnl{conn: conn}, nil
}

func (r *rtnl) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.conn.Close()
}

// addrGenNone is IN6_ADDR_GEN_MODE_NONE: no link-local address.
const addrGenNone = 1

// disableIPv6 keeps the kernel from sending router solicitations and listener
// reports into the device. Where /proc/sys may not be written, as in most
// containers, it settles for no link-local address. It works on the namespace
// of the calling thread.
func (r *rtnl) disableIPv6(name string, index int) error {
	err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0)
	if err == nil || errors.Is(err, os.ErrNotExist) { // the latter: a kernel without IPv6
		return nil
	}
	return r.noLinkLocal(index)
}

func (r *rtnl) noLinkLocal(index int) error {
	return r.setLink(index, 0, 0, func(ae *netlink.AttributeEncoder) {
		ae.Nested(unix.IFLA_AF_SPEC, func(spec *netlink.AttributeEncoder) error {
			spec.Nested(unix.AF_INET6, func(in6 *netlink.AttributeEncoder) error {
				in6.Uint8(unix.IFLA_INET6_ADDR_GEN_MODE, addrGenNone)
				return nil
			})
			return nil
		})
	})
}

func (r *rtnl) setMTU(index, mtu int) error {
	return r.setLink(index, 0, 0, func(ae *netlink.AttributeEncoder) {
		ae.Uint32(unix.IFLA_MTU, uint32(mtu))
	})
}

func (r *rtnl) setAlias(index int, text string) error {
	return r.setLink(index, 0, 0, func(ae *netlink.AttributeEncoder) {
		ae.Bytes(unix.IFLA_IFALIAS, []byte(text)) // without a final zero, as the kernel has it
	})
}

func (r *rtnl) setUp(index int, up bool) error {
	var flags uint32
	if up {
		flags = unix.IFF_UP
	}
	return r.setLink(index, flags, unix.IFF_UP, func(*netlink.AttributeEncoder) {})
}

// setLink sends RTM_NEWLINK for an existing interface: those of the flags that
// are in mask are set, and the attributes attrs puts.
func (r *rtnl) setLink(index int, flags, mask uint32, attrs func(*netlink.AttributeEncoder)) error {
	ae := netlink.NewAttributeEncoder()
	attrs(ae)
	b, err := ae.Encode()
	if err != nil {
		return err
	}
	// struct ifinfomsg: family, pad, type u16, index i32, flags u32, change u32
	msg := make([]byte, unix.SizeofIfInfomsg, unix.SizeofIfInfomsg+len(b))
	binary.NativeEndian.PutUint32(msg[4:], uint32(index))
	binary.NativeEndian.PutUint32(msg[8:], flags)
	binary.NativeEndian.PutUint32(msg[12:], mask)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return os.ErrClosed
	}
	_, err = r.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_NEWLINK, Flags: netlink.Request | netlink.Acknowledge},
		Data:   append(msg, b...),
	})
	return err
}
