package daemon

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync/pfsync/syncproto/engine"
)

// TestKernelFile: a run finds what the last one left of the same table, and
// nothing of another.
func TestKernelFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pfsync0.kernel")
	settled := engine.Settled{Whole: true, OnlyPF: 0x0a1b2c3d, Peers: []engine.PeerRun{{CreatorID: 0x7f3a9c01, Epoch: 1}, {CreatorID: 2, Epoch: 0xfffffff1}}}
	begin := func(id string) (lastRun, kernelFile) {
		r := readLastRun(path, id)
		f := kernelFile{path: path, id: id, start: r.firstID(time.Unix(100, 0))}
		if err := f.begin(&r); err != nil {
			t.Fatal(err)
		}
		return r, f
	}
	for i, step := range []struct {
		id     string
		settle bool
		same   bool
		want   engine.Settled
	}{
		{"boot1 ns1", false, false, engine.Settled{}},
		{"boot1 ns1", true, true, engine.Settled{}},
		{"boot1 ns1", false, true, settled},
		{"boot1 ns1", false, true, settled}, // one that did not settle leaves what was
		{"", true, false, engine.Settled{}},
		{"boot2 ns1", true, false, engine.Settled{}},
		{"boot2 ns1", false, true, settled},
	} {
		r, f := begin(step.id)
		if r.same != step.same || !cmp.Equal(r.settled, step.want) {
			t.Errorf("step %d: %+v", i, r)
		}
		if step.settle {
			f.settle(settled)
		}
	}
}

// TestKernelFileTimes: how long a table was not followed counts from the last
// stamp, and ids rise whatever the clock says.
func TestKernelFileTimes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pfsync0.kernel")
	now := time.Unix(1000, 0)
	was := bootClock
	bootClock = func() time.Time { return now }
	defer func() { bootClock = was }()
	var r lastRun
	first := kernelFile{path: path, id: "k", start: r.firstID(time.Unix(5000, 0))}
	if err := first.begin(&r); err != nil {
		t.Fatal(err)
	}
	first.settle(engine.Settled{})
	now = now.Add(10 * time.Second)
	first.stamp()
	now = now.Add(5 * time.Second)
	r = readLastRun(path, "k")
	if r.down != 5*time.Second {
		t.Errorf("down for %v", r.down)
	}
	second := kernelFile{path: path, id: "k", start: r.firstID(time.Unix(4000, 0))}
	if second.start <= first.start {
		t.Errorf("ids from %x, after %x", second.start, first.start)
	}
	if err := second.begin(&r); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Second)
	if r = readLastRun(path, "k"); r.down != 2*time.Second || r.start != second.start {
		t.Errorf("after one that did not settle: %+v", r)
	}
	if err := os.WriteFile(path, []byte("k\nstart x\npeer 1\nwhole\nmore\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r = readLastRun(path, "k"); !r.same || r.start != 0 || len(r.settled.Peers) != 0 || !r.settled.Whole {
		t.Errorf("of a file that is damaged: %+v", r)
	}
}

// TestEpochGoesOn: the epoch of a run is the next one of the last if that had
// all of the same table, else any.
func TestEpochGoesOn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pfsync0.kernel")
	const other = 0x0badcafe
	var epochs []uint32
	for _, step := range []struct {
		id    string
		whole bool
	}{{"k", true}, {"k", true}, {"k", false}, {"k", true}, {"k2", true}} {
		r := readLastRun(path, step.id)
		f := kernelFile{path: path, id: step.id, epoch: r.nextEpoch(other)}
		if err := f.begin(&r); err != nil {
			t.Fatal(err)
		}
		f.settle(engine.Settled{Whole: step.whole})
		epochs = append(epochs, f.epoch)
	}
	const first = other | 1
	if want := []uint32{first, first + 1, first + 2, first, first}; !cmp.Equal(epochs, want) {
		t.Errorf("%08x, want %08x", epochs, want)
	}
}
