package doctor

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// object is one of `nft -j list ruleset`: exactly one field is there.
type object struct {
	Chain *nftChain `json:"chain"`
	Rule  *nftRule  `json:"rule"`
	Set   *nftSet   `json:"set"`
	Map   *nftSet   `json:"map"`
}

type nftChain struct {
	Family, Table, Name, Type, Hook, Policy string
	Dev                                     any // a name, or some
	Prio                                    int
}

type nftRule struct {
	Family, Table, Chain, Comment string
	Handle                        int
	Expr                          []map[string]any
}

type nftSet struct {
	Family, Table, Name string
	Elem                []any
}

// nftables reads a ruleset.
type nftables struct {
	set  *ruleset
	skip map[string]bool // tables that iptables-save tells more of, by family and name
	sets map[string][]any
}

// parseNft adds the rules that nft -j printed to a ruleset. Tables of which
// something is in a form that only iptables can print are returned, by family
// and name, and not added when skip has them.
func parseNft(set *ruleset, text []byte, skip map[string]bool) (foreign map[string]bool, err error) {
	var all struct {
		NFTables []object `json:"nftables"`
	}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("nft -j list ruleset: %w", err)
	}
	n := nftables{set: set, skip: skip, sets: map[string][]any{}}
	for _, o := range all.NFTables {
		n.declare(o)
	}
	foreign = map[string]bool{}
	for _, o := range all.NFTables {
		if r := o.Rule; r != nil && !skip[table(r.Family, r.Table)] {
			if n.rule(r) {
				foreign[table(r.Family, r.Table)] = true
			}
		}
	}
	return foreign, nil
}

func table(family, name string) string { return family + " " + name }

func (n *nftables) declare(o object) {
	switch {
	case o.Chain != nil:
		n.chain(o.Chain)
	case o.Set != nil:
		n.sets[table(o.Set.Family, o.Set.Table)+" @"+o.Set.Name] = o.Set.Elem
	case o.Map != nil:
		n.sets[table(o.Map.Family, o.Map.Table)+" @"+o.Map.Name] = o.Map.Elem
	}
}

// families says which packets a table sees: IPv4, IPv6.
var families = map[string][2]bool{"ip": {true, false}, "ip6": {false, true}, "inet": {true, true}, "netdev": {true, true}}

func (n *nftables) chain(c *nftChain) {
	at := table(c.Family, c.Table)
	if n.skip[at] {
		return
	}
	ch := &chain{name: "nft chain " + at + " " + c.Name, key: at + " " + c.Name, space: at + " ", hook: c.Hook, prio: c.Prio,
		policy: accept, families: families[c.Family]}
	if c.Policy == "drop" {
		ch.policy = drop
	}
	if dev, ok := c.Dev.(string); ok {
		ch.dev = dev
	}
	ch.remedy = func(p *packet) string {
		return fmt.Sprintf("nft insert rule %s %s %s meta l4proto %d accept", at, c.Name, devMatch(p), pfsyncProto)
	}
	n.set.chains[ch.key] = ch
}

func devMatch(p *packet) string {
	if p.in {
		return "iifname " + p.dev
	}
	return "oifname " + p.dev
}

// rule adds a rule to its chain, and reports whether it has something in it
// that nft does not know.
func (n *nftables) rule(r *nftRule) (foreign bool) {
	at := table(r.Family, r.Table)
	c := n.set.chains[at+" "+r.Chain]
	if c == nil {
		return false
	}
	p := nftParser{sets: n.sets, at: at}
	for _, e := range r.Expr {
		for key, v := range e {
			p.expr(key, v)
		}
	}
	n.set.tracks = n.set.tracks || p.tracks
	for _, out := range p.finish() {
		out.name = ruleName(r, out)
		c.rules = append(c.rules, out)
	}
	return p.foreign
}

func ruleName(r *nftRule, out rule) string {
	name := "rule handle " + strconv.Itoa(r.Handle)
	if what := actionNames[out.action]; what != "" {
		name += " (" + what + ")"
	}
	if r.Comment != "" {
		name += fmt.Sprintf(" %q", r.Comment)
	}
	return name
}

var actionNames = [...]string{accept: "accept", drop: "drop", jump: "jump", jumpOver: "goto", back: "return", queue: "queue"}

