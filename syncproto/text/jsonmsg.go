package text

import (
	"encoding/hex"
	"fmt"
	"net/netip"

	"github.com/pfsync/pfsync/syncproto"
)

// place is where a message lies and how long it is, both in bytes.
type place struct {
	Offset int `json:"offset"`
	Length int `json:"length"`
}

// name is a state's ID.
type name struct {
	ID        string `json:"id"`
	CreatorID string `json:"creatorid"`
}

func newName(id uint64, creatorID uint32) name {
	return name{fmt.Sprintf("%016x", id), fmt.Sprintf("%08x", creatorID)}
}

type rawMessage struct {
	place
	Raw string `json:"raw"`
}

type clrMessage struct {
	place
	ifName
	CreatorID string `json:"creatorid"`
}

type idMessage struct {
	place
	name
}

type busMessage struct {
	place
	CreatorID string `json:"creatorid"`
	EndTime   uint32 `json:"endtime"`
	Status    uint8  `json:"status"`
}

type updCMessage struct {
	place
	name
	Src     peer   `json:"src"`
	Dst     peer   `json:"dst"`
	Expire  uint32 `json:"expire"`
	Timeout uint8  `json:"timeout"`
}

type tdbMessage struct {
	place
	SPI          uint32  `json:"spi"`
	Dst          string  `json:"dst"`
	DstAF        uint8   `json:"dst_af"`
	DstIPVersion int     `json:"dst_ip_version"`
	RPL          uint64  `json:"rpl"`
	CurBytes     uint64  `json:"cur_bytes"`
	SProto       uint8   `json:"sproto"`
	Updates      uint8   `json:"updates"`
	RDomain      *uint16 `json:"rdomain,omitempty"` // version 6
}

type infoMessage struct {
	place
	Layout    uint8  `json:"layout"`
	Flags     uint8  `json:"flags"`
	Demotion  uint8  `json:"demotion"`
	Epoch     uint32 `json:"epoch"`
	Frame     uint32 `json:"frame"`
	TableSize uint32 `json:"table_size"`
	CreatorID string `json:"creatorid"`
}

type extraMessage struct {
	place
	name
	TLVs []tlv `json:"tlvs"`
}

type tlv struct {
	Type  uint8  `json:"type"`
	Name  string `json:"name"`
	Value string `json:"value"` // hexadecimal
}

// newMessage returns message i of a region, which lies at offset at. What a
// receiver steps over is raw, but for the TDBs of version 5.
func newMessage(reg *syncproto.Region, i, at int) any {
	b := reg.Message(i)
	where := place{at, reg.Stride}
	if reg.Skip && reg.Action != syncproto.ActTDB || len(b) < reg.Action.Length(reg.Format) && reg.Action != syncproto.ActLinux {
		return rawMessage{where, hex.EncodeToString(b)}
	}
	switch reg.Action {
	case syncproto.ActClr:
		var m syncproto.Clr
		_ = syncproto.ParseClr(b, &m)
		return clrMessage{where, newIfName(m.IfName), fmt.Sprintf("%08x", m.CreatorID)}
	case syncproto.ActInsAck, syncproto.ActUpdReq, syncproto.ActDelC:
		var m syncproto.ID
		_ = syncproto.ParseID(b, &m)
		return idMessage{where, newName(m.ID, m.CreatorID)}
	case syncproto.ActUpdC:
		var m syncproto.UpdC
		_ = syncproto.ParseUpdC(b, &m)
		return updCMessage{where, newName(m.ID, m.CreatorID), newPeer(&m.Src), newPeer(&m.Dst), m.Expire, m.Timeout}
	case syncproto.ActBus:
		var m syncproto.Bus
		_ = syncproto.ParseBus(b, &m)
		return busMessage{where, fmt.Sprintf("%08x", m.CreatorID), m.EndTime, m.Status}
	case syncproto.ActTDB:
		return newTDB(where, reg.Format, b)
	case syncproto.ActIns, syncproto.ActUpd, syncproto.ActDel:
		return newState(where, reg.Format, b)
	case syncproto.ActLinux:
		return newLinux(where, i, b)
	}
	return rawMessage{where, hex.EncodeToString(b)}
}

// sockaddrIn is the length of struct sockaddr_in.
const sockaddrIn = 16

func newTDB(where place, f syncproto.Format, b []byte) any {
	var m syncproto.TDB
	_ = syncproto.ParseTDB(b, f, &m)
	t := tdbMessage{place: where, SPI: m.SPI, RPL: m.RPL, CurBytes: m.CurBytes, SProto: m.SProto, Updates: m.Updates}
	if f == syncproto.Format6 {
		t.RDomain = &m.RDomain
	}
	family, addr := m.DstAddr()
	if !addr.IsValid() && m.Dst[0] == sockaddrIn { // family unknown, but of the length of IPv4
		addr = netip.AddrFrom4([4]byte(m.Dst[4:8]))
	}
	t.DstAF, t.DstIPVersion = family, 6
	if addr.Is4() {
		t.DstIPVersion = 4
	} else if !addr.IsValid() {
		addr = netip.AddrFrom16([16]byte(m.Dst[8:24]))
	}
	t.Dst = addr.String()
	return t
}

// newLinux returns a message of the Linux region: raw if it is not ours.
func newLinux(where place, i int, b []byte) any {
	if i == 0 {
		var m syncproto.FrameInfo
		if err := syncproto.ParseFrameInfo(b, &m); err != nil {
			return rawMessage{where, hex.EncodeToString(b)}
		}
		return infoMessage{where, m.Layout, m.Flags, m.Demotion, m.Epoch, m.Frame, m.TableSize,
			fmt.Sprintf("%08x", m.CreatorID)}
	}
	var m syncproto.Extra
	_ = syncproto.ParseExtra(b, &m)
	x := extraMessage{where, newName(m.ID, m.CreatorID), []tlv{}}
	for t, v, rest, ok := syncproto.NextTLV(m.TLVs); ok; t, v, rest, ok = syncproto.NextTLV(rest) {
		x.TLVs = append(x.TLVs, tlv{uint8(t), tlvName(t), hex.EncodeToString(v)})
	}
	return x
}
