package engine

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// specRules are the rules of pfsync-protocol.md sections 2.1 and 9 to 14, in
// their order: whose rule is ours where the kernels differ, and the tests that
// hold it. Both means that they agree; ours, that none of theirs would do here,
// with the reason in the code or in pfsync-interop(7).
var specRules = []struct{ section, rule, whose, tests string }{
	{"2.1/1", "every packet counts ipackets", "both; IPv6 in ipackets6", "TestHostileFrames TestSyncpeer"},
	{"2.1/4", "another interface than the syncdev: badif", "both", "TestHostileFrames TestHeaderFields"},
	{"2.1/6", "TTL not 255: badttl", "both", "TestHostileFrames TestInjection"},
	{"2.1/7", "shorter than a header: hdrops", "both", "TestGoldenVerdict TestHostileFrames"},
	{"2.1/8", "another version: badver", "ours: 5 and 6 are understood", "TestGolden"},
	{"2.1/9", "header length beyond the packet: badlen", "both", "TestGoldenVerdict"},
	{"2.1/10", "packet longer than the header's length", "of the version that it is", "TestGoldenVerdict TestInjection"},
	{"2.1/12", "our own frames do not come back", "ours: counted ownframe", "TestOwnFrame TestOthers"},
	{"9.1/1", "fewer than 4 bytes left end the packet silently", "OpenBSD, version 6", "TestGoldenVerdict"},
	{"9.1/2", "unknown action, message too short: skipped, badact without count or length", "OpenBSD, version 6", "TestGoldenVerdict TestGoldenRegions"},
	{"9.1/3", "retired actions are skipped", "OpenBSD, version 6", "TestGoldenVerdict"},
	{"9.1/4", "a region beyond what is left: badlen, those before stay", "both", "TestGoldenVerdict TestOthers"},
	{"9.1/5", "longer messages at their stride, count 0 a no-op", "OpenBSD, version 6", "TestGoldenVerdict TestGoldenRegions"},
	{"9.2/1", "action at or above the maximum: badact", "FreeBSD current, version 5", "TestGoldenVerdict TestInjection"},
	{"9.2/2", "input histogram before validation", "both, whole messages", "TestGoldenVerdict TestTDB"},
	{"9.2/3", "actions 6, 8, 9: badact", "FreeBSD current, version 5", "TestGoldenVerdict TestInjection"},
	{"9.2/4", "regions above 2048 bytes: badlen", "FreeBSD, version 5", "TestGoldenVerdict TestFrameSizes"},
	{"9.2/5", "BUS not asked for and TDB are skipped unchecked", "FreeBSD, version 5", "TestBulkAsked TestTDB"},
	{"9.2/6", "EOF not at the end: badlen, what was read stays", "FreeBSD, version 5", "TestGoldenVerdict TestInjection"},
	{"9.3 CLR", "all of a creator", "both", "TestClr TestClear"},
	{"9.3 CLR", "bound to an interface", "OpenBSD; FreeBSD 12.1 clears all", "TestClr TestClrRegion TestCaptures"},
	{"9.3 CLR", "an interface bounds its own message", "OpenBSD; FreeBSD's leaks", "TestClrRegion TestGolden"},
	{"9.3 CLR", "what passes here stays and is told again", "ours", "TestClr TestClear"},
	{"9.3 CLR", "so many walks of the table", "ours", "TestStorm"},
	{"9.3 INS", "invalid values: badval, next message", "each for its version", "TestValueChecks TestInjection"},
	{"9.3 INS", "failed imports", "ours: their own reasons; never badact", "TestImportRules TestGolden"},
	{"9.3 INS_ACK", "unknown: ignored; else the packet goes", "both", "TestDeferRelease TestGolden"},
	{"9.3 UPD", "invalid: badval; unknown: import, else badstate", "both", "TestValueChecks TestImportRules"},
	{"9.3 UPD_C", "unknown: asked for at once, merged", "OpenBSD, FreeBSD current", "TestUnknownUpdate TestOthers TestInjection"},
	{"9.3 UPD_REQ", "0/0: the table", "both", "TestBulkServe TestBulkSend"},
	{"9.3 UPD_REQ", "unknown: badstate", "both", "TestRequest TestInjection"},
	{"9.3 UPD_REQ", "known: UPD, pushed", "both", "TestRequest TestQueueTable TestInjection"},
	{"9.3 UPD_REQ", "so many for what the source says", "ours", "TestStorm FuzzRemote"},
	{"9.3 DEL", "full record", "OpenBSD in version 6, FreeBSD current in 5", "TestGoldenVerdict TestInjection"},
	{"9.3 DEL_C", "unknown: badstate", "both", "TestCarrierDelete TestInjection"},
	{"9.3 DEL_C", "known: removed, nothing said", "both, but what passes here stays", "TestCarrierDelete TestRebroadcast"},
	{"9.3 BUS", "first message of a region", "both", "TestBusFirstOnly"},
	{"9.3 TDB", "looked at, or stepped over", "each for its version", "TestTDB TestGolden"},
	{"10/1", "name without zero", "ours: interfaces do not matter", "TestImportRules TestGolden"},
	{"10/2", "creatorid 0: refused", "both", "TestImportRules TestOthers TestInjection"},
	{"10/3", "unknown interface", "OpenBSD: imported", "TestImportRules TestCaptures"},
	{"10/4", "unknown orig_ifname", "ours: imported", "TestImportRules TestGolden"},
	{"10/5", "family 0", "both: not imported", "TestImportRules TestGolden"},
	{"10/6", "rules", "ours: none here; back to the pf as they came", "TestWriteBack TestImportRules"},
	{"10/7-8", "routes", "ours: imported; back as they came, translated", "TestWriteBack TestRoutes TestForeignAcross"},
	{"10/9", "limits", "ours: maxstates and the kernel's table", "TestMaxStates TestTableFull TestStorm"},
	{"10/10", "families of the keys", "OpenBSD; two at once fit in no entry", "TestImportRules TestGolden"},
	{"10/11", "routing table beyond all", "ours: imported", "TestImportRules"},
	{"10/12", "SCTP without tags", "OpenBSD: imported", "TestImportRules TestGolden"},
	{"10/13", "a second name for a connection", "ours: the lower, or a creator's later, stays", "TestTwoNames TestGolden TestCaptures"},
	{"10 new", "one key or two", "both, as tuples", "TestPairFromPF TestConnections"},
	{"10 new", "age, time left, 0 for the whole", "both", "TestImported TestCaptures"},
	{"10 new", "counters begin at 0", "both", "TestImported TestWriteBack"},
	{"10 new", "no-sync", "OpenBSD; not held", "TestImportRules"},
	{"10 new", "ack wanted: INS_ACK of that name at once", "both, once the kernel has it", "TestAckSide TestInsAck TestImported"},
	{"10 new", "never announced by who imports it", "both", "TestImported TestRebroadcast"},
	{"11", "TCP source half", "both", "TestStaleRules TestGolden"},
	{"11", "TCP destination half", "OpenBSD: its window counts only in the same state", "TestStaleRules TestGolden"},
	{"11", "other protocols: states only", "both", "TestStaleRules"},
	{"11", "11 and 12 give way, source only", "both", "TestProxyDone"},
	{"11", "one stale: the other taken over", "OpenBSD: FreeBSD's destination is overwritten", "TestStaleRules TestInjection TestCaptures"},
	{"11", "two stale: nothing, time untouched", "both", "TestTimeOfStale TestStaleRules"},
	{"11", "stale: counted, ours told at once", "both; once a second and state", "TestStale TestInjection"},
	{"11", "a deferred packet is released", "OpenBSD; FreeBSD drops it", "TestDeferRelease"},
	{"12.1", "events and queues", "OpenBSD's cells", "TestQueueTable"},
	{"12.1", "collapsed updates, maxupd, TCP only", "both", "TestCollapse TestMaxUpd"},
	{"12.1", "no-sync never enters a queue", "both", "TestNoSync"},
	{"12.1", "created and gone untold: nothing is sent", "both", "TestQueueTable TestLocalLife"},
	{"12.2", "timer", "ours: maxdelay, at most their second", "TestMaxDelay TestLiveness"},
	{"12.2", "full frame leaves", "both", "TestFullFrame TestFrameSizes"},
	{"12.2", "updated by a peer less than 2 s ago: at once", "both", "TestRecentPeer"},
	{"12.2", "requests leave at once", "OpenBSD, FreeBSD current", "TestUnknownUpdate TestBulkOrder"},
	{"12.3", "only DEL_C is sent", "both", "TestLocalLife TestPairToPF"},
	{"12.4", "flush: one CLR of ours", "both", "TestFlush"},
	{"12.5", "times as they are now, ack flag while deferred", "both", "TestRecordsForPF TestDeferNew"},
	{"12.6", "link down: queues wait and collapse", "ours", "TestLinkDown"},
	{"13.1", "requester, state by event", "OpenBSD's, without its fault", "TestBulkFSM TestBulkOrder"},
	{"13.1", "12 tries, 2 s apart", "OpenBSD", "TestBulkRetries TestBulkUnanswered"},
	{"13.1", "timer while receiving", "ours: progress, not size", "TestBulkFSM"},
	{"13.2", "start, records, end", "both; a start for an empty table too", "TestBulkSend TestBulkSendEmpty TestBulkServe"},
	{"13.2", "a request in the middle", "FreeBSD: once more round", "TestBulkServe"},
	{"13.2", "two requesters at once; requester gone", "ours: one walk for all, its end whoever hears", "TestBulkServe TestOthers"},
	{"13.2", "states that are gone or no-sync are left out", "FreeBSD", "TestBulkSend TestNoSync"},
	{"13.2", "pace", "ours: the receiver's", "TestBulkPacing"},
	{"13.3", "an end without start", "OpenBSD; of a Linux peer never", "TestBulkFSM TestBulkOrder"},
	{"13.4", "endtime in seconds since the request", "FreeBSD", "TestBulkEndTime"},
	{"14", "first packet held, insert at once with the flag", "both", "TestDeferNew TestDeferDeadline"},
	{"14", "released by INS_ACK, an update, or time", "OpenBSD", "TestDeferRelease TestDeferDeadline"},
	{"14", "at most 128, the oldest first", "both", "TestDeferOverflow"},
	{"7.8", "ids at their end, names that another gave", "ours: next free one", "TestOthers"},
	{"7.8", "our hostid elsewhere", "ours: refused and shown", "TestHostidClash"},
}

// testDirs have the tests named in the list.
var testDirs = []string{".", "..", "../text", "../../tunif/syncdev", "../../cmd/internal/daemon"}

// TestSpecRules: every test that the list names is there.
func TestSpecRules(t *testing.T) {
	there := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	for _, dir := range testDirs {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", dir, len(files), err)
		}
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range declared.FindAllStringSubmatch(string(b), -1) {
				there[m[1]] = true
			}
		}
	}
	used := map[string]bool{}
	for _, r := range specRules {
		if r.rule == "" || r.whose == "" || r.tests == "" {
			t.Errorf("%s: not whole", r.section)
		}
		for name := range strings.FieldsSeq(r.tests) {
			if used[name] = true; !there[name] {
				t.Errorf("%s %s: no test %s", r.section, r.rule, name)
			}
		}
	}
	t.Logf("%d rules, %d tests", len(specRules), len(used))
}
