package doctor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// daemon asks whether anybody answers.
func (e *exam) daemon() {
	const check = "daemon"
	var err error
	if e.st, err = e.Daemon.Status(e.ctx); err == nil {
		e.stats, err = e.Daemon.Stats(e.ctx)
	}
	switch {
	case err == nil:
		e.alive = true
		e.ok(check, "pfsyncd %s runs, pid %d", e.st.Daemon.Version, e.st.Daemon.PID)
	case errors.Is(err, control.ErrNotRunning):
		e.fault(check, "no daemon runs for "+e.Name, "pfsyncctl "+e.Name+" syncdev IF starts it; at boot: systemctl enable pfsyncd")
	case errors.Is(err, control.ErrPermission):
		e.fault(check, err.Error(), "be root, or a member of the group "+control.Group)
	case errors.Is(err, control.ErrVersion):
		e.fault(check, err.Error(), "restart pfsyncd: it is older or newer than this command")
	case errors.Is(err, control.ErrTimeout):
		e.fault(check, err.Error(), "ps -C pfsyncd -o pid,stat shows T if it is stopped, then kill -CONT PID; else look into the journal: journalctl -u pfsyncd")
	default:
		e.fault(check, err.Error(), "look into the journal: journalctl -u pfsyncd")
	}
}

// device looks at the pseudo-device.
func (e *exam) device() {
	const check = "device"
	l, err := e.Host.Link(e.Name)
	switch {
	case err != nil:
		e.fault(check, e.Name+" is not there: "+err.Error(), "restart pfsyncd")
	case !e.st.Up:
		e.fault(check, e.Name+" is down: nothing is sent or looked at", "pfsyncctl "+e.Name+" up")
	case !l.Up:
		e.fault(check, e.Name+" was set down from outside", "ip link set "+e.Name+" up")
	default:
		e.ok(check, "%s is up, mtu %d", e.Name, e.st.MTU)
	}
}

// syncdev looks at the interface to the peers: there, up, with an address, the
// group joined, frames leaving.
func (e *exam) syncdev() {
	const check = "syncdev"
	dev := e.st.Config.SyncDev
	if dev == "" {
		e.fault(check, "no syncdev is set: nothing is exchanged", "pfsyncctl "+e.Name+" syncdev IF, the interface to the other firewall")
		return
	}
	l, err := e.Host.Link(dev)
	switch {
	case err != nil:
		e.fault(check, dev+" is not there: "+err.Error(), "make it; pfsyncd waits for it")
		return
	case !l.Up:
		e.fault(check, dev+" is down", "ip link set "+dev+" up")
	case !l.Running:
		e.fault(check, dev+" has no link", "look at the cable, the switch, and the other end")
	default:
		e.ok(check, "%s is up and has a link", dev)
	}
	e.dev = l
	e.address(dev)
	e.mtu(dev)
	if l.Up && l.Running {
		e.group(dev)
		e.sending(dev)
	}
}

// sixth reports whether frames are carried in IPv6.
func (e *exam) sixth() bool { return e.st.Config.SyncPeer.Is6() }

func (e *exam) address(dev string) {
	const check = "address"
	family, example := "IPv4", "ip addr add 192.168.254.1/24 dev "+dev
	if e.sixth() {
		family, example = "IPv6", "ip addr add fd00:254::1/64 dev "+dev
	}
	i := slices.IndexFunc(e.dev.Addrs, func(a netip.Addr) bool { return a.Is6() == e.sixth() })
	if i < 0 {
		e.fault(check, dev+" has no "+family+" address: frames have no source", example+", another one on each firewall")
		return
	}
	e.ok(check, "%s has %s", dev, e.dev.Addrs[i])
}

// smallMTU is where a record with its headers fits a few times only.
const smallMTU = 1280

func (e *exam) mtu(dev string) {
	const check = "mtu"
	switch shrunk := e.stats.Reasons["mtushrunk"]; {
	case shrunk > 0:
		e.warn(check, fmt.Sprintf("frames were too big for the way %d times and were made smaller", shrunk),
			fmt.Sprintf("give %s the MTU of the whole way between the firewalls, on both", dev))
	case e.dev.MTU < smallMTU:
		e.warn(check, fmt.Sprintf("%s has an mtu of %d: few states fit a frame", dev, e.dev.MTU), "ip link set "+dev+" mtu 1500, on both")
	case e.st.MTU > e.dev.MTU:
		e.fault(check, fmt.Sprintf("%s sends up to %d bytes, %s takes %d", e.Name, e.st.MTU, dev, e.dev.MTU),
			fmt.Sprintf("pfsyncctl %s mtu %d", e.Name, e.dev.MTU))
	default:
		e.ok(check, "%s takes %d bytes, frames have up to %d", dev, e.dev.MTU, e.st.MTU)
	}
}

