package engine

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/golden"
)

// verdict is what a packet does to a receiver, in words that can be compared:
// counters, the names in its table afterwards, and what it answers at once.
type verdict struct {
	counters map[string]int
	states   map[pfstate.ID]bool
	replies  map[string]int // "UPD_C id/creatorid" by number
}

// goldenModel is the table that a kernel has after the events of the JSON.
type goldenModel struct {
	peers  map[pfstate.ID][2]syncproto.Peer
	ifname map[pfstate.ID]string
	tcp    map[pfstate.ID]bool
}

func hexID(tb testing.TB, id, creator string) pfstate.ID {
	a, err := strconv.ParseUint(id, 16, 64)
	b, err2 := strconv.ParseUint(creator, 16, 32)
	if err != nil || err2 != nil {
		tb.Fatalf("name %q %q", id, creator)
	}
	return pfstate.ID{ID: a, CreatorID: uint32(b)}
}

func wirePeer(p *golden.Peer) syncproto.Peer {
	return syncproto.Peer{SeqLo: p.SeqLo, SeqHi: p.SeqHi, SeqDiff: p.SeqDiff, MaxWin: p.MaxWin, MSS: p.MSS,
		State: p.State, WScale: p.WScale, ScrubFlags: p.Scrub.Flags & 1, ScrubTTL: p.Scrub.TTL, ScrubValid: p.Scrub.Flag, ScrubTSMod: p.Scrub.TSMod}
}

// apply lets the model follow a packet: what the verdict says became of each
// message, contents by OpenBSD's rules.
func (g *goldenModel) apply(tb testing.TB, p *golden.Packet, ex *golden.Expect) {
	for i := range ex.Events {
		ev := &ex.Events[i]
		switch ev.Kind {
		case "state_inserted", "state_updated", "state_partly_stale", "update_stale":
			g.message(tb, p, hexID(tb, ev.ID, ev.CreatorID), ev.Kind)
		case "state_deleted":
			delete(g.peers, hexID(tb, ev.ID, ev.CreatorID))
		case "states_cleared":
			for id := range g.peers {
				if fmt.Sprintf("%08x", id.CreatorID) == ev.CreatorID && (ev.IfName == "" || g.ifname[id] == ev.IfName) {
					delete(g.peers, id)
				}
			}
		}
	}
}

func (g *goldenModel) message(tb testing.TB, p *golden.Packet, id pfstate.ID, kind string) {
	for r := range p.Regions {
		for i := range p.Regions[r].Messages {
			m := &p.Regions[r].Messages[i]
			if m.ID == "" || m.CreatorID == "" || hexID(tb, m.ID, m.CreatorID) != id || m.Length < syncproto.UpdCLen {
				continue
			}
			src, dst := wirePeer(&m.Src.Peer), wirePeer(&m.Dst.Peer)
			have, known := g.peers[id]
			if !known {
				g.tcp[id] = m.Proto == pfstate.ProtoTCP || m.WireProto == pfstate.ProtoTCP
				g.ifname[id] = m.IfName
			} else if kind != "state_inserted" {
				g.stale(id, &have, &src, &dst)
			}
			g.peers[id] = [2]syncproto.Peer{src, dst}
		}
	}
}

// stale puts back the halves that OpenBSD would not take (pfsync-protocol.md
// section 11), written down anew, not the engine's own.
func (g *goldenModel) stale(id pfstate.ID, have *[2]syncproto.Peer, src, dst *syncproto.Peer) {
	newer := func(a, b uint32) bool { return int32(a-b) > 0 }
	S, D := have[0], have[1]
	if !g.tcp[id] {
		if S.State > src.State {
			*src = S
		}
		if D.State > dst.State {
			*dst = D
		}
		return
	}
	if S.State > src.State && (S.State < 11 || src.State >= 11) || S.State == src.State && newer(S.SeqLo, src.SeqLo) {
		*src = S
	}
	if D.State > dst.State || D.State == dst.State && newer(D.SeqLo, dst.SeqLo) {
		*dst = D
	}
}

// want is the verdict of the JSON.
func (g *goldenModel) want(tb testing.TB, ex *golden.Expect) verdict {
	v := verdict{counters: map[string]int{}, states: map[pfstate.ID]bool{}, replies: map[string]int{}}
	for name, n := range ex.Counters {
		if n > 0 {
			v.counters[strings.TrimPrefix(name, "pfsyncs_")] = n
		}
	}
	for id := range g.peers {
		v.states[id] = true
	}
	for _, r := range ex.Replies {
		for _, m := range r.Messages {
			id := hexID(tb, m["id"].(string), m["creatorid"].(string))
			v.replies[r.Action+" "+id.String()]++
		}
	}
	return v
}

