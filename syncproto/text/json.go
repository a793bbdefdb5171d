package text

import (
	"encoding/hex"

	"github.com/pfsync/pfsync/syncproto"
)

// Packet is the JSON of a packet. Numbers are in host order; id, creatorid and
// raw bytes are hexadecimal as they are on the wire.
type Packet struct {
	IP       *PacketIP `json:"ip,omitempty"`
	Header   *Header   `json:"header,omitempty"`
	Regions  []Region  `json:"regions"`
	Trailing string    `json:"trailing_hex,omitempty"` // bytes behind the last region
	Error    string    `json:"error,omitempty"`        // why a receiver drops the frame, or the rest of it
}

// PacketIP is the IP header; which fields are there depends on the version.
type PacketIP struct {
	Version       uint8   `json:"version"`
	Src           string  `json:"src"`
	Dst           string  `json:"dst"`
	TTL           *uint8  `json:"ttl,omitempty"`
	TOS           *uint8  `json:"tos,omitempty"`
	ID            *uint16 `json:"id,omitempty"`
	DF            *bool   `json:"df,omitempty"`
	Protocol      int     `json:"protocol,omitempty"`
	HeaderLength  int     `json:"header_length,omitempty"`
	TotalLength   int     `json:"total_length,omitempty"`
	Checksum      *uint16 `json:"checksum,omitempty"`
	HopLimit      *uint8  `json:"hop_limit,omitempty"`
	NextHeader    int     `json:"next_header,omitempty"`
	PayloadLength *int    `json:"payload_length,omitempty"`
}

// Header is the pfsync header.
type Header struct {
	Version uint8  `json:"version"`
	Pad     uint8  `json:"_pad"`
	Len     uint16 `json:"len"`
	PFCksum string `json:"pfcksum"`
}

// Region is a region. Offsets count from the first byte of the packet, or of
// the frame if there is no IP header.
type Region struct {
	Offset    int    `json:"offset"`
	Action    uint8  `json:"action"` // on the wire
	Name      string `json:"name"`
	LenDwords *uint8 `json:"len_dwords,omitempty"` // version 6
	Pad       *uint8 `json:"pad,omitempty"`        // version 5
	Count     int    `json:"count"`                // on the wire; messages may be fewer
	Messages  []any  `json:"messages"`
	Raw       string `json:"raw,omitempty"` // bytes that are not whole messages
}

// Decode returns the JSON of a packet; ip may be nil. Of a frame that a
// receiver refuses it tells what can be read, and why it is refused.
func Decode(ip *IP, frame []byte) *Packet {
	p := &Packet{Regions: []Region{}}
	base := 0
	if ip != nil {
		p.IP, base = ip.json(), ip.HeaderLen
	}
	var r syncproto.Reader
	err := r.Reset(frame)
	if len(frame) >= syncproto.HeaderLen {
		h := r.Header()
		p.Header = &Header{Version: h.Version, Pad: h.Pad, Len: h.Len, PFCksum: hex.EncodeToString(h.Checksum[:])}
	}
	if err != nil {
		p.Error = err.Error()
		return p
	}
	end := syncproto.HeaderLen
	for reg, ok := r.Next(); ok; reg, ok = r.Next() {
		p.Regions = append(p.Regions, newRegion(base, r.Header().Version, &reg))
		end = min(reg.Offset+syncproto.SubheaderLen+reg.Count*messageLen(&reg), len(frame))
	}
	if err := r.Err(); err != nil {
		p.Error = err.Error()
		bad := r.Bad()
		end = fillBad(&bad, frame)
		p.Regions = append(p.Regions, newRegion(base, r.Header().Version, &bad))
	}
	p.Trailing = hex.EncodeToString(frame[end:])
	return p
}

// fillBad gives a region that a receiver refuses the bytes that are likely its
// own, and returns where they end: all its messages if the frame has them, else
// all that follows.
func fillBad(bad *syncproto.Region, frame []byte) (end int) {
	body := bad.Offset + syncproto.SubheaderLen
	n := bad.Count * messageLen(bad)
	if n > len(frame)-body || bad.Stride == 0 && bad.Action != syncproto.ActEOF {
		n = len(frame) - body
	}
	bad.Data = frame[body : body+n]
	return body + n
}

// messageLen returns the length of a message on the wire; EOF has none.
func messageLen(reg *syncproto.Region) int {
	if reg.Action == syncproto.ActEOF && reg.Format != syncproto.Format6 {
		return 0
	}
	return reg.Stride
}

func newRegion(base int, version uint8, reg *syncproto.Region) Region {
	r := Region{Offset: base + reg.Offset, Action: reg.Raw, Name: syncproto.WireName(version, reg.Raw),
		Count: reg.Count, Messages: []any{}}
	if version == syncproto.Version6 {
		r.LenDwords = &reg.Len
	} else {
		r.Pad = &reg.Len
	}
	at := r.Offset + syncproto.SubheaderLen
	for i := range reg.Whole() {
		r.Messages = append(r.Messages, newMessage(reg, i, at+i*reg.Stride))
	}
	r.Raw = hex.EncodeToString(reg.Data[reg.Whole()*reg.Stride:])
	return r
}

// json returns the fields of the version.
func (ip *IP) json() *PacketIP {
	p := &PacketIP{Version: ip.Version, Src: ip.Src.String(), Dst: ip.Dst.String()}
	if ip.Version == 6 {
		n := ip.PayloadLen()
		p.HopLimit, p.NextHeader, p.PayloadLength = &ip.TTL, syncproto.Protocol, &n
		return p
	}
	p.TTL, p.TOS, p.ID, p.DF, p.Checksum = &ip.TTL, &ip.TOS, &ip.ID, &ip.DF, &ip.Checksum
	p.Protocol, p.HeaderLength, p.TotalLength = syncproto.Protocol, ip.HeaderLen, ip.TotalLen
	return p
}
