package tuntest_test

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync/pfsync/tunif"
	"github.com/pfsync/pfsync/tunif/syncdev"
	"github.com/pfsync/pfsync/tunif/tuntest"
)

// What the daemon may want of the real ones the stand-ins must have.
type (
	device interface {
		Name() string
		Index() int
		MTU() int
		SetMTU(int) error
		SetUp(bool) error
		SetAlias(string) error
		Drained() uint64
		Write([]byte) (int, error)
		Run(context.Context) error
		Close() error
	}
	conn interface {
		Dev() string
		Peer() netip.Addr
		SetLink(syncdev.Link) error
		ReadBatch([]syncdev.Packet) (int, error)
		WriteBatch([][]byte) (int, error)
		Close() error
	}
	watcher interface {
		Run(context.Context, func(syncdev.Status)) error
		Close() error
	}
)

var (
	_ = []device{(*tunif.Device)(nil), (*tuntest.Device)(nil)}
	_ = []conn{(*syncdev.Conn)(nil), (*tuntest.Conn)(nil)}
	_ = []watcher{(*syncdev.Watcher)(nil), (*tuntest.Watcher)(nil)}
)

var (
	addrA = netip.MustParseAddr("10.0.3.2")
	addrB = netip.MustParseAddr("10.0.3.3")
	addrC = netip.MustParseAddr("10.0.3.4")
)

func read(t *testing.T, c *tuntest.Conn) []string {
	t.Helper()
	p := make([]syncdev.Packet, 8)
	for i := range p {
		p[i].Buf = make([]byte, 64)
	}
	n, err := c.ReadBatch(p)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range p[:n] {
		got = append(got, p.Src.String()+" "+p.Dst.String()+" "+string(p.Data))
	}
	return got
}

func TestLink(t *testing.T) {
	link := tuntest.NewLink(1500)
	a := link.Open(syncdev.Config{Dev: "eth2"}, addrA)
	b := link.Open(syncdev.Config{Dev: "eth2"}, addrB)
	c := link.Open(syncdev.Config{Dev: "eth2", Peer: addrA}, addrC)

	link.SetDrop(func(_, _ netip.Addr, frame []byte) bool { return string(frame) == "lost" })
	n, err := a.WriteBatch([][]byte{[]byte("one"), []byte("lost"), make([]byte, 1481), []byte("two")})
	if n != 3 || !errors.Is(err, syncdev.ErrTooBig) {
		t.Errorf("sent %d, %v; want 3, ErrTooBig", n, err)
	}
	if diff := cmp.Diff([]string{"10.0.3.2 224.0.0.240 one", "10.0.3.2 224.0.0.240 two"}, read(t, b)); diff != "" {
		t.Errorf("to the group (-want +got):\n%s", diff)
	}
	if _, err := c.WriteBatch([][]byte{[]byte("unicast")}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"10.0.3.4 10.0.3.2 unicast"}, read(t, a)); diff != "" {
		t.Errorf("unicast (-want +got):\n%s", diff)
	}
	b.Inject([]byte("from outside"), addrC, addrB, 64)
	if diff := cmp.Diff([]string{"10.0.3.4 10.0.3.3 from outside"}, read(t, b)); diff != "" {
		t.Errorf("injected, and nothing before (-want +got):\n%s", diff)
	}
}

func TestConnClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := tuntest.NewLink(1500).Open(syncdev.Config{Dev: "eth2"}, addrA)
		done := make(chan error, 1)
		go func() {
			_, err := c.ReadBatch(make([]syncdev.Packet, 1))
			done <- err
		}()
		synctest.Wait()
		c.Close()
		if err := <-done; !errors.Is(err, os.ErrClosed) {
			t.Errorf("read: %v", err)
		}
		if _, err := c.WriteBatch([][]byte{{1}}); !errors.Is(err, os.ErrClosed) {
			t.Errorf("write: %v", err)
		}
	})
}

func TestDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := tuntest.NewDevice("pfsync0", 1500)
		done := make(chan error, 1)
		go func() { done <- d.Run(t.Context()) }()
		d.Write([]byte("one"))
		d.SetUp(false)
		if _, err := d.Write([]byte("two")); !errors.Is(err, tunif.ErrDown) {
			t.Errorf("write while down: %v", err)
		}
		if diff := cmp.Diff([][]byte{[]byte("one")}, d.Packets()); diff != "" {
			t.Errorf("packets (-want +got):\n%s", diff)
		}
		d.Remove()
		if err := <-done; !errors.Is(err, tunif.ErrGone) {
			t.Errorf("Run: %v", err)
		}
		if err := d.SetMTU(1400); !errors.Is(err, tunif.ErrGone) {
			t.Errorf("SetMTU: %v", err)
		}
		d.Close()
		if _, err := d.Write(nil); !errors.Is(err, os.ErrClosed) {
			t.Errorf("write after close: %v", err)
		}
	})
}

func TestWatcher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := func(mtu int) syncdev.Status {
			return syncdev.Status{Links: []syncdev.Link{{Present: true, MTU: mtu}}}
		}
		w := tuntest.NewWatcher(link(1500))
		var mtus []int
		done := make(chan error, 1)
		go func() {
			done <- w.Run(t.Context(), func(s syncdev.Status) { mtus = append(mtus, s.Links[0].MTU) })
		}()
		w.Set(link(1400))
		synctest.Wait()
		w.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]int{1500, 1400}, mtus); diff != "" {
			t.Errorf("reports (-want +got):\n%s", diff)
		}
	})
}
