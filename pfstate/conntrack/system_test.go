package conntrack

import (
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/tunif/nstest"
	"golang.org/x/sys/unix"
)

func TestTracks(t *testing.T) {
	ns := nstest.New(t).NS("fw")
	check := func(want bool) {
		t.Helper()
		ns.Do(func() {
			if got, err := Tracks(); err != nil || got != want {
				t.Errorf("Tracks: %v, %v, want %v", got, err, want)
			}
		})
	}
	check(false)
	ns.Nft(t, trackRules)
	check(true)
}

func TestSysctls(t *testing.T) {
	ns := nstest.New(t).NS("fw")
	ns.Do(func() {
		if err := EnableEvents(); err != nil {
			t.Error(err)
		}
		for _, v := range []uint32{1, 1, 0} {
			was, err := SetLiberal(v)
			if err != nil {
				t.Error(err)
			}
			if now, _ := readSysctl(sysctlLiberal); now != v {
				t.Errorf("be_liberal is %d, set to %d, was %d", now, v, was)
			}
		}
		if n, err := Max(); err != nil || n == 0 {
			t.Errorf("Max: %d, %v", n, err)
		}
		_, err := readSysctl("no_such_thing")
		if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "net.netfilter.nf_conntrack_no_such_thing") {
			t.Errorf("a sysctl that does not exist: %v", err)
		}
	})
	if got := ns.ReadSysctl(t, "net.netfilter.nf_conntrack_events"); got != "1" {
		t.Errorf("nf_conntrack_events is %s", got)
	}
}

func TestReadTimeouts(t *testing.T) {
	ns := nstest.New(t).NS("fw")
	ns.Sysctl(t, "net.netfilter.nf_conntrack_tcp_timeout_established", "4711")
	ns.Sysctl(t, "net.netfilter.nf_conntrack_tcp_timeout_syn_sent", "17")
	ns.Sysctl(t, "net.netfilter.nf_conntrack_udp_timeout_stream", "99")
	ns.Do(func() {
		got, err := ReadTimeouts()
		if err != nil {
			t.Fatal(err)
		}
		want := pfstate.DefaultTimeouts()
		want.TCP[pfstate.TCPEstablished], want.UDPStream = 4711, 99
		want.TCP[pfstate.TCPSynSent], want.TCP[pfstate.TCPNone] = 17, 17
		want.SCTP[4], got.SCTP[4] = 0, 0 // five days or 210 seconds, by kernel
		if got != want {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	})
}

func TestProbeErrors(t *testing.T) {
	for _, tc := range []struct {
		name string
		in   syscall.Errno
		want error
	}{
		{"found", 0, nil},
		{"not found", unix.ENOENT, nil},
		{"no zones", unix.EOPNOTSUPP, nil},
		{"not permitted", unix.EPERM, ErrPermission},
		{"other", unix.EIO, unix.EIO},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if err := probeError(tc.in); !errors.Is(err, tc.want) || (err == nil) != (tc.want == nil) {
				t.Errorf("%v, want %v", err, tc.want)
			}
		})
	}
	if !strings.Contains(ErrPermission.Error(), "CAP_NET_ADMIN") {
		t.Error("no hint which capability")
	}
}

func TestOpError(t *testing.T) {
	err := opError("write x", unix.EACCES)
	var op *OpError
	if !errors.As(err, &op) || op.Op != "write x" || !errors.Is(err, ErrPermission) || !errors.Is(err, unix.EACCES) {
		t.Errorf("%#v", err)
	}
	if opError("nothing", nil) != nil {
		t.Error("an error without cause")
	}
	if err := opError("read x", unix.EIO); err.Error() != "conntrack: read x: input/output error" {
		t.Error(err)
	}
}

