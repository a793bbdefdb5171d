package daemon

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/engine"
	"github.com/pfsync/pfsync/tunif/syncdev"
)

func TestEngineConfig(t *testing.T) {
	conf := control.DefaultConfig()
	conf.SyncDev, conf.Up, conf.Version = "eth2", true, 1400
	for _, tc := range []struct {
		name string
		set  func(*control.Config)
		want engine.Config
	}{
		{"plain", func(*control.Config) {}, engine.Config{Sync: true}},
		{"down", func(c *control.Config) { c.Up = false }, engine.Config{}},
		{"no syncdev", func(c *control.Config) { c.SyncDev = "" }, engine.Config{}},
		{"peer", func(c *control.Config) { c.SyncPeer = netip.MustParseAddr("10.0.3.3") }, engine.Config{Sync: true, Unicast: true}},
		{"group", func(c *control.Config) { c.SyncPeer = control.Group6 }, engine.Config{Sync: true}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := setup{conf: conf, hostID: 7}
			tc.set(&s.conf)
			tc.want.HostID, tc.want.Format = 7, syncproto.Format1400
			tc.want.MaxUpd, tc.want.MaxDelay, tc.want.Demotion = 128, 10*time.Millisecond, 240
			tc.want.DeferDelay = 20 * time.Millisecond
			if diff := cmp.Diff(tc.want, s.engineConfig(), cmpopts.EquateComparable(netip.Prefix{}), cmpopts.IgnoreFields(engine.Config{}, "Log")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNewFilter(t *testing.T) {
	var fs []control.Filter
	for _, s := range []string{"local", "mark 1/0xff", "label 3", "zone 4", "proto udp", "addr 10.0.0.0/8", "port 53"} {
		f, err := control.ParseFilter(s)
		if err != nil {
			t.Fatal(err)
		}
		fs = append(fs, f)
	}
	x, local, err := newFilter(fs)
	if err != nil || !local {
		t.Fatalf("local %v, %v", local, err)
	}
	want := pfstate.Filter{
		Marks: []pfstate.MarkMatch{{Value: 1, Mask: 0xff}}, Labels: []uint8{3}, Zones: []uint16{4}, Protos: []uint8{17},
		Nets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Ports: []uint16{53},
	}
	if diff := cmp.Diff(want, x, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLabelBit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "connlabel.conf")
	if err := os.WriteFile(path, []byte("# comment\n0 eth0-in\n0x1f dmz\n200 wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		label string
		want  uint8
		err   error
	}{
		{"0", 0, nil}, {"127", 127, nil}, {"128", 0, control.ErrTooLarge}, {"eth0-in", 0, nil}, {"dmz", 31, nil},
		{"wrong", 0, control.ErrInvalid}, {"none", 0, control.ErrInvalid},
	} {
		if got, err := labelBit(tc.label, path); got != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: %d, %v; want %d, %v", tc.label, got, err, tc.want, tc.err)
		}
	}
	if _, err := labelBit("dmz", path+"x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestEffectiveMTU(t *testing.T) {
	for _, tc := range []struct {
		name      string
		word, dev int
		want      int
	}{
		{"nothing said", 0, 0, 1500}, {"the syncdev's", 0, 9000, 9000}, {"the word", 1200, 1500, 1200},
		{"never more than the syncdev's", 1500, 1400, 1400}, {"syncdev not there", 1200, 0, 1200},
	} {
		c := control.Config{SyncDev: "eth2", MTU: tc.word}
		if got := effectiveMTU(c, syncdev.Link{Present: tc.dev > 0, MTU: tc.dev}); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}
