package daemon

import (
	"math"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto/engine"
)

// room is an Injector that leaves room in the kernel's table: what is beyond is
// refused as the kernel would refuse it. For the kernel does not: at its limit
// it first ends another entry in the way of the new one, if there is one that is
// not assured (nf_conntrack_core.c early_drop). That would push out connections
// of this host for those of another, and peers would hear of it as of a kill.
type room struct {
	Injector
	count, max func() (uint32, error)

	left int       // creates until the table is looked at again
	at   time.Time // when it was
}

// roomEvery is how long a look at the table holds: the kernel adds entries too.
const roomEvery = 100 * time.Millisecond

// Do is that of the Injector, with results for what there is no room for.
func (r *room) Do(ops []pfstate.Op, res []pfstate.Result) (n int, err error) {
	if r.left < len(ops) || time.Since(r.at) > roomEvery {
		r.look()
	}
	for i := range ops {
		switch {
		case ops[i].Kind != pfstate.OpCreate:
		case r.left > 0:
			r.left--
		default:
			done, err := r.Injector.Do(ops[n:i], res[n:i])
			if err != nil {
				return n + done, err
			}
			res[i] = pfstate.Result{Kind: ops[i].Kind, Ref: ops[i].Ref, Code: pfstate.ResultFull}
			n = i + 1
		}
	}
	done, err := r.Injector.Do(ops[n:], res[n:])
	return n + done, err
}

// look counts. What cannot be read is no limit.
func (r *room) look() {
	r.left, r.at = math.MaxInt, time.Now()
	most, err := r.max()
	if err != nil || most == 0 {
		return
	}
	if have, err := r.count(); err == nil {
		r.left = max(0, engine.KernelRoom(int(most))-int(have))
	}
}
