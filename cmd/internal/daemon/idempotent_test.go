package daemon

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// ask reads what a verb prints as JSON.
func (h *host) ask(v any, args ...string) {
	h.t.Helper()
	out := h.ctl(append([]string{"-j", "pfsync0"}, args...)...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		h.t.Fatalf("%v in %s", err, out)
	}
}

// frames tells how many frames were written to pfsync0, which is all but
// heartbeats, and how many left, heartbeats too.
func (h *host) frames() (shown, sent uint64) {
	h.t.Helper()
	var st control.Stats
	h.ask(&st, "stats")
	var links []struct {
		Stats struct{ RX struct{ Packets uint64 } } `json:"stats64"`
	}
	out := h.Run(h.t, "ip", "-s", "-j", "link", "show", "pfsync0")
	if err := json.Unmarshal([]byte(out), &links); err != nil || len(links) != 1 {
		h.t.Fatalf("%v in %s", err, out)
	}
	return links[0].Stats.RX.Packets, st.Reasons["framesout"]
}

// TestIdempotent: to set what is set sends not one frame and asks for no bulk
// transfer, word by word, all at once, by the start verb and by SIGHUP.
func TestIdempotent(t *testing.T) {
	bed := nstest.New(t)
	ns, other := bed.NS("fw1"), bed.NS("fw2")
	bed.Veth(ns, "eth2", other, "eth2")
	ns.Addr(t, "eth2", "10.0.3.2/24")
	other.Addr(t, "eth2", "10.0.3.3/24")
	h, peer := newHost(t, ns), newHost(t, other)
	p := h.daemon()
	peer.daemon()
	peer.ctl("pfsync0", "syncpeer", "10.0.3.2", "syncdev", "eth2")
	h.ctl("pfsync0", "create")
	var st control.Status
	h.ask(&st)
	// The hostid is what it is; to say so for the first time changes nothing either.
	hostid := []string{"hostid", st.HostID.String()}
	settings := [][]string{
		{"description", "twice"}, {"version", "6"}, {"syncpeer", "10.0.3.3"}, {"maxupd", "64"},
		{"maxdelay", "20"}, {"deferdelay", "30"}, {"deferqueue", "241"}, {"-defer"}, {"mtu", "1400"}, {"-nosync", "port", "9"},
		{"nosync", "mark", "1/1"}, {"liberal"}, {"maxstates", "1000"}, {"demotion", "100"}, {"syncdev", "eth2"}, {"up"}, {"create"},
	}
	all := []string{"pfsync0"}
	for _, s := range settings {
		all = append(all, s...)
	}
	h.ctl(all...)
	h.ctl("pfsync0", "wait", "--timeout", "60")
	peer.ctl("pfsync0", "wait", "--timeout", "60")
	start := filepath.Join(h.dir, "hostname.pfsync0")
	if err := os.WriteFile(start, []byte(h.ctl("pfsync0", "dump")), 0o640); err != nil {
		t.Fatal(err)
	}

	shown, sent := h.quiet()
	for _, s := range append(settings, hostid) {
		h.ctl(append([]string{"pfsync0"}, s...)...)
	}
	h.ctl(all...)
	h.ctl("pfsync0", "syncif", "eth2")
	h.ctl("pfsync0", "start")
	syscall.Kill(h.pid(), syscall.SIGHUP)
	p.WaitFor(t, patience, "configuration read again")
	// What was set off would leave before the next heartbeats.
	nstest.Eventually(t, patience, func() bool { _, n := h.frames(); return n >= sent+3 }, "three heartbeats")
	if now, _ := h.frames(); now != shown {
		t.Errorf("%d frames before, %d after", shown, now)
	}
	h.ask(&st)
	if st.Sync.State != control.SyncOK || st.Demotion != 0 {
		t.Errorf("sync %s demotion %d", st.Sync, st.Demotion)
	}
	h.ctl("pfsync0", "bulk")
	nstest.Eventually(t, patience, func() bool { now, _ := h.frames(); return now != shown }, "a frame, so that the counter counts")
}

// quiet waits until the transfers of the beginning are over on both sides:
// between three heartbeats nothing else was sent.
func (h *host) quiet() (shown, sent uint64) {
	h.t.Helper()
	shown, sent = h.frames()
	nstest.Eventually(h.t, patience, func() bool {
		s, n := h.frames()
		if s != shown {
			shown, sent = s, n
		}
		return n >= sent+3
	}, "silence")
	return h.frames()
}