// group looks whether the kernel takes frames to the group from the syncdev.
func (e *exam) group(dev string) {
	const check = "group"
	peer := e.st.Config.SyncPeer
	if peer.IsValid() && !peer.IsMulticast() {
		e.ok(check, "not needed: frames go to %s alone", peer)
		return
	}
	joined, group := joined4, control.Group4
	if e.sixth() {
		joined, group = joined6, peer
	}
	file := "igmp"
	if e.sixth() {
		file = "igmp6"
	}
	text, err := e.Host.read(procNet + file)
	switch {
	case err != nil:
		e.warn(check, "cannot tell whether "+group.String()+" is joined: "+err.Error(), "")
	case !joined(text, dev, group):
		e.fault(check, fmt.Sprintf("%s is not joined on %s: nothing is received", group, dev),
			fmt.Sprintf("pfsyncctl %s -syncdev; pfsyncctl %s syncdev %s", e.Name, e.Name, dev))
	default:
		e.ok(check, "%s is joined on %s", group, dev)
	}
}

// joined4 looks into /proc/net/igmp: a line for each interface, below it one for
// each group, the address printed as a number of this machine's byte order.
func joined4(text, dev string, group netip.Addr) bool {
	b := group.As4()
	want := fmt.Sprintf("%08X", binary.NativeEndian.Uint32(b[:]))
	here := false
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if line[0] != '\t' && len(f) > 1 {
			here = f[1] == dev || f[1] == dev+":"
			continue
		}
		if here && len(f) > 0 && f[0] == want {
			return true
		}
	}
	return false
}

// joined6 looks into /proc/net/igmp6: index, interface, address, and more.
func joined6(text, dev string, group netip.Addr) bool {
	want := fmt.Sprintf("%x", group.AsSlice())
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 2 && f[1] == dev && f[2] == want {
			return true
		}
	}
	return false
}

// A daemon that has nothing to say sends a frame each second (design section
// 7); sendPatience is several of them.
const (
	sendPoll     = 100 * time.Millisecond
	sendPatience = 50 // polls
)

// sending watches frames leave: the daemon's counter and the link's.
func (e *exam) sending(dev string) {
	const check = "sending"
	before, tx := e.stats, e.packets(dev)
	sent := func() uint64 { return e.stats.Reasons["framesout"] - before.Reasons["framesout"] }
	for try := 0; try < sendPatience && sent() == 0 && e.ctx.Err() == nil; try++ {
		e.look()
	}
	frames := sent()
	var left, refused uint64
	// The daemon counts what it hands to its sender, which may be late on a busy machine.
	for try := 0; try < sendPatience && left == 0 && refused == 0 && e.ctx.Err() == nil; try++ {
		e.look()
		left, refused = e.packets(dev)-tx, e.stats.Counters.OErrors-before.Counters.OErrors
	}
	switch {
	case frames == 0:
		e.fault(check, "the daemon sends nothing", "look into the journal: journalctl -u pfsyncd")
	case refused > 0:
		e.fault(check, fmt.Sprintf("the kernel refuses to send on %s: %d errors just now", dev, refused),
			"see the rules below; look for a route and an address of "+dev)
	case left == 0:
		e.fault(check, "frames do not leave: "+dev+" counts none", "see the rules below; tc filter show dev "+dev+" egress")
	default:
		e.ok(check, "frames leave: %s has sent %d just now", dev, left)
	}
}

// look waits a little and asks again.
func (e *exam) look() {
	e.Host.Wait(e.ctx, sendPoll)
	if st, err := e.Daemon.Status(e.ctx); err == nil {
		e.st = st
	}
	if st, err := e.Daemon.Stats(e.ctx); err == nil {
		e.stats = st
	}
}

// packets is 0 if it cannot be told, and then the link seems to send nothing.
func (e *exam) packets(dev string) uint64 {
	n, err := e.Host.sentPackets(dev)
	if err != nil {
		return 0
	}
	return n
}
