package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/syncproto/engine"
)

// kernelFile is what one run leaves the next about the kernel table that it
// followed, in the run directory: like the table it does not outlive a boot, and
// it is stamped too often for a disk. Its lines are the identity of the table,
// the first state id and the epoch of the run, and engine.Settled:
//
//	BOOT NAMESPACE
//	start 674012ab00000000
//	epoch 8d20f4c7
//	whole
//	peer 7f3a9c01 5b1d0e2f
//	pf 0a1b2c3d
//
// Its time of change, on the clock of this boot, which nobody sets, is when the
// run was last known to be alive.
type kernelFile struct {
	path  string
	id    string // of the table; "": not known, nothing is left
	start uint64
	epoch uint32
	last  engine.Settled
}

// lastRun is what the last run left.
type lastRun struct {
	same    bool          // it followed the same table
	down    time.Duration // since it was last known to be alive; 0 not known
	start   uint64
	epoch   uint32
	settled engine.Settled
}

func kernelPath(d control.Dirs, name string) string { return filepath.Join(d.Run, name+".kernel") }

// aliveEvery is how often a run stamps its file, so that the next one knows
// how long nobody followed the kernel's table.
const aliveEvery = 2 * time.Second

// bootClock tells the time since the boot.
var bootClock = func() time.Time {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return time.Time{}
	}
	return time.Unix(ts.Unix())
}

// readLastRun reads what the last run left about the table of this identity.
func readLastRun(path, id string) (r lastRun) {
	b, err := os.ReadFile(path)
	lines := strings.Split(string(b), "\n")
	if err != nil || id == "" || lines[0] != id {
		return r
	}
	r.same = true
	for _, l := range lines[1:] {
		var p engine.PeerRun
		if l == "whole" {
			r.settled.Whole = true
		} else if _, err := fmt.Sscanf(l, "start %x", &r.start); err == nil {
			continue
		} else if _, err := fmt.Sscanf(l, "epoch %x", &r.epoch); err == nil {
			continue
		} else if _, err := fmt.Sscanf(l, "pf %x", &r.settled.OnlyPF); err == nil {
			continue
		} else if _, err := fmt.Sscanf(l, "peer %x %x", &p.CreatorID, &p.Epoch); err == nil {
			r.settled.Peers = append(r.settled.Peers, p)
		}
	}
	if fi, err := os.Stat(path); err == nil {
		r.down = max(0, bootClock().Sub(fi.ModTime()))
	}
	return r
}

// firstID is the first state id of this run: later than all of the last one,
// even if the clock has been set back since (design section 5, id).
func (r *lastRun) firstID(now time.Time) uint64 {
	return max(uint64(now.Unix())<<32, r.start+1<<32)
}

// nextEpoch is the epoch of this run: its peers see whether it goes on with the
// table that they know.
func (r *lastRun) nextEpoch(random uint32) uint32 {
	if r.settled.Whole && r.epoch != 0 {
		return engine.NextEpoch(r.epoch)
	}
	return random | 1
}

// begin notes this run. What the last one left stays true of the same table.
func (f *kernelFile) begin(r *lastRun) error {
	f.last = r.settled
	return f.write()
}

// write writes the file anew, stamped: at no moment is it there without.
func (f *kernelFile) write() error {
	if f.id == "" {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\nstart %016x\nepoch %08x\n", f.id, f.start, f.epoch)
	if f.last.Whole {
		fmt.Fprintln(&b, "whole")
	}
	if f.last.OnlyPF != 0 {
		fmt.Fprintf(&b, "pf %08x\n", f.last.OnlyPF)
	}
	for _, p := range f.last.Peers {
		fmt.Fprintf(&b, "peer %08x %08x\n", p.CreatorID, p.Epoch)
	}
	return writeFileAt(f.path, b.String(), 0o600, bootClock())
}

// settle notes what the next run is to know. Without that it knows less: no
// reason to complain.
func (f *kernelFile) settle(s engine.Settled) {
	f.last = s
	_ = f.write()
}

// stamp notes that the run is alive.
func (f *kernelFile) stamp() {
	if f.id != "" {
		now := bootClock()
		_ = os.Chtimes(f.path, now, now)
	}
}
