package nfqueue_test

import (
	"errors"
	"os"
	"testing"
	"time"

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
			rules, err = nfqueue.Install("pfsync0", queueNum, q.Conntrack())
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
