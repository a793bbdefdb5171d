package control_test

import (
	"encoding/json"
	"net/netip"
	"testing"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/cmd/internal/control/controltest"
)

// sample is a state as a firewall has many.
func sample() control.State {
	k := control.Key{Addr: [2]netip.Addr{netip.MustParseAddr("10.20.206.48"), netip.MustParseAddr("203.0.113.148")}, Port: [2]uint16{23219, 25}, AF: 2}
	return control.State{ID: 0x654e873400001d61, CreatorID: 0x72c67ab3, IfName: "all", Key: control.Keys{Wire: k, Stack: k}, Rule: control.None,
		Anchor: control.None, NATRule: control.None, Creation: 100, Expire: 86400, Direction: control.DirIn, Timeout: 2, AF: 2, Proto: 6,
		Origin: control.OriginPeer, From: "192.168.254.253", Kernel: true, CTState: "ESTABLISHED"}
}

// BenchmarkStates tells how fast a table goes from the backend to the caller
// of the client.
func BenchmarkStates(b *testing.B) {
	const table = 10000
	back := controltest.New("pfsync0")
	for range table {
		back.Table = append(back.Table, sample())
	}
	c := control.NewClient(serve(b, back))
	defer c.Close()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if err := c.States(b.Context(), control.StateQuery{}, func(*control.State) error { n++; return nil }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "states/s")
}

// BenchmarkDecode is the reading half of it.
func BenchmarkDecode(b *testing.B) {
	line, err := json.Marshal(sample())
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		var s control.State
		if err := json.Unmarshal(line, &s); err != nil {
			b.Fatal(err)
		}
	}
}
