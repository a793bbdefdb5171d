package top

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/google/go-cmp/cmp"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

var update = flag.Bool("update", false, "rewrite the screens in testdata")

// nobody answers nothing: what a screen shows comes from messages.
type nobody struct{ states []control.State }

func (nobody) Status(context.Context) (control.Status, error) { return control.Status{}, nil }
func (nobody) Stats(context.Context) (control.Stats, error)   { return control.Stats{}, nil }
func (n nobody) States(_ context.Context, _ control.StateQuery, f func(*control.State) error) error {
	for i := range n.states {
		if err := f(&n.states[i]); err != nil {
			return err
		}
	}
	return nil
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

var testOrders = []Order{
	{"bytes", "B", func(a, b control.State) int { return int(b.Bytes[0]) - int(a.Bytes[0]) }},
	{"age", "A", func(a, b control.State) int { return int(b.Creation) - int(a.Creation) }},
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// state is number i of a table: TCP from the inside.
func state(i int) control.State {
	k := control.Key{Addr: [2]netip.Addr{addr("192.168.1.10"), addr("198.51.100.7")}, Port: [2]uint16{uint16(40000 + i), 443}, AF: 2}
	s := control.State{ID: control.HexID64(i), Proto: 6, Direction: control.DirIn, Key: control.Keys{Wire: k, Stack: control.Key{
		Addr: [2]netip.Addr{k.Addr[0], k.Addr[1]}, Port: k.Port, AF: 2}},
		Creation: uint32(1 << (i % 24)), Expire: uint32(86400 - i), Packets: [2]uint64{uint64(i), uint64(i)}, Bytes: [2]uint64{uint64(i) * 1000, 0},
		Src: control.StatePeer{State: 4}, Dst: control.StatePeer{State: 4}, Carried: i%2 == 0}
	return s
}

func table(n int) []control.State {
	var all []control.State
	for i := range n {
		all = append(all, state(i))
	}
	v6 := control.Key{Addr: [2]netip.Addr{addr("2001:db8:0:2::10"), addr("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff")}, Port: [2]uint16{50000, 53}, AF: 24}
	return append(all, control.State{ID: 999, Proto: 17, Direction: control.DirOut, Key: control.Keys{Wire: v6, Stack: v6}, Expire: 30, Bytes: [2]uint64{9e9, 0},
		Src: control.StatePeer{State: 1}})
}

func status() control.Status {
	return control.Status{
		Name: "pfsync0", HostID: 0x7f3a9c01, Sync: control.Sync{State: control.SyncOK}, States: control.Counts{Total: 120, Local: 80, Peer: 40, Carried: 90, Kernel: 123, Max: 262144},
		Peers: []control.Peer{
			{Addr: addr("192.168.254.253"), Version: 6, Linux: true, InSync: true, Alive: true, Heard: 0.2, States: 40, Table: 120, Frames: 9000},
			{Addr: addr("fd00:254::3"), Version: 5, Format: 1400, Heard: 75.5, Table: -1, Mismatch: true, Lost: 3},
		},
	}
}

func stats(n uint64) control.Stats {
	return control.Stats{
		Counters: control.Counters{IPackets: n, OPackets: 2 * n}, In: []control.Count{{Name: "INS", Count: 3 * n}, {Name: "UPD_C", Count: 7 * n}},
		Out:     []control.Count{{Name: "INS", Count: n * 150}},
		Reasons: map[string]uint64{"framesin": n, "framesout": 2 * n, "bytesin": 500 * n, "bytesout": 99999 * n, "overrun": 0},
	}
}

// seen is a model after some seconds on a terminal.
func seen(w, h int, st control.Status, states []control.State) Model {
	m := New(context.Background(), Config{Source: nobody{states}, Name: "pfsync0", Interval: time.Second, Orders: testOrders, Blocks: true, Colour: true})
	m = m.with(tea.WindowSizeMsg{Width: w, Height: h})
	m = m.with(m.read()())
	m.table.at, m.table.took = noon, 0
	n := uint64(0)
	for i := range 12 {
		n += uint64(i * i)
		m = m.with(sample{at: noon.Add(time.Duration(i) * time.Second), st: st, stats: stats(n)})
	}
	return m
}

func (m Model) with(msgs ...tea.Msg) Model {
	for _, msg := range msgs {
		next, _ := m.Update(msg)
		m = next.(Model)
	}
	return m
}

// typing gives keys by bubbletea's names, a letter or the name of a key.
func (m Model) typing(keys ...string) Model {
	special := map[string]tea.KeyType{"up": tea.KeyUp, "down": tea.KeyDown, "pgdown": tea.KeyPgDown, "pgup": tea.KeyPgUp, "home": tea.KeyHome, "end": tea.KeyEnd,
		"left": tea.KeyLeft, "right": tea.KeyRight, "enter": tea.KeyEnter, "esc": tea.KeyEsc, "backspace": tea.KeyBackspace}
	for _, k := range keys {
		msg := tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune(k)}
		if t, ok := special[k]; ok {
			msg = tea.KeyMsg{Type: t}
		}
		m = m.with(msg)
	}
	return m
}

// text is a screen without its styles.
func (m Model) text() string {
	s := m.View()
	for _, set := range sgr {
		for _, code := range set {
			if code != "" {
				s = strings.ReplaceAll(s, code, "")
			}
		}
	}
	var b strings.Builder
	for l := range strings.Lines(strings.ReplaceAll(s, "\x1b[m", "") + "\n") {
		b.WriteString(strings.TrimRight(l, " \n") + "\n")
	}
	return b.String()
}

func TestScreens(t *testing.T) {
	bulk := status()
	bulk.Sync = control.Sync{State: control.SyncBulk, Percent: 41, Addr: addr("192.168.254.253")}
	bulk.Demotion = 240
	bulk.Peers[0].Bulk = control.PeerBulk{Sending: true, Sent: 30, Total: 120}
	alone := status()
	alone.Sync.State, alone.Peers = control.SyncAlone, nil
	for _, tc := range []struct {
		name string
		m    Model
	}{
		{"overview", seen(80, 24, status(), table(30))},
		{"overview-wide", seen(132, 20, status(), table(30))},
		{"overview-ascii", func() Model { m := seen(80, 24, status(), table(3)); m.conf.Blocks = false; return m }()},
		{"overview-bulk", seen(80, 24, bulk, table(3))},
		{"overview-alone", seen(80, 12, alone, nil)},
		{"overview-20", seen(20, 14, status(), table(30))},
		{"overview-short", seen(80, 6, status(), table(30))},
		{"states-scrolled", seen(80, 12, status(), table(30)).typing("2", "down", "down", "pgdown")},
		{"states-end", seen(80, 12, status(), table(30)).typing("2", "end")},
		{"states-age", seen(80, 12, status(), table(30)).typing("2", "A")},
		{"states-reversed", seen(80, 12, status(), table(30)).typing("2", "o", "r")},
		{"peers", seen(80, 12, status(), nil).typing("3")},
		{"counters", seen(80, 16, status(), nil).typing("4")},
		{"help", seen(80, 24, status(), nil).typing("h")},
		{"interval", seen(80, 12, status(), nil).typing("s", "2", "x", "5", "backspace", ".", "5")},
		{"paused", seen(80, 12, status(), nil).typing(" ")},
		{"gone", seen(80, 12, status(), table(3)).with(sample{at: noon.Add(time.Minute), err: control.ErrNotRunning})},
		{"first", New(context.Background(), Config{Name: "pfsync0", Interval: time.Second}).with(tea.WindowSizeMsg{Width: 80, Height: 8})},
		{"too-small", seen(19, 24, status(), table(3))},
		{"too-low", seen(80, 2, status(), table(3))},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := tc.m.text()
			lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
			if len(lines) > tc.m.height {
				t.Errorf("%d lines on %d", len(lines), tc.m.height)
			}
			for _, l := range lines {
				if len([]rune(l)) > tc.m.width {
					t.Errorf("%d columns on %d: %s", len([]rune(l)), tc.m.width, l)
				}
			}
			file := filepath.Join("testdata", tc.name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestSizes: no size of a terminal breaks the screen.
func TestSizes(t *testing.T) {
	m := seen(80, 24, status(), table(30))
	for _, view := range []string{"1", "2", "3", "4", "h"} {
		m := m.typing(view)
		for w := range 150 {
			for h := range 30 {
				m := m.with(tea.WindowSizeMsg{Width: w, Height: h})
				lines := strings.Split(strings.TrimSuffix(m.text(), "\n"), "\n")
				if w > 0 && len(lines) > max(1, h) {
					t.Fatalf("%dx%d: %d lines", w, h, len(lines))
				}
				for _, l := range lines {
					if len([]rune(l)) > w {
						t.Fatalf("%dx%d: %q", w, h, l)
					}
				}
			}
		}
	}
}

func TestKeys(t *testing.T) {
	m := seen(80, 24, status(), table(100))
	quits := func(m Model, k tea.KeyMsg) bool {
		_, cmd := m.Update(k)
		if cmd == nil {
			return false
		}
		_, ok := cmd().(tea.QuitMsg)
		return ok
	}
	q := tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("q")}
	if !quits(m, q) || !quits(m, tea.KeyMsg{Type: tea.KeyCtrlC}) || !quits(m.typing("s"), tea.KeyMsg{Type: tea.KeyCtrlC}) {
		t.Error("does not quit")
	}
	if quits(m.typing("s"), q) {
		t.Error("q quits in the middle of a number")
	}
	if got := m.typing("v", "v", "right", "right", "left"); got.view != viewCounters {
		t.Errorf("view %d", got.view)
	}
	if got := m.typing("h4"); got.view != viewCounters || got.help {
		t.Errorf("keys that came at once: view %d help %v", got.view, got.help)
	}
	if got := m.typing("2", "end", "pgup", "home"); got.offset != 0 {
		t.Errorf("offset %d", got.offset)
	}
	if got := m.typing("2", "end", "1", "end"); got.offset != 101-got.visible() {
		t.Errorf("offset %d", got.offset)
	}
	if got := m.typing("s", "2", ".", "5", "enter"); got.conf.Interval != 2500*time.Millisecond || got.turn != m.turn+1 {
		t.Errorf("interval %v", got.conf.Interval)
	}
	for _, bad := range []string{"0", ".", "9999999"} {
		if got := m.typing("s", bad, "enter"); got.conf.Interval != time.Second {
			t.Errorf("interval %v of %q", got.conf.Interval, bad)
		}
	}
	if got := m.typing("s", "3", "esc"); got.asking || got.conf.Interval != time.Second {
		t.Error("esc does not leave it as it was")
	}
	if got := m.typing("A"); got.order != 1 || got.table.states[0].Creation < got.table.states[1].Creation {
		t.Errorf("order %d", got.order)
	}
	if got := m.typing("o", "o"); got.order != 0 {
		t.Errorf("order %d", got.order)
	}
}

// TestTicks: the clock asks unless paused; a clock that was replaced stops; states
// are read where they are shown, and not oftener than they cost.
func TestTicks(t *testing.T) {
	m := seen(80, 24, status(), table(3))
	reads := func(m Model, at time.Time) bool { return m.with(tick{m.turn, at}).reading }
	if !reads(m, noon.Add(time.Second)) {
		t.Error("does not read")
	}
	if reads(m.typing("3"), noon.Add(time.Second)) {
		t.Error("reads states nobody sees")
	}
	if reads(m.typing(" "), noon.Add(time.Second)) {
		t.Error("reads while paused")
	}
	m.table.took = time.Second
	if reads(m, noon.Add(9*time.Second)) || !reads(m, noon.Add(10*time.Second)) {
		t.Error("the pause is not ten times the cost")
	}
	if _, cmd := m.Update(tick{m.turn - 1, noon}); cmd != nil {
		t.Error("an old clock goes on")
	}
}

// TestRestart: a daemon that counts from 0 again makes no rates below 0, and
// what was seen of the old one stays on the screen until then.
// hung is a daemon that is stopped.
type hung struct{ nobody }

func (hung) Status(ctx context.Context) (control.Status, error) {
	<-ctx.Done()
	return control.Status{}, control.ErrTimeout
}

// TestSilence: a view does not stand still behind a daemon that does not answer.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := New(t.Context(), Config{Source: hung{}, Name: "pfsync0", Interval: time.Second})
		start := time.Now()
		m = m.with(m.ask()(), tea.WindowSizeMsg{Width: 80, Height: 24})
		if d := time.Since(start); d != silence || !strings.Contains(m.text(), "no answer") {
			t.Errorf("after %v:\n%s", d, m.text())
		}
	})
}

