package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// Hooks of the chains that iptables has from the start, and the priorities of
// its tables (linux/netfilter_ipv4.h).
var (
	builtin    = map[string]string{"PREROUTING": "prerouting", "INPUT": "input", "OUTPUT": "output", "POSTROUTING": "postrouting"}
	priorities = map[string]int{"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
)

// iptables reads what iptables-save prints.
type iptables struct {
	set             *ruleset
	family, program string
	table           string
	count           map[string]int // rules so far, by chain
}

// parseIPTables adds what iptables-save printed to a ruleset, and returns the
// names of the tables.
func parseIPTables(set *ruleset, text, fam, program string) (tables []string) {
	if fam == "ip6" {
		program = strings.Replace(program, "ip", "ip6", 1)
	}
	t := iptables{set: set, family: fam, program: program, count: map[string]int{}}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "*"):
			t.table = line[1:]
			tables = append(tables, t.table)
		case strings.HasPrefix(line, ":"):
			t.chain(strings.Fields(line[1:]))
		case strings.HasPrefix(line, "["): // counters, with -c
			_, line, _ = strings.Cut(line, "] ")
			t.rule(words(line))
		case strings.HasPrefix(line, "-A "):
			t.rule(words(line))
		}
	}
	return tables
}

// chain takes ":INPUT DROP [0:0]".
func (t *iptables) chain(f []string) {
	if len(f) < 2 {
		return
	}
	space := t.program + " " + t.table + " "
	c := &chain{name: t.program + " chain " + t.table + " " + f[0], key: space + f[0], space: space,
		hook: builtin[f[0]], prio: priorities[t.table], policy: accept, families: families[t.family]}
	if f[1] == "DROP" {
		c.policy = drop
	}
	tab := ""
	if t.table != "filter" {
		tab = "-t " + t.table + " "
	}
	program, name := t.program, f[0]
	c.remedy = func(p *packet) string {
		flag := "-o"
		if p.in {
			flag = "-i"
		}
		return fmt.Sprintf("%s %s-I %s %s %s -p %d -j ACCEPT", program, tab, name, flag, p.dev, pfsyncProto)
	}
	t.set.chains[c.key] = c
}

// words takes a line apart as the shell would, without its expansions.
func words(line string) []string {
	var all []string
	var w strings.Builder
	quoted, some := false, false
	for i := 0; i < len(line); i++ {
		switch b := line[i]; {
		case b == '\\' && i+1 < len(line):
			i++
			w.WriteByte(line[i])
		case b == '"':
			quoted, some = !quoted, true
		case b == ' ' && !quoted:
			if w.Len() > 0 || some {
				all = append(all, w.String())
			}
			w.Reset()
			some = false
		default:
			w.WriteByte(b)
		}
	}
	if w.Len() > 0 || some {
		all = append(all, w.String())
	}
	return all
}

// ipTargets are the targets that decide.
var ipTargets = map[string]action{"ACCEPT": accept, "DROP": drop, "REJECT": drop, "RETURN": back, "QUEUE": queue, "NFQUEUE": queue,
	"MASQUERADE": accept, "SNAT": accept, "DNAT": accept, "REDIRECT": accept, "NETMAP": accept}

// tracksXT reports whether an extension makes the kernel track connections.
func tracksXT(name string) bool {
	return slices.Contains([]string{"conntrack", "state", "connmark", "CONNMARK", "connbytes", "connlabel", "connlimit", "ctstate", "helper",
		"CT", "MASQUERADE", "SNAT", "DNAT", "REDIRECT", "NETMAP", "cluster", "CONNSECMARK", "SYNPROXY"}, name)
}

// rule takes "-A INPUT -p 240 -j DROP".
func (t *iptables) rule(w []string) {
	if len(w) < 2 || w[0] != "-A" {
		return
	}
	c := t.set.chains[t.program+" "+t.table+" "+w[1]]
	if c == nil {
		return
	}
	t.count[c.key]++
	r := rule{name: fmt.Sprintf("rule %d: %s", t.count[c.key], strings.Join(w[2:], " "))}
	p := ipParser{v6: t.family == "ip6"}
	p.parse(w[2:])
	t.set.tracks = t.set.tracks || p.tracks
	r.match = p.match
	r.action, r.target, r.notrack = p.action, p.target, p.notrack
	c.rules = append(c.rules, r)
}

