package doctor

import (
	"fmt"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// sysctls looks at the variables that pfsync(4) is about.
func (e *exam) sysctls() {
	e.events()
	e.liberal()
	e.loose()
}

const sysctlFile = "and keep it in /etc/sysctl.d/pfsync.conf"

func (e *exam) events() {
	const check, name = "events", "net.netfilter.nf_conntrack_events"
	v, err := e.Host.sysctl(name)
	remedy := "sysctl " + name + "=1, " + sysctlFile
	switch {
	case err != nil:
		e.fault(check, name+": "+err.Error(), "a kernel with CONFIG_NF_CONNTRACK_EVENTS is needed")
	case v == 0:
		e.fault(check, name+" is 0: the kernel tells of no change", remedy)
	case v != 1:
		e.warn(check, fmt.Sprintf("%s is %d: entries made while nobody listened stay silent for ever", name, v), remedy)
	default:
		e.ok(check, "%s is 1", name)
	}
}

func (e *exam) liberal() {
	const check, name = "liberal", "net.netfilter.nf_conntrack_tcp_be_liberal"
	v, err := e.Host.sysctl(name)
	switch {
	case err != nil:
		e.warn(check, name+": "+err.Error(), "")
	case v == 1:
		e.ok(check, "%s is 1", name)
	case e.alive && !e.st.Config.Liberal:
		e.warn(check, name+" is 0, as -liberal has it: a TCP connection that comes back from the peer may be invalid", "pfsyncctl "+e.Name+" liberal")
	default:
		e.warn(check, name+" is 0: a TCP connection that comes back from the peer may be invalid", "sysctl "+name+"=1, "+sysctlFile)
	}
}

// loose is a matter of taste with states synchronised; what it means is said.
func (e *exam) loose() {
	const check, name = "loose", "net.netfilter.nf_conntrack_tcp_loose"
	v, err := e.Host.sysctl(name)
	switch {
	case err != nil:
		e.warn(check, name+": "+err.Error(), "")
	case v == 0:
		e.ok(check, "%s is 0: only a SYN begins a TCP connection", name)
	default:
		e.ok(check, "%s is %d: a connection met in the middle is taken for a new one; 0 is stricter, and enough with pfsync", name, v)
	}
}

// nearly is the share of a table, in percent, from which it is called nearly
// full.
const nearly = 90

// tables compares sizes with limits.
func (e *exam) tables() {
	e.ownTable()
	e.peerTables()
	e.liveness()
}

func (e *exam) ownTable() {
	const check, name = "table", "net.netfilter.nf_conntrack_max"
	c := e.st.States
	text := fmt.Sprintf("%d of %d entries", c.Kernel, c.Max)
	remedy := fmt.Sprintf("sysctl %s=%d, the same on all peers, %s", name, 2*c.Max, sysctlFile)
	limit := e.st.Config.MaxStates
	switch {
	case c.Max > 0 && c.Kernel >= c.Max, e.stats.Reasons["kernfull"] > 0:
		e.fault(check, fmt.Sprintf("the state table is or was full: %s, %d inserts refused", text, e.stats.Reasons["kernfull"]), remedy)
	case limit > 0 && c.Peer >= int(limit):
		e.fault(check, fmt.Sprintf("no more states of peers are taken: %d of %d", c.Peer, limit), "pfsyncctl "+e.Name+" maxstates 0")
	case c.Max > 0 && c.Kernel*100 >= c.Max*nearly:
		e.warn(check, "the state table is nearly full: "+text, remedy)
	default:
		e.ok(check, "%s here, %s", text, count(c.Total, "state"))
	}
}

// looksEvery is the number of seconds within which the daemon looks which of
// the states that end soon are alive, unless its table is so large that this
// would cost too much.
const looksEvery = 10

func (e *exam) liveness() {
	const check, name = "liveness", "net.netfilter.nf_conntrack_udp_timeout"
	every, known := e.stats.Reasons["dumpinterval"]
	if !known {
		return
	}
	text := fmt.Sprintf("what ends soon is looked at every %d s, for %.1f %% of a processor", every, float64(e.stats.Reasons["dumppermille"])/10)
	if every*4 <= looksEvery*5 {
		e.ok(check, "%s", text)
		return
	}
	e.warn(check, "large table: "+text, fmt.Sprintf("sysctl %s=%d, the same on all peers, or a peer may let go of what is alive, %s", name, 4*every, sysctlFile))
}

// peerTables: every peer's table must fit here.
func (e *exam) peerTables() {
	const check = "peer table"
	most := 0
	for _, p := range e.st.Peers {
		most = max(most, p.Table)
	}
	limit := e.st.States.Max
	remedy := "sysctl net.netfilter.nf_conntrack_max to what it is there, on this host"
	switch {
	case limit > 0 && most > limit:
		e.fault(check, fmt.Sprintf("a peer has %d states, this kernel holds %d", most, limit), remedy)
	case limit > 0 && most*100 >= limit*nearly:
		e.warn(check, fmt.Sprintf("a peer has %d states, this kernel holds %d", most, limit), remedy)
	case most == 0:
		e.ok(check, "no peer tells of states that would not fit here")
	default:
		e.ok(check, "the largest of a peer has %s, which can be here too", count(most, "state"))
	}
}

// enoughBuffer is what the daemon asks for at the least, in bytes of event
// buffer: 25 000 events.
const enoughBuffer = 16 << 20

func (e *exam) buffers() {
	const check, name = "buffers", "net.core.rmem_max"
	have, lost := e.stats.Reasons["eventbuffer"], e.stats.Reasons["overrun"]
	limit := "unknown"
	if v, err := e.Host.sysctl(name); err == nil {
		limit = fmt.Sprint(v)
	}
	remedy := fmt.Sprintf("sysctl %s=%d, in the initial namespace, and restart pfsyncd", name, enoughBuffer)
	switch {
	case have > 0 && have < enoughBuffer:
		e.warn(check, fmt.Sprintf("the event buffer has %d bytes, %s is %s: bursts will be lost", have, name, limit), remedy)
	case lost > 0:
		e.warn(check, fmt.Sprintf("events were lost, and the table read again, %s", count(lost, "time")), fmt.Sprintf("sysctl %s=%d, and restart pfsyncd", name, 4*enoughBuffer))
	default:
		e.ok(check, "the event buffer has %d bytes, %s is %s", have, name, limit)
	}
}

// sync looks at the last bulk transfer.
func (e *exam) sync() {
	const check = "bulk"
	s := e.st.Sync
	again := "pfsyncctl " + e.Name + " bulk"
	switch s.State {
	case control.SyncOK:
		e.ok(check, "the states of the peers are here%s", since(e.st.Sync))
	case control.SyncBulk:
		e.warn(check, "the states of the peers are still coming: "+s.String(), "pfsyncctl "+e.Name+" wait")
	case control.SyncFailed:
		e.fault(check, fmt.Sprintf("the peers did not send their states, asked %d times", s.Tries), again+", once the peer is heard")
	case control.SyncDiverged:
		e.warn(check, "changes were lost and are being repaired", "pfsyncctl "+e.Name+" wait; if it stays so, "+again)
	case control.SyncLinkDown:
		e.fault(check, "the link is down: nothing is exchanged", "see syncdev above")
	case control.SyncClash:
		e.fault(check, "states of "+s.Addr.String()+" are not taken", "see hostid above")
	default:
		e.warn(check, "there is no peer to have states from", "see peer above")
	}
}

func since(s control.Sync) string {
	if s.Since.IsZero() {
		return ""
	}
	return ", since " + s.Since.Local().Format("2006-01-02 15:04:05")
}
