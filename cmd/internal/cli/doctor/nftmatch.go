package doctor

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// operand is the left side of a match for a given packet.
type operand struct {
	known  bool
	absent bool     // the packet has no such field: nothing matches
	names  []string // it may be written as
	num    int64    // -1: not a number
	addr   netip.Addr
	parts  []operand // of a concatenation
	states *packet   // it is the state conntrack gives this packet
}

var unknown = operand{num: -1}

func named(names ...string) operand { return operand{known: true, names: names, num: -1} }

func number(n int64, names ...string) operand {
	return operand{known: true, num: n, names: append(names, strconv.FormatInt(n, 10))}
}

func address(a netip.Addr) operand { return operand{known: a.IsValid(), addr: a, num: -1} }

// match makes a condition of a match expression.
func (p *nftParser) match(m map[string]any) func(*packet) tri {
	return p.compare(m["left"], text(m["op"]), m["right"])
}

func (p *nftParser) compare(left any, op string, right any) func(*packet) tri {
	return func(q *packet) tri {
		l := field(q, left)
		switch {
		case l.absent:
			return no
		case op == "==" || op == "in" || op == "":
			return p.equal(&l, right)
		case op == "!=":
			return p.equal(&l, right).not()
		}
		return order(&l, op, right)
	}
}

func order(l *operand, op string, right any) tri {
	n, ok := right.(float64)
	if !ok || !l.known || l.num < 0 {
		return maybe
	}
	r := int64(n)
	switch op {
	case "<":
		return triOf(l.num < r)
	case ">":
		return triOf(l.num > r)
	case "<=":
		return triOf(l.num <= r)
	case ">=":
		return triOf(l.num >= r)
	}
	return maybe
}

// equal compares with a value, a range, a prefix, or any of a set.
func (p *nftParser) equal(l *operand, right any) tri {
	right = unwrap(right)
	if list, ok := right.([]any); ok {
		return p.any(l, list)
	}
	if m := asMap(right); m["set"] != nil {
		return p.any(l, p.elements(right))
	}
	if s, ok := right.(string); ok && strings.HasPrefix(s, "@") {
		return p.any(l, p.elements(s))
	}
	switch {
	case l.states != nil:
		return l.states.inState([]string{text(right)})
	case len(l.parts) > 0:
		return p.concat(l, asMap(right)["concat"])
	case !l.known:
		return maybe
	}
	return scalar(l, right)
}

func (p *nftParser) any(l *operand, list []any) tri {
	if l.states != nil { // together: new and established may be all there is
		var names []string
		for _, e := range list {
			names = append(names, text(unwrap(e)))
		}
		return l.states.inState(names)
	}
	t := no
	for _, e := range list {
		t = max(t, p.equal(l, e))
	}
	return t
}

func (p *nftParser) concat(l *operand, right any) tri {
	list, ok := right.([]any)
	if !ok || len(list) != len(l.parts) {
		return maybe
	}
	t := yes
	for i := range l.parts {
		if l.parts[i].absent {
			return no
		}
		t = and(t, p.equal(&l.parts[i], list[i]))
	}
	return t
}

func scalar(l *operand, right any) tri {
	switch r := right.(type) {
	case bool:
		return triOf(r)
	case float64:
		return triOf(slices.Contains(l.names, text(r)))
	case string:
		return textual(l, r)
	case map[string]any:
		return composed(l, r)
	}
	return maybe
}

func textual(l *operand, r string) tri {
	if l.addr.IsValid() {
		if pre, err := netip.ParsePrefix(r); err == nil {
			return triOf(pre.Contains(l.addr))
		}
		a, err := netip.ParseAddr(r)
		if err != nil {
			return maybe
		}
		return triOf(a == l.addr)
	}
	if head, ok := strings.CutSuffix(r, "*"); ok {
		return triOf(slices.ContainsFunc(l.names, func(s string) bool { return s != "" && strings.HasPrefix(s, head) }))
	}
	return triOf(slices.Contains(l.names, r))
}

