package engine

import (
	"reflect"
	"slices"

	"github.com/pfsync/pfsync/pfstate"
)

// refilter sees to it that what the filter now matches goes, and that what it
// no longer matches comes.
func (e *Engine) refilter(now int64, was *pfstate.Filter) {
	is := &e.cfg.Filter
	if reflect.DeepEqual(was, is) {
		return
	}
	e.sieve = 1
	e.refusals.forget()
	e.kept.dropIf(func(c *Kept) bool { return e.filteredKept(c.format, &c.State) })
	if looser(was, is) {
		e.dump.wanted = true // of ours there may be entries without a state
		e.bulkQuietly(now)   // and peers have told us of some that we did not take
	}
}

// looser reports whether something that was filtered is so no longer. That
// addresses come and go does not count: those of a firewall that has just lost
// its shared ones are still about connections of its own.
func looser(was, is *pfstate.Filter) bool {
	return was.Local != nil && is.Local == nil || lacks(was.Marks, is.Marks) || lacks(was.Zones, is.Zones) ||
		lacks(was.Protos, is.Protos) || lacks(was.Nets, is.Nets) || lacks(was.Ports, is.Ports) || lacks(was.Labels, is.Labels)
}

// lacks reports whether one of was is not in is.
func lacks[T comparable](was, is []T) bool {
	return slices.ContainsFunc(was, func(v T) bool { return !slices.Contains(is, v) })
}

// sieveStep is how many table slots one Tick looks at.
const sieveStep = 4096

// sieveTick withdraws what the filter matches.
func (e *Engine) sieveTick(now int64) {
	if e.sieve == 0 {
		return
	}
	end := min(e.sieve+sieveStep, e.tab.End())
	for ; e.sieve < end; e.sieve++ {
		if !e.tab.InUse(e.sieve) || e.tab.At(e.sieve).Has(pfstate.FlagDead) {
			continue
		}
		f := e.tab.FlowOf(e.tab.At(e.sieve), now)
		if e.cfg.Filter.Match(&f) {
			e.withdraw(now, e.sieve)
		}
	}
	if e.sieve >= e.tab.End() {
		e.sieve = 0
	}
}

// withdraw ends the synchronisation of a state. What is carried here is taken
// back from the peers, and the kernel's entry stays; of what passes elsewhere
// this kernel's copy goes, and the peers are left alone.
func (e *Engine) withdraw(now int64, r pfstate.Ref) {
	e.reason(ReasonNoSync)
	s := e.tab.At(r)
	switch {
	case s.Has(pfstate.FlagUnclaimed):
		e.release(r)
	case s.Has(pfstate.FlagCarried):
		e.bury(now, r, s.Carried()) // for want of anybody else: a peer that knows better may refuse
	default:
		e.unsureEnd(s)
		e.erase(r, false)
	}
}

// unlabelled reports whether a filter looks at labels and an event does not
// tell them: it has those that just changed only. The next dump tells.
func (e *Engine) unlabelled(f *pfstate.Flow) bool {
	return len(e.cfg.Filter.Labels) > 0 && f.Has&pfstate.HasLabels == 0
}
