package doctor

import (
	"net/netip"
	"slices"
)

// tri is what is known of a condition.
type tri uint8

const (
	no tri = iota
	maybe
	yes
)

func (t tri) not() tri { return yes - t }

func and(a, b tri) tri { return min(a, b) }

func triOf(v bool) tri {
	if v {
		return yes
	}
	return no
}

// pfsyncProto is the IP protocol number of pfsync.
const pfsyncProto = 240

// packet is a frame as it meets the rules of this host.
type packet struct {
	in        bool   // received, else sent
	dev       string // it comes or leaves through
	v6        bool
	src, dst  netip.Addr // src of a received one is not valid if nobody has been heard
	untracked tri        // a rule has kept conntrack off
}

// ctStates are what conntrack may call it. What goes to a group is never
// answered and stays new; between two addresses it is established once both
// have sent.
func (p *packet) ctStates() []string {
	both := []string{"new"}
	if !p.dst.IsMulticast() {
		both = append(both, "established")
	}
	switch p.untracked {
	case yes:
		return []string{"untracked"}
	case maybe:
		both = append(both, "untracked")
	}
	return both
}

// inState reports whether conntrack calls the packet one of the names.
func (p *packet) inState(names []string) tri {
	hits, all := 0, p.ctStates()
	for _, s := range all {
		if slices.Contains(names, s) {
			hits++
		}
	}
	switch hits {
	case 0:
		return no
	case len(all):
		return yes
	}
	return maybe
}

// hooks are those that the packet passes, in order.
func (p *packet) hooks() []string {
	if p.in {
		return []string{"ingress", "prerouting", "input"}
	}
	return []string{"output", "postrouting", "egress"}
}

// devAs returns the name of the interface in that direction: a packet received
// has no output interface.
func (p *packet) devAs(in bool) string {
	if in == p.in {
		return p.dev
	}
	return ""
}

// addrType is what the routing table calls the destination, or, of a received
// packet, the source.
func (p *packet) addrType(dst bool) string {
	switch {
	case dst && p.dst.IsMulticast():
		return "multicast"
	case dst == p.in:
		return "local"
	}
	return "unicast"
}
