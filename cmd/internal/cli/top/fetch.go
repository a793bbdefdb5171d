package top

import (
	"cmp"
	"context"
	"slices"
	"time"

	tea "github.com/charmbracelet/bubbletea"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// kept is how many states of a large table are held to scroll through.
const kept = 1000

// reading is the states that are first in the order wanted.
type reading struct {
	states []control.State
	total  int // of the table
	at     time.Time
	took   time.Duration
	err    error
}

func (m Model) clock() tea.Cmd {
	turn := m.turn
	return tea.Tick(m.conf.Interval, func(at time.Time) tea.Msg { return tick{turn, at} })
}

// silence is after how long a view says that nobody answers. The next tick asks
// again, so that it is right sooner than it is certain.
const silence = 3 * time.Second

func (m Model) ask() tea.Cmd {
	src, ctx := m.conf.Source, m.ctx
	return func() tea.Msg {
		ctx, cancel := context.WithTimeout(ctx, silence)
		defer cancel()
		var s sample
		if s.st, s.err = src.Status(ctx); s.err == nil {
			s.stats, s.err = src.Stats(ctx)
		}
		s.at = time.Now()
		return s
	}
}

func (m Model) read() tea.Cmd {
	src, ctx, compare := m.conf.Source, m.ctx, m.compare()
	return func() tea.Msg {
		start := time.Now()
		b := best{compare: compare}
		err := src.States(ctx, control.StateQuery{}, func(s *control.State) error { b.add(s); return nil })
		r := reading{states: b.finish(), total: b.seen, at: time.Now(), err: err}
		r.took = r.at.Sub(start)
		return r
	}
}

// compare is the order wanted; of equals the youngest is first.
func (m Model) compare() func(a, b control.State) int {
	order := func(control.State, control.State) int { return 0 }
	if m.order < len(m.conf.Orders) {
		order = m.conf.Orders[m.order].Compare
	}
	sign := 1
	if m.reverse {
		sign = -1
	}
	return func(a, b control.State) int {
		return cmp.Or(sign*order(a, b), cmp.Compare(a.Creation, b.Creation), cmp.Compare(b.ID, a.ID), cmp.Compare(a.CreatorID, b.CreatorID))
	}
}

// best keeps the first states in an order, in bounded memory.
type best struct {
	compare func(a, b control.State) int
	all     []control.State
	seen    int
}

func (b *best) add(s *control.State) {
	b.seen++
	b.all = append(b.all, *s)
	if len(b.all) >= 2*kept {
		b.finish()
	}
}

func (b *best) finish() []control.State {
	slices.SortFunc(b.all, b.compare)
	b.all = b.all[:min(len(b.all), kept)]
	return b.all
}

// sorted returns the same states in another order.
func (r reading) sorted(compare func(a, b control.State) int) reading {
	r.states = slices.Clone(r.states)
	slices.SortFunc(r.states, compare)
	return r
}
