package control_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/cmd/internal/control/controltest"
)

// serve starts a server on a socket of its own. Run has returned nil when the
// test ends.
func serve(t testing.TB, b control.Backend) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "pfsync0.sock")
	ln, err := control.Listen(path, "no-such-group")
	if err != nil {
		t.Fatal(err)
	}
	ns, err := control.NetNS()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	srv := &control.Server{Backend: b, NetNS: ns, Log: slog.New(slog.DiscardHandler)}
	go func() { done <- srv.Run(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return path
}

func TestRoundTrip(t *testing.T) {
	b := controltest.New("pfsync0")
	b.Table = make([]control.State, 250)
	b.Answers.Peers = []control.Peer{{Addr: netip.MustParseAddr("10.0.0.2"), Version: 6}}
	b.Records = []control.Record{{Dir: control.RecordOut, Data: []byte{6, 0, 0, 20}}}
	c := control.NewClient(serve(t, b))
	defer c.Close()
	ctx := t.Context()

	ch := control.Change{Set: []control.Setting{{Word: "syncdev", Arg: "eth2"}, {Word: "maxupd", Arg: "64"}}}
	if err := c.Configure(ctx, ch); err != nil {
		t.Fatal(err)
	}
	st, err := c.Status(ctx)
	if err != nil || st.Config.SyncDev != "eth2" || st.Config.MaxUpd != 64 || !st.Up {
		t.Errorf("Status = %+v, %v", st, err)
	}
	if p, err := c.Peers(ctx); err != nil || len(p) != 1 || p[0].Addr.String() != "10.0.0.2" {
		t.Errorf("Peers = %v, %v", p, err)
	}
	n := 0
	if err := c.States(ctx, control.StateQuery{}, func(*control.State) error { n++; return nil }); err != nil || n != 250 {
		t.Errorf("States: %d, %v", n, err)
	}
	n = 0
	err = c.Monitor(ctx, func(r *control.Record) error { n += len(r.Data); return nil })
	if !errors.Is(err, control.ErrEnded) || n != 4 {
		t.Errorf("Monitor: %d, %v", n, err)
	}
	if err := c.Bulk(ctx); err != nil {
		t.Error(err)
	}
	if r, err := c.Flush(ctx); err != nil || r.States != 250 {
		t.Errorf("Flush = %v, %v", r, err)
	}
	if err := c.Configure(ctx, control.Change{Set: []control.Setting{{Word: control.WordDestroy}}}); err != nil {
		t.Error(err)
	}
	<-b.Destroyed()
}
