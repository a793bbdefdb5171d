package top

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// peers is a head and a line for each.
func (m Model) peers() []line {
	lines := []line{{fmt.Sprintf("%-21s %-10s %4s %7s %8s %8s %9s %6s", "PEER", "SYNC", "VERS", "HEARD", "STATES", "TABLE", "FRAMES", "LOST"), title}}
	for _, p := range m.st.Peers {
		mark, style := syncMark(p)
		lines = append(lines, line{fmt.Sprintf("%-21s %-10s %4d %6.1fs %8d %8s %9d %6d", p.Addr, mark, p.Wire(), p.Heard, p.States, known(p.Table),
			p.Frames, p.Lost), style})
	}
	if len(m.st.Peers) == 0 {
		lines = append(lines, line{"no peer heard", faint})
	}
	return lines
}

// syncMark tells how a peer stands to us.
func syncMark(p control.Peer) (string, style) {
	switch {
	case !p.Alive:
		return "silent", bad
	case p.Mismatch:
		return "version", bad
	case p.Bulk.Sending:
		return "sending", plain
	case p.Linux && !p.InSync:
		return "not yet", plain
	case p.Demotion > 0:
		return "demoted " + strconv.Itoa(p.Demotion), plain
	}
	return "ok", plain
}

func known(n int) string {
	if n < 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

// Widths of the columns of a state, apart from the two addresses, which share
// the rest.
const (
	fixedWidth = 39
	minAddr    = 15
	maxAddr    = 47 // an IPv6 address with its port
)

func (m Model) addrWidth() int { return max(minAddr, min(maxAddr, (m.width-fixedWidth)/2)) }

func (m Model) stateHead() []line {
	w := m.addrWidth()
	return []line{{fmt.Sprintf("%-4s %-2s %-*s %-*s %5s %5s %5s %5s %5s", "PR", "D", w, "SRC", w, "DEST", "STATE", "AGE", "EXP", "PKTS", "BYTES"), title}}
}

func (m Model) stateRows() []line {
	w := m.addrWidth()
	lines := make([]line, 0, len(m.table.states))
	for i := range m.table.states {
		s := &m.table.states[i]
		orig, _ := s.Tuples()
		lines = append(lines, line{text: fmt.Sprintf("%-4.4s %-2s %-*s %-*s %5s %5s %5s %5s %5s", control.ProtoName(s.Proto), direction(s),
			w, clip(endpoint(orig[0]), w), w, clip(endpoint(orig[1]), w), fmt.Sprintf("%d:%d", s.Src.State, s.Dst.State), clock(s.Creation), clock(s.Expire),
			short(float64(s.Packets[0]+s.Packets[1])), short(float64(s.Bytes[0]+s.Bytes[1])))})
	}
	return lines
}

// direction is pf's, in or out, with a star where the state is carried here.
func direction(s *control.State) string {
	d := "i"
	if s.Direction == control.DirOut {
		d = "o"
	}
	if s.Carried {
		d += "*"
	}
	return d
}

func endpoint(e control.Endpoint) string {
	switch {
	case !e.Addr.IsValid():
		return "?"
	case e.Port == 0:
		return e.Addr.String()
	}
	return netip.AddrPortFrom(e.Addr, e.Port).String()
}

// clip marks what does not fit, for half an address looks like a whole one.
func clip(s string, w int) string {
	if len(s) <= w {
		return s
	}
	return s[:w-1] + "~"
}

// clock prints seconds in five characters: minutes and seconds, hours and
// minutes, days and hours.
func clock(sec uint32) string {
	switch {
	case sec < 3600:
		return fmt.Sprintf("%02d:%02d", sec/60, sec%60)
	case sec < 100*3600:
		return fmt.Sprintf("%dh%02d", sec/3600, sec/60%60)
	case sec < 100*86400:
		return fmt.Sprintf("%dd%02d", sec/86400, sec/3600%24)
	}
	return fmt.Sprintf("%dd", sec/86400)
}

// counterRows are the counters that are not 0.
func (m Model) counterRows() []line {
	all := counterMap(m.stats)
	var lines []line
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if all[name] > 0 {
			lines = append(lines, line{text: fmt.Sprintf("%-24s %20d %12s", name, all[name], short(m.since[name]))})
		}
	}
	return lines
}
