package syncdev_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/pfsync/pfsync/tunif/syncdev"
)

func TestOpenErrors(t *testing.T) {
	a, _ := pair(t)
	a.Run(t, "ip", "link", "add", "bare", "type", "bridge")
	a.Run(t, "ip", "link", "set", "bare", "addrgenmode", "none")
	a.Run(t, "ip", "link", "set", "bare", "up")
	for _, tt := range []struct {
		name string
		cfg  syncdev.Config
		want error
		hint string
	}{
		{"absent", syncdev.Config{Dev: "eth9"}, syncdev.ErrNoDevice, "eth9"},
		{"impossible name", syncdev.Config{Dev: "a-name-longer-than-any"}, syncdev.ErrNoDevice, "a-name"},
		{"empty name", syncdev.Config{}, syncdev.ErrNoDevice, ""},
		{"no address", syncdev.Config{Dev: "bare"}, syncdev.ErrNoAddress, "ip addr add ADDRESS/24 dev bare"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var err error
			a.Do(func() { _, err = syncdev.Open(tt.cfg) })
			var op *syncdev.OpError
			if !errors.Is(err, tt.want) || !errors.As(err, &op) || op.Dev != tt.cfg.Dev {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			if !strings.Contains(err.Error(), tt.hint) {
				t.Errorf("%q lacks %q", err, tt.hint)
			}
		})
	}
}

func TestWarn(t *testing.T) {
	a, _ := pair(t)
	var warned []any
	var c *syncdev.Conn
	var err error
	a.Do(func() {
		c, err = syncdev.Open(syncdev.Config{Dev: "eth2", RcvBuf: 1 << 20, Warn: func(msg string, args ...any) {
			warned = append(append(warned, msg), args...)
		}})
	})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if len(warned) > 0 {
		t.Errorf("as root: %v", warned)
	}
}
