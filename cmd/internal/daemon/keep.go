package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/syncproto/engine"
)

// writeFile replaces a file as a whole: who reads sees the old or the new.
func writeFile(path, content string, mode os.FileMode) error {
	return writeFileAt(path, content, mode, time.Time{})
}

// writeFileAt is the same with a time of change; zero is now.
func writeFileAt(path, content string, mode os.FileMode, at time.Time) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	err = errors.Join(err, f.Chmod(mode), f.Close())
	if !at.IsZero() {
		err = errors.Join(err, os.Chtimes(f.Name(), at, at))
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// faultDemotion and more mean to keepalived that nothing works here.
const faultDemotion = 254

// readDemotion returns what stands in the demotion file, and makes one where
// there is none. What the init script or the last run has written holds until we
// know better: to say 0 first would make the master of a firewall that has no
// states yet.
func readDemotion(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err == nil {
		if v, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil && v >= 0 && v < faultDemotion {
			return v, nil
		}
	}
	return 0, writeFile(path, "0\n", 0o644)
}

// unsetWait is how long a daemon without a syncdev leaves the demotion that it
// found: the words may be on their way.
const unsetWait = int64(10 * time.Second)

// demote writes the demotion when it changes.
func (l *loop) demote(st *engine.Status) {
	if st.Demotion == l.demotion || st.Sync == engine.SyncNone && !l.demoted && l.now-l.begun < unsetWait {
		return
	}
	l.log.Info("demotion", "from", l.demotion, "to", st.Demotion)
	l.demotion, l.demoted = st.Demotion, true
	put(l.keep.demotion, st.Demotion)
}

// readHostID returns the creatorid kept in the state directory, and makes one
// where there is none. A file that makes no sense is an error: with another id
// peers would take us for another host.
func readHostID(path string) (uint32, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		id := control.RandomHostID()
		return id, writeHostID(path, id)
	}
	if err != nil {
		return 0, err
	}
	id, err := strconv.ParseUint(strings.TrimSpace(string(b)), 16, 32)
	if err != nil || id == 0 {
		return 0, fmt.Errorf("%s: no hostid in it; remove it to get a new one", path)
	}
	return uint32(id), nil
}

func writeHostID(path string, id uint32) error {
	return writeFile(path, fmt.Sprintf("%08x\n", id), 0o600)
}

// knownPeers are the peers that the file names.
func knownPeers(path string) (list []netip.Addr) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	for _, word := range strings.Fields(string(b)) {
		if a, err := netip.ParseAddr(word); err == nil && len(list) < maxPeers {
			list = append(list, a)
		}
	}
	return list
}

// keeper writes the files that follow the loop: a disk that hangs must not
// stop it.
type keeper struct {
	demotionPath, peersPath string
	kernel                  kernelFile
	demotion                chan int            // latest only
	peers                   chan []netip.Addr   // latest only
	settled                 chan engine.Settled // latest only
	log                     *slog.Logger
}

func newKeeper(d control.Dirs, name string, log *slog.Logger) *keeper {
	return &keeper{
		demotionPath: d.Demotion(name), peersPath: d.Peers(name),
		demotion: make(chan int, 1), peers: make(chan []netip.Addr, 1), settled: make(chan engine.Settled, 1), log: log,
	}
}

// put replaces what the channel holds. There is one writer.
func put[T any](c chan T, v T) {
	select {
	case <-c:
	default:
	}
	c <- v
}

// run writes until the loop closes the channels.
func (k *keeper) run() error {
	demotion, peers, settled := k.demotion, k.peers, k.settled
	alive := time.NewTicker(aliveEvery)
	defer alive.Stop()
	for demotion != nil || peers != nil || settled != nil {
		select {
		case v, ok := <-demotion:
			if !ok {
				demotion = nil
				continue
			}
			k.write(k.demotionPath, strconv.Itoa(v)+"\n", 0o644)
		case v, ok := <-peers:
			if !ok {
				peers = nil
				continue
			}
			k.writePeers(v)
		case v, ok := <-settled:
			if !ok {
				settled = nil
				continue
			}
			k.kernel.settle(v)
		case <-alive.C:
			k.kernel.stamp()
		}
	}
	return nil
}

func (k *keeper) writePeers(addrs []netip.Addr) {
	var b strings.Builder
	for _, a := range addrs {
		fmt.Fprintln(&b, a)
	}
	k.write(k.peersPath, b.String(), 0o600)
}

func (k *keeper) write(path, content string, mode os.FileMode) {
	if err := writeFile(path, content, mode); err != nil {
		k.log.Error("cannot write file", "err", err)
	}
}
