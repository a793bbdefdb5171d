package text

import (
	"encoding/hex"
	"net/netip"
	"slices"

	"github.com/pfsync/pfsync/syncproto"
)

// stateMessage is a record and where in its frame it stands.
type stateMessage struct {
	place
	State
}

// State is a state record as JSON. It has the fields of all formats; the
// embedded structs have those of some.
type State struct {
	name
	ifName
	Key        keys      `json:"key"`
	Src        peer      `json:"src"`
	Dst        peer      `json:"dst"`
	RtAddr     string    `json:"rt_addr"`
	Rule       uint32    `json:"rule"`
	Anchor     uint32    `json:"anchor"`
	NATRule    uint32    `json:"nat_rule"`
	Creation   uint32    `json:"creation"`
	Expire     uint32    `json:"expire"`
	Packets    [2]uint64 `json:"packets"`
	Bytes      [2]uint64 `json:"bytes"`
	Direction  uint8     `json:"direction"`
	Log        uint8     `json:"log"`
	Timeout    uint8     `json:"timeout"`
	StateFlags uint16    `json:"state_flags"`
	RTableID   any       `json:"rtableid,omitempty"` // version 6: two; 1301: none

	*familyFields
	*optionFields
	*queueFields
	*fields1500
}

// familyFields: not in 1500.
type familyFields struct {
	AF        uint8 `json:"af"`
	Proto     uint8 `json:"proto"`
	SyncFlags uint8 `json:"sync_flags"`
	Updates   uint8 `json:"updates"`
}

// optionFields: not in 1301.
type optionFields struct {
	MaxMSS  uint16 `json:"max_mss"`
	MinTTL  uint8  `json:"min_ttl"`
	SetTOS  uint8  `json:"set_tos"`
	SetPrio [2]int `json:"set_prio"`
	Rt      uint8  `json:"rt"`
}

// queueFields: 1400 and 1500.
type queueFields struct {
	QID      uint16 `json:"qid"`
	PQID     uint16 `json:"pqid"`
	DNPipe   uint16 `json:"dnpipe"`
	DNRPipe  uint16 `json:"dnrpipe"`
	RtIfName string `json:"rt_ifname"`
}

type fields1500 struct {
	TagName    string `json:"tagname"`
	OrigIfName string `json:"orig_ifname"`
	WireAF     uint8  `json:"wire_af"`
	StackAF    uint8  `json:"stack_af"`
	RtAF       uint8  `json:"rt_af"`
	WireProto  uint8  `json:"wire_proto"`
	StackProto uint8  `json:"stack_proto"`
}

func newState(where place, f syncproto.Format, b []byte) any {
	var m syncproto.State
	_ = syncproto.ParseState(b, f, &m)
	return stateMessage{where, NewState(f, &m)}
}

// NewState gives the record under the names that Decode uses, with the fields
// of a format.
func NewState(f syncproto.Format, m *syncproto.State) State {
	s := State{
		name: newName(m.ID, m.CreatorID), ifName: newIfName(m.IfName),
		Key: newKeys(f, m), Src: newPeer(&m.Src), Dst: newPeer(&m.Dst), RtAddr: hex.EncodeToString(m.RtAddr[:]),
		Rule: m.Rule, Anchor: m.Anchor, NATRule: m.NATRule, Creation: m.Creation, Expire: m.Expire,
		Packets: m.Packets, Bytes: m.Bytes, Direction: m.Direction, Log: m.Log, Timeout: m.Timeout, StateFlags: m.StateFlags,
	}
	if f != syncproto.Format1500 {
		s.familyFields = &familyFields{m.AF, m.Proto, m.SyncFlags, m.Updates}
	}
	if f != syncproto.Format1301 {
		s.optionFields = &optionFields{m.MaxMSS, m.MinTTL, m.SetTOS, [2]int{int(m.SetPrio[0]), int(m.SetPrio[1])}, m.Rt}
	}
	switch f {
	case syncproto.Format6:
		s.RTableID = m.RTableID
	case syncproto.Format1400, syncproto.Format1500:
		s.RTableID = m.RTableID[0]
		s.queueFields = &queueFields{m.QID, m.PQID, m.DNPipe, m.DNRPipe, m.RtIfName.String()}
	}
	if f == syncproto.Format1500 {
		s.fields1500 = &fields1500{m.Tag.String(), m.OrigIfName.String(), m.AF, m.StackAF, m.RtAF, m.Proto, m.StackProto}
	}
	return s
}

