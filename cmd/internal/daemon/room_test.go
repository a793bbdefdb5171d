package daemon

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pfsync/pfsync/pfstate"
)

// countingInjector does what it is told and notes what that was.
type countingInjector struct {
	Injector
	did []uint64 // references
	bad uint64   // at which the socket breaks
}

var errBroken = errors.New("broken")

func (i *countingInjector) Do(ops []pfstate.Op, res []pfstate.Result) (int, error) {
	for n := range ops {
		if ops[n].Ref == i.bad {
			return n, errBroken
		}
		i.did = append(i.did, ops[n].Ref)
		res[n] = pfstate.Result{Kind: ops[n].Kind, Ref: ops[n].Ref}
	}
	return len(ops), nil
}

// TestRoom: what there is no room for does not reach the kernel, the rest does,
// in order, and every operation has its result.
func TestRoom(t *testing.T) {
	const create, del, update = pfstate.OpCreate, pfstate.OpDelete, pfstate.OpUpdate
	for _, tc := range []struct {
		name      string
		have, max uint32
		err       error
		ops       []pfstate.OpKind
		did       []uint64
	}{
		{"room", 10, 160, nil, []pfstate.OpKind{create, del, create}, []uint64{1, 2, 3}},
		{"no limit", 1000, 0, nil, []pfstate.OpKind{create}, []uint64{1}},
		{"cannot be read", 1000, 160, errBroken, []pfstate.OpKind{create}, []uint64{1}},
		{"full", 160, 160, nil, []pfstate.OpKind{create, del, create, update, create}, []uint64{2, 4}},
		{"in the last thirty-second", 155, 160, nil, []pfstate.OpKind{create, update}, []uint64{2}},
		{"room for two", 153, 160, nil, []pfstate.OpKind{create, create, del, create, del}, []uint64{1, 2, 3, 5}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inj := &countingInjector{}
			r := &room{
				Injector: inj,
				count:    func() (uint32, error) { return tc.have, nil },
				max:      func() (uint32, error) { return tc.max, tc.err },
			}
			var ops []pfstate.Op
			for i, k := range tc.ops {
				ops = append(ops, pfstate.Op{Kind: k, Ref: uint64(i + 1)})
			}
			res := make([]pfstate.Result, len(ops))
			if n, err := r.Do(ops, res); n != len(ops) || err != nil {
				t.Fatalf("%d of %d, %v", n, len(ops), err)
			}
			if !slices.Equal(inj.did, tc.did) {
				t.Errorf("the kernel was asked for %d, want %d", inj.did, tc.did)
			}
			for i := range res {
				want := pfstate.ResultFull
				if slices.Contains(tc.did, ops[i].Ref) {
					want = pfstate.ResultOK
				}
				if res[i].Ref != ops[i].Ref || res[i].Kind != ops[i].Kind || res[i].Code != want {
					t.Errorf("result %d: %+v", i, res[i])
				}
			}
		})
	}
}

// TestRoomLooks: the table is looked at when the room that there was is used up,
// or long ago, and not for every operation.
func TestRoomLooks(t *testing.T) {
	looks := 0
	r := &room{
		Injector: &countingInjector{bad: 9},
		count:    func() (uint32, error) { looks++; return 0, nil },
		max:      func() (uint32, error) { return 32, nil },
	}
	do := func(kind pfstate.OpKind, ref uint64) error {
		_, err := r.Do([]pfstate.Op{{Kind: kind, Ref: ref}}, make([]pfstate.Result, 1))
		return err
	}
	for range 31 {
		r.at = time.Now()
		do(pfstate.OpCreate, 1)
	}
	if looks != 1 {
		t.Errorf("%d looks for 31 creates", looks)
	}
	r.at = time.Now()
	do(pfstate.OpCreate, 1)
	r.at = time.Now().Add(-2 * roomEvery)
	do(pfstate.OpUpdate, 1)
	if looks != 3 {
		t.Errorf("%d looks, want 3", looks)
	}
	if err := do(pfstate.OpDelete, 9); !errors.Is(err, errBroken) {
		t.Errorf("a broken socket: %v", err)
	}
}
