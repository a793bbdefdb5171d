package syncdev

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Link is what an interface is like at a moment.
type Link struct {
	Present bool       // an interface of that name exists; otherwise all else is zero
	Index   int        // interface index
	Up      bool       // set up, with carrier, and operational: a frame sent now can arrive
	Admin   bool       // set up (IFF_UP), whatever the carrier
	MTU     int        // bytes of IP packet
	Addr4   netip.Addr // primary IPv4 address, the source of IPv4 frames
	Addr6   netip.Addr // IPv6 address: link-local if there is one; without zone

	// Epoch changes when the interface went and came back, or may have,
	// even with the same index: multicast groups do not outlive that.
	Epoch int
}

// errAgain is the error of a read that the kernel calls inconsistent.
var errAgain = errors.New("interrupted by changes")

// tries bounds how often an inconsistent read is repeated.
const tries = 50

// Lookup gives the interface of that name in the network namespace of the
// calling thread. One that does not exist is no error: Present is false.
func Lookup(dev string) (Link, error) {
	conn, err := netlink.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		return Link{}, &OpError{Op: "look up", Dev: dev, Err: err}
	}
	defer conn.Close()
	links, _, err := readAll(conn, []string{dev})
	if err != nil {
		return Link{}, &OpError{Op: "look up", Dev: dev, Err: err}
	}
	return links[0], nil
}

// readAll reads the interfaces of the given names, in their order, and all
// addresses of the namespace.
func readAll(conn *netlink.Conn, devs []string) (links []Link, addrs []ifAddr, err error) {
	for range tries {
		links, addrs, err = readOnce(conn, devs)
		if !errors.Is(err, errAgain) {
			break
		}
	}
	return links, addrs, err
}

func readOnce(conn *netlink.Conn, devs []string) ([]Link, []ifAddr, error) {
	addrs, err := readAddrs(conn)
	if err != nil {
		return nil, nil, err
	}
	links := make([]Link, len(devs))
	for i, dev := range devs {
		if links[i], err = readLink(conn, dev); err != nil {
			return nil, nil, err
		}
		links[i].setAddrs(addrs)
	}
	return links, addrs, nil
}

// readLink asks for one interface by name.
func readLink(conn *netlink.Conn, dev string) (Link, error) {
	if len(dev) == 0 || len(dev) >= unix.IFNAMSIZ {
		return Link{}, nil
	}
	ae := netlink.NewAttributeEncoder()
	ae.String(unix.IFLA_IFNAME, dev)
	attrs, err := ae.Encode()
	if err != nil {
		return Link{}, err
	}
	msgs, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request},
		Data:   append(make([]byte, unix.SizeofIfInfomsg), attrs...),
	})
	if errors.Is(err, unix.ENODEV) {
		return Link{}, nil
	}
	if err != nil {
		return Link{}, err
	}
	for _, m := range msgs {
		if l, ok := parseLink(m.Data); ok {
			return l.Link, nil
		}
	}
	return Link{}, os.ErrNotExist
}

// linkMsg is one RTM_NEWLINK or RTM_DELLINK.
type linkMsg struct {
	Link
	name string
}

// running is what IFF_UP needs beside it for frames to pass: IFF_RUNNING is the
// operational state of RFC 2863, IFF_LOWER_UP the carrier.
const running = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP

// parseLink decodes struct ifinfomsg (family u8, pad, type u16, index i32, flags
// u32, change u32) and the attributes behind it. ok is false for what is not
// about an interface as such: a bridge tells of its ports in the same messages
// with another family, and a deleted port is not a deleted interface.
func parseLink(b []byte) (l linkMsg, ok bool) {
	if len(b) < unix.SizeofIfInfomsg || b[0] != unix.AF_UNSPEC {
		return linkMsg{}, false
	}
	flags := binary.NativeEndian.Uint32(b[8:])
	l.Present = true
	l.Index = int(int32(binary.NativeEndian.Uint32(b[4:])))
	l.Admin = flags&unix.IFF_UP != 0
	l.Up = flags&running == running
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofIfInfomsg:])
	if err != nil {
		return linkMsg{}, false
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_IFNAME:
			l.name = ad.String()
		case unix.IFLA_MTU:
			l.MTU = int(ad.Uint32())
		}
	}
	return l, ad.Err() == nil
}

// ifAddr is an address of an interface. It is comparable.
type ifAddr struct {
	index int
	addr  netip.Addr
	rank  int // lower is better, see rankAddr
}

// readAddrs reads all addresses of the namespace, in the kernel's order.
func readAddrs(conn *netlink.Conn) ([]ifAddr, error) {
	msgs, err := conn.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETADDR, Flags: netlink.Request | netlink.Dump},
		Data:   make([]byte, unix.SizeofIfAddrmsg),
	})
	if err != nil {
		return nil, err
	}
	var addrs []ifAddr
	for _, m := range msgs {
		if m.Header.Flags&netlink.DumpInterrupted != 0 {
			return nil, errAgain
		}
		if a, ok := parseAddr(m.Data); ok {
			addrs = append(addrs, a)
		}
	}
	return addrs, nil
}

// parseAddr decodes struct ifaddrmsg (family u8, prefixlen u8, flags u8, scope
// u8, index u32) and the attributes behind it.
func parseAddr(b []byte) (a ifAddr, ok bool) {
	if len(b) < unix.SizeofIfAddrmsg {
		return ifAddr{}, false
	}
	a.index = int(binary.NativeEndian.Uint32(b[4:]))
	flags := uint32(b[2])
	ad, err := netlink.NewAttributeDecoder(b[unix.SizeofIfAddrmsg:])
	if err != nil {
		return ifAddr{}, false
	}
	var local, address netip.Addr
	for ad.Next() {
		switch ad.Type() {
		case unix.IFA_LOCAL: // ours, where IFA_ADDRESS is the other end of a point-to-point link
			local, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.IFA_FLAGS: // the eight flags of the header and more
			flags = ad.Uint32()
		}
	}
	if a.addr = local; !a.addr.IsValid() {
		a.addr = address
	}
	a.rank = rankAddr(a.addr, flags)
	return a, ad.Err() == nil && a.addr.IsValid()
}

// Ranks of addresses as source of frames. Among equals the kernel's order
// decides.
const (
	rankGood    = iota // primary IPv4, link-local IPv6
	rankSecond         // secondary IPv4, other IPv6
	rankPending        // IPv6, not yet found to be unique
	rankBad            // IPv6, found not to be unique
)

func rankAddr(a netip.Addr, flags uint32) int {
	switch {
	case a.Is4() && flags&unix.IFA_F_SECONDARY == 0:
		return rankGood
	case a.Is4():
		return rankSecond
	case flags&unix.IFA_F_DADFAILED != 0:
		return rankBad
	case flags&unix.IFA_F_TENTATIVE != 0 && flags&unix.IFA_F_OPTIMISTIC == 0:
		return rankPending
	case a.IsLinkLocalUnicast():
		return rankGood
	}
	return rankSecond
}

// setAddrs chooses the addresses of a link among all.
func (l *Link) setAddrs(addrs []ifAddr) {
	if !l.Present {
		return
	}
	best := func(is4 bool) netip.Addr {
		found := ifAddr{rank: rankBad}
		for _, a := range addrs {
			if a.index == l.Index && a.addr.Is4() == is4 && a.rank < found.rank {
				found = a
			}
		}
		return found.addr
	}
	l.Addr4, l.Addr6 = best(true), best(false)
}
