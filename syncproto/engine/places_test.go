package engine

import (
	"net/netip"
	"strings"
	"testing"
)

// vmAddr is the address of a machine of the captures on the sync network.
func vmAddr(vm int) netip.Addr { return netip.AddrFrom4([4]byte{10, 99, 0, byte(vm)}) }

// placed are the looks at one machine's table. Of what it made itself it knows
// more than others tell; the names end in its number (README of the captures).
func placed(tables []*kernelTable, vm int) (out []*kernelTable) {
	for _, k := range tables {
		if k.vm == vm {
			k.place = uint32(vm)
			out = append(out, k)
		}
	}
	return out
}

// placeDiffs lists what stays different when we take the place of a machine.
var placeDiffs = []captureDiff{
	{"21-two-vms-bulk as second", "vm 2: ours only", 60, notAskedYet},
	{"24-two-vms-failover as second", "vm 2: src {", 2, passedThere},
	{"26-two-vms-100-flows as first", "vm 1: expire", 200, fromCopies},
	{"26-two-vms-100-flows as second", "vm 2: expire", 13, restarted},
	{"o21-two-vms-bulk as second", "vm 2: ours only", 88, notAskedYet},
	{"o21-two-vms-bulk as second", "vm 2: timeout 5, ours 2", 2, notWhole},
	{"o24-two-vms-failover as second", "vm 2: src {", 2, passedThere},
	{"o26-two-vms-100-flows as first", "vm 1: expire", 142, fromCopies},
}

const (
	passedThere = "the connection passes at the machine itself then, and no packet reaches us; once it is back the tables are equal"
	fromCopies  = "the machine's own states, which we know from the other's copies only: those end earlier, for updates reach them late"
)

// TestPlaces puts us in the place of either of two kernels that talk: we hear
// what it heard, and our table is its table.
func TestPlaces(t *testing.T) {
	n := 0
	for _, name := range captureNames(t) {
		if !strings.Contains(name, "two-vms") {
			continue
		}
		for vm := 1; vm <= 2; vm++ {
			place := name + " as " + []string{"", "first", "second"}[vm]
			t.Run(place, func(t *testing.T) {
				_, tables := replayCapture(t, name, vm)
				judge(t, place, report(tables), placeDiffs)
				n += len(tables)
			})
		}
	}
	if n < 90 {
		t.Errorf("%d looks at tables", n)
	}
}
