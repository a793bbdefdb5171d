package nstest

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// linkWait bounds the wait for an interface to get its carrier.
const linkWait = 20 * time.Second

// Veth makes a pair of Ethernet interfaces, aDev in a and bDev in b, and sets
// both up. Setting one down takes the carrier from the other.
func (b *Bed) Veth(a *NS, aDev string, peer *NS, bDev string) {
	b.t.Helper()
	a.Run(b.t, "ip", "link", "add", aDev, "type", "veth", "peer", "name", bDev, "netns", peer.Path())
	a.Run(b.t, "ip", "link", "set", aDev, "up")
	peer.Run(b.t, "ip", "link", "set", bDev, "up")
	a.WaitCarrier(b.t, aDev)
	peer.WaitCarrier(b.t, bDev)
}

// Bridge is an Ethernet switch in a namespace of its own.
type Bridge struct {
	bed   *Bed
	ns    *NS
	ports int
}

// bridgeDev is the name of the bridge interface within its namespace.
const bridgeDev = "br0"

// Bridge makes a switch: no spanning tree, no multicast snooping, ports
// forwarding at once.
func (b *Bed) Bridge(name string) *Bridge {
	b.t.Helper()
	ns := b.NS("bridge-" + name)
	ns.Run(b.t, "ip", "link", "add", bridgeDev, "type", "bridge", "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0")
	ns.Run(b.t, "ip", "link", "set", bridgeDev, "up")
	return &Bridge{bed: b, ns: ns}
}

// Plug connects interface dev, made by it in ns, to the switch and gives the
// name of the port. With [Bridge.NS] a port can be set down: the interface
// then has no carrier.
func (br *Bridge) Plug(ns *NS, dev string) (port string) {
	t := br.bed.t
	t.Helper()
	port = fmt.Sprintf("port%d", br.ports)
	br.ports++
	br.bed.Veth(br.ns, port, ns, dev)
	br.ns.Run(t, "ip", "link", "set", port, "master", bridgeDev)
	EventuallyNil(t, linkWait, func() error {
		out, err := br.ns.Try("bridge", "link", "show", "dev", port)
		if err == nil && !strings.Contains(out, "state forwarding") {
			err = fmt.Errorf("%s", strings.TrimSpace(out))
		}
		return err
	}, "bridge port to forward")
	return port
}

// NS is the namespace of the switch.
func (br *Bridge) NS() *NS { return br.ns }

// Addr adds addresses in prefix notation to an interface; IPv6 ones are usable
// at once.
func (ns *NS) Addr(t testing.TB, dev string, prefixes ...string) {
	t.Helper()
	for _, p := range prefixes {
		args := []string{"ip", "addr", "add", p, "dev", dev}
		if strings.Contains(p, ":") {
			args = append(args, "nodad")
		}
		ns.Run(t, args...)
	}
}

// Up sets an interface up, without waiting for its carrier.
func (ns *NS) Up(t testing.TB, dev string) {
	t.Helper()
	ns.Run(t, "ip", "link", "set", dev, "up")
}

// Down sets an interface down; its routes go, its addresses stay.
func (ns *NS) Down(t testing.TB, dev string) {
	t.Helper()
	ns.Run(t, "ip", "link", "set", dev, "down")
}

// Interface gives the interface of that name as the namespace sees it.
func (ns *NS) Interface(t testing.TB, dev string) *net.Interface {
	t.Helper()
	var ifi *net.Interface
	var err error
	ns.Do(func() { ifi, err = net.InterfaceByName(dev) })
	if err != nil {
		t.Fatalf("nstest: %s: %s: %v", ns.name, dev, err)
	}
	return ifi
}

// WaitCarrier waits until an interface is up and has its carrier.
func (ns *NS) WaitCarrier(t testing.TB, dev string) {
	t.Helper()
	Eventually(t, linkWait, func() bool {
		return ns.Interface(t, dev).Flags&net.FlagRunning != 0
	}, ns.name+": carrier of "+dev)
}
