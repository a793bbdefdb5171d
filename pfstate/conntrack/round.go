package conntrack

import (
	"syscall"

	"github.com/pfsync/pfsync/pfstate"
	"golang.org/x/sys/unix"
)

// step is what an operation of a batch waits for.
type step uint8

const (
	stepDone step = iota
	stepLook      // asked which direction the entry has, before it is changed
	stepMain      // the operation itself
	stepWhy       // asked whether an entry not found is there reversed
)

// answer is what the kernel says to one request: an entry or an errno.
type answer struct {
	found bool
	errno syscall.Errno
	flow  pfstate.Flow
}

// round sends the requests of all operations that wait for s and takes the
// answers.
func (i *Injector) round(s step, ops []pfstate.Op, res []pfstate.Result) error {
	for k := 0; k < len(ops); {
		i.begin()
		for k < len(ops) && len(i.buf) <= maxSend-maxMessage {
			if i.step[k] == s {
				i.put(s, k, &ops[k], &res[k])
			}
			k++
		}
		if err := i.exchange(s, ops, res); err != nil {
			return err
		}
	}
	return nil
}

// begin starts a datagram.
func (i *Injector) begin() {
	i.buf = i.buf[:0]
	i.count = 0
	i.base = i.seq + 1
}

// put appends the request of operation k. Until it is answered its result is
// that the answer was lost.
func (i *Injector) put(s step, k int, op *pfstate.Op, r *pfstate.Result) {
	b, err := i.appendRequest(s, k, op)
	if err != nil {
		i.step[k] = stepDone
		r.Code, r.Errno = pfstate.ResultInvalid, unix.EINVAL
		return
	}
	i.buf = b
	i.add(k)
	if s != stepWhy {
		r.Code, r.Errno = pfstate.ResultError, unix.ENOBUFS
	}
}

// add notes that the message just appended is of operation k.
func (i *Injector) add(k int) {
	i.sent[i.count] = uint16(k)
	i.open[i.count] = true
	i.count++
	i.seq++
}

func (i *Injector) appendRequest(s step, k int, op *pfstate.Op) ([]byte, error) {
	seq := i.seq + 1
	if s == stepLook || s == stepWhy {
		return AppendGet(i.buf, seq, &op.Flow, EitherWay)
	}
	looked := i.needsLook(op)
	switch op.Kind {
	case pfstate.OpCreate:
		return AppendCreate(i.buf, seq, &op.Flow)
	case pfstate.OpUpdate:
		return AppendUpdate(i.buf, seq, &op.Flow, Guard(!looked))
	case pfstate.OpDelete:
		f := op.Flow
		if looked {
			f.CtID = i.id[k]
		}
		return AppendDelete(i.buf, seq, &f, Guard(!looked))
	case pfstate.OpGet:
		return AppendGet(i.buf, seq, &op.Flow, EitherWay)
	}
	return i.buf, unix.EINVAL
}

// exchange sends the datagram and takes the answers to its messages. They are
// all there when the send returns; what is missing then was dropped for want of
// memory.
func (i *Injector) exchange(s step, ops []pfstate.Op, res []pfstate.Result) error {
	if i.count == 0 {
		return nil
	}
	i.sends.Add(1)
	if err := unix.Send(i.fd, i.buf, 0); err != nil {
		if err == unix.ENOBUFS || err == unix.ENOMEM || err == unix.EAGAIN {
			i.lost.Add(uint64(i.count))
			return nil
		}
		return opError("send requests", err)
	}
	for left := i.count; left > 0; {
		n, err := i.recv.recv(i.fd, left, unix.MSG_DONTWAIT)
		switch err {
		case nil:
		case unix.ENOBUFS:
			continue
		case unix.EAGAIN:
			i.lost.Add(uint64(left))
			return nil
		default:
			return opError("read answers", err)
		}
		for d := range n {
			left -= i.take(s, d, ops, res)
		}
	}
	return nil
}

