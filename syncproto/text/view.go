package text

import (
	"bytes"
	"fmt"
	"net/netip"

	"github.com/pfsync/pfsync/syncproto"
)

const (
	protoICMP   = 1
	protoTCP    = 6
	protoICMPv6 = 58
)

// view is a state as pf's tools turn it to show it: the translated ends
// first, in the order of the direction.
type view struct {
	first, second *syncproto.Peer // of the levels S:T
	left, right   [2]end          // each end and, if translated, what it was
	translated    [2]bool
	arrow         string
}

// end is one endpoint.
type end struct {
	addr    [16]byte
	port    uint16
	rdomain uint16
	family  uint8
}

// newView turns a state (pf_print_state.c print_state).
func newView(f syncproto.Format, m *syncproto.State) (v view) {
	wire, stack := m.Families(f)
	k, o := &m.Key[syncproto.KeyStack], &m.Key[syncproto.KeyWire] // first key, other key
	kf, of := stack, wire
	icmp := 1 // index of the port that ICMP shares
	v.first, v.second, v.arrow = &m.Dst, &m.Src, " <- "
	if m.Direction == syncproto.DirOut {
		k, o, kf, of, icmp = o, k, of, kf, 0
		v.first, v.second, v.arrow = &m.Src, &m.Dst, " -> "
	}
	for i := range 2 {
		e := [2]end{
			{k.Addr[i], k.Port[i], k.RDomain, kf},
			{o.Addr[i], o.Port[i], o.RDomain, of},
		}
		if i == icmp && (m.Proto == protoICMP || m.Proto == protoICMPv6) {
			e[1].port = e[0].port
		}
		if i == 1 {
			v.left = e
		} else {
			v.right = e
		}
	}
	if kf != of { // translated between families: the indexes are swapped
		v.left[0], v.right[0] = v.right[0], v.left[0]
	}
	v.translated = [2]bool{v.left[0].differs(&v.left[1]), v.right[0].differs(&v.right[1])}
	return v
}

// differs tells whether the end was translated.
func (e *end) differs(o *end) bool {
	n := 16
	if e.family == syncproto.FamilyIPv4 {
		n = 4
	}
	return e.family != o.family || e.port != o.port || !bytes.Equal(e.addr[:n], o.addr[:n])
}

// address returns the address, invalid if the family is neither IPv4 nor
// family6.
func (e *end) address(family6 uint8) netip.Addr {
	switch e.family {
	case syncproto.FamilyIPv4:
		return netip.AddrFrom4([4]byte(e.addr[:4]))
	case family6:
		return netip.AddrFrom16(e.addr)
	}
	return netip.Addr{}
}

// append prints both ends and the arrow between.
func (v *view) append(b []byte, host func([]byte, *end) []byte) []byte {
	b = v.appendEnd(b, host, &v.left, v.translated[0])
	b = append(b, v.arrow...)
	return v.appendEnd(b, host, &v.right, v.translated[1])
}

func (v *view) appendEnd(b []byte, host func([]byte, *end) []byte, e *[2]end, translated bool) []byte {
	b = host(b, &e[0])
	if translated {
		b = append(host(append(b, " ("...), &e[1]), ')')
	}
	return b
}

// Names of peer states (tcpstates of tcp_fsm.h; PFUDPS_NAMES,
// PFOTHERS_NAMES).
var (
	tcpNames = [...]string{"CLOSED", "LISTEN", "SYN_SENT", "SYN_RCVD", "ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT_1",
		"CLOSING", "LAST_ACK", "FIN_WAIT_2", "TIME_WAIT"}
	otherNames = [...]string{"NO_TRAFFIC", "SINGLE", "MULTIPLE"}
)

// appendLevels prints the states of both sides, S:T.
func (v *view) appendLevels(b []byte, proto uint8) []byte {
	s, t := v.first.State, v.second.State
	if proto == protoTCP {
		switch {
		case s <= syncproto.TCPTimeWait && t <= syncproto.TCPTimeWait:
			return fmt.Appendf(b, "%s:%s", tcpNames[s], tcpNames[t])
		case s == syncproto.TCPProxySrc || t == syncproto.TCPProxySrc:
			return append(b, "PROXY:SRC"...)
		case s == syncproto.TCPProxyDst || t == syncproto.TCPProxyDst:
			return append(b, "PROXY:DST"...)
		}
		return fmt.Appendf(b, "<BAD STATE LEVELS %d:%d>", s, t)
	}
	if proto != protoICMP && int(s) < len(otherNames) && int(t) < len(otherNames) {
		return fmt.Appendf(b, "%s:%s", otherNames[s], otherNames[t])
	}
	return fmt.Appendf(b, "%d:%d", s, t)
}

// appendSequence prints the windows of both sides.
func (v *view) appendSequence(b []byte) []byte {
	scaled := v.first.WScale != 0 && v.second.WScale != 0
	b = appendWindow(b, v.first, scaled)
	b = append(b, "  "...)
	return appendWindow(b, v.second, scaled)
}

func appendWindow(b []byte, p *syncproto.Peer, scaled bool) []byte {
	b = fmt.Appendf(b, "[%d + %d]", p.SeqLo, p.SeqHi-p.SeqLo)
	if p.SeqDiff != 0 {
		b = fmt.Appendf(b, "(+%d)", p.SeqDiff)
	}
	if scaled {
		b = fmt.Appendf(b, " wscale %d", p.WScale&syncproto.WScaleMask)
	}
	return b
}

// appendAges prints times, counters and rules.
func appendAges(b []byte, m *syncproto.State) []byte {
	b = appendTime(append(b, "age "...), m.Creation)
	b = appendTime(append(b, ", expires in "...), m.Expire)
	b = fmt.Appendf(b, ", %d:%d pkts, %d:%d bytes", m.Packets[0], m.Packets[1], m.Bytes[0], m.Bytes[1])
	if m.Anchor != syncproto.NoRule {
		b = fmt.Appendf(b, ", anchor %d", m.Anchor)
	}
	if m.Rule != syncproto.NoRule {
		b = fmt.Appendf(b, ", rule %d", m.Rule)
	}
	return b
}
