package control_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

var configOpts = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()}

// randomConfig makes a configuration of any values that are allowed.
func randomConfig(r *rand.Rand) control.Config {
	peers := []netip.Addr{{}, netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("2001:db8::2"), control.Group6, netip.MustParseAddr("fe80::1%eth0")}
	filters := []control.Filter{
		{Kind: control.FilterLocal}, {Kind: control.FilterMark, Value: 3, Mask: 0xff}, {Kind: control.FilterLabel, Label: "dmz"},
		{Kind: control.FilterZone, Value: 9}, {Kind: control.FilterProto, Value: 47}, {Kind: control.FilterProto, Value: 200},
		{Kind: control.FilterAddr, Prefix: netip.MustParsePrefix("10.0.0.0/8")}, {Kind: control.FilterPort, Value: 53},
	}
	c := control.Config{
		Up: r.IntN(2) == 0, SyncPeer: peers[r.IntN(len(peers))], MaxUpd: r.IntN(256), MaxDelay: r.IntN(1001), Defer: r.IntN(2) == 0,
		DeferDelay: 1 + r.IntN(1000), DeferQueue: r.IntN(65536), Version: []int{6, 1301, 1400, 1500}[r.IntN(4)],
		Liberal: r.IntN(2) == 0, HostID: r.Uint32(), MaxStates: r.IntN(1 << 31), Demotion: r.IntN(254),
	}
	if r.IntN(2) == 0 {
		c.SyncDev = "eth2"
	}
	if r.IntN(2) == 0 {
		c.MTU = 41 + r.IntN(9000)
	}
	if r.IntN(2) == 0 {
		c.Description = "it's \"the\" link"
	}
	for _, f := range filters {
		if r.IntN(2) == 0 {
			c.NoSync = append(c.NoSync, f)
		}
	}
	return c
}

// TestSettings turns a configuration into words and those back.
func TestSettings(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		want := randomConfig(r)
		got, err := control.DefaultConfig().Apply(control.Change{Set: want.Settings()})
		if err != nil {
			t.Fatalf("%v: %v", want.Settings(), err)
		}
		if diff := cmp.Diff(want, got, configOpts); diff != "" || !want.Equal(got) {
			t.Fatalf("(-want +got)\n%s", diff)
		}
		again, err := got.Apply(control.Change{Set: want.Settings()})
		if err != nil || !again.Equal(got) {
			t.Fatalf("set again: %v\n%s", err, cmp.Diff(got, again, configOpts))
		}
		b, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var back control.Config
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if diff := cmp.Diff(want, back, configOpts); diff != "" {
			t.Fatalf("JSON (-want +got)\n%s", diff)
		}
	}
}

// TestTwice: to set what is set changes nothing, whatever was set before.
func TestTwice(t *testing.T) {
	args := map[string]string{
		"syncdev": "eth1", "syncif": "eth1", "syncpeer": "10.0.0.9", "maxupd": "7", "maxdelay": "7", "deferdelay": "7", "deferqueue": "7",
		"version": "1400", "mtu": "1400", "description": "x", "nosync": "mark 1/1", "-nosync": "local", "hostid": "7f3a9c01", "maxstates": "7", "demotion": "7",
	}
	r := rand.New(rand.NewPCG(3, 4))
	for _, w := range control.Words() {
		if w.Name == control.WordDestroy {
			continue
		}
		if _, ok := args[w.Name]; !ok && w.Arg != "" {
			t.Errorf("no argument for %s", w.Name)
		}
		ch := control.Change{Set: []control.Setting{{Word: w.Name, Arg: args[w.Name]}}}
		for range 100 {
			once, err := randomConfig(r).Apply(ch)
			if err != nil {
				t.Fatalf("%s: %v", w.Name, err)
			}
			if again, err := once.Apply(ch); err != nil || !again.Equal(once) {
				t.Fatalf("%s set again: %v\n%s", w.Name, err, cmp.Diff(once, again, configOpts))
			}
		}
	}
}

func TestEqual(t *testing.T) {
	a := control.DefaultConfig()
	for _, s := range []control.Setting{
		{Word: "up"}, {Word: "syncdev", Arg: "eth0"}, {Word: "syncpeer", Arg: "10.0.0.2"}, {Word: "maxupd", Arg: "1"}, {Word: "maxdelay", Arg: "1"},
		{Word: "defer"}, {Word: "deferdelay", Arg: "1"}, {Word: "deferqueue", Arg: "1"}, {Word: "version", Arg: "1400"}, {Word: "mtu", Arg: "99"},
		{Word: "description", Arg: "x"}, {Word: "nosync", Arg: "port 1"}, {Word: "-nosync", Arg: "local"}, {Word: "-liberal"},
		{Word: "hostid", Arg: "1"}, {Word: "maxstates", Arg: "1"}, {Word: "demotion", Arg: "1"},
	} {
		b, err := a.Apply(control.Change{Set: []control.Setting{s}})
		if err != nil {
			t.Fatal(err)
		}
		if a.Equal(b) || b.Equal(a) {
			t.Errorf("%v changes nothing", s)
		}
	}
}

// TestApplyAllOrNothing leaves the configuration as it was, filters too, which
// are shared memory if one is not careful.
func TestApplyAllOrNothing(t *testing.T) {
	c := control.DefaultConfig()
	before := c.Clone()
	_, err := c.Apply(control.Change{Set: []control.Setting{{Word: "nosync", Arg: "port 1"}, {Word: "-nosync", Arg: "local"}, {Word: "maxupd", Arg: "256"}}})
	var w *control.WordError
	if !errors.As(err, &w) || w.Word != "maxupd" || !errors.Is(err, control.ErrTooLarge) {
		t.Errorf("Apply = %v", err)
	}
	if diff := cmp.Diff(before, c, configOpts); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestReset(t *testing.T) {
	c, err := control.DefaultConfig().Apply(control.Change{Set: []control.Setting{{Word: "syncdev", Arg: "eth1"}, {Word: "defer"}}})
	if err != nil {
		t.Fatal(err)
	}
	c, err = c.Apply(control.Change{Reset: true, Set: []control.Setting{{Word: "maxupd", Arg: "1"}}})
	want := control.DefaultConfig()
	want.MaxUpd = 1
	if err != nil || !c.Equal(want) {
		t.Errorf("%v (-want +got)\n%s", err, cmp.Diff(want, c, configOpts))
	}
}

func TestRandomHostID(t *testing.T) {
	seen := map[uint32]bool{}
	for range 100 {
		seen[control.RandomHostID()] = true
	}
	if seen[0] || len(seen) < 99 {
		t.Errorf("%d different of 100, 0 among them: %v", len(seen), seen[0])
	}
}
