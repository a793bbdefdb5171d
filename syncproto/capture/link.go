package capture

import (
	"encoding/binary"

	"github.com/gopacket/gopacket/layers"
)

// Link types (tcpdump.org/linktypes.html) that gopacket has no name for or
// names otherwise. The numbers of DLT_PFSYNC are the systems' own; libpcap
// writes 246 for either.
const (
	linkRawBSD        layers.LinkType = 12
	linkPFSyncOpenBSD layers.LinkType = 18
	linkRawOpenBSD    layers.LinkType = 14
	linkPFSyncFreeBSD layers.LinkType = 121
	linkPFSync        layers.LinkType = 246
)

// supported tells whether strip knows a link type.
func supported(link layers.LinkType) bool {
	switch link {
	case layers.LinkTypeRaw, linkRawBSD, linkRawOpenBSD, layers.LinkTypeIPv4, layers.LinkTypeIPv6,
		layers.LinkTypeNull, layers.LinkTypeLoop, layers.LinkTypeEthernet, layers.LinkTypeLinuxSLL, layers.LinkTypeLinuxSLL2,
		linkPFSync, linkPFSyncOpenBSD, linkPFSyncFreeBSD:
		return true
	}
	return false
}

// strip returns what is behind the link header: an IP packet, or the bare
// frame if the link is pfsync itself. It is nil if there is neither.
func strip(link layers.LinkType, b []byte) []byte {
	switch link {
	case layers.LinkTypeNull, layers.LinkTypeLoop:
		return from(b, 4) // the family's number and byte order differ; the IP version tells
	case layers.LinkTypeEthernet:
		return etherType(b, 12)
	case layers.LinkTypeLinuxSLL:
		return etherType(b, 14)
	case layers.LinkTypeLinuxSLL2:
		if len(b) < 2 {
			return nil
		}
		return afterType(binary.BigEndian.Uint16(b), from(b, 20))
	}
	return b
}

// from returns b from n on, nil if it is shorter.
func from(b []byte, n int) []byte {
	if len(b) < n {
		return nil
	}
	return b[n:]
}

// etherType returns what is behind the type at offset n.
func etherType(b []byte, n int) []byte {
	if len(b) < n+2 {
		return nil
	}
	return afterType(binary.BigEndian.Uint16(b[n:]), b[n+2:])
}

// afterType goes over VLAN tags to an IP packet.
func afterType(t uint16, b []byte) []byte {
	switch t {
	case 0x0800, 0x86dd:
		return b
	case 0x8100, 0x88a8, 0x9100:
		return etherType(b, 2)
	}
	return nil
}
