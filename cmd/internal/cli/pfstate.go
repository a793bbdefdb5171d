package cli

import (
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/syncproto/text"
)

// Protocol numbers that print in a way of their own.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoGRE    = 47
	protoICMPv6 = 58
)

// Names of peer states: netinet/tcp_fsm.h tcpstates, net/pfvar.h PFUDPS_NAMES
// and PFOTHERS_NAMES, which are alike.
var (
	tcpStates = [...]string{"CLOSED", "LISTEN", "SYN_SENT", "SYN_RCVD", "ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT_1", "CLOSING",
		"LAST_ACK", "FIN_WAIT_2", "TIME_WAIT"}
	otherStates = [...]string{"NO_TRAFFIC", "SINGLE", "MULTIPLE"}
)

// Peer states of a TCP connection that pf itself answers, net/pfvar.h.
const (
	tcpProxySrc = 11
	tcpProxyDst = 12
)

// pfText prints a state as pfctl -ss does (sbin/pfctl/pf_print_state.c), with
// -v and -vv as there; -vv ends with a line of ours.
func pfText(w io.Writer, s *control.State, verbose int) error {
	v := newPFView(s)
	fmt.Fprintf(w, "%s %s %s    ", text.Vis(s.IfName), control.ProtoName(s.Proto), v.ends())
	_, err := fmt.Fprintf(w, "   %s\n", levels(s.Proto, v.left.State, v.right.State))
	if verbose > 0 {
		err = verboseText(w, s, &v)
	}
	if verbose > 1 {
		_, err = fmt.Fprintf(w, "   id: %s creatorid: %s\n   %s\n", s.ID, s.CreatorID, oursText(s))
	}
	return err
}

// pfView is a state as print_state turns it before printing: near is the key
// printed first, far the one in parentheses where it differs.
type pfView struct {
	near, far   control.Key
	left, right *control.StatePeer
	out         bool // printed as going out
	translated  bool // the families of the keys differ
}

func newPFView(s *control.State) pfView {
	icmp := s.Proto == protoICMP || s.Proto == protoICMPv6
	v := pfView{near: s.Key.Stack, far: s.Key.Wire, left: &s.Dst, right: &s.Src}
	if s.Direction == control.DirOut {
		v = pfView{near: s.Key.Wire, far: s.Key.Stack, left: &s.Src, right: &s.Dst, out: true}
	}
	switch {
	case icmp && v.out:
		v.far.Port[0] = v.near.Port[0]
	case icmp:
		v.far.Port[1] = v.near.Port[1]
	}
	v.translated = v.near.AF != v.far.AF
	return v
}

// ends prints both ends with the arrow between.
func (v *pfView) ends() string {
	arrow := " <- "
	if v.out || v.translated {
		arrow = " -> "
	}
	return v.end(1) + arrow + v.end(0)
}

// end prints index i of the near key, and the far one behind it if it is
// another.
func (v *pfView) end(i int) string {
	text := host(&v.near, i)
	if v.translated {
		return text + " (" + host(&v.far, 1-i) + ")"
	}
	if v.near.Addr[i] != v.far.Addr[i] || v.near.Port[i] != v.far.Port[i] || v.near.RDomain != v.far.RDomain {
		text += " (" + host(&v.far, i) + ")"
	}
	return text
}

// host follows print_host.
func host(k *control.Key, i int) string {
	var b strings.Builder
	if k.RDomain != 0 {
		fmt.Fprintf(&b, "(%d) ", k.RDomain)
	}
	b.WriteString(addrText(k.Addr[i]))
	switch {
	case k.Port[i] == 0:
	case k.Addr[i].Is4():
		fmt.Fprintf(&b, ":%d", k.Port[i])
	default:
		fmt.Fprintf(&b, "[%d]", k.Port[i])
	}
	return b.String()
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return "?"
	}
	return a.String()
}

// levels names what the two peers have come to.
func levels(proto, left, right uint8) string {
	switch {
	case proto == protoTCP:
		return tcpLevels(left, right)
	case proto == protoICMP, proto == protoICMPv6, int(left) >= len(otherStates), int(right) >= len(otherStates):
		return fmt.Sprintf("%d:%d", left, right)
	}
	return otherStates[left] + ":" + otherStates[right]
}