// take goes through a datagram and tells how many requests it answers.
func (i *Injector) take(s step, d int, ops []pfstate.Op, res []pfstate.Result) (answered int) {
	b, whole, kernel := i.recv.datagram(d)
	if !whole || !kernel {
		i.unmatched.Add(1)
		return 0
	}
	for len(b) > 0 {
		h, body, rest, err := nextMessage(b)
		m := int(h.seq - i.base)
		if err != nil || h.portid != i.portID || m < 0 || m >= i.count || !i.open[m] {
			i.unmatched.Add(1)
			return answered
		}
		i.open[m] = false
		answered++
		i.parseAnswer(&h, body)
		if k := int(i.sent[m]); k < len(ops) {
			i.settle(s, k, &ops[k], &res[k])
		}
		b = rest
	}
	return answered
}

// parseAnswer decodes an answer into i.solo.
func (i *Injector) parseAnswer(h *header, body []byte) {
	i.solo.found = false
	switch h.typ {
	case unix.NLMSG_ERROR:
		i.solo.errno = ackErrno(body)
	case msgNew:
		i.solo.errno = 0
		if i.solo.found = ParseFlow(body, &i.solo.flow) == nil; !i.solo.found {
			i.solo.errno = unix.EBADMSG
		}
	default:
		i.solo.errno = unix.EBADMSG
	}
}

// settle notes what the answer means for operation k.
func (i *Injector) settle(s step, k int, op *pfstate.Op, r *pfstate.Result) {
	i.step[k] = stepDone
	a := &i.solo
	switch s {
	case stepLook:
		r.Code, r.Errno = codeOf(a.errno), a.errno
		if a.found {
			i.looked(k, op, r)
		}
	case stepMain:
		r.Code, r.Errno = codeOf(a.errno), a.errno
		i.done(k, op, r)
	case stepWhy:
		if a.found && directionOf(&op.Flow, &a.flow) == dirReversed {
			r.Code = pfstate.ResultReversed
		}
	}
}

// looked decides by the entry found whether it may be changed.
func (i *Injector) looked(k int, op *pfstate.Op, r *pfstate.Result) {
	got := &i.solo.flow
	switch {
	case directionOf(&op.Flow, got) == dirReversed:
		r.Code = pfstate.ResultReversed
	case op.Kind == pfstate.OpDelete && op.Flow.CtID != 0 && op.Flow.CtID != got.CtID:
		r.Code, r.Errno = pfstate.ResultMissing, unix.ENOENT
	default:
		i.id[k] = got.CtID
		i.step[k] = stepMain
	}
}

// done completes the result of an operation that the kernel has answered.
func (i *Injector) done(k int, op *pfstate.Op, r *pfstate.Result) {
	switch {
	case op.Kind == pfstate.OpGet && i.solo.found:
		r.Flow = i.solo.flow
		if directionOf(&op.Flow, &r.Flow) == dirReversed {
			r.Code = pfstate.ResultReversed
		}
	case op.Kind == pfstate.OpUpdate && r.Errno == unix.ENOSPC && op.Flow.Has&pfstate.HasLabels != 0:
		// Labels come last and an entry has room for them only where a rule
		// uses labels: all else is done.
		r.Code = pfstate.ResultOK
		i.noLabels.Add(1)
	case r.Code == pfstate.ResultMissing && !i.needsLook(op) && op.Kind != pfstate.OpGet:
		i.step[k] = stepWhy
	}
}

// codeOf sorts the kernel's errors.
func codeOf(errno syscall.Errno) pfstate.ResultCode {
	switch errno {
	case 0:
		return pfstate.ResultOK
	case unix.EEXIST:
		return pfstate.ResultExists
	case unix.ENOENT:
		return pfstate.ResultMissing
	case unix.ENOMEM, unix.ENOSPC:
		return pfstate.ResultFull
	case unix.EOPNOTSUPP:
		return pfstate.ResultUnsupported
	case unix.EINVAL, unix.ERANGE:
		return pfstate.ResultInvalid
	case unix.EBUSY:
		return pfstate.ResultBusy
	case unix.EPERM, unix.EACCES:
		return pfstate.ResultDenied
	}
	return pfstate.ResultError
}
