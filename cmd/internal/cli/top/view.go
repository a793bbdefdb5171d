package top

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// style is how a line is shown.
type style uint8

const (
	plain style = iota
	title       // head of a table
	bad         // something is wrong
	faint
)

// sgr are the escape sequences of the styles, without colours and with.
var sgr = map[bool][4]string{
	false: {title: "\x1b[7m", bad: "\x1b[1m"},
	true:  {title: "\x1b[7m", bad: "\x1b[1;31m", faint: "\x1b[2m"},
}

// line is one of the screen.
type line struct {
	text string
	style
}

// View is tea.Model's.
func (m Model) View() string {
	switch {
	case m.width == 0:
		return ""
	case m.width < minWidth || m.height < 3:
		return fit("too small", m.width)
	}
	var b strings.Builder
	for i, l := range m.screen() {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(m.paint(l))
	}
	return b.String()
}

func (m Model) paint(l line) string {
	text := fit(l.text, m.width)
	code := sgr[m.conf.Colour][l.style]
	if code == "" {
		return text
	}
	if l.style == title { // as wide as the screen
		text += strings.Repeat(" ", max(0, m.width-len([]rune(text))))
	}
	return code + text + "\x1b[m"
}

// fit cuts a text to columns, and takes out what would move the cursor. What is
// shown has one column a rune, apart from a description, which is not shown.
func fit(s string, width int) string {
	r := []rune(strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return '?'
		}
		return c
	}, s))
	return strings.TrimRight(string(r[:min(len(r), max(0, width))]), " ")
}

// screen is the head, the scrolled part, empty lines, and the foot: as many as
// the terminal has.
func (m Model) screen() []line {
	lines := m.head()
	if m.help {
		for l := range strings.Lines(helpText) {
			lines = append(lines, line{text: strings.TrimSuffix(l, "\n")})
		}
		lines = append(lines, line{text: m.orderHelp()})
	} else {
		body := m.body()
		end := min(len(body), m.offset+m.visible())
		lines = append(lines, m.above()...)
		lines = append(lines, body[min(m.offset, end):end]...)
	}
	lines = lines[:min(len(lines), m.height-1)]
	for len(lines) < m.height-1 {
		lines = append(lines, line{})
	}
	return append(lines, m.foot())
}

func (m Model) orderHelp() string {
	var keys []string
	for _, o := range m.conf.Orders {
		if o.Key != "" {
			keys = append(keys, o.Key+" "+o.Name)
		}
	}
	return "orders     " + strings.Join(keys, "  ")
}

// head is there in every view.
func (m Model) head() []line {
	right := fmt.Sprintf("every %s  %s", m.conf.Interval, m.now.Format("15:04:05"))
	if m.paused {
		right = "PAUSED  " + right
	}
	switch {
	case m.err != nil:
		return []line{{m.both(m.conf.Name+"  no answer", right), title}, {m.err.Error(), bad}}
	case m.last.IsZero():
		return []line{{m.both(m.conf.Name+"  ...", right), title}}
	}
	return []line{{m.both(fmt.Sprintf("%s  sync: %s  demotion: %d", m.conf.Name, m.st.Sync, m.st.Demotion), right), title}}
}

// both puts a text at each end of a line; the left one matters more.
func (m Model) both(left, right string) string {
	if gap := m.width - len([]rune(left)) - len([]rune(right)); gap > 1 {
		return left + strings.Repeat(" ", gap) + right
	}
	return left
}

// above stands still between head and what scrolls.
func (m Model) above() []line {
	switch m.view {
	case viewOverview:
		return slices.Concat(m.counts(), m.rates(), m.bulk(), m.peers(), []line{{}}, m.stateHead())
	case viewStates:
		return m.stateHead()
	case viewPeers:
		return m.peers()[:1]
	}
	return []line{{fmt.Sprintf("%-24s %20s %12s", "COUNTER", "TOTAL", "A SECOND"), title}}
}

// body is what scrolls.
func (m Model) body() []line {
	switch m.view {
	case viewOverview, viewStates:
		return m.stateRows()
	case viewPeers:
		return m.peers()[1:]
	}
	return m.counterRows()
}

func (m *Model) rows() int { return len(m.body()) }

// visible is how many rows of the body fit.
func (m Model) visible() int {
	return max(0, m.height-len(m.head())-len(m.above())-1)
}

func (m Model) foot() line {
	if m.asking {
		return line{text: "seconds between two looks: " + m.typed + "_"}
	}
	shown := m.visible()
	rows := m.rows()
	last := min(m.offset+shown, rows)
	pos := fmt.Sprintf("%s %d-%d/%d", viewNames[m.view], min(m.offset+1, last), last, rows)
	if m.view == viewOverview || m.view == viewStates {
		pos = fmt.Sprintf("states %d-%d/%d  order: %s", min(m.offset+1, last), last, max(rows, m.table.total), m.orderName())
	}
	return line{m.both(pos, "q quit  h help  1-4 views"), faint}
}

func (m Model) orderName() string {
	if m.order >= len(m.conf.Orders) {
		return "none"
	}
	name := m.conf.Orders[m.order].Name
	if m.reverse {
		name += " reversed"
	}
	return name
}

func (m Model) counts() []line {
	c := m.st.States
	text := fmt.Sprintf("states %d  local %d  peer %d  carried %d  kernel %d/%d", c.Total, c.Local, c.Peer, c.Carried, c.Kernel, c.Max)
	return []line{{text: text}}
}

// rates draws a line each way.
func (m Model) rates() []line {
	levels := ascii
	if m.conf.Blocks {
		levels = blocks
	}
	var lines []line
	for i, dir := range []struct {
		name string
		h    *history
	}{{"in ", &m.in}, {"out", &m.out}} {
		text := fmt.Sprintf("%s %5s msg/s %5s frames/s %5sB/s  peak %5s ", dir.name, short(dir.h.now()), short(m.frames[i]), short(m.bytes[i]), short(dir.h.peak()))
		if m.width < len(text)+8 { // the picture says more than the numbers
			text = fmt.Sprintf("%s %5s/s ", dir.name, short(dir.h.now()))
		}
		lines = append(lines, line{text: text + dir.h.spark(m.width-len(text), levels)})
	}
	return lines
}

// bulk shows transfers, ours and those to peers, as bars.
func (m Model) bulk() []line {
	var lines []line
	if s := m.st.Sync; s.State == control.SyncBulk {
		from := ""
		if s.Addr.IsValid() {
			from = " from " + s.Addr.String()
		}
		lines = append(lines, line{text: m.bar("receiving states"+from, s.Percent)})
	}
	for _, p := range m.st.Peers {
		if p.Bulk.Sending {
			lines = append(lines, line{text: m.bar("sending states to "+p.Addr.String(), p.Bulk.Sent*100/max(1, p.Bulk.Total))})
		}
	}
	return lines
}

// barWidth is the length of a bar between its ends.
const barWidth = 20

func (m Model) bar(what string, percent int) string {
	if percent < 0 {
		return what
	}
	n := min(percent, 100) * barWidth / 100
	return fmt.Sprintf("[%s%s] %3d%% %s", strings.Repeat("#", n), strings.Repeat("-", barWidth-n), percent, what)
}
