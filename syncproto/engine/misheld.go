package engine

import "github.com/pfsync/pfsync/pfstate"

// A kernel may take an entry and translate it otherwise than it was told, and
// not say so: the keys of GRE are such a case (nf_nat_core.c
// nf_nat_l4proto_unique_tuple). That entry is nobody's connection. It must not
// be told, for its carrier would take it for a later connection of the tuple and
// end its own; nor stay, for packets that came here would leave as somebody
// else's.

// misheld reports whether f is what the kernel made of a peer's s that we wrote.
// What packets made otherwise is a later connection.
func (e *Engine) misheld(s *pfstate.State, f *pfstate.Flow) bool {
	return f.Reply != s.Reply && written(f) && s.Has(pfstate.FlagInKernel) && s.Has(pfstate.FlagImported) &&
		s.LastOp != 0 && s.Op == 0 && s.InFlight == 0
}

// putOut removes such an entry. The state stays, as one that this kernel cannot
// hold.
func (e *Engine) putOut(r pfstate.Ref, f *pfstate.Flow) {
	e.reason(ReasonKernelOther)
	e.uproot(f)
	s := e.tab.At(r)
	s.Flags &^= pfstate.FlagInKernel | pfstate.FlagAckWanted
	s.Flags |= pfstate.FlagRefused | pfstate.FlagDeaf
}
