package control

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// protoNames are the names of /etc/protocols for what a firewall meets. The
// file itself is not read: output must be the same on every host.
var protoNames = map[uint8]string{
	1: "icmp", 2: "igmp", 4: "ipencap", 6: "tcp", 17: "udp", 33: "dccp", 41: "ipv6", 47: "gre", 50: "esp", 51: "ah",
	58: "ipv6-icmp", 89: "ospf", 94: "ipip", 103: "pim", 108: "ipcomp", 112: "carp", 115: "l2tp", 132: "sctp",
	136: "udplite", 240: "pfsync",
}

// protoAliases are further names that people type.
var protoAliases = map[string]uint8{"icmpv6": 58, "icmp6": 58, "ospfigp": 89, "vrrp": 112}

// ProtoName returns the name of an IP protocol, its number if it has none.
func ProtoName(p uint8) string {
	if n := protoNames[p]; n != "" {
		return n
	}
	return strconv.Itoa(int(p))
}

// ProtoNames returns all names known, sorted.
func ProtoNames() []string {
	var names []string
	for _, n := range protoNames {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// ParseProto reads the name or number of an IP protocol.
func ParseProto(s string) (uint8, error) {
	s = strings.ToLower(s)
	for p, n := range protoNames {
		if n == s {
			return p, nil
		}
	}
	if p, ok := protoAliases[s]; ok {
		return p, nil
	}
	v, err := strconv.ParseUint(s, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("%w: not a protocol", ErrInvalid)
	}
	return uint8(v), nil
}

func parseProto(s string) (uint32, error) {
	p, err := ParseProto(s)
	return uint32(p), err
}
