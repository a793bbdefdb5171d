package control

import (
	"fmt"
	"slices"
)

// Setting is one word with its argument, if it takes one.
type Setting struct {
	Word string `json:"word"`
	Arg  string `json:"arg,omitempty"`
}

// Change is a list of settings, applied from left to right, all or nothing.
type Change struct {
	Set   []Setting `json:"set"`
	Reset bool      `json:"reset,omitempty"` // what is not in Set goes back to its default
	Wait  bool      `json:"wait,omitempty"`  // a syncdev that is not there is waited for: boot
}

// Limits of a change: far above what a person types, far below what hurts.
const (
	maxSettings = 1024
	maxArg      = 1024 // bytes
)

// IsDestroy reports whether the change is the word destroy. Together with
// others it is an error, which Apply reports.
func (ch Change) IsDestroy() bool {
	return len(ch.Set) == 1 && ch.Set[0].Word == WordDestroy && !ch.Reset
}

// Apply returns c with the change made, or the first error, a *WordError, and
// c as it was. It looks at values only: whether a device exists is the
// daemon's to find out.
func (c Config) Apply(ch Change) (Config, error) {
	if len(ch.Set) > maxSettings {
		return c, fmt.Errorf("%w: more than %d words", ErrTooLarge, maxSettings)
	}
	n := c.Clone()
	if ch.Reset {
		n = DefaultConfig()
	}
	for _, s := range ch.Set {
		if err := n.set(s); err != nil {
			return c, &WordError{Word: s.Word, Arg: s.Arg, Err: err}
		}
	}
	return n, nil
}

func (c *Config) set(s Setting) error {
	w, ok := LookupWord(s.Word)
	switch {
	case !ok:
		return ErrNoSuchWord
	case len(s.Arg) > maxArg:
		return ErrTooLarge
	case w.Arg == "" && s.Arg != "":
		return ErrArgument
	}
	return w.apply(c, s.Arg)
}

// Settings returns the words that make c out of the defaults, in an order in
// which they can be applied.
func (c Config) Settings() []Setting {
	d := DefaultConfig()
	var s settings
	if c.Description != "" {
		s.add("description", c.Description)
	}
	if c.HostID != 0 {
		s.add("hostid", fmt.Sprintf("%08x", c.HostID))
	}
	s.number("version", c.Version, d.Version)
	if c.SyncPeer.IsValid() {
		s.add("syncpeer", c.SyncPeer.String())
	}
	s.number("maxupd", c.MaxUpd, d.MaxUpd)
	s.number("maxdelay", c.MaxDelay, d.MaxDelay)
	s.number("deferdelay", c.DeferDelay, d.DeferDelay)
	s.number("deferqueue", c.DeferQueue, d.DeferQueue)
	s.flag("defer", c.Defer, d.Defer)
	s.number("mtu", c.MTU, d.MTU)
	s.filters(c.NoSync, d.NoSync)
	s.flag("liberal", c.Liberal, d.Liberal)
	s.number("maxstates", c.MaxStates, d.MaxStates)
	s.number("demotion", c.Demotion, d.Demotion)
	if c.SyncDev != "" {
		s.add("syncdev", c.SyncDev)
	}
	s.updown(c)
	return s
}

type settings []Setting

func (s *settings) add(word, arg string) { *s = append(*s, Setting{Word: word, Arg: arg}) }

func (s *settings) number(word string, v, d int) {
	if v != d {
		s.add(word, fmt.Sprint(v))
	}
}

func (s *settings) flag(word string, v, d bool) {
	switch {
	case v && !d:
		s.add(word, "")
	case !v && d:
		s.add("-"+word, "")
	}
}

func (s *settings) filters(v, d []Filter) {
	for _, f := range d {
		if !slices.Contains(v, f) {
			s.add("-nosync", f.String())
		}
	}
	for _, f := range v {
		if !slices.Contains(d, f) {
			s.add("nosync", f.String())
		}
	}
}

// updown writes up although syncdev means it: hostname.if files do.
func (s *settings) updown(c Config) {
	switch {
	case c.Up:
		s.add("up", "")
	case c.SyncDev != "":
		s.add("down", "")
	}
}