// goldenFeed feeds a packet to the engine and says what it did.
func goldenFeed(g *rig, p *golden.Packet) verdict {
	before := g.e.Stats.Count
	src := rigBSD
	if a, err := netip.ParseAddr(p.IP.Src); err == nil {
		src = a
	}
	g.hear(src, p.Frame())
	v := verdict{counters: map[string]int{}, states: map[pfstate.ID]bool{}, replies: map[string]int{}}
	for c := range Counters {
		if n := int(g.count(c) - before[c]); n > 0 {
			v.counters[c.String()] = n
		}
	}
	for r := pfstate.Ref(1); r < g.e.tab.End(); r++ {
		if !g.e.tab.InUse(r) || g.e.tab.At(r).Has(pfstate.FlagDead) {
			continue
		}
		for side := range pfstate.Sides {
			if id := g.e.tab.At(r).Name(side); !id.IsZero() {
				v.states[id] = true
			}
		}
	}
	for id := range g.e.kept.byName {
		v.states[id] = true
	}
	for _, m := range g.says(0) {
		if m.action != syncproto.ActBus && m.id.CreatorID != 0 {
			v.replies[m.action.String()+" "+m.id.String()]++
		}
	}
	return v
}

// diff says how got differs, without names: they are other ones in each
// dialect.
func (v *verdict) diff(got *verdict) string {
	var out []string
	note := func(kind string, less, more int) {
		if less != 0 || more != 0 {
			out = append(out, fmt.Sprintf("%s -%d+%d", kind, less, more))
		}
	}
	keys := maps.Clone(v.counters)
	maps.Copy(keys, got.counters)
	for k := range keys {
		note(k, max(0, v.counters[k]-got.counters[k]), max(0, got.counters[k]-v.counters[k]))
	}
	less, more := 0, 0
	for id := range v.states {
		if !got.states[id] {
			less++
		}
	}
	for id := range got.states {
		if !v.states[id] {
			more++
		}
	}
	note("states", less, more)
	replies := map[string][2]int{}
	for k, n := range v.replies {
		a := replies[strings.Fields(k)[0]]
		a[0] += max(0, n-got.replies[k])
		replies[strings.Fields(k)[0]] = a
	}
	for k, n := range got.replies {
		a := replies[strings.Fields(k)[0]]
		a[1] += max(0, n-v.replies[k])
		replies[strings.Fields(k)[0]] = a
	}
	for k, a := range replies {
		note("reply "+k, a[0], a[1])
	}
	sort.Strings(out)
	return strings.Join(out, ", ")
}

// goldenRun feeds a case and returns how each packet differed.
func goldenRun(t *testing.T, c *golden.Case, format syncproto.Format) (diffs []string) {
	g := newRig(t, func(cfg *Config) { cfg.Format = format })
	model := goldenModel{map[pfstate.ID][2]syncproto.Peer{}, map[pfstate.ID]string{}, map[pfstate.ID]bool{}}
	for i := range c.Packets {
		p := &c.Packets[i]
		g.pass(second)
		ex := p.Expect[golden.Kernel(c.Dialect)]
		if ex.Counters["pfsyncs_badttl"] > 0 || ex.Stopped == "undefined" {
			continue // dropped before the engine; or where OpenBSD reads on by accident
		}
		model.apply(t, p, &ex)
		want, got := model.want(t, &ex), goldenFeed(g, p)
		if d := want.diff(&got); d != "" {
			diffs = append(diffs, fmt.Sprintf("%d: %s", i, d))
		}
		model.compare(t, g, i)
	}
	return diffs
}

// compare looks at the halves of what both have.
func (g *goldenModel) compare(t *testing.T, r *rig, packet int) {
	var w syncproto.State
	for id, peers := range g.peers {
		if c := r.e.kept.find(id); c != nil && (peerFromWire(&c.State.Src) != peerFromWire(&peers[0]) || peerFromWire(&c.State.Dst) != peerFromWire(&peers[1])) {
			t.Errorf("packet %d: %s is kept with %+v, %+v, want %+v", packet, id, c.State.Src, c.State.Dst, peers)
		}
		s := r.find(id)
		if s == nil {
			continue
		}
		_, side, _ := r.e.tab.ByName(id)
		if side == pfstate.SideAlias {
			continue
		}
		r.e.toWire(r.now, s, side, &w)
		if w.Src != peers[0] || w.Dst != peers[1] {
			t.Errorf("packet %d: %s has %+v, %+v, want %+v", packet, id, w.Src, w.Dst, peers)
		}
	}
}

// TestGolden compares the engine's verdict on every golden packet with the
// kernel's for which it was made.
func TestGolden(t *testing.T) {
	formats := map[string]syncproto.Format{"openbsd6": syncproto.Format6, "freebsd-1301": syncproto.Format1301,
		"freebsd-1400": syncproto.Format1400, "freebsd-1500": syncproto.Format1500}
	for _, d := range golden.Dialects {
		same, purpose := 0, 0
		for i, cases := 0, golden.Cases(t, d); i < len(cases); i++ {
			c := &cases[i]
			t.Run(d+"/"+c.Name, func(t *testing.T) {
				got := strings.Join(goldenRun(t, c, formats[d]), "; ")
				k := slices.IndexFunc(onPurpose, func(x difference) bool { return x.name == c.Name && x.of(d) })
				switch {
				case k < 0 && got == "":
					same++
				case k < 0:
					t.Errorf("%s\n%s", c.Description, got)
				case onPurpose[k].diff != got:
					t.Errorf("%s\n%s, want %s", c.Description, got, onPurpose[k].diff)
				default:
					purpose++
				}
			})
		}
		t.Logf("%s: %d cases as the kernels, %d otherwise on purpose", d, same, purpose)
	}
}