// ifName is an interface name: text if it is plain, else hexadecimal.
type ifName struct {
	Text *string `json:"ifname,omitempty"`
	Hex  string  `json:"ifname_hex,omitempty"`
}

func newIfName(n syncproto.Name) ifName {
	s := n.String()
	odd := func(c byte) bool { return c <= ' ' || c > '~' }
	if !n.Terminated() || slices.ContainsFunc([]byte(s), odd) || syncproto.MakeName(s) != n {
		return ifName{Hex: hex.EncodeToString(n[:])}
	}
	return ifName{Text: &s}
}

type keys struct {
	Wire  key `json:"wire"`
	Stack key `json:"stack"`
}

type key struct {
	Addr      [2]string `json:"addr"`
	Port      [2]uint16 `json:"port"`
	RDomain   *uint16   `json:"rdomain,omitempty"` // version 6
	AF        *uint8    `json:"af,omitempty"`      // version 6
	IPVersion int       `json:"ip_version"`        // how addr is shown, not on the wire
}

func newKeys(f syncproto.Format, m *syncproto.State) keys {
	wire, stack := m.Families(f)
	return keys{newKey(f, &m.Key[syncproto.KeyWire], wire), newKey(f, &m.Key[syncproto.KeyStack], stack)}
}

func newKey(f syncproto.Format, m *syncproto.Key, family uint8) key {
	k := key{Port: m.Port, IPVersion: ipVersion(f, m, family)}
	for i, a := range m.Addr {
		if k.IPVersion == 4 {
			k.Addr[i] = netip.AddrFrom4([4]byte(a[:4])).String()
		} else {
			k.Addr[i] = netip.AddrFrom16(a).String()
		}
	}
	if f == syncproto.Format6 {
		k.RDomain, k.AF = &m.RDomain, &m.AF
	}
	return k
}

// ipVersion tells how to show the addresses of a key: by the family, and if
// that is unknown by the bytes behind those of IPv4.
func ipVersion(f syncproto.Format, m *syncproto.Key, family uint8) int {
	switch family {
	case syncproto.FamilyIPv4:
		return 4
	case f.FamilyIPv6():
		return 6
	}
	if [12]byte(m.Addr[0][4:]) == [12]byte{} && [12]byte(m.Addr[1][4:]) == [12]byte{} {
		return 4
	}
	return 6
}

type peer struct {
	Scrub struct {
		Flags uint16 `json:"pfss_flags"`
		TTL   uint8  `json:"pfss_ttl"`
		Valid uint8  `json:"scrub_flag"`
		TSMod uint32 `json:"pfss_ts_mod"`
	} `json:"scrub"`
	SeqLo   uint32 `json:"seqlo"`
	SeqHi   uint32 `json:"seqhi"`
	SeqDiff uint32 `json:"seqdiff"`
	MaxWin  uint16 `json:"max_win"`
	MSS     uint16 `json:"mss"`
	State   uint8  `json:"state"`
	WScale  uint8  `json:"wscale"`
}

func newPeer(m *syncproto.Peer) peer {
	p := peer{SeqLo: m.SeqLo, SeqHi: m.SeqHi, SeqDiff: m.SeqDiff, MaxWin: m.MaxWin, MSS: m.MSS, State: m.State, WScale: m.WScale}
	p.Scrub.Flags, p.Scrub.TTL, p.Scrub.Valid, p.Scrub.TSMod = m.ScrubFlags, m.ScrubTTL, m.ScrubValid, m.ScrubTSMod
	return p
}
