package engine

import (
	"net/netip"
	"slices"
	"testing"
)

// TestPeerMoves: a firewall whose interface got another address is one peer,
// under the new one, as soon as the old one has been silent.
func TestPeerMoves(t *testing.T) {
	r := ready(t)
	addrs := func() (list []string) {
		for _, p := range r.e.Peers(nil) {
			list = append(list, p.Addr.String())
		}
		slices.Sort(list)
		return list
	}
	expect := func(when string, want ...string) {
		t.Helper()
		if got := addrs(); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
	}
	r.c.say()
	old, moved := r.b.addr, netip.MustParseAddr("10.255.0.22")
	r.b.addr = moved
	r.b.say()
	expect("at first nobody knows", "10.255.0.2", "10.255.0.22", "10.255.0.3")
	for range 5 {
		r.pass(second)
		r.b.say()
	}
	expect("the old one is silent", "10.255.0.22", "10.255.0.3") // so is C, which has no other address
	r.b.addr = old
	r.b.say()
	expect("it speaks again", "10.255.0.2", "10.255.0.22", "10.255.0.3")
}
