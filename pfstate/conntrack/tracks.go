package conntrack

import (
	"net"
	"net/netip"

	"github.com/pfsync/pfsync/pfstate"
)

// Tracks reports whether packets are tracked in the calling thread's network
// namespace. Connection tracking runs only where an nftables or iptables rule
// asks for it; without one there is an empty table and not one event.
//
// No file tells, so it is tried: a datagram of one byte goes from the loopback
// address to itself, and its entry is looked up. The entry stays until it
// expires. False can also mean that rules exempt loopback from tracking.
func Tracks() (bool, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return false, opError("probe socket", err)
	}
	defer c.Close()
	self := c.LocalAddr().(*net.UDPAddr).AddrPort()
	if _, err := c.WriteToUDPAddrPort([]byte{0}, self); err != nil {
		return false, opError("probe datagram", err)
	}
	i, err := NewInjector()
	if err != nil {
		return false, err
	}
	defer i.Close()
	ops := [1]pfstate.Op{{Kind: pfstate.OpGet, Flow: selfFlow(self)}}
	var res [1]pfstate.Result
	if _, err := i.Do(ops[:], res[:]); err != nil {
		return false, err
	}
	return res[0].Code == pfstate.ResultOK, nil
}

// selfFlow is the flow from a UDP socket to itself.
func selfFlow(a netip.AddrPort) pfstate.Flow {
	f := pfstate.Flow{Proto: pfstate.ProtoUDP}
	f.Orig.Src, f.AF = pfstate.AddrFrom(a.Addr())
	f.Orig.Dst = f.Orig.Src
	f.Orig.SrcPort, f.Orig.DstPort = a.Port(), a.Port()
	return f
}
