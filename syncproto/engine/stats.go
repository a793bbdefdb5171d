package engine

import (
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// Counter numbers the counters of struct pfsyncstats, in its order.
type Counter uint8

// Counters of struct pfsyncstats (pfsync-protocol.md section 17).
const (
	CountIPackets Counter = iota
	CountIPackets6
	CountBadIf
	CountBadTTL
	CountHdrOps
	CountBadVer
	CountBadAct
	CountBadLen
	CountBadAuth
	CountStale
	CountBadVal
	CountBadState
	CountOPackets
	CountOPackets6
	CountONoMem
	CountOErrors
	Counters
)

var counterNames = [Counters]string{
	"ipackets", "ipackets6", "badif", "badttl", "hdrops", "badver", "badact", "badlen", "badauth",
	"stale", "badval", "badstate", "opackets", "opackets6", "onomem", "oerrors",
}

func (c Counter) String() string { return counterNames[c] }

// Reason numbers our own counters.
type Reason uint8

// Our counters: why something was not done, or done in another way than a pf
// would.
const (
	ReasonDelRefused      Reason = iota // a delete for a connection that lives here
	ReasonCollision                     // only the reply tuple is the same: both connections stay, one cannot be in this kernel
	ReasonAlias                         // one connection had two names
	ReasonLater                         // a record was about an earlier connection of the same tuple
	ReasonReused                        // the kernel reused a tuple without telling the end of the earlier connection
	ReasonHostidClash                   // a frame from another machine with our hostid
	ReasonOwnFrame                      // our own frame came back
	ReasonBadSrc                        // not from the syncpeer
	ReasonTooManyPeers                  // more sources than we listen to
	ReasonMaxStates                     // a peer's state beyond maxstates
	ReasonEvicted                       // one of a peer that made room for one of a peer known for longer
	ReasonRateInsert                    // a peer's inserts beyond its rate
	ReasonRateBulk                      // a peer's bulk requests beyond its rate
	ReasonRateReply                     // records that a peer would make us send beyond its share
	ReasonRateClr                       // a peer's CLR beyond its rate
	ReasonUnfit                         // a record of a family or direction that makes no sense
	ReasonAfTo                          // a BSD's state that the kernel cannot hold, for it is between address families
	ReasonRDomain                       // the same, for it is of a routing domain
	ReasonSynproxy                      // the same, for a proxy is still opening the connection
	ReasonRouteTo                       // a pf's state with a route of its own, which is the routing table's here
	ReasonNoSync                        // kept to ourselves by a nosync filter, or a peer's record that matches it
	ReasonCreatorZero                   // a record without creator
	ReasonOverrun                       // the kernel dropped events
	ReasonReconciled                    // found wrong by a dump and put right
	ReasonLost                          // expired here while a peer may carry it: asked for
	ReasonRevived                       // and given back by the peer
	ReasonFrameLost                     // a peer's frame did not arrive
	ReasonFrameAsked                    // asked for again
	ReasonFrameResent                   // sent again for a peer
	ReasonChecks                        // comparisons of our table with a peer's
	ReasonCheckAsked                    // questions asked in them
	ReasonCheckTold                     // frames sent in answer to a peer's, or with our questions
	ReasonCheckBuckets                  // buckets whose contents were asked for
	ReasonCheckDiffered                 // states that differed
	ReasonCheckHealed                   // of them, healed
	ReasonCheckUnhealed                 // of them, not to be healed
	ReasonBadCheck                      // a peer's question or answer that makes no sense
	ReasonCheckDropped                  // a peer's questions beyond what we hold
	ReasonRequestsDropped               // more update requests than we hold
	ReasonDeleteLate                    // an insert or update for a state already deleted
	ReasonLeftover                      // found at start, written by an earlier run, ended since
	ReasonExpectUnfit                   // an expectation too many, or of a connection that runs the other way here
	ReasonKernelExists                  // creates that the kernel answered: exists
	ReasonKernelFull
	ReasonKernelUnsupported
	ReasonKernelInvalid
	ReasonKernelBusy
	ReasonKernelDenied
	ReasonKernelError
	ReasonKernelOther // taken, and translated otherwise than told: removed again
	Reasons
)

var reasonNames = [Reasons]string{
	"delrefused", "collision", "alias", "later", "reused", "hostidclash", "ownframe", "badsrc", "toomanypeers",
	"maxstates", "evicted", "rateinsert", "ratebulk", "ratereply", "rateclr", "unfit", "afto", "rdomain", "synproxy", "routeto", "nosync", "creatorzero", "overrun", "reconciled", "lost", "revived",
	"framelost", "frameasked", "frameresent",
	"checks", "checkasked", "checktold", "checkbuckets", "checkdiffered", "checkhealed", "checkunhealed", "badcheck", "checkdropped", "reqdropped", "deletelate", "leftover", "expectunfit",
	"kernexists", "kernfull", "kernunsupported", "kerninvalid", "kernbusy", "kerndenied", "kernerror", "kernother",
}

func (r Reason) String() string { return reasonNames[r] }

// kernelReason maps a result to its counter.
func kernelReason(c pfstate.ResultCode) Reason {
	switch c {
	case pfstate.ResultExists:
		return ReasonKernelExists
	case pfstate.ResultFull:
		return ReasonKernelFull
	case pfstate.ResultUnsupported:
		return ReasonKernelUnsupported
	case pfstate.ResultInvalid:
		return ReasonKernelInvalid
	case pfstate.ResultBusy:
		return ReasonKernelBusy
	case pfstate.ResultDenied:
		return ReasonKernelDenied
	}
	return ReasonKernelError
}

// Stats counts. Values only grow.
type Stats struct {
	Count  [Counters]uint64
	In     [syncproto.Actions]uint64 // messages by action
	Out    [syncproto.Actions]uint64
	Reason [Reasons]uint64

	FramesOut, BytesOut uint64 // of our frames, without IP header
	FramesIn, BytesIn   uint64
	LinuxIn, LinuxOut   uint64 // messages of the Linux region, whose action is beyond In and Out
	OpsCreate, OpsUpdate,
	OpsDelete, OpsGet uint64

	Defer    [DeferCounts]uint64
	DeferMax int // most packets held at a time
}
