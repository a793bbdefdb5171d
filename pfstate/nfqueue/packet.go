package nfqueue

import (
	"encoding/binary"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
)

// Packet is one that waits for its verdict.
type Packet struct {
	ID   uint32 // of the queue, for Accept
	Hook uint8  // where it waits
	CT   bool   // Flow is what conntrack has, else it was read from the packet

	// Flow is the connection. Read from the packet, its tuple is the original
	// one and the reply tuple the plain inverse.
	Flow pfstate.Flow
}

// ParsePacket decodes a message of the queue without its netlink header:
//
//	struct nfgenmsg | PACKET_HDR | … | PAYLOAD | … | CT, if asked for and there
//
// With ErrPacket p.ID and p.Hook hold, with any other error *p is as before.
func ParsePacket(body []byte, p *Packet) error {
	if len(body) < genLen {
		return ErrShort
	}
	var v Packet
	var payload, ct []byte
	seen := false
	for b := body[genLen:]; len(b) > 0; {
		typ, data, rest, err := nextAttr(b)
		if err != nil {
			return err
		}
		b = rest
		switch typ {
		case attrPacketHdr:
			if len(data) != packetHdrLen {
				return ErrAttr
			}
			v.ID, v.Hook, seen = binary.BigEndian.Uint32(data), data[6], true
		case attrPayload:
			payload = data
		case attrCT:
			ct = data
		}
	}
	if !seen {
		return ErrShort
	}
	err := v.readFlow(payload, ct)
	*p = v
	return err
}

// nextAttr takes the first attribute off b.
func nextAttr(b []byte) (typ uint16, data, rest []byte, err error) {
	if len(b) < attrHdr {
		return 0, nil, nil, ErrShort
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < attrHdr || n > len(b) {
		return 0, nil, nil, ErrShort
	}
	typ = binary.NativeEndian.Uint16(b[2:]) & typeMask
	return typ, b[attrHdr:n], b[min((n+3)&^3, len(b)):], nil
}

// readFlow prefers what conntrack tells.
func (p *Packet) readFlow(payload, ct []byte) error {
	if ct != nil && len(payload) > 0 {
		af := pfstate.AFInet
		if payload[0]>>4 == 6 {
			af = pfstate.AFInet6
		}
		if conntrack.ParseAttrs(af, ct, &p.Flow) == nil {
			p.CT = true
			return nil
		}
	}
	return ParseFlow(payload, &p.Flow)
}