func TestRestart(t *testing.T) {
	m := seen(80, 24, status(), table(3))
	m = m.with(sample{at: noon.Add(20 * time.Second), st: status(), stats: stats(1)})
	if v := m.in.now(); v != 0 {
		t.Errorf("rate %v", v)
	}
	m = m.with(reading{err: errors.New("gone")})
	if len(m.table.states) != 4 {
		t.Errorf("%d states", len(m.table.states))
	}
}

// TestBest: of a large table the first are kept, whatever order they come in.
func TestBest(t *testing.T) {
	var all []control.State
	for i := range 5 * kept {
		all = append(all, control.State{ID: control.HexID64(i), Bytes: [2]uint64{uint64(i * 7919 % (5 * kept)), 0}})
	}
	m := New(context.Background(), Config{Source: nobody{all}, Orders: testOrders})
	r := m.read()().(reading)
	if r.total != len(all) || len(r.states) != kept {
		t.Fatalf("%d of %d", len(r.states), r.total)
	}
	for i, s := range r.states {
		if want := uint64(5*kept - 1 - i); s.Bytes[0] != want {
			t.Fatalf("place %d: %d, want %d", i, s.Bytes[0], want)
		}
	}
}

func TestSpark(t *testing.T) {
	for _, tc := range []struct {
		v     []float64
		width int
		want  string
	}{
		{nil, 5, ""},
		{[]float64{0, 0}, 5, "  "},
		{[]float64{0, 1, 1000}, 5, " ▁█"},
		{[]float64{9, 1, 2, 4, 8}, 4, "▂▃▅█"},
		{[]float64{1}, -3, ""},
	} {
		if got := (&history{tc.v}).spark(tc.width, blocks); got != tc.want {
			t.Errorf("%v: %q", tc.v, got)
		}
	}
	var h history
	for i := range 3 * historySize {
		h.add(float64(i))
	}
	if len(h.v) != historySize || h.now() != 3*historySize-1 {
		t.Errorf("%d, %v", len(h.v), h.now())
	}
}

