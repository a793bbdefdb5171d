package text

import (
	"fmt"

	"github.com/pfsync/pfsync/syncproto"
)

// openbsdNames are the names that OpenBSD's tcpdump gives to actions.
var openbsdNames = [syncproto.Actions]string{
	"CLR ST", "INS ST OLD", "INS ST ACK", "UPD ST OLD", "UPD ST COMP", "UPD ST REQ", "DEL ST", "DEL ST COMP",
	"INS FR", "DEL FR", "BULK UPD STAT", "UPD TDB OLD", "EOF", "INS ST", "UPD ST", "UPD TDB",
}

// AppendOpenBSD appends the text of a packet as OpenBSD's tcpdump -nt prints
// it. Of a version other than 6 only the first line appears.
func AppendOpenBSD(b []byte, ip *IP, frame []byte, verbose int) []byte {
	if ip != nil {
		b = ip.appendOpenBSD(b, verbose)
	}
	b, left, ok := begin(b, frame, syncproto.Version6)
	if ok {
		b = appendRegionsOpenBSD(b, frame, left, verbose)
	}
	b = append(b, '\n')
	if ip != nil {
		b = append(ip.appendRemarks(b, verbose), '\n')
	}
	return b
}

// appendOpenBSD is the beginning of the line.
func (ip *IP) appendOpenBSD(b []byte, verbose int) []byte {
	if verbose > 0 {
		return fmt.Appendf(b, "%v > %v: ", ip.Src, ip.Dst)
	}
	return fmt.Appendf(b, "%v: ", ip.Src)
}

// appendRemarks is what the IP printer adds at the end.
func (ip *IP) appendRemarks(b []byte, verbose int) []byte {
	if ip.DF {
		b = append(b, " (DF)"...)
	}
	if ip.TOS != 0 {
		b = fmt.Appendf(b, " [tos 0x%x]", ip.TOS)
	}
	if ip.TTL <= 1 {
		b = fmt.Appendf(b, " [ttl %d]", ip.TTL)
	}
	if verbose == 0 {
		return b
	}
	b = append(b, " ("...)
	if ip.TTL > 1 {
		b = fmt.Appendf(b, "ttl %d, ", ip.TTL)
	}
	if ip.ID != 0 {
		b = fmt.Appendf(b, "id %d, ", ip.ID)
	}
	return fmt.Appendf(b, "len %d)", ip.TotalLen)
}

// appendRegionsOpenBSD walks the regions. It prints as much as it can of
// frames that a receiver refuses.
func appendRegionsOpenBSD(b, frame []byte, left rest, verbose int) []byte {
	for left.header > 0 && left.packet >= syncproto.SubheaderLen {
		var sub syncproto.Subheader
		_ = syncproto.ParseSubheader(frame[left.off:], &sub)
		left.step(syncproto.SubheaderLen)

		a := syncproto.Action(sub.Action)
		b = appendSubheaderOpenBSD(b, &sub)
		stride := strideOpenBSD(&sub)
		if stride == 0 {
			n := int(sub.Len) * 4 * int(sub.Count)
			if n == 0 || n > left.packet {
				return b
			}
			left.step(n)
			continue
		}
		for i := range int(sub.Count) {
			if stride > left.packet {
				return left.remark(b)
			}
			b = appendMessageOpenBSD(b, a, i, frame[left.off:left.off+stride], verbose)
			left.step(stride)
		}
	}
	return left.remark(b)
}

// strideOpenBSD returns how far messages are apart, 0 if they cannot be
// printed. A length of 0, which older senders wrote, is taken as the usual.
func strideOpenBSD(sub *syncproto.Subheader) int {
	a := syncproto.Action(sub.Action)
	switch need := a.Length(syncproto.Format6); {
	case need > 0 && sub.Len == 0:
		return need
	case need > 0 && int(sub.Len)*4 >= need:
		return int(sub.Len) * 4
	}
	return 0
}

func appendSubheaderOpenBSD(b []byte, sub *syncproto.Subheader) []byte {
	switch a := syncproto.Action(sub.Action); {
	case a == syncproto.ActLinux:
		return fmt.Appendf(b, "\n    act LINUX count %d", sub.Count)
	case a >= syncproto.Actions:
		return fmt.Appendf(b, "\n    act UNKNOWN id %d", a)
	default:
		b = fmt.Appendf(b, "\n    act %s count %d", openbsdNames[a], sub.Count)
		if a != syncproto.ActEOF && strideOpenBSD(sub) == 0 {
			b = append(b, "\n    unimplemented action"...)
		}
		return b
	}
}

func appendMessageOpenBSD(b []byte, a syncproto.Action, i int, msg []byte, verbose int) []byte {
	switch a {
	case syncproto.ActIns, syncproto.ActUpd, syncproto.ActDel:
		var m syncproto.State
		_ = syncproto.ParseState(msg, syncproto.Format6, &m)
		return appendStateOpenBSD(append(b, '\n'), &m, verbose)
	case syncproto.ActLinux:
		return appendLinux(b, i, msg)
	}
	return appendMessage(b, a, syncproto.Format6, msg)
}

// appendStateOpenBSD prints a state without a newline at either end.
func appendStateOpenBSD(b []byte, m *syncproto.State, verbose int) []byte {
	v := newView(syncproto.Format6, m)
	b = fmt.Appendf(appendVis(b, m.IfName.String()), " %d ", m.Proto)
	b = append(v.append(b, hostOpenBSD), "    "...)
	tcp := m.Proto == protoTCP
	if tcp {
		b = append(b, '\n')
	}
	b = v.appendLevels(append(b, "   "...), m.Proto)
	if verbose > 0 {
		if tcp {
			b = v.appendSequence(append(b, "\n   "...))
		}
		b = appendAges(append(b, "\n   "...), m)
	}
	if verbose > 1 {
		b = appendID(append(b, "\n   "...), m.ID, m.CreatorID)
	}
	return b
}

// hostOpenBSD prints one end: the routing domain, the address and the port. An
// unknown family is shown as IPv6.
func hostOpenBSD(b []byte, e *end) []byte {
	if e.rdomain != 0 {
		b = fmt.Appendf(b, "(%d) ", e.rdomain)
	}
	a := e.address(e.family)
	b = a.AppendTo(b)
	switch {
	case e.port == 0:
		return b
	case a.Is4():
		return fmt.Appendf(b, ":%d", e.port)
	}
	return fmt.Appendf(b, "[%d]", e.port)
}
