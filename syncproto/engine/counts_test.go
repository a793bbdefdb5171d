package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// counted is f with n packets of 100 bytes there and one back.
func counted(f pfstate.Flow, n uint64) pfstate.Flow {
	f.Has |= pfstate.HasCounts
	f.Counts = pfstate.Counts{Packets: [2]uint64{n, 1}, Bytes: [2]uint64{100 * n, 100}}
	return f
}

// lastRecord takes the frames that are due and gives the last record in them.
func (r *desk) lastRecord() (w syncproto.State) {
	r.t.Helper()
	buf := make([]byte, 0, 2048)
	for fr, ok := r.e.NextFrame(r.now, buf); ok; fr, ok = r.e.NextFrame(r.now, buf) {
		var rd syncproto.Reader
		if err := rd.Reset(fr.Data); err != nil {
			r.t.Fatal(err)
		}
		for reg, ok := rd.Next(); ok; reg, ok = rd.Next() {
			if reg.Action == syncproto.ActIns || reg.Action == syncproto.ActUpd {
				_ = syncproto.ParseState(reg.Message(reg.Whole()-1), reg.Format, &w)
			}
		}
	}
	return w
}

// TestCounters: counters of a dump are sent with a record when there is one
// for another reason, never for their own sake.
func TestCounters(t *testing.T) {
	r := ready(t)
	f := tcp(1, pfstate.TCPEstablished)
	r.made(f)
	r.expectSent("INS A0 4:4")
	r.pass(3 * second)
	r.b.say()
	for n := range uint64(3) {
		r.dump(counted(f, 10*n+10))
		r.pass(second)
		r.b.say()
		r.expectSent()
	}
	f.Mark = 7
	r.changed(f)
	r.pass(int64(r.e.cfg.MaxDelay))
	w := r.lastRecord()
	if w.Packets != [2]uint64{30, 1} || w.Bytes != [2]uint64{3000, 100} {
		t.Errorf("sent packets %v bytes %v", w.Packets, w.Bytes)
	}
}

// TestCountersTakenOver: what a peer has counted is kept, and what passes here
// is added; a record that is turned round is counted so.
func TestCountersTakenOver(t *testing.T) {
	r := ready(t)
	f := tcp(1, pfstate.TCPEstablished)
	w := wire(theirs(5), f)
	w.Packets, w.Bytes = [2]uint64{100, 50}, [2]uint64{9000, 4000}
	say := func(act syncproto.Action) {
		r.b.say(item{put: func(b *syncproto.Builder) { b.AddState(act, syncproto.Format6, &w) }, name: theirs(5)})
	}
	say(syncproto.ActIns)
	r.kernel()
	check := func(where string, packets, bytes [2]uint64) {
		t.Helper()
		ref, _, _ := r.e.tab.ByName(theirs(5))
		if got := r.e.tab.Counts(ref); got.Packets != packets || got.Bytes != bytes {
			t.Errorf("%s: %v", where, got)
		}
	}
	check("told", [2]uint64{100, 50}, [2]uint64{9000, 4000})
	r.pass(10 * second)
	r.dump(counted(f, 10))
	check("carried here", [2]uint64{110, 51}, [2]uint64{10000, 4100})
	r.dump(counted(f, 10))
	say(syncproto.ActUpd)
	check("nothing new", [2]uint64{110, 51}, [2]uint64{10000, 4100})
	back := counted(f, 20)
	r.dump(reversed(back)) // the kernel has it the other way round
	check("reversed", [2]uint64{120, 51}, [2]uint64{11000, 4100})
}
