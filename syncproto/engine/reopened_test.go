package engine

import (
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// TestReopened: events were lost, and the next dump has an established entry
// where one had ended: a later connection with the same ends.
func TestReopened(t *testing.T) {
	over, next := tcp(1, pfstate.TCPTimeWait), tcp(1, pfstate.TCPEstablished)
	for _, tc := range []struct {
		name string
		wait int64
		sent []string
	}{
		{"later", 10 * second, []string{"DEL_C A0 killed", "INS A1 4:4"}},
		{"while the kernel may lag behind", 0, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			r.made(next)
			r.sent()
			r.pass(2 * second)
			r.b.say(updc(mine(0), over))
			r.kernel()
			r.pass(tc.wait)
			r.sent()
			r.dump(next)
			r.expect("sent", r.until(r.now+second/2), tc.sent...)
		})
	}
}

// TestMadeOtherwise: the kernel makes an entry of a tuple that it had under
// another translation, and that we are about to ask for, because events were
// lost: the earlier connection has ended.
func TestMadeOtherwise(t *testing.T) {
	old, next := udp(1, assured), masqueraded(udp(1, fresh), 9)
	for _, tc := range []struct {
		name string
		ask  func(r *desk)
	}{
		{"before we ask", func(r *desk) {}},
		{"asked", func(r *desk) { r.expectOps("get 1") }},
		{"answered", func(r *desk) {
			r.expectOps("get 1")
			r.doneFlow(pfstate.ResultOK, old)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			r.made(old)
			r.pass(2 * second)
			r.sent()
			r.dump()
			tc.ask(r)
			r.made(next)
			r.expectSent("DEL_C A0 killed", "INS A1 1:0")
		})
	}
}

// TestMadeOtherwiseThanTold: the kernel makes an entry where it does not have
// the one that a peer told. It ends here, not where it may pass.
func TestMadeOtherwiseThanTold(t *testing.T) {
	told, made := udp(1, assured), masqueraded(udp(1, fresh), 9)
	for _, tc := range []struct {
		name string
		code pfstate.ResultCode
		wait int64
	}{
		{"it had no room", pfstate.ResultFull, 2 * second},
		{"it is being asked to", 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := ready(t)
			r.b.say(ins(theirs(5), told))
			r.ops()
			if tc.code != 0 {
				r.done(tc.code)
			}
			r.pass(tc.wait)
			r.sent()
			r.made(made)
			r.expectSent("DEL_C B5", "INS A0 1:0")
		})
	}
}

// TestChangedOtherwise: an event of another translation that may be of the time
// before an operation of ours has the kernel asked.
func TestChangedOtherwise(t *testing.T) {
	told, held := udp(1, assured), masqueraded(udp(1, answered), 9)
	r := ready(t)
	r.b.say(ins(theirs(5), told))
	r.ops()
	r.changed(held)
	r.done(pfstate.ResultExists)
	r.expectOps("get 1")
	r.doneFlow(pfstate.ResultOK, held)
	r.expectNames("B5") // nobody can tell yet
	r.pass(10 * second)
	r.sent()
	r.dump(held)
	r.expectOps("create 1")
	r.done(pfstate.ResultExists)
	r.expectOps("get 1")
	r.doneFlow(pfstate.ResultOK, held)
	r.expectSent("UPD_REQ B5")
	r.b.say(upd(theirs(5), left(told, 100)))
	r.expectOps("get 1")
	r.doneFlow(pfstate.ResultOK, held)
	r.expectSent("DEL_C B5", "INS A0 2:1")
}

// TestAnswerOvertaken: an event is read before the answer to a question that was
// asked before it: the answer says nothing.
func TestAnswerOvertaken(t *testing.T) {
	r := ready(t)
	f := udp(1, fresh)
	r.made(f)
	r.pass(2 * second)
	r.sent()
	r.dump()
	r.expectOps("get 1")
	r.changed(udp(1, answered))
	r.done(pfstate.ResultMissing)
	r.expectOps("get 1")
	r.doneFlow(pfstate.ResultOK, udp(1, answered))
	r.expectSent("UPD_C A0 2:1")
	r.expectNames("A0")
}

// TestPairTranslatedOtherwise: of a pf's pair one half fits an entry that
// packets made, the other does not: it is an earlier connection's, and nothing
// happens to the entry.
func TestPairTranslatedOtherwise(t *testing.T) {
	in, out := sloppyPair(both, pfstate.PFEstablished, 86300)
	kernel := tcpFlow(pfstate.TCPEstablished, dnat)
	kernel.Timeout = 432000
	r := starting(t, kernel)
	r.transferPF(in, out)
	r.expectOps()
	r.expect("deleted", r.until(r.now+second/2), "DEL_C D6", "UPD D5 4:4")
	for range 3 { // a peer that does not obey, and answers
		r.bsd.say(item{put: func(w *syncproto.Builder) { w.AddState(syncproto.ActUpd, syncproto.Format6, &out) }})
		r.expect("insists", r.until(r.now+second/20))
	}
	r.expect("renamed", r.until(r.now + 2*doubtWait)[:1], "DEL_C D5 killed")
	r.expectNames("A0")
}

// TestPairEarlierThanEntry: the same where no packet was seen here yet, but the
// entry's last is later than what the pf knows.
func TestPairEarlierThanEntry(t *testing.T) {
	in, out := sloppyPair(nil, pfstate.PFEstablished, 86300)
	kernel := tcpFlow(pfstate.TCPEstablished, snat)
	kernel.Timeout = 119
	r := newDesk(t, func(c *Config) { c.Timeouts.TCP[pfstate.TCPEstablished] = 120 })
	r.linkUp()
	r.dump(kernel)
	r.sent()
	r.transferPF(in, out)
	r.expectOps("update 80 reversed") // the flags, and no delete
	r.expect("deleted", r.until(r.now + second/2)[:1], "DEL_C D6")
}
