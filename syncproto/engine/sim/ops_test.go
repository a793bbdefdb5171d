package sim

import "github.com/pfsync/pfsync/pfstate"

var opNames = [...]string{pfstate.OpCreate: "create", pfstate.OpUpdate: "update", pfstate.OpDelete: "delete", pfstate.OpGet: "get"}

// doAll carries out a batch. What it deletes and creates again, as it was
// translated, lives on: there is no time between for a packet to be lost in.
func (k *kernel) doAll(batch []pfstate.Op) []pfstate.Result {
	k.deleted = k.deleted[:0]
	res := make([]pfstate.Result, len(batch))
	for i := range batch {
		res[i] = k.do(&batch[i])
	}
	for _, e := range k.deleted {
		if now := k.orig[e.key()]; now == nil || now.f.Reply != e.f.Reply {
			k.w.deleted(k.n, e)
		}
	}
	return res
}

// do carries out one operation, as conntrack.Injector does.
func (k *kernel) do(op *pfstate.Op) pfstate.Result {
	res := pfstate.Result{Kind: op.Kind, Ref: op.Ref}
	e, reply := k.find(origKey(&op.Flow))
	switch {
	case op.Kind == pfstate.OpCreate:
		res.Code = k.create(op, e)
	case e == nil:
		res.Code = pfstate.ResultMissing
	case reply:
		res.Code, res.Flow = pfstate.ResultReversed, k.flow(e)
	case op.Kind == pfstate.OpUpdate:
		k.update(op, e)
	case op.Kind == pfstate.OpDelete:
		if left := e.left(k.w.now); op.MaxLeft > 0 && left > op.MaxLeft {
			res.Code, res.Flow = pfstate.ResultLiving, k.flow(e)
			break
		}
		k.deleted = append(k.deleted, e)
		k.drop(e)
	case op.Kind == pfstate.OpGet:
		res.Flow = k.flow(e)
	}
	if k.w.tracing {
		f := &op.Flow
		k.w.say(origKey(f), "%s: %s #%d state %d/%x left %d/%d: %s", k.n.name, opNames[op.Kind], op.Ref, f.ProtoState, f.Status, f.Timeout, op.MaxLeft, res.Code)
	}
	return res
}

// flow is how ctnetlink tells an entry.
func (k *kernel) flow(e *entry) pfstate.Flow {
	f := e.f
	f.Timeout = e.left(k.w.now)
	f.Has = pfstate.HasTimeout | pfstate.HasProto | pfstate.HasStatus | f.Has&pfstate.HasWritten
	return f
}

func (k *kernel) create(op *pfstate.Op, have *entry) pfstate.ResultCode {
	other, _ := k.find(replyKey(&op.Flow))
	switch {
	case have != nil || other != nil:
		return pfstate.ResultExists
	case k.max > 0 && len(k.list) >= k.max:
		return pfstate.ResultFull
	}
	e := &entry{f: op.Flow, ends: k.w.now + int64(op.Flow.Timeout)*second}
	e.f.CtID, e.f.Has = 0, pfstate.HasWritten
	k.add(e)
	return pfstate.ResultOK
}

// crossing is how lately a packet must have passed for an update to have been
// on its way already: then the engine has to find out and put it right. So it
// has where the event of that packet was lost, by the next dump.
const crossing = 10 * milli

func (k *kernel) update(op *pfstate.Op, e *entry) {
	if op.Flow.Proto == pfstate.ProtoTCP && op.Flow.ProtoState < e.f.ProtoState && k.w.now-max(e.passed, e.told) > crossing && !e.untold {
		k.w.complain(e.key(), "%s: an update takes it from state %d back to %d", k.n.name, e.f.ProtoState, op.Flow.ProtoState)
	}
	e.f.ProtoState = op.Flow.ProtoState
	e.f.Status |= op.Flow.Status
	e.f.TCPFlags = op.Flow.TCPFlags
	if op.Flow.Has&pfstate.HasMark != 0 {
		e.f.Mark = op.Flow.Mark
	}
	e.ends = k.w.now + int64(op.Flow.Timeout)*second
}