// ipParser reads the options of one rule.
type ipParser struct {
	v6      bool
	conds   []func(*packet) tri
	action  action
	target  string
	notrack bool
	tracks  bool
}

func (p *ipParser) match(q *packet) tri {
	t := yes
	for _, c := range p.conds {
		t = and(t, c(q))
	}
	return t
}

func (p *ipParser) parse(w []string) {
	for i := 0; i < len(w); i++ {
		not := w[i] == "!" && i+1 < len(w)
		if not {
			i++
		}
		name, first := w[i], i+1
		for i+1 < len(w) && !strings.HasPrefix(w[i+1], "-") && w[i+1] != "!" {
			i++
		}
		args := w[first : i+1]
		switch name {
		case "-j", "-g":
			p.jump(name, args, w[i+1:])
			return
		case "-m":
			p.tracks = p.tracks || len(args) > 0 && tracksXT(args[0])
		default:
			p.add(not, p.option(name, args))
		}
	}
}

func (p *ipParser) add(not bool, cond func(*packet) tri) {
	if not {
		yesCond := cond
		cond = func(q *packet) tri { return yesCond(q).not() }
	}
	p.conds = append(p.conds, cond)
}

func (p *ipParser) jump(how string, args, options []string) {
	if len(args) == 0 {
		return
	}
	act, decides := ipTargets[args[0]]
	p.tracks = p.tracks || tracksXT(args[0])
	switch {
	case decides:
		p.action = act
	case args[0] == "NOTRACK", args[0] == "CT" && slices.Contains(options, "--notrack"):
		p.notrack = true
	default: // a chain; the name of any other target is none
		p.action, p.target = jump, args[0]
		if how == "-g" {
			p.action = jumpOver
		}
	}
}

// option makes a condition of an option with its arguments. What cannot be
// judged may match.
func (p *ipParser) option(name string, args []string) func(*packet) tri {
	if len(args) == 0 {
		return func(*packet) tri { return maybe }
	}
	arg := args[0]
	switch name {
	case "-p", "--protocol":
		n, err := control.ParseProto(arg)
		return constant(arg == "all" || err == nil && (n == pfsyncProto || n == 0))
	case "-i":
		return func(q *packet) tri { return device(arg, q.devAs(true)) }
	case "-o":
		return func(q *packet) tri { return device(arg, q.devAs(false)) }
	case "-s":
		return func(q *packet) tri { return within(arg, q.src) }
	case "-d":
		return func(q *packet) tri { return within(arg, q.dst) }
	case "--comment":
		return constant(true)
	case "--ctstate", "--state":
		names := strings.Split(strings.ToLower(arg), ",")
		return func(q *packet) tri { return q.inState(names) }
	case "--dst-type":
		return func(q *packet) tri { return triOf(strings.EqualFold(arg, q.addrType(true))) }
	case "--src-type":
		return func(q *packet) tri { return triOf(strings.EqualFold(arg, q.addrType(false))) }
	case "--ttl-eq", "--hl-eq":
		return constant(arg == fmt.Sprint(sentTTL))
	}
	return func(*packet) tri { return maybe }
}

func constant(v bool) func(*packet) tri {
	t := triOf(v)
	return func(*packet) tri { return t }
}

func device(pattern, name string) tri {
	if head, ok := strings.CutSuffix(pattern, "+"); ok {
		return triOf(name != "" && strings.HasPrefix(name, head))
	}
	return triOf(pattern == name)
}

func within(prefix string, a netip.Addr) tri {
	if !strings.Contains(prefix, "/") {
		want, err := netip.ParseAddr(prefix)
		if err != nil || !a.IsValid() {
			return maybe
		}
		return triOf(want == a)
	}
	pre, err := netip.ParsePrefix(prefix)
	if err != nil || !a.IsValid() {
		return maybe
	}
	return triOf(pre.Contains(a))
}
