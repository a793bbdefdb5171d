package control

import (
	"net/netip"
)

// State is one state as the verb states shows it: the fields of a version 6
// record under the names of the golden files, then ours.
type State struct {
	ID         HexID64   `json:"id"`
	CreatorID  HexID     `json:"creatorid"`
	IfName     string    `json:"ifname"`
	Key        Keys      `json:"key"`
	Src        StatePeer `json:"src"`
	Dst        StatePeer `json:"dst"`
	Rule       int64     `json:"rule"`     // 4294967295: none
	Anchor     int64     `json:"anchor"`   // 4294967295: none
	NATRule    int64     `json:"nat_rule"` // 4294967295: none
	Creation   uint32    `json:"creation"` // seconds since it was made
	Expire     uint32    `json:"expire"`   // seconds left
	Packets    [2]uint64 `json:"packets"`
	Bytes      [2]uint64 `json:"bytes"`
	Direction  uint8     `json:"direction"`  // DirIn, DirOut
	Timeout    uint8     `json:"timeout"`    // PFTM index
	SyncFlags  uint8     `json:"sync_flags"` // PFSYNC_FLAG_*
	StateFlags uint16    `json:"state_flags"`
	RTableID   [2]int32  `json:"rtableid"` // -1: none
	MaxMSS     uint16    `json:"max_mss"`
	AF         uint8     `json:"af"`
	Proto      uint8     `json:"proto"`

	Names   []Name `json:"names,omitempty"`  // further names: the other half of a pair, aliases
	Origin  string `json:"origin"`           // OriginLocal, OriginPeer
	From    string `json:"from,omitempty"`   // address of the peer it came from
	Carried bool   `json:"carried"`          // carried here
	Kernel  bool   `json:"in_kernel"`        // nf_conntrack has the entry
	Reason  string `json:"reason,omitempty"` // why nf_conntrack cannot have it: afto, rdomain, synproxy
	Route   *Route `json:"route,omitempty"`  // a pf's route, which is not followed here
	NoSync  bool   `json:"nosync,omitempty"` // matches a no-sync filter
	Mark    uint32 `json:"mark"`             // conntrack mark
	Zone    uint16 `json:"zone"`             // conntrack zone, original direction
	Status  uint32 `json:"ct_status"`        // IPS_*
	CTState string `json:"ct_state"`         // conntrack's TCP, SCTP or DCCP state, "" if it has none
	Helper  string `json:"helper,omitempty"` // conntrack helper
	Labels  string `json:"labels,omitempty"` // connlabel bits, hexadecimal
	ICMP    *ICMP  `json:"icmp,omitempty"`   // ICMP and ICMPv6 only
	GRE     *GRE   `json:"gre,omitempty"`    // GRE only
}

// Directions of a state, PF_IN and PF_OUT.
const (
	DirIn  = 1
	DirOut = 2
)

// Origins of a state.
const (
	OriginLocal = "local" // its creatorid is ours
	OriginPeer  = "peer"
)

// None is the number of no rule and no anchor.
const None = 1<<32 - 1

// Name is a further name of a state.
type Name struct {
	Kind      string  `json:"kind"` // "pair" or "alias"
	Direction uint8   `json:"direction"`
	ID        HexID64 `json:"id"`
	CreatorID HexID   `json:"creatorid"`
}

// Route is how a pf sends the packets of a state.
type Route struct {
	Kind   string `json:"kind"` // pf.conf(5)'s word
	Addr   string `json:"addr,omitempty"`
	IfName string `json:"ifname,omitempty"`
}

// ICMP is type and code of the query.
type ICMP struct {
	Type uint8 `json:"type"`
	Code uint8 `json:"code"`
}

// GRE has the keys of both directions, source and destination: pf has none, so
// they are not in [Keys].
type GRE struct {
	Orig  [2]uint16 `json:"orig"`
	Reply [2]uint16 `json:"reply"`
}

// Keys are the wire side and the stack side of a state.
type Keys struct {
	Wire  Key `json:"wire"`
	Stack Key `json:"stack"`
}

// Key is one side: index 0 and 1 as in pf (pfsync-protocol.md section 8).
type Key struct {
	Addr    [2]netip.Addr `json:"addr"`
	Port    [2]uint16     `json:"port"` // host order
	RDomain uint16        `json:"rdomain"`
	AF      uint8         `json:"af"` // 2 or 24, OpenBSD's numbers
}

// StatePeer is the tracking of one side of a connection, pf_state_peer.
type StatePeer struct {
	SeqLo   uint32 `json:"seqlo"`
	SeqHi   uint32 `json:"seqhi"`
	SeqDiff uint32 `json:"seqdiff"`
	MaxWin  uint16 `json:"max_win"`
	MSS     uint16 `json:"mss"`
	State   uint8  `json:"state"`
	WScale  uint8  `json:"wscale"` // with the flag 0x80
}

// Endpoint is an address with its port.
type Endpoint struct {
	Addr netip.Addr
	Port uint16
}

// Tuples returns the connection as conntrack sees it: source and destination
// of the original and of the reply direction (design section 5, "direction,
// keys").
func (s *State) Tuples() (orig, reply [2]Endpoint) {
	w, k := &s.Key.Wire, &s.Key.Stack
	if s.Direction == DirOut {
		return [2]Endpoint{k.end(1), k.end(0)}, [2]Endpoint{w.end(0), w.end(1)}
	}
	return [2]Endpoint{w.end(0), w.end(1)}, [2]Endpoint{k.end(1), k.end(0)}
}

// ICMPID returns the id of an ICMP query, which pf keeps as the port of the
// side that asks.
func (s *State) ICMPID() uint16 {
	orig, _ := s.Tuples()
	return orig[0].Port
}

func (k *Key) end(i int) Endpoint { return Endpoint{k.Addr[i], k.Port[i]} }
