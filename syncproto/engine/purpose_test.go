package engine

import "strings"

// difference is a golden case in which the engine does otherwise than the
// kernel, on purpose.
type difference struct {
	name     string // of the case
	dialects string // what the names of the dialects begin with
	diff     string // of the verdicts: missing and additional counts
	why      string
}

func (d *difference) of(dialect string) bool { return strings.HasPrefix(dialect, d.dialects) }

// Reasons that several cases share.
const (
	bothVersions = "both versions are understood at any time"
	noInterfaces = "a kernel entry is bound to no interface, so which ones the maker has does not matter; the connection lives"
	ownReasons   = "failed imports count under their own reasons (creatorzero, alias, unfit), not as bad action, which looks like a wrong version"
	noTables     = "a routing table of the maker is not used here, and goes back to it as it came"
	openbsdStale = "OpenBSD's rule for all: a half that is further is taken whatever its window, and a stale half never"
)

// onPurpose lists all of them; every other case comes out as in the kernel.
var onPurpose = []difference{
	{"bad-version-old", "openbsd6", "0: badstate -0+1, badver -1+0", bothVersions},
	{"bad-version-new", "freebsd", "0: badact -0+1, badver -1+0", bothVersions},
	{"bad-creatorid-zero", "freebsd", "0: badact -1+0", ownReasons},
	{"bad-duplicate", "freebsd", "0: badact -1+0", ownReasons},
	{"bad-ifname-unterminated", "freebsd", "0: badact -1+0, states -0+1", noInterfaces},
	{"ifname-full", "freebsd", "0: states -0+1", noInterfaces},
	{"ifname-unknown", "freebsd", "0: states -0+1", noInterfaces},
	{"route-1301", "freebsd-1301", "0: states -0+1", noInterfaces},
	{"other-versions-1400", "freebsd-1400", "0: states -0+1", noInterfaces},
	{"route-to-unknown-if", "freebsd", "0: states -0+1", noInterfaces},
	{"orig-if-unknown", "freebsd-1500", "0: states -0+1", noInterfaces},
	{"bad-rtableid", "freebsd", "0: badact -1+0, states -0+1", noTables},
	{"bad-sctp-no-scrub", "freebsd", "0: badact -1+0, states -0+1", "conntrack learns the tags from the next packets"},
	{"clr-three", "freebsd", "1: states -1+0", "FreeBSD lets the interface of one message leak into the next (pfsync-protocol.md section 20, 18)"},
	{"upd-c-dst-newer-state-older-seq", "freebsd", "1: reply UPD_C -1+0, stale -1+0", openbsdStale},
}
