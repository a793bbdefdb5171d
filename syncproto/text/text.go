package text

import (
	"fmt"

	"github.com/pfsync/pfsync/syncproto"
)

// Append appends the text of a packet to b, lines that each end in a newline:
// version 5 as FreeBSD's tcpdump prints it, all others as OpenBSD's. The
// frame is what is behind the IP header. Verbose is the number of -v, 0 to 3.
// Without ip the text begins at "PFSYNC" and has no remarks about the IP
// header.
func Append(b []byte, ip *IP, frame []byte, verbose int) []byte {
	if len(frame) > 0 && frame[0] == syncproto.Version5 {
		return AppendFreeBSD(b, ip, frame, verbose)
	}
	return AppendOpenBSD(b, ip, frame, verbose)
}

// AppendState appends the text of one state: that of OpenBSD for Format6, of
// FreeBSD for the others.
func AppendState(b []byte, f syncproto.Format, m *syncproto.State, verbose int) []byte {
	if f == syncproto.Format6 {
		return appendStateOpenBSD(b, m, verbose)
	}
	return appendStateFreeBSD(b, f, m, verbose)
}

// rest is what both printers count down while they walk a frame.
type rest struct {
	packet int // bytes left in the packet
	header int // bytes left by the header's length; negative if overdrawn
	off    int // of the next byte
}

// step goes n bytes on.
func (r *rest) step(n int) {
	r.packet, r.header, r.off = r.packet-n, r.header-n, r.off+n
}

// remark is the line about a walk that did not come out even.
func (r *rest) remark(b []byte) []byte {
	switch {
	case r.header > 0:
		return append(b, "\n    ..."...)
	case r.header < 0:
		return append(b, "\n    invalid header length"...)
	case r.packet > 0:
		return append(b, "\n    invalid packet length"...)
	}
	return b
}

// begin prints the first line; ok is false if nothing follows.
func begin(b []byte, frame []byte, version uint8) (_ []byte, left rest, ok bool) {
	var h syncproto.Header
	if err := syncproto.ParseHeader(frame, &h); err != nil {
		return append(b, "[|pfsync]"...), rest{}, false
	}
	b = fmt.Appendf(b, "PFSYNCv%d len %d", h.Version, h.Len)
	left = rest{packet: len(frame), header: int(h.Len)}
	left.step(syncproto.HeaderLen)
	return b, left, h.Version == version
}

func appendID(b []byte, id uint64, creatorID uint32) []byte {
	return fmt.Appendf(b, "id: %016x creatorid: %08x", id, creatorID)
}

func appendTime(b []byte, seconds uint32) []byte {
	return fmt.Appendf(b, "%02d:%02d:%02d", seconds/3600, seconds/60%60, seconds%60)
}

// appendMessage prints a message that both systems print alike, a line that
// begins with a tab; state records are not among them.
func appendMessage(b []byte, a syncproto.Action, f syncproto.Format, msg []byte) []byte {
	b = append(b, "\n\t"...)
	switch a {
	case syncproto.ActClr:
		var m syncproto.Clr
		_ = syncproto.ParseClr(msg, &m)
		b = fmt.Appendf(b, "creatorid: %08x", m.CreatorID)
		if m.IfName[0] != 0 {
			b = appendVis(append(b, " interface: "...), m.IfName.String())
		}
	case syncproto.ActUpdC:
		var m syncproto.UpdC
		_ = syncproto.ParseUpdC(msg, &m)
		b = appendID(b, m.ID, m.CreatorID)
	case syncproto.ActBus:
		var m syncproto.Bus
		_ = syncproto.ParseBus(msg, &m)
		b = fmt.Appendf(b, "creatorid: %08x age: ", m.CreatorID)
		b = fmt.Appendf(appendTime(b, m.EndTime), " status: %s", busStatus(m.Status))
	case syncproto.ActTDB:
		var m syncproto.TDB
		_ = syncproto.ParseTDB(msg, f, &m)
		b = fmt.Appendf(b, "spi: 0x%08x rpl: %d cur_bytes: %d", m.SPI, m.RPL, m.CurBytes)
	default:
		var m syncproto.ID
		_ = syncproto.ParseID(msg, &m)
		b = appendID(b, m.ID, m.CreatorID)
	}
	return b
}

func busStatus(s uint8) string {
	switch s {
	case syncproto.BusStart:
		return "start"
	case syncproto.BusEnd:
		return "end"
	}
	return "UNKNOWN"
}
