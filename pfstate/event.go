package pfstate

import "syscall"

// EventKind says what an Event tells.
type EventKind uint8

// Events, in the order of a life.
const (
	EventNew       EventKind = iota + 1 // an entry was made (not by us)
	EventUpdate                         // an entry changed (not by us)
	EventDestroy                        // an entry is gone; HasTimeout: killed before its time, without: expired
	EventDumpBegin                      // a dump was asked for; Flow is empty
	EventDump                           // a record of a dump
	EventDumpEnd                        // the dump ended whole: what it did not tell is not there (but a GET confirms)
	EventDumpFail                       // the dump ended early or lost records: it proves nothing
	EventOverrun                        // the kernel dropped events (ENOBUFS)
)

// Event is one piece of news from the kernel.
type Event struct {
	Kind    EventKind
	Partial bool // dump events: the dump is filtered, absence from it proves nothing; overrun: more is being lost, another one tells when that is over
	Asked   bool // another program asked the kernel for it; else a packet, time or the kernel itself
	Flow    Flow
}

// OpKind says what is asked of the kernel.
type OpKind uint8

// Operations on a kernel entry.
const (
	OpCreate OpKind = iota + 1 // make; ResultExists if there is one
	OpUpdate                   // change; ResultMissing if there is none
	OpDelete                   // remove the entry with this original tuple, not one reversed
	OpGet                      // tell what the kernel has for this original tuple
)

// Op is one request to the kernel. Tuples, family, protocol and zone name the
// entry; the rest of Flow is what create and update write.
type Op struct {
	Kind OpKind
	Ref  uint64 // the asker's own, handed back with the result

	// MaxLeft guards OpDelete: an entry with more than this many seconds left
	// has been refreshed since the asker last knew, and stays
	// (ResultLiving). 0: no guard.
	MaxLeft uint32
	Flow    Flow
}

// ResultCode says what came of an Op.
type ResultCode uint8

// Results, by reason.
const (
	ResultOK          ResultCode = iota
	ResultExists                 // create: the tuple, or its reply tuple, is taken (EEXIST)
	ResultMissing                // no such entry (ENOENT)
	ResultReversed               // get, update, delete: the tuple is there only as another entry's reply; untouched
	ResultFull                   // table full (ENOMEM, ENOSPC)
	ResultUnsupported            // the kernel cannot do that (EOPNOTSUPP)
	ResultInvalid                // the kernel rejects the values (EINVAL, ERANGE)
	ResultLiving                 // delete: the entry lives longer than Op.MaxLeft; untouched
	ResultBusy                   // the entry is dying or a status bit cannot be cleared (EBUSY)
	ResultDenied                 // EPERM, EACCES
	ResultError                  // anything else, see Errno
	ResultCodes                  // number of codes
)

var resultNames = [ResultCodes]string{"ok", "exists", "missing", "reversed", "table full", "unsupported", "invalid", "living", "busy", "not permitted", "error"}

func (c ResultCode) String() string {
	if c < ResultCodes {
		return resultNames[c]
	}
	return "unknown"
}

// Result is the kernel's answer to the Op with the same Kind and Ref. Flow is
// filled for OpGet (ResultOK and ResultReversed)
// and for ResultLiving.
type Result struct {
	Kind  OpKind
	Code  ResultCode
	Errno syscall.Errno // as the kernel gave it
	Ref   uint64
	Flow  Flow
}
