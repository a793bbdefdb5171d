package top

import (
	"strconv"
	"strings"
	"time"

	tea "github.com/charmbracelet/bubbletea"
)

// helpText is what h shows. Keys are those of pftop where it has one.
const helpText = `q          quit
space, p   pause, go on
h, ?       this help
s          seconds between two looks
o          next order          r   the other way round
1 2 3 4    overview, states, peers, counters
v          next view (also left and right)
up, down, page up, page down, home, end   scroll
`

// keys takes apart what was typed so fast that it came as one.
func (m Model) keys(k tea.KeyMsg) (tea.Model, tea.Cmd) {
	if k.Type != tea.KeyRunes || len(k.Runes) < 2 {
		return m.key(k)
	}
	var next tea.Model = m
	var cmds []tea.Cmd
	for _, r := range k.Runes {
		var cmd tea.Cmd
		next, cmd = next.(Model).key(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune{r}})
		cmds = append(cmds, cmd)
	}
	return next, tea.Batch(cmds...)
}

// key does what a key says.
func (m Model) key(k tea.KeyMsg) (tea.Model, tea.Cmd) {
	if k.String() == "ctrl+c" {
		return m, tea.Quit
	}
	if m.asking {
		return m.answer(k)
	}
	switch s := k.String(); s {
	case "q", "Q":
		return m, tea.Quit
	case "ctrl+z":
		return m, tea.Suspend
	case " ", "p":
		m.paused = !m.paused
	case "h", "?":
		m.help = !m.help
	case "esc":
		m.help = false
	case "s":
		m.asking, m.typed, m.help = true, "", false
	case "r":
		m.reverse = !m.reverse
		return m.readAgain()
	case "o":
		m.order = (m.order + 1) % max(1, len(m.conf.Orders))
		return m.readAgain()
	case "v", "right":
		return m.show(m.view%Views + 1)
	case "left":
		return m.show((m.view+Views-2)%Views + 1)
	default:
		return m.move(s)
	}
	return m, nil
}

// move scrolls, or chooses a view or an order by its key.
func (m Model) move(s string) (tea.Model, tea.Cmd) {
	page := max(1, m.visible())
	switch s {
	case "up", "k":
		m.scroll(-1)
	case "down", "j":
		m.scroll(1)
	case "pgup", "ctrl+b":
		m.scroll(-page)
	case "pgdown", "ctrl+f":
		m.scroll(page)
	case "home", "g":
		m.scroll(-m.offset)
	case "end", "G":
		m.scroll(m.rows())
	default:
		if n, err := strconv.Atoi(s); err == nil && n >= viewOverview && n <= Views {
			return m.show(n)
		}
		for i, o := range m.conf.Orders {
			if o.Key != "" && o.Key == s {
				m.order, m.reverse = i, false
				return m.readAgain()
			}
		}
	}
	return m, nil
}

func (m Model) show(view int) (tea.Model, tea.Cmd) {
	m.view, m.offset, m.help = view, 0, false
	return m, nil
}

// readAgain: in another order other states are the first, so they have to be
// read again; what is here is sorted meanwhile.
func (m Model) readAgain() (tea.Model, tea.Cmd) {
	m.offset = 0
	m.table = m.table.sorted(m.compare())
	if m.reading || m.paused {
		return m, nil
	}
	m.reading = true
	return m, m.read()
}

// answer takes a key of the number asked for.
func (m Model) answer(k tea.KeyMsg) (tea.Model, tea.Cmd) {
	switch s := k.String(); {
	case s == "esc":
		m.asking = false
	case s == "backspace" && m.typed != "":
		m.typed = m.typed[:len(m.typed)-1]
	case s == "enter":
		m.asking = false
		sec, err := strconv.ParseFloat(m.typed, 64)
		if err != nil || sec <= 0 || sec > MaxInterval.Seconds() {
			return m, nil
		}
		m.conf.Interval = max(MinInterval, time.Duration(sec*float64(time.Second)))
		m.turn++ // the old clock stops
		return m, m.clock()
	case len(s) == 1 && strings.Contains("0123456789.", s) && len(m.typed) < 8:
		m.typed += s
	}
	return m, nil
}

// scroll moves the first row shown, as far as there are rows.
func (m *Model) scroll(by int) {
	m.offset = max(0, min(m.offset+by, m.rows()-m.visible()))
}