func composed(l *operand, r map[string]any) tri {
	if pre := asMap(r["prefix"]); pre != nil && l.addr.IsValid() {
		a, err := netip.ParseAddr(text(pre["addr"]))
		bits, ok := pre["len"].(float64)
		if err != nil || !ok {
			return maybe
		}
		return triOf(netip.PrefixFrom(a, int(bits)).Contains(l.addr))
	}
	ends, ok := r["range"].([]any)
	if !ok || len(ends) != 2 {
		return maybe
	}
	if l.addr.IsValid() {
		lo, err := netip.ParseAddr(text(ends[0]))
		hi, err2 := netip.ParseAddr(text(ends[1]))
		if err != nil || err2 != nil {
			return maybe
		}
		return triOf(lo.Compare(l.addr) <= 0 && l.addr.Compare(hi) <= 0)
	}
	lo, ok1 := ends[0].(float64)
	hi, ok2 := ends[1].(float64)
	if !ok1 || !ok2 || l.num < 0 {
		return maybe
	}
	return triOf(int64(lo) <= l.num && l.num <= int64(hi))
}

// field is what the packet has of an expression.
func field(p *packet, left any) operand {
	m := asMap(left)
	switch {
	case m["meta"] != nil:
		return metaField(p, text(asMap(m["meta"])["key"]))
	case m["payload"] != nil:
		return payloadField(p, asMap(m["payload"]))
	case m["ct"] != nil && text(asMap(m["ct"])["key"]) == "state":
		return operand{known: true, states: p}
	case m["fib"] != nil:
		return fibField(p, asMap(m["fib"]))
	case m["concat"] != nil:
		list, _ := m["concat"].([]any)
		o := operand{known: true, num: -1}
		for _, part := range list {
			o.parts = append(o.parts, field(p, part))
		}
		return o
	}
	return unknown
}

func metaField(p *packet, key string) operand {
	switch key {
	case "l4proto":
		return number(pfsyncProto, "pfsync")
	case "protocol":
		return named(family(p, "ip", "ip6"))
	case "nfproto":
		return named(family(p, "ipv4", "ipv6"))
	case "iifname", "iif":
		return named(p.devAs(true))
	case "oifname", "oif":
		return named(p.devAs(false))
	case "pkttype":
		switch {
		case !p.in:
			return unknown
		case p.dst.IsMulticast():
			return named("multicast")
		}
		return named("host", "unicast")
	}
	return unknown
}

func family(p *packet, four, six string) string {
	if p.v6 {
		return six
	}
	return four
}

// sentTTL is PFSYNC_DFLTTL, and the hop limit.
const sentTTL = 255

// payloadField: a named protocol other than the packet's own is one that it is
// not, and nothing of it matches.
func payloadField(p *packet, m map[string]any) operand {
	proto := text(m["protocol"])
	switch {
	case proto == "" || proto == "ether" || proto == "vlan" || proto == "th":
		return unknown
	case proto != family(p, "ip", "ip6"):
		return operand{absent: true}
	}
	switch text(m["field"]) {
	case "protocol", "nexthdr":
		return number(pfsyncProto, "pfsync")
	case "saddr":
		return address(p.src)
	case "daddr":
		return address(p.dst)
	case "ttl", "hoplimit":
		return number(sentTTL)
	}
	return unknown
}

// fibField is what the routing table says of an address.
func fibField(p *packet, m map[string]any) operand {
	flags, _ := m["flags"].([]any)
	if len(flags) == 0 {
		if one := m["flags"]; one != nil {
			flags = []any{one}
		}
	}
	dst := slices.Contains(flags, any("daddr"))
	switch text(m["result"]) {
	case "type":
		return named(p.addrType(dst))
	case "oif", "check": // a way back to the peer: it is on the network of the syncdev
		if p.in && !dst {
			return named(p.dev)
		}
	}
	return unknown
}
