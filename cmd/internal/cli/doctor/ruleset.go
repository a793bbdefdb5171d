package doctor

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// action is what a rule does with a packet that it matches.
type action uint8

const (
	next action = iota
	accept
	drop
	jump
	jumpOver // goto
	back     // return
	queue    // a program decides
)

// rule is one rule, or one element of a map of verdicts.
type rule struct {
	name    string // as a person finds it: "rule handle 7 (drop)"
	match   func(*packet) tri
	notrack bool
	action  action
	target  string // chain of jump and goto
}

// chain is a list of rules; with a hook it is a base chain.
type chain struct {
	name     string // for a person: "nft chain inet filter input"
	key      string // within its ruleset
	space    string // prefix of the keys of chains that rules of this one jump to
	hook     string
	dev      string // of an ingress chain; "" not known
	prio     int
	policy   action
	families [2]bool // sees IPv4, IPv6
	rules    []rule
	remedy   func(*packet) string
}

// ruleset is the chains of a host, of nftables and iptables.
type ruleset struct {
	chains map[string]*chain
	tracks bool // a rule makes the kernel track connections
}

func newRuleset() *ruleset { return &ruleset{chains: map[string]*chain{}} }

// fate is what becomes of a packet.
type fate struct {
	level  Level
	where  string // chain and rule, or policy, of what drops it
	remedy string
}

// judge follows a packet through all hooks. What surely drops it wins over what
// may.
func (s *ruleset) judge(p packet) fate {
	worst := fate{level: OK}
	for _, hook := range p.hooks() {
		for _, c := range s.base(hook, &p) {
			w := walk{set: s, p: &p}
			f := w.through(c)
			if f.level == Fault {
				return f
			}
			if f.level == Warning && worst.level == OK {
				worst = f
			}
		}
	}
	return worst
}

// base returns the base chains at a hook in the order of their priorities.
func (s *ruleset) base(hook string, p *packet) []*chain {
	var at []*chain
	for _, c := range s.chains {
		if c.hook == hook && c.families[boolIndex(p.v6)] && (c.dev == "" || c.dev == p.dev) {
			at = append(at, c)
		}
	}
	slices.SortFunc(at, func(a, b *chain) int { return cmp.Or(cmp.Compare(a.prio, b.prio), cmp.Compare(a.key, b.key)) })
	return at
}

func boolIndex(b bool) int {
	if b {
		return 1
	}
	return 0
}

// walk is the way of a packet through one base chain.
type walk struct {
	set         *ruleset
	p           *packet
	where       string // of the final verdict
	maybeDrop   string // first rule that may drop it
	maybeAccept string // first rule that may accept it
	steps       int
}

// through runs the packet through a base chain.
func (w *walk) through(c *chain) fate {
	act := w.chain(c, yes, 0)
	if act == next {
		act, w.where = c.policy, c.name+", policy drop"
	}
	sure := c.hook != "ingress" || c.dev != "" // whose ingress it is may not be told
	switch {
	case act == drop && w.maybeAccept == "" && sure:
		return fate{Fault, w.where, c.remedy(w.p)}
	case act == drop:
		return fate{Warning, w.where, c.remedy(w.p)}
	case w.maybeDrop != "":
		return fate{Warning, w.maybeDrop, c.remedy(w.p)}
	}
	return fate{level: OK}
}

// The kernel lets no chain lead to itself; what is read here may be anything.
const (
	maxDepth = 16 // NFT_JUMP_STACK_SIZE
	maxSteps = 1 << 20
)

