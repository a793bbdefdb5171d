package daemon

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"testing"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/tunif"
	"github.com/pfsync/pfsync/tunif/nstest"
	"golang.org/x/sys/unix"
)

// floodEnv is how many frames each flood of TestFlood has.
const floodEnv = "PFSYNC_FLOOD_FRAMES"

const (
	floodMax   = 20000 // maxstates, at most
	floodLocal = 20    // entries made on either side during each
	floodPeer  = 1 << 19

	// mostFlooded is how much more memory of its own a daemon may have after all
	// floods than before them, in kilobytes: the states, and every queue full.
	mostFlooded = 64 << 10
)

// flood makes frames of one kind, the nth with number n.
type flood struct {
	name string
	make func(w *syncproto.Builder, n int, host uint32)
}

// floods are the kinds.
var floods = []flood{
	{"inserts", func(w *syncproto.Builder, n int, _ uint32) {
		for k := range 5 {
			st := forgedState(n*5 + k)
			w.AddState(syncproto.ActIns, syncproto.Format6, &st)
		}
	}},
	{"updates of the unknown", func(w *syncproto.Builder, n int, _ uint32) {
		for k := range 17 {
			w.AddUpdC(&syncproto.UpdC{ID: uint64(n*17+k) << 8, CreatorID: 0x67, Timeout: 2})
		}
	}},
	{"deletes of the unknown", floodIDs(syncproto.ActDelC, 0x67)},
	{"requests", func(w *syncproto.Builder, n int, host uint32) {
		for k := range 100 {
			w.AddID(syncproto.ActUpdReq, &syncproto.ID{ID: uint64(n*100 + k), CreatorID: 0x66})
		}
	}},
	{"requests of the table", func(w *syncproto.Builder, _ int, _ uint32) {
		for range 100 {
			w.AddID(syncproto.ActUpdReq, &syncproto.ID{})
		}
	}},
	{"acknowledgements", floodIDs(syncproto.ActInsAck, 0x66)},
	{"clears", func(w *syncproto.Builder, n int, host uint32) {
		for k := range 60 {
			w.AddClr(&syncproto.Clr{CreatorID: host + uint32(k*n)})
		}
	}},
	{"digests asked for", func(w *syncproto.Builder, n int, host uint32) {
		numbers := make([]uint16, 100)
		for k := range numbers {
			numbers[k] = uint16(n*100+k) % pfstate.DigestBuckets
		}
		b := syncproto.AppendWantBuckets(nil, pfstate.DigestBuckets, numbers)
		b = syncproto.AppendWantDigests(b, &syncproto.WantDigests{Buckets: pfstate.DigestBuckets, Count: pfstate.DigestBuckets})
		b = syncproto.AppendLook(b, uint32(n))
		linuxRegion(w, n, host, syncproto.Extra{CreatorID: host, TLVs: b})
	}},
	{"digests told", func(w *syncproto.Builder, n int, host uint32) {
		items := make([]syncproto.Item, syncproto.MaxItems)
		for k := range items {
			items[k] = syncproto.Item{ID: syncproto.ID{ID: uint64(n*100 + k), CreatorID: 0x68}, Digest: uint32(n)}
		}
		b := syncproto.AppendDigest(nil, pfstate.DigestBuckets, uint16(n)%pfstate.DigestBuckets, []uint64{uint64(n)})
		b = syncproto.AppendBucket(b, &syncproto.Bucket{Buckets: pfstate.DigestBuckets, Number: uint16(n) % pfstate.DigestBuckets, Total: 65535}, items)
		b = syncproto.AppendLack(b, []syncproto.ID{{ID: uint64(n), CreatorID: 0x66}})
		linuxRegion(w, n, host, syncproto.Extra{CreatorID: host, TLVs: b})
	}},
	{"frames missed", func(w *syncproto.Builder, n int, host uint32) {
		var list []syncproto.Frames
		for k := range syncproto.MaxWantFrames {
			list = append(list, syncproto.Frames{Epoch: uint32(n), First: uint32(k * 4096), Last: uint32(k*4096 + 4095)})
		}
		b := syncproto.AppendWantFrames(nil, list)
		b = syncproto.AppendFramesAgain(b, &syncproto.FramesAgain{Frames: list[0], Forgotten: true})
		linuxRegion(w, n, host, syncproto.Extra{CreatorID: host, TLVs: b})
	}},
	{"inserts with extras", func(w *syncproto.Builder, n int, _ uint32) {
		var extras []syncproto.Extra
		for k := range 2 {
			st := forgedState(n*2 + k)
			w.AddState(syncproto.ActIns, syncproto.Format6, &st)
			x := syncproto.Expect{Proto: 6, Left: 1 << 20, DstPort: uint16(n), Dst: [16]byte{10, 1, 1, byte(n)}, MaskSrc: [16]byte{255}}
			b := syncproto.AppendLabels(syncproto.AppendMark(nil, uint32(n)), &[16]byte{1, byte(n)})
			for range 2 {
				x.SrcPort++
				b = syncproto.AppendExpect(b, &x, 4)
			}
			extras = append(extras, syncproto.Extra{ID: st.ID, CreatorID: st.CreatorID, TLVs: b})
		}
		linuxRegion(w, n, 0, extras...)
	}},
	{"inserts and deletes", func(w *syncproto.Builder, n int, _ uint32) {
		for k := range 4 {
			st := forgedState(1<<20 + n*4 + k)
			w.AddState(syncproto.ActIns, syncproto.Format6, &st)
			w.AddID(syncproto.ActDelC, &syncproto.ID{ID: st.ID, CreatorID: st.CreatorID})
		}
	}},
}