func tcpLevels(left, right uint8) string {
	switch {
	case int(left) < len(tcpStates) && int(right) < len(tcpStates):
		return tcpStates[left] + ":" + tcpStates[right]
	case left == tcpProxySrc || right == tcpProxySrc:
		return "PROXY:SRC"
	case left == tcpProxyDst || right == tcpProxyDst:
		return "PROXY:DST"
	}
	return fmt.Sprintf("<BAD STATE LEVELS %d:%d>", left, right)
}

// Flags of a state that pfctl names, net/pfvar.h.
const (
	stateSloppy    = 0x0002
	statePflow     = 0x0004
	syncSrcNode    = 0x04
	syncNATSrcNode = 0x08
	wscaleMask     = 0x0f
)

func verboseText(w io.Writer, s *control.State, v *pfView) error {
	if s.Proto == protoTCP {
		scale := v.left.WScale != 0 && v.right.WScale != 0
		fmt.Fprintf(w, "   %s  %s\n", seqText(v.left, scale), seqText(v.right, scale))
	}
	fmt.Fprintf(w, "   age %s, expires in %s, %d:%d pkts, %d:%d bytes", clock(s.Creation), clock(s.Expire),
		s.Packets[0], s.Packets[1], s.Bytes[0], s.Bytes[1])
	if s.Anchor != control.None {
		fmt.Fprintf(w, ", anchor %d", s.Anchor)
	}
	if s.Rule != control.None {
		fmt.Fprintf(w, ", rule %d", s.Rule)
	}
	for _, f := range []struct {
		on   bool
		text string
	}{
		{s.StateFlags&stateSloppy != 0, ", sloppy"},
		{s.StateFlags&statePflow != 0, ", pflow"},
		{s.SyncFlags&syncSrcNode != 0, ", source-track"},
		{s.SyncFlags&syncNATSrcNode != 0, ", sticky-address"},
	} {
		if f.on {
			io.WriteString(w, f.text)
		}
	}
	if s.Route != nil {
		fmt.Fprintf(w, ", %s", routeText(s.Route))
	}
	if s.Reason != "" {
		fmt.Fprintf(w, ", not in kernel: %s", text.Vis(s.Reason))
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// routeText follows FreeBSD's pfctl: "route-to: 10.0.0.1@em1".
func routeText(r *control.Route) string {
	t := r.Kind + ":"
	if r.Addr != "" {
		t += " " + r.Addr
	}
	if r.IfName != "" {
		t += "@" + text.Vis(r.IfName)
	}
	return t
}

// seqText follows print_seq.
func seqText(p *control.StatePeer, scale bool) string {
	text := fmt.Sprintf("[%d + %d]", p.SeqLo, p.SeqHi-p.SeqLo)
	if p.SeqDiff != 0 {
		text += fmt.Sprintf("(+%d)", p.SeqDiff)
	}
	if scale {
		text += fmt.Sprintf(" wscale %d", p.WScale&wscaleMask)
	}
	return text
}

// clock prints seconds as hours, which may have more than two digits, minutes
// and seconds.
func clock(sec uint32) string { return fmt.Sprintf("%02d:%02d:%02d", sec/3600, sec/60%60, sec%60) }

// oursText is what pf does not know about a state.
func oursText(s *control.State) string {
	t := "origin: " + s.Origin
	if s.From != "" {
		t += " " + s.From
	}
	if s.Carried {
		t += ", carried"
	}
	if !s.Kernel {
		t += ", not in kernel"
	}
	if s.NoSync {
		t += ", no-sync"
	}
	t += fmt.Sprintf(", mark %#x, zone %d", s.Mark, s.Zone)
	if s.Helper != "" {
		t += ", helper " + text.Vis(s.Helper)
	}
	for _, n := range s.Names {
		t += fmt.Sprintf(", %s %s/%s", n.Kind, n.ID, n.CreatorID)
	}
	return t
}
