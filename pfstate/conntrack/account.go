package conntrack

import (
	"os"

	"github.com/pfsync/pfsync/pfstate"
)

// accounting switches counters on for entries that are made, which tell whether
// packets pass where the timeout cannot: that of a GRE entry is fixed (see
// createStatus). It is net.netfilter.nf_conntrack_acct of the namespace in which
// it was opened; only what is made while it is set gets counters.
type accounting struct{ f *os.File }

// openAccounting opens it in the calling thread's network namespace. Where that
// cannot be done there are no counters.
func openAccounting() accounting {
	f, _ := os.OpenFile(sysctlPath(sysctlAcct), os.O_RDWR, 0)
	return accounting{f}
}

// on switches them on and returns what puts back what was.
func (a accounting) on() (off func()) {
	var was [1]byte
	if a.f == nil {
		return func() {}
	}
	if _, err := a.f.ReadAt(was[:], 0); err != nil || was[0] != '0' {
		return func() {}
	}
	a.f.WriteAt([]byte("1"), 0)
	return func() { a.f.WriteAt(was[:], 0) }
}

func (a accounting) close() {
	if a.f != nil {
		a.f.Close()
	}
}

// needsCounters reports whether one of ops makes an entry whose timeout will not
// tell that it lives.
func needsCounters(ops []pfstate.Op) bool {
	for k := range ops {
		if ops[k].Flow.Proto == pfstate.ProtoGRE && ops[k].Kind != pfstate.OpDelete && ops[k].Kind != pfstate.OpGet {
			return true
		}
	}
	return false
}
