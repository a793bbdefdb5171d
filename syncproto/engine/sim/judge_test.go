package sim

import (
	"fmt"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto/engine"
)

// What must be true. At any time:
//
//   - no connection goes back, or is killed while it lives (ops_test.go, conn_test.go);
//   - nothing that came from a peer is sent as one's own (echo_test.go);
//   - no storm: frames do not answer frames for ever (link_test.go);
//   - a held packet is released once, in order, in time (forward_test.go).
//
// Half a minute after the last fault:
//
//   - all kernels have the same entries, in the same states, with the same
//     translation, marks and status, and all engines the same names for them;
//   - none is of a connection that ended where its last packet passed, unless
//     somebody killed it on one firewall while another had no daemon: what
//     passes there lives;
//   - engines have no state without an entry and no entry without a state;
//   - all say that they are in sync;
//   - and then next to nothing is said any more.
//
// Where some speak version 5, only this: what lives is everywhere. What has
// ended may stay until its timeout, as with a BSD, and a name that lost may be
// remembered.

// nearEnd is how close to its end an entry may be on one side only.
const nearEnd = 5 * second

// differ lists what is not equal.
func (w *world) differ() (out []complaint) {
	for _, n := range w.nodes {
		for _, e := range n.k.list {
			if e.ends-w.now > nearEnd {
				out = w.compare(out, n, e)
			}
		}
		out = w.states(out, n)
	}
	return out
}

// compare looks for an entry of n on all others.
func (w *world) compare(out []complaint, n *node, e *entry) []complaint {
	if c := w.latest[e.key()]; c == nil || c.gone && !c.excused {
		out = append(out, complaint{e.key(), n.name + " has an entry of a connection that is over"})
	}
	for _, o := range w.nodes {
		if o == n {
			continue
		}
		have, back := o.k.find(e.key())
		switch {
		case have == nil:
			out = append(out, complaint{e.key(), o.name + " misses what " + n.name + " has"})
			continue
		case o.no < n.no:
			continue // has been compared
		}
		f := have.f
		if back {
			f = f.Reversed()
		}
		if what := unequal(&f, &e.f); what != "" {
			out = append(out, complaint{e.key(), n.name + " and " + o.name + " differ in " + what})
		}
		if a, b := n.namesOf(e.key()), o.namesOf(e.key()); a != b {
			out = append(out, complaint{e.key(), fmt.Sprintf("%s and %s differ in names, %v and %v", n.name, o.name, a, b)})
		}
	}
	return out
}

// unequal says in what two entries of one connection differ.
func unequal(a, b *pfstate.Flow) string {
	const status = pfstate.StatusSeenReply | pfstate.StatusAssured
	switch {
	case a.Reply != b.Reply:
		return "translation"
	case a.ProtoState != b.ProtoState:
		return "protocol state"
	case a.Status&status != b.Status&status:
		return "status"
	case a.Mark != b.Mark:
		return "mark"
	}
	return ""
}

// namesOf are the names of a connection at a node, whichever way it runs there.
func (n *node) namesOf(k key) (names [2]pfstate.ID) {
	tab := n.eng.Table()
	r, _, ok := tab.ByTuple(&k.Tuple, pfstate.AFInet, k.proto, 0)
	if !ok {
		return names
	}
	s := tab.At(r)
	return [2]pfstate.ID{s.Name(pfstate.SideIn), s.Name(pfstate.SideOut)}
}

// states compares an engine's table with its kernel's.
func (w *world) states(out []complaint, n *node) []complaint {
	tab := n.eng.Table()
	for r := pfstate.Ref(1); r < tab.End(); r++ {
		if !tab.InUse(r) {
			continue
		}
		s := tab.At(r)
		k := key{s.Orig, s.Proto}
		switch e, _ := n.k.find(k); {
		case s.Has(pfstate.FlagDead):
			out = append(out, complaint{k, n.name + " still keeps a dead state"})
		case e == nil && s.Expire-w.now > nearEnd:
			out = append(out, complaint{k, n.name + " has a state without an entry"})
		}
	}
	for _, e := range n.k.list {
		k := e.key()
		if _, _, ok := tab.ByTuple(&k.Tuple, pfstate.AFInet, k.proto, 0); !ok && e.ends-w.now > nearEnd {
			out = append(out, complaint{k, n.name + " has an entry without a state"})
		}
	}
	return out
}

// sayings lists who says that something is still wrong.
func (w *world) sayings() (out []complaint) {
	for _, n := range w.nodes {
		st := n.eng.Status(w.now)
		switch {
		case st.Sync != engine.SyncOK:
			out = append(out, complaint{key{}, n.name + " is not in sync: " + st.Sync.String()})
		case st.Diverged:
			out = append(out, complaint{key{}, n.name + " says that it has diverged"})
		case st.Demotion != 0:
			out = append(out, complaint{key{}, fmt.Sprintf("%s says a demotion of %d", n.name, st.Demotion)})
		case st.Clash.IsValid():
			out = append(out, complaint{key{}, n.name + " says that there is a clash of hostids"})
		}
	}
	return out
}

// wrong is what keeps a run from being settled.
func (w *world) wrong() []complaint {
	if w.sc.mixed {
		return w.missing()
	}
	return append(w.differ(), w.sayings()...)
}

// missing lists connections that live and are not everywhere.
func (w *world) missing() (out []complaint) {
	for _, c := range w.conns {
		if c.over || c.excused || c.gone || c.where == nil || w.latest[c.key()] != c {
			continue
		}
		if e, _ := c.where.k.find(c.key()); e == nil || e.ends-w.now < nearEnd {
			continue
		}
		for _, n := range w.nodes {
			if e, _ := n.k.find(c.key()); e == nil {
				out = append(out, complaint{c.key(), n.name + " misses what lives at " + c.where.name})
			}
		}
	}
	return out
}

// settle waits until the tables are equal, and complains if they are not in
// time.
func (w *world) settle(start int64) {
	var wrong []complaint
	for w.now < start+settled {
		w.run(w.now + second)
		if wrong = w.wrong(); len(wrong) == 0 {
			w.settledAt = w.now - start - calm
			return
		}
	}
	for _, c := range wrong[:min(len(wrong), maxComplaints)] {
		w.complain(c.about, "%s", c.text)
	}
}

// chatter is how often one name may be said for each firewall while nothing happens: an entry
// ends, and peers ask each other whether it does.
const chatter = 12

// silence looks whether firewalls talk on though there is nothing to say.
func (w *world) silence() {
	w.listening, w.heard = true, map[pfstate.ID]int{}
	w.run(w.now + listen)
	for id, n := range w.heard {
		if n > chatter*len(w.nodes) {
			w.complain(w.named(id), "%s was said %d times while nothing happened", id, n)
		}
	}
}
