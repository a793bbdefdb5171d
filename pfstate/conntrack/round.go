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
	i.add(k, b, s == stepMain && op.Kind != pfstate.OpGet)
	if s != stepWhy {
		r.Code, r.Errno = pfstate.ResultError, unix.ENOBUFS
	}
}

// add takes over the buffer with the message of operation k appended.
func (i *Injector) add(k int, b []byte, quiet bool) {
	i.last = len(i.buf)
	i.buf = b
	i.sent[i.count] = uint16(k)
	i.open[i.count] = true
	i.quiet[i.count] = quiet
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

// exchange sends the datagram and takes the answers to its messages.
//
// The kernel works off the messages in order, within the send. It answers what
// it refuses and what asks for something; of the rest only the last is made to
// be answered, which halves the cost of a create. So when the last answer is
// there, what has none was done, unless the kernel had no room for an answer,
// which it tells (ENOBUFS).
func (i *Injector) exchange(s step, ops []pfstate.Op, res []pfstate.Result) error {
	if i.count == 0 {
		return nil
	}
	if i.quiet[i.count-1] {
		requestAck(i.buf[i.last:])
	}
	i.sends.Add(1)
	if err := unix.Send(i.fd, i.buf, 0); err != nil {
		if err == unix.ENOBUFS || err == unix.ENOMEM || err == unix.EAGAIN {
			i.lost.Add(uint64(i.count))
			return nil
		}
		return opError("send requests", err)
	}
	complete, err := i.answers(s, ops, res)
	if err == nil {
		i.unanswered(s, complete, ops, res)
	}
	return err
}

// answers reads until the last message is answered or nothing is left to read.
// complete says that no answer was lost.
func (i *Injector) answers(s step, ops []pfstate.Op, res []pfstate.Result) (complete bool, err error) {
	complete = true
	for i.open[i.count-1] {
		n, err := i.recv.recv(i.fd, answerSlots, unix.MSG_DONTWAIT)
		switch err {
		case nil:
		case unix.ENOBUFS:
			complete = false
		case unix.EAGAIN:
			return false, nil
		default:
			return false, opError("read answers", err)
		}
		for d := range n {
			i.take(s, d, ops, res)
		}
	}
	return complete, nil
}

// unanswered settles the messages without an answer.
func (i *Injector) unanswered(s step, complete bool, ops []pfstate.Op, res []pfstate.Result) {
	for m := range i.count {
		switch {
		case !i.open[m]:
		case complete && i.quiet[m]:
			i.solo.found, i.solo.errno = false, 0
			i.settleMessage(s, m, ops, res)
		default:
			i.lost.Add(1)
		}
	}
}

// take goes through a datagram.
func (i *Injector) take(s step, d int, ops []pfstate.Op, res []pfstate.Result) {
	b, whole, kernel := i.recv.datagram(d)
	if !whole || !kernel {
		i.unmatched.Add(1)
		return
	}
	for len(b) > 0 {
		h, body, rest, err := nextMessage(b)
		m := int(h.seq - i.base)
		if err != nil || h.portid != i.portID || m < 0 || m >= i.count || !i.open[m] {
			i.unmatched.Add(1)
			return
		}
		i.parseAnswer(&h, body)
		i.settleMessage(s, m, ops, res)
		b = rest
	}
}

// settleMessage applies the answer in i.solo to the operation of message m;
// that of a single request stays there.
func (i *Injector) settleMessage(s step, m int, ops []pfstate.Op, res []pfstate.Result) {
	i.open[m] = false
	if k := int(i.sent[m]); k < len(ops) {
		i.settle(s, k, &ops[k], &res[k])
	}
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
	case op.Kind == pfstate.OpDelete && op.MaxLeft != 0 && got.Timeout > op.MaxLeft:
		r.Code, r.Flow = pfstate.ResultLiving, *got
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
