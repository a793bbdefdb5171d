package tunif_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/net/ipv4"

	"github.com/pfsync/pfsync/tunif"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// quietRules counts what comes in by the device at each hook, and by asking for
// the ct state makes the namespace track connections.
const quietRules = `
table ip quiet {
	counter arrived { }
	counter delivered { }
	counter forwarded { }
	chain first { type filter hook prerouting priority raw; iifname "%[1]s" counter name arrived; }
	chain before { type filter hook prerouting priority filter; ct state new accept; }
	chain incoming { type filter hook input priority filter; iifname "%[1]s" counter name delivered; }
	chain forward { type filter hook forward priority filter; iifname "%[1]s" counter name forwarded; }
}
`

// quietBed is a host as open as can be: it forwards, takes packets with its own
// addresses for source, filters no reverse path, logs martians, and listens for
// protocol 240 with the group joined on another interface.
func quietBed(t *testing.T, dev string) (*nstest.NS, *tunif.Device, net.PacketConn) {
	t.Helper()
	bed := nstest.New(t, "conntrack", "tcpdump")
	ns, other := bed.NS("fw"), bed.NS("other")
	bed.Veth(ns, "eth0", other, "eth0")
	ns.Addr(t, "eth0", "10.0.3.2/24")
	other.Addr(t, "eth0", "10.0.3.3/24")
	d := create(t, ns, dev, 1500)
	for key, val := range map[string]string{
		"net.ipv4.ip_forward": "1", "net.ipv4.conf.*.accept_local": "1",
		"net.ipv4.conf.*.rp_filter": "0", "net.ipv4.conf.*.log_martians": "1",
	} {
		for _, scope := range []string{"all", dev} {
			ns.Sysctl(t, strings.ReplaceAll(key, "*", scope), val)
		}
	}
	ns.Nft(t, fmt.Sprintf(quietRules, dev))
	listener := ns.ListenPacket(t, "ip4:240", "0.0.0.0")
	group := &net.IPAddr{IP: tunif.Group.AsSlice()}
	if err := ipv4.NewPacketConn(listener).JoinGroup(ns.Interface(t, "eth0"), group); err != nil {
		t.Fatal(err)
	}
	return ns, d, listener
}

var (
	packets     = regexp.MustCompile(`packets (\d+)`)
	pfsyncEntry = regexp.MustCompile(`^\S+ +240 `) // conntrack -L of protocol 240
)

func counter(t *testing.T, ns *nstest.NS, name string) string {
	t.Helper()
	return packets.FindStringSubmatch(ns.Run(t, "nft", "list", "counter", "ip", "quiet", name))[1]
}

// TestQuiet proves that nothing written to the device is delivered, forwarded,
// tracked or logged, whatever its source, on a host that would do all of it.
// The same frame with a unicast destination is the counter-proof: that one is
// tracked, forwarded and, from a loopback source, logged.
func TestQuiet(t *testing.T) {
	dev := fmt.Sprintf("pfsync%d", os.Getpid()) // the kernel log is everybody's
	ns, d, listener := quietBed(t, dev)
	log := openKmsg(t)
	heard := make(chan string, 8)
	go listen(listener, heard)

	const each = 5
	sources := []string{"10.0.3.2", "10.0.3.77", "192.0.2.1", "127.0.0.1", ""}
	for _, src := range sources {
		for range each {
			if _, err := d.Write(frame(src, 24)); err != nil {
				t.Fatal(err)
			}
		}
	}
	arrived := fmt.Sprint(each * len(sources))
	nstest.Eventually(t, within, func() bool { return counter(t, ns, "arrived") == arrived }, "all frames to arrive")
	for _, name := range []string{"delivered", "forwarded"} {
		if n := counter(t, ns, name); n != "0" {
			t.Errorf("%s: %s frames", name, n)
		}
	}
	for _, entry := range ns.Conntrack(t) {
		if pfsyncEntry.MatchString(entry) {
			t.Errorf("tracked: %s", entry)
		}
	}
	if n := d.Drained(); n != 0 {
		t.Errorf("%d packets were routed into the device", n)
	}

	counterProof(t, ns, d, log, dev)
	select {
	case from := <-heard:
		t.Errorf("a listener of protocol 240 heard %s", from)
	default:
	}
}