// nftParser reads the expressions of one rule.
type nftParser struct {
	sets    map[string][]any
	at      string // table
	rule    rule
	conds   []func(*packet) tri
	vmaps   []rule // one for each element
	tracks  bool
	foreign bool
}

// verdicts are the expressions that end a rule. What translates an address ends
// the chain as accept does.
var verdicts = map[string]action{
	"accept": accept, "drop": drop, "reject": drop, "return": back, "continue": next, "jump": jump, "goto": jumpOver, "queue": queue,
	"masquerade": accept, "snat": accept, "dnat": accept, "redirect": accept,
}

// neutral expressions match all packets and decide nothing.
var neutral = map[string]bool{"counter": true, "log": true, "mangle": true, "comment": true, "set": true, "map": true, "dup": true,
	"ct helper": true, "ct timeout": true, "ct expectation": true, "flow": true, "secmark": true}

// tracking expressions make the kernel track connections.
var tracking = map[string]bool{"masquerade": true, "snat": true, "dnat": true, "redirect": true, "ct helper": true, "ct timeout": true,
	"ct expectation": true, "ct count": true, "flow": true, "synproxy": true}

func (p *nftParser) expr(key string, v any) {
	p.tracks = p.tracks || tracking[key] || usesCT(v)
	act, ends := verdicts[key]
	switch {
	case key == "match":
		p.conds = append(p.conds, p.match(asMap(v)))
	case key == "vmap":
		p.vmap(asMap(v))
	case key == "notrack":
		p.rule.notrack = true
	case ends:
		p.rule.action, p.rule.target = act, text(asMap(v)["target"])
	case key == "xt":
		p.xt(asMap(v))
	case !neutral[key]: // limit, quota, connlimit and what is not known yet
		p.conds = append(p.conds, func(*packet) tri { return maybe })
	}
}

// xt is an extension of iptables, of which nft tells no more than the name.
func (p *nftParser) xt(m map[string]any) {
	p.foreign = true
	p.tracks = p.tracks || tracksXT(text(m["name"]))
	p.conds = append(p.conds, func(*packet) tri { return maybe })
	if text(m["type"]) == "target" {
		p.rule.action = queue // may do anything
	}
}

// usesCT reports whether conntrack is asked anywhere in an expression.
func usesCT(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		for key, sub := range v {
			if key == "ct" || usesCT(sub) {
				return true
			}
		}
	case []any:
		for _, sub := range v {
			if usesCT(sub) {
				return true
			}
		}
	}
	return false
}

// vmap makes a rule of every element.
func (p *nftParser) vmap(m map[string]any) {
	for _, e := range p.elements(m["data"]) {
		pair, ok := unwrap(e).([]any)
		if !ok || len(pair) != 2 {
			continue
		}
		r := rule{match: p.compare(m["key"], "==", pair[0])}
		for key, v := range asMap(pair[1]) {
			r.action, r.target = verdicts[key], text(asMap(v)["target"])
		}
		p.vmaps = append(p.vmaps, r)
	}
}

// finish returns what the expressions come to.
func (p *nftParser) finish() []rule {
	all := func(q *packet) tri {
		t := yes
		for _, c := range p.conds {
			t = and(t, c(q))
		}
		return t
	}
	var rules []rule
	for _, v := range p.vmaps {
		m := v.match
		v.match = func(q *packet) tri { return and(all(q), m(q)) }
		rules = append(rules, v)
	}
	if p.rule.action != next || p.rule.notrack {
		p.rule.match = all
		rules = append(rules, p.rule)
	}
	return rules
}

func asMap(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

// text is a string or a number as nft would write it.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return ""
}

// unwrap takes an element out of what says more about it.
func unwrap(v any) any {
	if e := asMap(asMap(v)["elem"]); e["val"] != nil {
		return e["val"]
	}
	return v
}

// elements returns those of a set, named or written in place.
func (p *nftParser) elements(v any) []any {
	if name, ok := v.(string); ok && strings.HasPrefix(name, "@") {
		return p.sets[p.at+" "+name]
	}
	if list, ok := asMap(v)["set"].([]any); ok {
		return list
	}
	return nil
}
