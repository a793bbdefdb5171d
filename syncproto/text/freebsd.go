package text

import (
	"fmt"

	"github.com/pfsync/pfsync/syncproto"
)

// freebsdNames are the names that FreeBSD's tcpdump gives to the action bytes
// of version 5.
var freebsdNames = [syncproto.WireActions5]string{
	"clear all", "insert 13.1", "insert ack", "update 13.1", "update compressed", "request uncompressed",
	"delete", "delete compressed", "frag insert", "frag delete", "bulk update status", "tdb", "eof",
	"insert", "update", "insert", "update",
}

// AppendFreeBSD appends the text of a packet as FreeBSD's tcpdump -nt prints
// it. Of a version other than 5 only the first line appears.
func AppendFreeBSD(b []byte, ip *IP, frame []byte, verbose int) []byte {
	if ip != nil {
		b = ip.appendFreeBSD(b, verbose)
		if len(frame) < ip.PayloadLen() {
			return append(b, "[|pfsync]\n"...)
		}
	}
	b, left, ok := begin(b, frame, syncproto.Version5)
	if ok {
		b = appendRegionsFreeBSD(b, frame, left, verbose)
	}
	return append(b, '\n')
}

// appendFreeBSD is the beginning of the line.
func (ip *IP) appendFreeBSD(b []byte, verbose int) []byte {
	switch {
	case ip.Version == 6 && verbose > 0:
		b = fmt.Appendf(b, "IP6 (hlim %d, next-header pfsync (240) payload length: %d) ", ip.TTL, ip.PayloadLen())
	case ip.Version == 6:
		b = append(b, "IP6 "...)
	case verbose > 0:
		flags := "none"
		if ip.DF {
			flags = "DF"
		}
		b = fmt.Appendf(b, "IP (tos 0x%x, ttl %d, id %d, offset 0, flags [%s], proto pfsync (240), length %d)\n    ",
			ip.TOS, ip.TTL, ip.ID, flags, ip.TotalLen)
	default:
		b = append(b, "IP "...)
	}
	return fmt.Appendf(b, "%v > %v: ", ip.Src, ip.Dst)
}

// appendRegionsFreeBSD walks the regions up to EOF.
func appendRegionsFreeBSD(b, frame []byte, left rest, verbose int) []byte {
	for left.header > 0 && left.packet >= syncproto.SubheaderLen {
		var sub syncproto.Subheader
		_ = syncproto.ParseSubheader(frame[left.off:], &sub)
		left.step(syncproto.SubheaderLen)

		if int(sub.Action) >= syncproto.WireActions5 {
			return fmt.Appendf(b, "\n    act UNKNOWN id %d", sub.Action)
		}
		a, f, stride := syncproto.Wire5(sub.Action)
		b = fmt.Appendf(b, "\n    %s count %d", freebsdNames[sub.Action], sub.Count)
		if a == syncproto.ActEOF {
			return b
		}
		if stride == 0 {
			return fmt.Appendf(b, "\n    unimplemented action %d", sub.Action)
		}
		for range int(sub.Count) {
			if stride > left.packet {
				return left.remark(b)
			}
			if verbose > 0 {
				b = appendMessageFreeBSD(b, a, f, frame[left.off:left.off+stride], verbose)
			}
			left.step(stride)
		}
	}
	return left.remark(b)
}

func appendMessageFreeBSD(b []byte, a syncproto.Action, f syncproto.Format, msg []byte, verbose int) []byte {
	switch a {
	case syncproto.ActIns, syncproto.ActUpd, syncproto.ActDel:
		var m syncproto.State
		_ = syncproto.ParseState(msg, f, &m)
		return appendStateFreeBSD(append(b, '\n'), f, &m, verbose)
	}
	b = appendMessage(b, a, f, msg)
	if a == syncproto.ActUpdC && verbose > 2 {
		var m syncproto.UpdC
		_ = syncproto.ParseUpdC(msg, &m)
		v := view{first: &m.Src, second: &m.Dst}
		b = v.appendLevels(append(b, "\n\tTCP? :   "...), protoTCP)
		b = v.appendSequence(append(b, "\n\t"...))
	}
	return b
}

// appendStateFreeBSD prints a state without a newline at either end.
func appendStateFreeBSD(b []byte, f syncproto.Format, m *syncproto.State, verbose int) []byte {
	v := newView(f, m)
	b = appendVis(append(b, '\t'), m.IfName.String()) // FreeBSD does not escape, but a name may hold anything
	b = fmt.Appendf(b, " proto %d ", m.Proto)
	b = v.append(b, hostFreeBSD)
	b = v.appendLevels(append(b, "   "...), m.Proto)
	if verbose > 1 {
		if m.Proto == protoTCP {
			b = v.appendSequence(append(b, "\n\t"...))
		}
		b = appendAges(append(b, "\n\t"...), m)
		b = appendID(append(b, "\n\t"...), m.ID, m.CreatorID)
	}
	return b
}

// hostFreeBSD prints one end: the address and the port.
func hostFreeBSD(b []byte, e *end) []byte {
	if a := e.address(syncproto.FamilyIPv6FreeBSD); a.IsValid() {
		b = a.AppendTo(b)
	} else {
		b = append(b, '?')
	}
	if e.port != 0 {
		b = fmt.Appendf(b, ".%d", e.port)
	}
	return b
}
