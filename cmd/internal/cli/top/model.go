package top

import (
	"context"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// Views, by the key that shows them.
const (
	viewOverview = iota + 1
	viewStates
	viewPeers
	viewCounters
)

// Views is how many there are.
const Views = viewCounters

var viewNames = [...]string{viewOverview: "overview", viewStates: "states", viewPeers: "peers", viewCounters: "counters"}

// Model is what the view knows. It is a value: Update returns the next one.
type Model struct {
	ctx  context.Context
	conf Config

	width, height int // of the terminal; 0 before it is known
	view          int
	order         int // of conf.Orders
	reverse       bool
	paused        bool
	help          bool
	asking        bool   // for an interval
	typed         string // of the interval
	offset        int    // first row shown of what is scrolled

	turn    int // of the clock; a tick of another is late
	now     time.Time
	st      control.Status
	stats   control.Stats
	err     error // of the last question
	since   map[string]float64
	in, out history
	bytes   [2]float64 // a second, in and out
	frames  [2]float64
	last    time.Time // of the last sample; zero: none

	reading bool // states are being read
	table   reading
}

// New returns the model of a view that has seen nothing.
func New(ctx context.Context, c Config) Model {
	return Model{ctx: ctx, conf: c, view: max(viewOverview, min(c.View, Views)), reading: true} // Init reads
}

// tick is when to look again.
type tick struct {
	turn int
	at   time.Time
}

// sample is an answer of the daemon.
type sample struct {
	at    time.Time
	st    control.Status
	stats control.Stats
	err   error
}

// Init asks at once.
func (m Model) Init() tea.Cmd { return tea.Batch(m.ask(), m.read(), m.clock()) }

// Update is tea.Model's.
func (m Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		m.scroll(0)
	case tea.KeyMsg:
		return m.keys(msg)
	case tick:
		return m.tick(msg)
	case sample:
		m.measured(msg)
	case reading:
		m.reading = false
		if msg.err == nil {
			m.table = msg
		}
		m.scroll(0)
	}
	return m, nil
}

func (m Model) tick(t tick) (tea.Model, tea.Cmd) {
	if t.turn != m.turn {
		return m, nil
	}
	m.now = t.at
	cmds := []tea.Cmd{m.clock()}
	if !m.paused {
		cmds = append(cmds, m.ask())
		if m.wantsStates() {
			m.reading = true
			cmds = append(cmds, m.read())
		}
	}
	return m, tea.Batch(cmds...)
}

// readShare bounds the part of the time that is spent reading states: not
// oftener than so many times what the last reading took.
const readShare = 10

func (m *Model) wantsStates() bool {
	if m.reading || m.view != viewOverview && m.view != viewStates {
		return false
	}
	return m.now.Sub(m.table.at) >= m.table.took*readShare
}

// measured takes an answer; the first one makes no rates yet.
func (m *Model) measured(s sample) {
	m.err = s.err
	if m.now.Before(s.at) {
		m.now = s.at
	}
	if s.err != nil {
		m.last = time.Time{} // the next daemon counts from 0
		return
	}
	if sec := s.at.Sub(m.last).Seconds(); !m.last.IsZero() && sec > 0 {
		m.in.add(rate(messages(m.stats.In), messages(s.stats.In), sec))
		m.out.add(rate(messages(m.stats.Out), messages(s.stats.Out), sec))
		for i, dir := range []string{"in", "out"} {
			m.frames[i] = rate(m.stats.Reasons["frames"+dir], s.stats.Reasons["frames"+dir], sec)
			m.bytes[i] = rate(m.stats.Reasons["bytes"+dir], s.stats.Reasons["bytes"+dir], sec)
		}
		was := counterMap(m.stats)
		m.since = map[string]float64{}
		for name, v := range counterMap(s.stats) {
			m.since[name] = rate(was[name], v, sec)
		}
	}
	m.st, m.stats, m.last = s.st, s.stats, s.at
	m.scroll(0)
}
