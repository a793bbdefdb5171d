package doctor

import (
	"fmt"
	"strings"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// peers looks at who is heard, and how.
func (e *exam) peers() {
	e.heard()
	e.ttl()
	e.version()
}

func (e *exam) heard() {
	const check = "peer"
	c := &e.st.Config
	if e.stats.Reasons["badsrc"] > 0 && e.living() == 0 {
		e.fault(check, fmt.Sprintf("%s is not heard, another firewall is: %d frames", c.SyncPeer, e.stats.Reasons["badsrc"]),
			"pfsyncctl "+e.Name+" syncpeer ADDR with the address it sends from, or -syncpeer")
		return
	}
	if len(e.st.Peers) == 0 {
		e.fault(check, "no peer has been heard", e.silence())
		return
	}
	for _, p := range e.st.Peers {
		text := fmt.Sprintf("%s, version %d, heard %.1f s ago", p.Addr, p.Wire(), p.Heard)
		if p.Alive {
			e.ok(check, "%s", text)
			continue
		}
		e.fault(check, text+": it is silent", e.silence())
	}
}

// silence is what to look at when nobody is heard.
func (e *exam) silence() string {
	dev := e.st.Config.SyncDev
	if dev == "" {
		return "set the syncdev"
	}
	hint := "run pfsyncctl " + e.Name + " doctor on the peer; tcpdump -n -i " + dev + " proto 240 here shows whether its frames arrive"
	if peer := e.st.Config.SyncPeer; !peer.IsValid() || peer.IsMulticast() {
		hint += "; a switch between them must not filter the group (IGMP snooping)"
	}
	return hint
}

func (e *exam) living() (n int) {
	for _, p := range e.st.Peers {
		if p.Alive {
			n++
		}
	}
	return n
}

// ttl: a frame that was routed is not 255 any more, and is refused.
func (e *exam) ttl() {
	const check = "ttl"
	c := &e.stats.Counters
	if c.BadTTL == 0 {
		e.ok(check, "no frame came with a ttl other than 255")
		return
	}
	text := fmt.Sprintf("%d packets came with a ttl other than 255", c.BadTTL)
	remedy := "the firewalls must be on one network, without a router between; if they are, somebody forges frames"
	if e.living() == 0 {
		e.fault(check, text, remedy)
		return
	}
	e.warn(check, text, remedy)
}

// version: what is sent must be what the peers send.
func (e *exam) version() {
	const check = "version"
	var others []string
	wire := 0
	for _, p := range e.st.Peers {
		if p.Mismatch || p.Wire() != e.st.Config.Version && p.Wire() != 5 {
			others = append(others, fmt.Sprintf("%s speaks %d", p.Addr, p.Wire()))
			wire = p.Wire()
		}
	}
	switch {
	case len(others) > 0:
		e.fault(check, fmt.Sprintf("%s, we send %d", strings.Join(others, ", "), e.st.Config.Version), e.speak(wire))
	case e.stats.Counters.BadVer > 0:
		e.warn(check, fmt.Sprintf("%d packets of a version nobody knows", e.stats.Counters.BadVer),
			"tcpdump -n -v -i "+e.st.Config.SyncDev+" proto 240 shows who sends them")
	default:
		e.ok(check, "%d is sent, and nothing else is heard", e.st.Config.Version)
	}
}

func (e *exam) speak(wire int) string {
	if wire == 5 {
		return "pfsyncctl " + e.Name + " version 1301, 1400 or 1500, as the FreeBSD there has it; see pfsync-interop(7)"
	}
	return fmt.Sprintf("pfsyncctl %s version %d", e.Name, wire)
}

// identity: no two firewalls may make states under one creatorid.
func (e *exam) identity() {
	const check = "hostid"
	if e.st.Sync.State == control.SyncClash {
		e.fault(check, fmt.Sprintf("%s has our hostid %s: its states are not taken", e.st.Sync.Addr, e.st.HostID),
			"pfsyncctl "+e.Name+" hostid random, on one of them")
		return
	}
	e.ok(check, "%s is nobody else's", e.st.HostID)
}
