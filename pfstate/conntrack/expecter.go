package conntrack

import (
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"golang.org/x/sys/unix"
)

// expectGroups are the multicast groups of expectations made and gone.
const expectGroups = 1<<(unix.NFNLGRP_CONNTRACK_EXP_NEW-1) | 1<<(unix.NFNLGRP_CONNTRACK_EXP_DESTROY-1)

// Expectations are few: one datagram at a time will do.
const (
	expectRcvBuf = 1 << 20
	expectSlots  = 16
	expectSize   = 32 << 10
)

// ExpectStats counts what an Expecter met.
type ExpectStats struct {
	Made, Removed uint64
	Refused       [pfstate.ResultCodes]uint64 // to make: by reason
	Overruns      uint64                      // ENOBUFS: all were read anew
	Malformed     uint64                      // could not be decoded
}

// Expecter hears of the expectations of one network namespace, and makes and
// removes some. Read and Do may run at the same time, each in one goroutine.
type Expecter struct {
	file   *os.File
	raw    syscall.RawConn
	recv   *receiver
	closed atomic.Bool // no more Read
	done   atomic.Bool // the sockets are closed
	seq    uint32      // of the dump
	n      int         // of the read under way
	err    error

	req     *socket
	answers *receiver
	buf     []byte
	reqSeq  uint32

	made, removed, overruns, malformed atomic.Uint64
	refused                            [pfstate.ResultCodes]atomic.Uint64
}

// NewExpecter opens its sockets in the calling thread's network namespace, and
// asks for the expectations there are: Read tells them first.
func NewExpecter() (*Expecter, error) {
	x := &Expecter{recv: newReceiver(expectSlots, expectSize), answers: newReceiver(1, answerSize)}
	req, err := openSocket(0, 0, func(int) error { return nil })
	if err != nil {
		return nil, err
	}
	x.req = req
	s, err := openSocket(unix.SOCK_NONBLOCK, expectGroups, func(fd int) error {
		forceRcvBuf(fd, expectRcvBuf)
		return ignore(fd, []uint32{req.portID}, nil)
	})
	if err != nil {
		unix.Close(req.fd)
		return nil, err
	}
	x.file = s.pollable()
	if x.raw, err = x.file.SyscallConn(); err == nil {
		err = x.dump()
	}
	if err != nil {
		x.Close()
		return nil, opError("expectations", err)
	}
	return x, nil
}

// dump asks for all expectations.
func (x *Expecter) dump() (err error) {
	x.seq++
	b, at := putMessage(nil, msgExpGet, unix.NLM_F_DUMP, x.seq, unix.AF_UNSPEC)
	cerr := x.raw.Control(func(fd uintptr) { err = unix.Send(int(fd), closeMessage(b, at), 0) })
	if err == nil {
		err = cerr
	}
	return err
}

// Read waits for news and appends it to evs. After Interrupt and Close the error
// is os.ErrClosed; no other error is to be expected.
func (x *Expecter) Read(evs []pfstate.ExpectEvent) ([]pfstate.ExpectEvent, error) {
	for {
		err := x.raw.Read(func(fd uintptr) bool {
			x.n, x.err = x.recv.recv(int(fd), expectSlots, unix.MSG_DONTWAIT)
			return x.err != unix.EAGAIN
		})
		switch {
		case x.closed.Load():
			return evs, os.ErrClosed
		case err != nil:
			return evs, opError("poll netlink socket", err)
		case x.err == unix.ENOBUFS:
			x.overruns.Add(1)
			if err := x.dump(); err != nil && err != unix.EBUSY {
				return evs, opError("ask for expectations", err)
			}
			continue
		case x.err != nil:
			return evs, opError("read expectations", x.err)
		}
		for i := range x.n {
			evs = x.decode(i, evs)
		}
		if len(evs) > 0 {
			return evs, nil
		}
	}
}

// decode appends the news of the i-th datagram.
func (x *Expecter) decode(i int, evs []pfstate.ExpectEvent) []pfstate.ExpectEvent {
	b, whole, kernel := x.recv.datagram(i)
	if !kernel || !whole {
		x.malformed.Add(1)
		return evs
	}
	for len(b) > 0 {
		h, body, rest, err := nextMessage(b)
		b = rest
		ev := pfstate.ExpectEvent{Dump: h.flags&unix.NLM_F_MULTI != 0}
		switch {
		case err != nil:
			x.malformed.Add(1)
			return evs
		case h.typ == unix.NLMSG_DONE, h.typ == unix.NLMSG_ERROR:
			continue
		case h.typ == msgExpDelete:
			ev.Gone = true
		case h.typ != msgExpNew:
			x.malformed.Add(1)
			continue
		}
		if ParseExpect(body, &ev.Expect) != nil {
			x.malformed.Add(1)
			continue
		}
		evs = append(evs, ev)
	}
	return evs
}

// Do asks the kernel for ops, in order. What it refuses is counted: an
// expectation whose helper is not here, or whose master is gone, is not worth
// more. An error means that the socket no longer works.
func (x *Expecter) Do(ops []pfstate.ExpectOp) error {
	for i := range ops {
		errno, err := x.do(&ops[i])
		if err != nil {
			return err
		}
		switch {
		case errno == 0 && ops[i].Remove:
			x.removed.Add(1)
		case errno == 0:
			x.made.Add(1)
		case !ops[i].Remove: // one to remove may be gone
			x.refused[codeOf(errno)].Add(1)
		}
	}
	return nil
}

func (x *Expecter) do(op *pfstate.ExpectOp) (errno syscall.Errno, err error) {
	x.reqSeq++
	if op.Remove {
		x.buf, err = AppendExpectDelete(x.buf[:0], x.reqSeq, &op.Expect)
	} else {
		x.buf, err = AppendExpectNew(x.buf[:0], x.reqSeq, &op.Expect)
	}
	if err != nil {
		return unix.EINVAL, nil
	}
	if err := unix.Send(x.req.fd, x.buf, 0); err != nil {
		return 0, opError("send request", err)
	}
	for {
		n, err := x.answers.recv(x.req.fd, 1, unix.MSG_DONTWAIT)
		if err == unix.EAGAIN || err == unix.ENOBUFS || err == nil && n == 0 {
			return unix.ENOBUFS, nil // the kernel answers within the send
		}
		if err != nil {
			return 0, opError("read answer", err)
		}
		b, whole, kernel := x.answers.datagram(0)
		h, body, _, perr := nextMessage(b)
		if perr == nil && whole && kernel && h.typ == unix.NLMSG_ERROR && h.seq == x.reqSeq && h.portid == x.req.portID {
			return ackErrno(body), nil
		}
	}
}

// Stats may be called from any goroutine.
func (x *Expecter) Stats() ExpectStats {
	s := ExpectStats{
		Made: x.made.Load(), Removed: x.removed.Load(),
		Overruns: x.overruns.Load(), Malformed: x.malformed.Load(),
	}
	for c := range x.refused {
		s.Refused[c] = x.refused[c].Load()
	}
	return s
}

// Interrupt ends the Read that waits, and those to come. It may be called from
// any goroutine.
func (x *Expecter) Interrupt() {
	x.closed.Store(true)
	x.file.SetReadDeadline(time.Unix(1, 0))
}

// Close closes the sockets. No Do may be under way.
func (x *Expecter) Close() error {
	x.Interrupt()
	if x.done.Swap(true) {
		return nil
	}
	unix.Close(x.req.fd)
	return opError("close", x.file.Close())
}