// counterProof writes frames with the destination changed to a unicast one, and
// ends when the kernel has done to them all that it did not do before.
func counterProof(t *testing.T, ns *nstest.NS, d *tunif.Device, log *kmsg, dev string) {
	t.Helper()
	for line := range log.lines() {
		if strings.Contains(line, dev) && strings.Contains(line, "martian") {
			t.Errorf("logged: %s", line)
		}
	}
	write := func(src, dst string) {
		if _, err := d.Write(redirect(frame(src, 24), dst)); err != nil {
			t.Fatal(err)
		}
	}
	nstest.Eventually(t, within, func() bool {
		write("192.0.2.9", "10.0.3.3")
		return counter(t, ns, "forwarded") != "0" && slices.ContainsFunc(ns.Conntrack(t), pfsyncEntry.MatchString)
	}, "a unicast frame to be forwarded and tracked")
	nstest.Eventually(t, within, func() bool {
		write("127.0.0.1", "10.0.3.3")
		for line := range log.lines() {
			if strings.Contains(line, dev) && strings.Contains(line, "martian") {
				return true
			}
		}
		return false
	}, "a martian to be logged")
}

// redirect gives a frame another destination.
func redirect(pkt []byte, dst string) []byte {
	to := netip.MustParseAddr(dst).As4()
	copy(pkt[16:], to[:])
	pkt[10], pkt[11] = 0, 0
	binary.BigEndian.PutUint16(pkt[10:], ^uint16(sum16(pkt[:tunif.HeaderLen])))
	return pkt
}

func listen(c net.PacketConn, heard chan<- string) {
	buf := make([]byte, 2048)
	for {
		_, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		select {
		case heard <- from.String():
		default:
		}
	}
}

// kmsg reads the kernel log from where it was opened.
type kmsg struct{ fd int }

func openKmsg(t *testing.T) *kmsg {
	t.Helper()
	fd, err := syscall.Open("/dev/kmsg", syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("kernel log: %v", err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	const seekEnd = 2
	if _, err := syscall.Seek(fd, 0, seekEnd); err != nil {
		t.Fatalf("kernel log: %v", err)
	}
	return &kmsg{fd: fd}
}

// lines yields the records logged since the last call.
func (k *kmsg) lines() func(yield func(string) bool) {
	return func(yield func(string) bool) {
		buf := make([]byte, 8192)
		for {
			n, err := syscall.Read(k.fd, buf)
			if errors.Is(err, syscall.EPIPE) { // overwritten before it was read: go on with the next
				continue
			}
			if err != nil || !yield(string(buf[:n])) {
				return
			}
		}
	}
}

// TestTcpdump shows the frame to the real tcpdump.
func TestTcpdump(t *testing.T) {
	bed := nstest.New(t, "tcpdump")
	ns := bed.NS("fw")
	d := create(t, ns, "pfsync0", 1500)
	dump := ns.Tcpdump(t, "pfsync0", "-v", "-x", "proto", "240")
	pkt := frame("10.0.3.2", 24)
	copy(pkt[tunif.HeaderLen:], []byte{0x06, 0xfe, 0xed})
	if _, err := d.Write(pkt); err != nil {
		t.Fatal(err)
	}
	head := dump.WaitFor(t, within, `proto unknown \(240\)|proto pfsync \(240\)`)
	for _, want := range []string{"tos 0x10", "ttl 255", "flags [DF]", "length 44"} {
		if !strings.Contains(head, want) {
			t.Errorf("%q lacks %q", head, want)
		}
	}
	dump.WaitFor(t, within, `10\.0\.3\.2 > 224\.0\.0\.240`)
	dump.WaitFor(t, within, `0x0010: +e000 00f0 06fe ed00`)
}
