package daemon

import (
	"context"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/engine"
)

// Stats implements control.Backend.
func (d *Daemon) Stats(ctx context.Context) (control.Stats, error) {
	var st engine.Stats
	own := map[string]uint64{}
	l := d.loop
	err := l.do(ctx, func() {
		st = l.eng.Stats
		st.Count[engine.CountIPackets] -= l.in6
		st.Count[engine.CountIPackets6] += l.in6
		st.Count[engine.CountOPackets] -= l.out6
		st.Count[engine.CountOPackets6] += l.out6
		l.addOwn(own)
		own["kept"] = uint64(l.eng.KeptLen())
	})
	if err != nil {
		return control.Stats{}, err
	}
	d.addKernel(own)
	for r := range engine.Reasons {
		own[r.String()] = st.Reason[r]
	}
	own["framesin"], own["bytesin"] = st.FramesIn, st.BytesIn
	own["framesout"], own["bytesout"] = st.FramesOut, st.BytesOut
	own["kerncreate"], own["kernupdate"], own["kerndelete"], own["kernget"] = st.OpsCreate, st.OpsUpdate, st.OpsDelete, st.OpsGet
	return control.Stats{Counters: counters(&st.Count), In: actions(&st.In, st.LinuxIn), Out: actions(&st.Out, st.LinuxOut), Reasons: own}, nil
}

// addOwn adds what the loop counts: the cost of dumps, frames made smaller, packets held.
func (l *loop) addOwn(m map[string]uint64) {
	d := &l.dump
	m["dumps"], m["dumpsfailed"], m["dumpspartial"] = d.count, d.failed, d.partial
	m["dumpinterval"] = uint64(d.looks.interval().Round(time.Second) / time.Second)
	m["dumpmicroseconds"], m["dumppermille"] = uint64(d.last/1000), d.permille(l.now)
	m["mtushrunk"] = l.shrunk
	l.addDefer(m)
}

// addKernel adds what the sockets to the kernel count.
func (d *Daemon) addKernel(m map[string]uint64) {
	lis, inj := d.lis.Stats(), d.inj.Stats()
	m["events"], m["eventsmalformed"], m["eventsforeign"] = lis.Events, lis.Malformed, lis.Foreign
	m["eventbuffer"] = uint64(lis.RcvBuf)
	for i := range d.dmp {
		dmp := d.dmp[i].Stats()
		m["dumprecords"] += dmp.Records
		m["dumpmalformed"] += dmp.Malformed
		m["dumptruncated"] += dmp.Truncated
		m["dumpintr"] += dmp.Intr
	}
	m["kernsends"], m["kernunanswered"] = inj.Sends, inj.Lost
	m["kernnohelper"], m["kernnolabels"] = inj.NoHelper, inj.NoLabels
	m["kernnomaster"] = inj.NoMaster
	exp := d.exp.Stats()
	m["expectmade"], m["expectremoved"], m["expectmalformed"] = exp.Made, exp.Removed, exp.Malformed
	for c, n := range exp.Refused {
		m["expectrefused"] += n
		if pfstate.ResultCode(c) == pfstate.ResultUnsupported {
			m["expectnohelper"] = n
		}
	}
	m["kernok"] = inj.Results[pfstate.ResultOK]
}

// shownActions are those in use, in wire order.
var shownActions = []syncproto.Action{
	syncproto.ActClr, syncproto.ActInsAck, syncproto.ActUpdC, syncproto.ActUpdReq, syncproto.ActDel, syncproto.ActDelC,
	syncproto.ActBus, syncproto.ActEOF, syncproto.ActIns, syncproto.ActUpd, syncproto.ActTDB,
}

// actions names the counts per action; linux are the messages of our own.
func actions(n *[syncproto.Actions]uint64, linux uint64) []control.Count {
	var cs []control.Count
	for _, a := range shownActions {
		cs = append(cs, control.Count{Name: a.String(), Count: n[a]})
	}
	return append(cs, control.Count{Name: syncproto.ActLinux.String(), Count: linux})
}

func counters(n *[engine.Counters]uint64) control.Counters {
	return control.Counters{
		IPackets: n[engine.CountIPackets], IPackets6: n[engine.CountIPackets6],
		BadIf: n[engine.CountBadIf], BadTTL: n[engine.CountBadTTL], HDrops: n[engine.CountHdrOps],
		BadVer: n[engine.CountBadVer], BadAct: n[engine.CountBadAct], BadLen: n[engine.CountBadLen],
		BadAuth: n[engine.CountBadAuth], Stale: n[engine.CountStale], BadVal: n[engine.CountBadVal],
		BadState: n[engine.CountBadState], OPackets: n[engine.CountOPackets], OPackets6: n[engine.CountOPackets6],
		ONoMem: n[engine.CountONoMem], OErrors: n[engine.CountOErrors],
	}
}
