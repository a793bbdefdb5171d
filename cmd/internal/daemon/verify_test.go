package daemon

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/tunif/nstest"
	"github.com/pfsync/pfsync/tunif/tuntest"
)

// verify compares, and returns what came out when it is over.
func (n *node) verify() control.Verification {
	n.t.Helper()
	if err := n.Verify(context.Background(), netip.Addr{}); err != nil {
		n.t.Fatal(err)
	}
	var v control.Verification
	nstest.EventuallyNil(n.t, patience, func() (err error) {
		if v, err = n.Verified(context.Background()); err == nil && v.Running {
			err = fmt.Errorf("%+v", v.Peers)
		}
		return err
	}, n.where+" to have verified")
	return v
}

// expectEqual verifies until nothing differs: what the start of the
// connections left to be told may take a moment.
func (n *node) expectEqual() {
	n.t.Helper()
	v := n.verify()
	if len(v.Peers) != 1 || v.Peers[0].Outcome != control.VerifyDone || v.Peers[0].Differed != 0 {
		n.t.Errorf("%s: %+v %+v", n.where, v.Peers, v.Differences)
	}
	if v.Peers[0].States == 0 {
		n.t.Errorf("%s: nothing was compared", n.where)
	}
}

// TestVerify: real tables of all kinds are equal; what is changed in a kernel
// without a word is found, named, and put right, whoever asks.
func TestVerify(t *testing.T) {
	p := newPair(t, nstest.Options{Rules: metaRules})
	p.FW[1].Sysctl(t, "net.netfilter.nf_conntrack_events", "0") // entries made from now on are mute
	flows := p.tcpUDP(t)
	for _, port := range []string{"6001", "6002", "6003", "6004", "6005"} {
		to := p.Server.Echo(t, "tcp4", nstest.ServerAddr+":"+port)
		if err := nstest.Ask(p.Client.Dial(t, "tcp4", to), "hello", patience); err != nil {
			t.Fatal(err)
		}
		flows = append(flows, flow{port, "ipv4", []string{"ESTABLISHED", "dport=" + port, "[ASSURED]"}, nil})
	}
	for _, f := range flows {
		waitFlow(t, p.FW[1], true, f.family, f.words...)
	}
	for _, n := range p.n {
		n.expectEqual()
	}
	t.Run("deleted", func(t *testing.T) {
		f := flows[0]
		p.verifyUntil(t, p.n[0], "gone there", func() { p.FW[1].Run(t, append([]string{"conntrack", "-D"}, f.kill...)...) })
		waitFlow(t, p.FW[1], true, f.family, f.words...)
	})
	t.Run("changed", func(t *testing.T) {
		f, mark := flows[0], 0
		sport, dport := strings.TrimPrefix(f.words[1], "sport="), strings.TrimPrefix(f.words[2], "dport=")
		p.verifyUntil(t, p.n[1], "changed here", func() {
			mark++
			p.FW[1].Run(t, append([]string{"conntrack", "-D"}, f.kill...)...)
			p.FW[1].Run(t, "conntrack", "-I", "-p", "tcp", "-s", nstest.ClientAddr, "-d", nstest.ServerAddr, "--sport", sport, "--dport", dport,
				"--state", "ESTABLISHED", "-u", "SEEN_REPLY,ASSURED", "-t", "3000", "--mark", fmt.Sprint(mark))
		})
		waitFlow(t, p.FW[0], true, f.family, append(f.words, fmt.Sprintf("mark=%d", mark))...)
	})
	for _, n := range p.n {
		n.expectEqual()
	}
	t.Run("withheld", func(t *testing.T) {
		p.n[1].set("nosync", "port 6001")
		waitFlow(t, p.FW[1], false, "ipv4", "dport=6001")
		var v control.Verification
		nstest.EventuallyNil(t, patience, func() error {
			if v = p.n[1].verify(); v.Peers[0].Withheld != 1 {
				return fmt.Errorf("%+v", v)
			}
			return nil
		}, "what is withheld")
		if d := v.Differences[0]; v.Peers[0].Differed != 1 || d.Why != "nosync" || d.State == nil || !slices.Contains(d.State.Key.Wire.Port[:], 6001) {
			t.Errorf("%+v", v)
		}
		p.n[1].waitSync(control.SyncOK)
	})
}

// verifyUntil spoils something and verifies until that is what was found: a
// regular dump may be the first to see it. What is found then has to be healed.
func (p *pair) verifyUntil(t *testing.T, n *node, kind string, spoil func()) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		spoil()
		v := n.verify()
		i := slices.IndexFunc(v.Differences, func(d control.Difference) bool { return d.Kind == kind })
		if i < 0 {
			continue
		}
		if d := v.Differences[i]; !d.Healed || d.State == nil {
			t.Errorf("%s: %+v", n.where, d)
		}
		return
	}
	t.Fatalf("never %s", kind)
}

// TestVerifyNobody: who cannot verify says why.
func TestVerifyNobody(t *testing.T) {
	n, _ := newFakeNode(t, tuntest.NewLink(1500), "10.0.3.2")
	ctx := context.Background()
	for _, step := range []struct {
		words []string
		peer  netip.Addr
		want  string
	}{
		{nil, netip.Addr{}, "no syncdev to compare over; see the word syncdev"},
		{[]string{"syncdev", "eth2"}, netip.Addr{}, "no peer heard, nothing to compare with"},
		{nil, netip.MustParseAddr("10.0.3.3"), "10.0.3.3: no such peer heard; see the verb peers"},
		{[]string{"version", "1400"}, netip.Addr{}, "frames of version 5 have no digests; set the word version 6 to compare"},
	} {
		if step.words != nil {
			n.set(step.words...)
		}
		if err := n.Verify(ctx, step.peer); err == nil || err.Error() != step.want {
			t.Errorf("%v: %v, want %s", step.words, err, step.want)
		}
	}
}