func floodIDs(a syncproto.Action, creator uint32) func(w *syncproto.Builder, n int, host uint32) {
	return func(w *syncproto.Builder, n int, _ uint32) {
		for k := range 100 {
			w.AddID(a, &syncproto.ID{ID: uint64(n*100 + k), CreatorID: creator})
		}
	}
}

// linuxRegion ends a frame as from a Linux peer that has just started, and has
// lost many frames on the way.
func linuxRegion(w *syncproto.Builder, n int, host uint32, extras ...syncproto.Extra) {
	stride := syncproto.FrameInfoLen
	for i := range extras {
		stride = max(stride, syncproto.Stride(len(extras[i].TLVs)))
	}
	w.AddFrameInfo(stride, &syncproto.FrameInfo{
		Magic: syncproto.LinuxMagic, Layout: syncproto.LinuxLayout, Flags: syncproto.InfoDigests | syncproto.InfoInSync | syncproto.InfoCarried,
		Epoch: uint32(n>>10) + 1, Frame: uint32(n) * 3, TableSize: 1 << 20, CreatorID: host + 1 + uint32(n&7),
	})
	for i := range extras {
		w.AddExtra(&extras[i])
	}
}

// flooder sends frames to the group from forged sources.
type flooder struct {
	fd  int
	to  unix.SockaddrInet4
	buf []byte
}

func newFlooder(t *testing.T, ns *nstest.NS, dev string) *flooder {
	t.Helper()
	f := &flooder{to: unix.SockaddrInet4{Addr: [4]byte{224, 0, 0, 240}}}
	f.fd = opened(t, ns, func() (int, error) {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return fd, err
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0)
		return fd, unix.BindToDevice(fd, dev)
	})
	t.Cleanup(func() { unix.Close(f.fd) })
	return f
}

// send sends a frame from source number n.
func (f *flooder) send(n int, frame []byte) {
	f.buf = append(append(f.buf[:0], make([]byte, tunif.HeaderLen)...), frame...)
	tunif.PutHeader(f.buf, netip.AddrFrom4([4]byte{10, 9, byte(n >> 8), byte(n)}), 1)
	// What does not fit the queue is no loss to anybody.
	_ = unix.Sendto(f.fd, f.buf, 0, &f.to)
}

// blow sends so many frames of a kind from so many sources.
func (f *flooder) blow(kind *flood, sources, frames int, host uint32) {
	var w syncproto.Builder
	buf := make([]byte, 0, 1500)
	for n := range frames {
		w.Begin(buf, syncproto.Version6, 1480, nil)
		kind.make(&w, n, host)
		f.send(n%sources, w.End())
	}
}

// hostID is the creatorid of a daemon.
func (h *host) hostID() uint32 {
	h.t.Helper()
	var st control.Status
	if err := json.Unmarshal([]byte(h.ctl("-j", "pfsync0")), &st); err != nil {
		h.t.Fatal(err)
	}
	return uint32(st.HostID)
}

// TestFlood: whatever comes, from one source or from a thousand, the memory of
// the daemon stays bounded, its own states stay, its own news reach the peer, and
// the peer's reach its kernel.
func TestFlood(t *testing.T) {
	frames := envNumber(t, floodEnv, 400)
	p := &pair{Topology: nstest.NewTopology(t, nstest.Options{})}
	h := newHost(t, p.FW[0])
	h.ctl("pfsync0", "syncdev", nstest.SyncDev, "maxstates", strconv.Itoa(min(4*frames, floodMax)))
	p.n[1] = newNode(t, p.FW[1], t.TempDir())
	p.n[1].set("syncdev", nstest.SyncDev)
	p.n[1].waitSync(control.SyncOK)
	h.ctl("pfsync0", "wait", "--timeout", "60")
	from, made := newFlooder(t, p.FW[1], nstest.SyncDev), 0
	more := func() {
		kernelFlowsFrom(t, p.FW[0], pfstate.OpCreate, made, floodLocal)
		kernelFlowsFrom(t, p.FW[1], pfstate.OpCreate, floodPeer+made, floodLocal)
		made += floodLocal
	}
	arrived := func() error {
		for i, fw := range p.FW {
			if n := kernelCount(t, fw, pfstate.ProtoUDP); n != 2*made {
				return fmt.Errorf("firewall %d has %d of %d", i, n, 2*made)
			}
		}
		return nil
	}
	pid, id := h.pid(), h.hostID()
	before := anonymous(t, pid)
	t.Logf("before: %d kB", before)
	for _, sources := range []int{1, 1000} {
		for i := range floods {
			done := make(chan struct{})
			go func() { defer close(done); from.blow(&floods[i], sources, frames, id) }()
			more()
			<-done
			nstest.EventuallyNil(t, patience, arrived, floods[i].name+": local states at the peer, and the peer's here")
			kb := anonymous(t, pid)
			t.Logf("%s, %d sources: %d kB", floods[i].name, sources, kb)
			if kb-before > mostFlooded {
				t.Errorf("%s, %d sources: %d kB, %d before", floods[i].name, sources, kb, before)
			}
		}
	}
	var st control.Stats
	if err := json.Unmarshal([]byte(h.ctl("-j", "pfsync0", "stats")), &st); err != nil || st.Reasons["evicted"] == 0 {
		t.Errorf("nothing made room: %v, %v", st.Reasons, err)
	}
}