// TestForged: what another process sends to our port ids is counted and
// changes nothing.
func TestForged(t *testing.T) {
	ns := newNS(t)
	inj := newInjector(t, ns)
	l := newListener(t, ns, ListenConfig{})
	var from *socket
	var err error
	ns.Do(func() { from, err = openSocket(0, 0, func(int) error { return nil }) })
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(from.fd)

	f := flowCases()[0].flow
	forged, _ := AppendCreate(nil, inj.seq+1, &f)
	binary.NativeEndian.PutUint16(forged[4:], unix.NLMSG_ERROR)
	binary.NativeEndian.PutUint32(forged[12:], inj.PortID())
	binary.NativeEndian.PutUint32(forged[16:], ^uint32(unix.ENOMEM)+1)
	if err := unix.Sendto(from.fd, forged, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: inj.PortID()}); err != nil {
		t.Fatal(err)
	}
	must(t, inj, pfstate.OpCreate, f, pfstate.ResultOK)
	if s := inj.Stats(); s.Unmatched != 1 || s.Lost != 0 {
		t.Errorf("stats %+v", s)
	}

	var to uint32
	l.raw.Control(func(fd uintptr) {
		sa, _ := unix.Getsockname(int(fd))
		to = sa.(*unix.SockaddrNetlink).Pid
	})
	event := create(t, &f)
	if err := unix.Sendto(from.fd, event, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: to}); err != nil {
		t.Fatal(err)
	}
	if got := eventsUntil(t, l, inj, 1); len(got) != 1 || got[0].Flow.CtID == 0 {
		t.Errorf("heard: %+v", got)
	}
	if s := l.Stats(); s.Foreign != 1 {
		t.Errorf("stats %+v", s)
	}
}

// TestAnswersLost: with too small a buffer answers get lost; the results say so
// and the next batch is right again.
func TestAnswersLost(t *testing.T) {
	const flows = 300
	inj := newInjector(t, newNS(t))
	createMany(t, inj, flows)
	if err := unix.SetsockoptInt(inj.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096); err != nil {
		t.Fatal(err)
	}
	ops, res := manyOps(pfstate.OpGet, flows), make([]pfstate.Result, flows)
	if n, err := inj.Do(ops, res); n != flows || err != nil {
		t.Fatalf("Do: %d, %v", n, err)
	}
	lost := 0
	for k := range res {
		switch {
		case res[k].Code == pfstate.ResultError && res[k].Errno == unix.ENOBUFS:
			lost++
		case res[k].Code != pfstate.ResultOK || res[k].Flow.Orig != ops[k].Flow.Orig:
			t.Fatalf("result %d: %v (%v)", k, res[k].Code, res[k].Errno)
		}
	}
	if s := inj.Stats(); lost == 0 || s.Lost != uint64(lost) {
		t.Errorf("%d lost, stats %+v", lost, s)
	}
	forceRcvBuf(inj.fd, injectRcvBuf)
	if _, err := inj.Do(ops, res); err != nil {
		t.Fatal(err)
	}
	for k := range res {
		if res[k].Code != pfstate.ResultOK || res[k].Flow.Orig != ops[k].Flow.Orig {
			t.Fatalf("with room again, result %d: %v (%v)", k, res[k].Code, res[k].Errno)
		}
	}
}

// TestRefusalsLost: creates that are refused without room for the refusals are
// not taken for done.
func TestRefusalsLost(t *testing.T) {
	const flows = 300
	inj := newInjector(t, newNS(t))
	createMany(t, inj, flows)
	if err := unix.SetsockoptInt(inj.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4096); err != nil {
		t.Fatal(err)
	}
	ops, res := manyOps(pfstate.OpCreate, flows), make([]pfstate.Result, flows)
	if _, err := inj.Do(ops, res); err != nil {
		t.Fatal(err)
	}
	for k := range res {
		if res[k].Code != pfstate.ResultExists && res[k].Code != pfstate.ResultError {
			t.Fatalf("result %d: %v (%v)", k, res[k].Code, res[k].Errno)
		}
	}
}

func TestListenConfig(t *testing.T) {
	ns := newNS(t)
	warned := ""
	l := newListener(t, ns, ListenConfig{RcvBuf: 1 << 20, Warn: func(msg string, _ ...any) { warned = msg }})
	if warned != "" || l.Stats().RcvBuf < 1<<20 {
		t.Errorf("warned %q, buffer %d", warned, l.Stats().RcvBuf)
	}
}
