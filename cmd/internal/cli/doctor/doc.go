// Package doctor looks at a host that runs pfsync and says what is wrong with
// it, in the order a person would look: the daemon, the interfaces, the link,
// the peers, the rules in the way, the state table, the programs beside it.
//
// It reads: what the daemon answers, /proc, the rules as `nft -j list ruleset`
// and iptables-save print them, and the configuration of keepalived. It changes
// nothing. What becomes of a frame in the rules is found by walking the chains
// of the hooks it passes with such a packet in hand; a match that cannot be
// judged from outside makes the answer "may", not "does".
//
//	d := doctor.New(client, "pfsync0", dirs)
//	for _, f := range d.Examine(ctx) {
//		fmt.Println(f.Level, f.Check, f.Text, f.Remedy)
//	}
//
// Spec: design.md sections 5, 6 and 9; nftables' libnftables-json(5);
// keepalived.conf(5).
package doctor