// chain returns the verdict, next if there is none. What happens under a match
// that is not sure is noted, and the packet goes on as if it had not.
func (w *walk) chain(c *chain, sure tri, depth int) action {
	if depth > maxDepth {
		return next
	}
	for i := range c.rules {
		if w.steps++; w.steps > maxSteps {
			return next
		}
		r := &c.rules[i]
		m := and(sure, r.match(w.p))
		if m == no {
			continue
		}
		if r.notrack {
			w.p.untracked = max(w.p.untracked, m)
		}
		where := c.name + ", " + r.name
		switch r.action {
		case accept, drop, queue:
			if act := w.verdict(r.action, m, where); act != next {
				return act
			}
		case jump, jumpOver:
			act := w.jump(c.space+r.target, m, depth)
			if act != next || r.action == jumpOver && m == yes {
				return act
			}
		case back:
			if m == yes {
				return next
			}
			sure = maybe // the rest may be passed over
		}
	}
	return next
}

func (w *walk) verdict(act action, m tri, where string) action {
	if act == queue { // the program may let it pass
		act, m = drop, maybe
	}
	switch {
	case m == yes:
		w.where = where
		return act
	case act == drop && w.maybeDrop == "":
		w.maybeDrop = where
	case act == accept && w.maybeAccept == "":
		w.maybeAccept = where
	}
	return next
}

func (w *walk) jump(key string, m tri, depth int) action {
	c := w.set.chains[key]
	if c == nil {
		return next
	}
	return w.chain(c, m, depth+1)
}

// rules asks what becomes of frames, and whether anything is tracked at all.
func (e *exam) rules() {
	set, err := e.Host.ruleset(e.ctx)
	if err != nil {
		e.warn("rules", "cannot read the rules: "+err.Error(), "be root, and have nft installed")
		return
	}
	if e.alive && e.st.Config.SyncDev != "" {
		e.passage(set, "rules in", e.received(), "frames of the peers")
		e.passage(set, "rules out", e.sent(), "our frames")
	}
	e.tracking(set)
}

// received is a peer's frame, sent ours.
func (e *exam) received() packet {
	p := e.sent()
	p.in, p.src, p.dst = true, p.dst, p.src
	if p.src.IsMulticast() { // a group sends nothing
		p.dst, p.src = p.src, netip.Addr{}
		for _, peer := range e.st.Peers {
			if peer.Addr.Is6() == p.v6 {
				p.src = peer.Addr
			}
		}
	}
	return p
}

func (e *exam) sent() packet {
	p := packet{dev: e.st.Config.SyncDev, v6: e.sixth(), dst: e.st.Config.SyncPeer}
	if !p.dst.IsValid() {
		p.dst = control.Group4
	}
	for _, a := range e.dev.Addrs {
		if a.Is6() == p.v6 && !p.src.IsValid() {
			p.src = a
		}
	}
	return p
}

func (e *exam) passage(set *ruleset, check string, p packet, what string) {
	f := set.judge(p)
	text := fmt.Sprintf("%s %s: %s", what, map[Level]string{Fault: "are dropped", Warning: "may be dropped"}[f.level], f.where)
	switch f.level {
	case OK:
		e.ok(check, "no rule drops %s on %s", what, p.dev)
	case Warning:
		e.warn(check, text, f.remedy)
	case Fault:
		e.fault(check, text, f.remedy)
	}
}

// tracking: the kernel tracks connections for those namespaces only in which a
// rule wants it.
func (e *exam) tracking(set *ruleset) {
	const check = "conntrack"
	const remedy = "load a rule that uses it: nft 'add table inet t; add chain inet t f { type filter hook forward priority 0; }; add rule inet t f ct state established,related accept'"
	entries, err := e.Host.sysctl("net.netfilter.nf_conntrack_count")
	switch {
	case err != nil:
		e.fault(check, "the kernel has no connection tracking here: "+err.Error(), "modprobe nf_conntrack")
	case set.tracks:
		e.ok(check, "a rule uses connection tracking, %d entries", entries)
	case entries > 0:
		e.warn(check, fmt.Sprintf("no rule uses connection tracking: the %d entries here do not come from traffic", entries), remedy)
	default:
		e.fault(check, "no rule uses connection tracking: the kernel tracks nothing, there is nothing to synchronise", remedy)
	}
}
