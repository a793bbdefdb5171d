package nfqueue_test

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/nfqueue"
	"github.com/pfsync/pfsync/tunif/nstest"
)

const (
	queueNum = 4242
	patience = 30 * time.Second
)

// TestQueue: a real first packet waits, tells its connection, and goes on with
// the verdict; only first packets of forwarded connections come.
func TestQueue(t *testing.T) {
	top := nstest.NewTopology(t, nstest.Options{})
	fw := top.FW[0]
	var q *nfqueue.Queue
	var rules *nfqueue.Rules
	var err error
	fw.Do(func() {
		if q, err = nfqueue.Open(queueNum); err == nil {
			rules, err = nfqueue.Install("pfsync0", queueNum, q.Conntrack(), nil)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	t.Logf("rules by %s, conntrack %v", rules.By, q.Conntrack())
	fw.Do(func() {
		if _, err := nfqueue.Open(queueNum); !errors.Is(err, nfqueue.ErrTaken) {
			t.Errorf("second opener: %v", err)
		}
	})
	to := top.Server.Echo(t, "udp4", nstest.ServerAddr+":0")
	c := top.Client.Dial(t, "udp4", to)
	answered := make(chan error, 1)
	go func() { answered <- nstest.Ask(c, "hello", patience) }()
	pkts := make([]nfqueue.Packet, 4)
	n, err := q.Read(pkts)
	if err != nil || n != 1 {
		t.Fatalf("%d packets, %v", n, err)
	}
	f := &pkts[0].Flow
	if f.Proto != pfstate.ProtoUDP || f.Orig.Src.IP(f.AF).String() != nstest.ClientAddr || f.Orig.Dst.IP(f.AF).String() != nstest.ServerAddr {
		t.Errorf("flow %+v", f)
	}
	if len(answered) != 0 {
		t.Error("answered while held")
	}
	if err := q.Accept([]uint32{pkts[0].ID, 99}); err != nil {
		t.Error(err)
	}
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	if err := nstest.Ask(c, "again", patience); err != nil {
		t.Errorf("second packet: %v", err)
	}
	q.Wake()
	if n, err := q.Read(pkts); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d packets after the first, %v", n, err)
	}
	q.Close()
	c2 := top.Client.Dial(t, "udp4", to)
	if err := nstest.Ask(c2, "nobody reads", patience); err != nil {
		t.Errorf("without a reader: %v", err)
	}
	fw.Do(rules.Remove)
}

// TestRulesLeave: the rules come, are replaced and go, and take only what they
// brought, whoever takes them out.
func TestRulesLeave(t *testing.T) {
	for _, tc := range []struct{ name, before string }{
		{"nothing there", ""},
		{"a rule of somebody", "table ip mangle { chain PREROUTING { type filter hook prerouting priority mangle; policy accept; meta mark 7 accept; }; }\n"},
		{"an empty table of somebody", "table ip mangle { chain PREROUTING { type filter hook prerouting priority mangle; policy accept; }; }\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ns := nstest.New(t).NS("fw")
			if tc.before != "" {
				ns.Nft(t, tc.before)
			}
			for name, remove := range map[string]func(*nfqueue.Rules){
				"its owner":       (*nfqueue.Rules).Remove,
				"the next daemon": func(r *nfqueue.Rules) { nfqueue.RemoveLeft("pfsync0", r.Made) },
			} {
				t.Run(name, func(t *testing.T) { rulesLeave(t, ns, remove) })
			}
			if tc.before != "" {
				ns.Run(t, "nft", "list", "table", "ip", "mangle")
			}
		})
	}
}

// rulesLeave puts rules in twice, for another queue, and has them taken out.
func rulesLeave(t *testing.T, ns *nstest.NS, remove func(*nfqueue.Rules)) {
	was := ns.Run(t, "nft", "list", "tables")
	ns.Do(func() {
		made := nfqueue.Missing()
		for _, num := range []uint16{queueNum, queueNum + 1} {
			rules, err := nfqueue.Install("pfsync0", num, false, made)
			if err != nil {
				t.Error(err)
				return
			}
			t.Logf("rules by %s, made %q", rules.By, rules.Made)
			if made = rules.Made; num != queueNum {
				remove(rules)
			}
		}
	})
	if now := ns.Run(t, "nft", "list", "tables"); now != was {
		t.Errorf("tables %q, before %q", now, was)
	}
}

// TestQueuePermission: the kernel says EPERM for two things, we do not.
func TestQueuePermission(t *testing.T) {
	nstest.New(t).NS("fw").Do(func() {
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var was, none [2]unix.CapUserData
		if err := unix.Capget(&hdr, &was[0]); err != nil {
			t.Error(err)
			return
		}
		none = was
		none[0].Effective &^= 1 << unix.CAP_NET_ADMIN
		if err := unix.Capset(&hdr, &none[0]); err != nil { // of this thread
			t.Error(err)
			return
		}
		q, err := nfqueue.Open(queueNum)
		if err := unix.Capset(&hdr, &was[0]); err != nil {
			t.Error(err)
		}
		if !errors.Is(err, nfqueue.ErrPermission) {
			t.Errorf("opened without rights: %v, %v", q, err)
		}
	})
}
