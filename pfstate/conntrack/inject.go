package conntrack

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/pfsync/pfsync/pfstate"
	"golang.org/x/sys/unix"
)

// Sizes of the request socket. A batch of requests is one datagram to the
// kernel, which answers each of them before the system call returns; so the
// receive buffer has to hold the answers to a whole batch.
const (
	maxBatch     = 512      // requests
	maxSend      = 64 << 10 // bytes
	injectSndBuf = 1 << 20
	injectRcvBuf = 4 << 20
	answerCost   = 8 << 10 // what the kernel charges for an entry, at most
	answerSlots  = 64
	answerSize   = 8 << 10
)

// InjectStats counts what an Injector met.
type InjectStats struct {
	Results   [pfstate.ResultCodes]uint64
	Sends     uint64 // batches handed to the kernel
	Unmatched uint64 // answers that belong to no request
	Lost      uint64 // requests without an answer (ENOBUFS)
	NoHelper  uint64 // entries made without their helper, which is not here
	NoLabels  uint64 // updates whose labels the kernel has no room for
	NoMaster  uint64 // expected entries made without their master, which is not here
}

// Injector asks things of the table of one network namespace.
type Injector struct {
	*socket
	recv  *receiver
	buf   []byte
	batch int  // requests under way at most
	zones bool // the kernel knows zones, so OneWay works
	acct  accounting

	// Of the batch under way; indices are those of its operations.
	step  [maxBatch]step
	id    [maxBatch]uint32 // CTA_ID found by the look round
	sent  [maxBatch]uint16 // message → operation
	open  [maxBatch]bool   // message not answered yet
	quiet [maxBatch]bool   // message that is answered only if refused
	count int              // messages sent
	last  int              // where the last one begins in buf
	base  uint32           // sequence number of the first
	seq   uint32           // last one used
	solo  answer           // of a single request

	results                                              [pfstate.ResultCodes]atomic.Uint64
	sends, unmatched, lost, noHelper, noLabels, noMaster atomic.Uint64
}

// NewInjector opens a request socket in the calling thread's network namespace.
// The error is ErrPermission, ErrNoConntrack or ErrNoNetlink where one of them
// is why.
func NewInjector() (*Injector, error) {
	i := &Injector{
		recv: newReceiver(answerSlots, answerSize),
		buf:  make([]byte, 0, maxSend+maxMessage),
	}
	s, err := openSocket(0, 0, func(fd int) error {
		forceSndBuf(fd, injectSndBuf)
		got, _ := forceRcvBuf(fd, injectRcvBuf)
		i.batch = batchFor(got)
		// Without it every refusal carries the whole request back.
		return opError("NETLINK_CAP_ACK", unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1))
	})
	if err != nil {
		return nil, err
	}
	i.socket = s
	i.acct = openAccounting()
	if err := i.probe(); err != nil {
		i.Close()
		return nil, err
	}
	return i, nil
}

// batchFor is the number of requests whose answers fit a receive buffer.
func batchFor(rcvBuf int) int { return max(1, min(maxBatch, rcvBuf/answerCost)) }

// PortID is the netlink port id of the socket: what the events of its doings
// carry.
func (i *Injector) PortID() uint32 { return i.portID }

// Do asks the kernel for ops, in order, and writes one result for each to res,
// at the same index; it does as many as both have room for and returns their
// number. An operation that the kernel refuses is a result. An error means that
// the socket no longer works; results from the returned number on are void.
//
// A call of PPTP is made as two entries, of which one is told (see call.go).
//
// A create whose helper this kernel does not have is made without it, one whose
// master is not there likewise. An update
// never takes status bits from an entry. A GRE entry is made with counters. An update of a GRE entry whose timeout
// is fixed makes the entry anew. Deletes with MaxLeft, and updates and deletes of
// an entry in a zone (see [Guard]), cost a look-up before.
func (i *Injector) Do(ops []pfstate.Op, res []pfstate.Result) (int, error) {
	n := min(len(ops), len(res))
	for at := 0; at < n; {
		end := at + i.cut(ops[at:n])
		if err := i.do(ops[at:end], res[at:end]); err != nil {
			return at, err
		}
		for k := at; k < end; k++ {
			i.results[res[k].Code].Add(1)
		}
		at = end
	}
	return n, nil
}

