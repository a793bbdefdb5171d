package conntrack

import (
	"github.com/pfsync/pfsync/pfstate"
	"golang.org/x/sys/unix"
)

// mergedStatus are the bits an entry may have and an update may not take.
const mergedStatus = pfstate.StatusSeenReply | pfstate.StatusAssured | pfstate.StatusExpected

// secondTries goes once more to the kernel for the few operations that it
// refuses for a reason that can be helped. They go one by one, after the batch;
// one whose entry a later operation of the batch is about too stays as it is.
func (i *Injector) secondTries(ops []pfstate.Op, res []pfstate.Result) error {
	for k := range ops {
		try := i.secondTry(&ops[k], &res[k])
		if try == nil || touchedLater(ops, k) {
			continue
		}
		f := ops[k].Flow
		if err := try(i, &f, &res[k]); err != nil {
			return err
		}
	}
	return nil
}

// secondTry tells what can be done about a refusal, nil if nothing.
func (i *Injector) secondTry(op *pfstate.Op, r *pfstate.Result) func(*Injector, *pfstate.Flow, *pfstate.Result) error {
	has := op.Flow.Has
	switch {
	case op.Kind == pfstate.OpCreate && r.Code == pfstate.ResultUnsupported && has&pfstate.HasHelper != 0:
		return (*Injector).createWithoutHelper
	case op.Kind == pfstate.OpCreate && r.Code == pfstate.ResultMissing && has&pfstate.HasMaster != 0:
		return (*Injector).createWithoutMaster
	case op.Kind == pfstate.OpUpdate && (r.Code == pfstate.ResultUnsupported || r.Code == pfstate.ResultBusy) && has&pfstate.HasHelper != 0:
		return (*Injector).updateWithoutHelper
	case op.Kind == pfstate.OpUpdate && r.Code == pfstate.ResultBusy && has&pfstate.HasStatus != 0:
		return (*Injector).updateMerged
	case op.Kind == pfstate.OpUpdate && r.Code == pfstate.ResultDenied && has&pfstate.HasTimeout != 0 && op.Flow.Proto == pfstate.ProtoGRE:
		return (*Injector).remake
	}
	return nil
}

// touchedLater reports whether an operation after k is about the same entry.
func touchedLater(ops []pfstate.Op, k int) bool {
	f := &ops[k].Flow
	for j := k + 1; j < len(ops); j++ {
		g := &ops[j].Flow
		if ops[j].Kind != pfstate.OpGet && g.Orig == f.Orig && g.Proto == f.Proto && g.AF == f.AF && g.Zone == f.Zone {
			return true
		}
	}
	return false
}

// createWithoutHelper makes the entry without the helper that is not loaded
// here: the connection is worth more than its helper.
func (i *Injector) createWithoutHelper(f *pfstate.Flow, r *pfstate.Result) error {
	f.Has &^= pfstate.HasHelper
	i.noHelper.Add(1)
	err := i.single(AppendCreate(i.start(), i.seq+1, f))
	i.conclude(r)
	if err == nil && r.Code == pfstate.ResultMissing && f.Has&pfstate.HasMaster != 0 {
		return i.createWithoutMaster(f, r)
	}
	return err
}

// createWithoutMaster makes the entry as one that nobody expected: its master is
// gone, or not here yet.
func (i *Injector) createWithoutMaster(f *pfstate.Flow, r *pfstate.Result) error {
	f.Has &^= pfstate.HasMaster
	i.noMaster.Add(1)
	err := i.single(AppendCreate(i.start(), i.seq+1, f))
	i.conclude(r)
	if err == nil && r.Code == pfstate.ResultUnsupported && f.Has&pfstate.HasHelper != 0 {
		return i.createWithoutHelper(f, r)
	}
	return err
}

// updateWithoutHelper leaves the helper out, in case the entry has none or
// another.
func (i *Injector) updateWithoutHelper(f *pfstate.Flow, r *pfstate.Result) error {
	f.Has &^= pfstate.HasHelper
	err := i.single(AppendUpdate(i.start(), i.seq+1, f, Guard(i.zones && guardable(f))))
	i.conclude(r)
	switch {
	case err != nil:
		return err
	case r.Code == pfstate.ResultBusy && f.Has&pfstate.HasStatus != 0:
		return i.updateMerged(f, r)
	case r.Errno == unix.ENOSPC && f.Has&pfstate.HasLabels != 0:
		r.Code = pfstate.ResultOK // as in done
		i.noLabels.Add(1)
	}
	return nil
}

// updateMerged repeats an update with the status bits the entry has: a peer
// that has not seen the reply yet takes nothing back.
func (i *Injector) updateMerged(f *pfstate.Flow, r *pfstate.Result) error {
	cur, err := i.current(f)
	if err != nil || cur == nil {
		i.conclude(r)
		return err
	}
	f.Status = f.Status&^pfstate.StatusExpected | cur.Status&mergedStatus
	err = i.single(AppendUpdate(i.start(), i.seq+1, f, Guard(i.zones && guardable(f))))
	i.conclude(r)
	return err
}

// remake removes an entry with a fixed timeout and makes it again with the new
// one, which is the only way to change it.
func (i *Injector) remake(f *pfstate.Flow, r *pfstate.Result) error {
	cur, err := i.current(f)
	if err != nil || cur == nil {
		i.conclude(r)
		return err
	}
	n := *cur
	n.Timeout, n.Has = f.Timeout, n.Has|pfstate.HasTimeout
	if f.Has&pfstate.HasStatus != 0 {
		n.Status |= f.Status
	}
	if f.Has&pfstate.HasMark != 0 {
		n.Mark, n.Has = f.Mark, n.Has|pfstate.HasMark
	}
	// In one datagram, so that hardly a packet comes between the two.
	b, err := AppendDelete(i.start(), i.seq+1, &n, EitherWay) // CTA_ID is the guard
	if err == nil {
		requestAck(b)
		i.add(0, b, false)
		err = i.single(AppendCreate(i.buf, i.seq+1, &n))
	}
	i.conclude(r)
	if err != nil || r.Code != pfstate.ResultOK || !isCall(&n) {
		return err
	}
	return i.makeForth(&n)
}

// current gives the entry that f is about, nil if it is not there; i.solo has
// the reason.
func (i *Injector) current(f *pfstate.Flow) (*pfstate.Flow, error) {
	err := i.single(AppendGet(i.start(), i.seq+1, f, EitherWay))
	if err != nil || !i.solo.found {
		return nil, err
	}
	if directionOf(f, &i.solo.flow) == dirReversed {
		i.solo.errno = unix.ENOENT
		return nil, nil
	}
	return &i.solo.flow, nil
}

// start begins a datagram of one message.
func (i *Injector) start() []byte {
	i.begin()
	return i.buf
}

// single sends the datagram b with one message, or with one more that is answered
// after all others, and leaves its answer in i.solo.
func (i *Injector) single(b []byte, err error) error {
	i.solo = answer{errno: unix.ENOBUFS}
	if err != nil {
		i.solo.errno = unix.EINVAL
		return nil
	}
	h, _, _, _ := nextMessage(b[len(i.buf):])
	i.add(0, b, h.typ != msgGet)
	return i.exchange(stepDone, nil, nil)
}

// conclude makes the last single answer the result.
func (i *Injector) conclude(r *pfstate.Result) {
	r.Code, r.Errno = codeOf(i.solo.errno), i.solo.errno
}