func TestNumbers(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.5: "0.5", 9999: "9999", 12345: "12k", 9e9: "9000M", 5e13: "50T", 47.9: "48"} {
		if got := short(v); got != want {
			t.Errorf("%v: %s", v, got)
		}
	}
	for v, want := range map[uint32]string{59: "00:59", 3599: "59:59", 86400: "24h00", 400000: "4d15", 9e7: "1041d"} {
		if got := clock(v); got != want {
			t.Errorf("%v: %s", v, got)
		}
	}
}

// TestFit: what a daemon sends cannot move the cursor.
func TestFit(t *testing.T) {
	if got := fit("a\x1b[2Jb\nc", 80); got != "a?[2Jb?c" {
		t.Errorf("%q", got)
	}
}

func TestUsable(t *testing.T) {
	term := func(v string) func(string) string { return func(string) string { return v } }
	if err := Usable(strings.NewReader(""), &strings.Builder{}, term("xterm")); !errors.Is(err, ErrNoTerminal) {
		t.Error(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := Usable(null, null, term("xterm")); !errors.Is(err, ErrNoTerminal) {
		t.Error(err)
	}
	for _, tc := range []struct {
		env  map[string]string
		want bool
	}{
		{map[string]string{"LANG": "en_US.UTF-8"}, true},
		{map[string]string{"LANG": "C"}, false},
		{map[string]string{"LC_ALL": "C", "LANG": "en_US.UTF-8"}, false},
		{map[string]string{"LC_CTYPE": "C.utf8"}, true},
		{nil, false},
	} {
		if got := Blocks(func(k string) string { return tc.env[k] }); got != tc.want {
			t.Errorf("%v: %v", tc.env, got)
		}
	}
}

// TestCounterNames: every counter of pfsyncstats has a name to be shown by.
func TestCounterNames(t *testing.T) {
	if got, want := len(counterMap(control.Stats{})), reflect.TypeFor[control.Counters]().NumField(); got != want {
		t.Error(fmt.Errorf("%d names of %d counters", got, want))
	}
}