// cut tells how many of ops go as one batch. An operation that is preceded by
// a look-up ends the batch if something before it may change what is found; of a
// call of PPTP an update may make it anew.
func (i *Injector) cut(ops []pfstate.Op) int {
	var changed touched
	for k := range ops {
		looks := i.needsLook(&ops[k])
		if k == i.batch || looks && changed.maybe(&ops[k].Flow) {
			return k
		}
		if ops[k].Kind != pfstate.OpGet && (!looks || isCall(&ops[k].Flow)) {
			changed.add(&ops[k].Flow)
		}
	}
	return len(ops)
}

// touched is a set of entries that may say yes wrongly, but never no.
type touched [16]uint64

func (t *touched) bit(u *pfstate.Tuple) (word int, mask uint64) {
	h := uint32(u.SrcPort)*0x9e37 ^ uint32(u.DstPort)*0x79b9
	for n := 0; n < 16; n += 4 {
		h = (h ^ binary.NativeEndian.Uint32(u.Src[n:]) ^ binary.NativeEndian.Uint32(u.Dst[n:])) * 0x85ebca6b
	}
	h >>= 22 // the best mixed ten bits
	return int(h / 64), 1 << (h % 64)
}

// add takes an entry in, by either of its tuples.
func (t *touched) add(f *pfstate.Flow) {
	for _, u := range [...]*pfstate.Tuple{&f.Orig, &f.Reply} {
		w, m := t.bit(u)
		t[w] |= m
	}
}

func (t *touched) maybe(f *pfstate.Flow) bool {
	w, m := t.bit(&f.Orig)
	return t[w]&m != 0
}

// needsLook reports whether the operation changes an entry that cannot be named
// one way, or only one that has not been refreshed.
func (i *Injector) needsLook(op *pfstate.Op) bool {
	switch op.Kind {
	case pfstate.OpUpdate:
		return !(i.zones && guardable(&op.Flow))
	case pfstate.OpDelete:
		return op.MaxLeft != 0 || !(i.zones && guardable(&op.Flow))
	}
	return false
}

// do runs one batch: look-ups where they are needed, the operations, look-ups
// that tell why an entry was not found, and what needs a second try.
func (i *Injector) do(ops []pfstate.Op, res []pfstate.Result) error {
	if needsCounters(ops) {
		defer i.acct.on()()
	}
	looks := false
	for k := range ops {
		res[k] = pfstate.Result{Kind: ops[k].Kind, Ref: ops[k].Ref}
		i.step[k] = stepMain
		if i.needsLook(&ops[k]) {
			i.step[k] = stepLook
			looks = true
		}
	}
	if looks {
		if err := i.round(stepLook, ops, res); err != nil {
			return err
		}
	}
	if err := i.round(stepMain, ops, res); err != nil {
		return err
	}
	if err := i.round(stepWhy, ops, res); err != nil {
		return err
	}
	if err := i.secondTries(ops, res); err != nil {
		return err
	}
	return i.otherHalves(ops, res)
}

// Stats may be called from any goroutine.
func (i *Injector) Stats() InjectStats {
	s := InjectStats{
		Sends: i.sends.Load(), Unmatched: i.unmatched.Load(), Lost: i.lost.Load(),
		NoHelper: i.noHelper.Load(), NoLabels: i.noLabels.Load(), NoMaster: i.noMaster.Load(),
	}
	for c := range i.results {
		s.Results[c] = i.results[c].Load()
	}
	return s
}

// Close closes the socket. No Do may be under way.
func (i *Injector) Close() error {
	i.acct.close()
	return opError("close", unix.Close(i.fd))
}
