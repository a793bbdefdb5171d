package syncproto

import "encoding/binary"

// The Linux region
//
// The last region of a version 6 frame from a Linux sender has action 0xf0
// (ActLinux). OpenBSD steps over it by its length; its tcpdump stops there.
// It carries what pf's messages have no place for, and lets Linux peers know
// each other, see which frames got lost and repair it. There is at most one in
// a frame. All numbers are in network order.
//
//	subheader   action 0xf0, length L/4, count n >= 1, 24 <= L <= 1020
//	message 0   FrameInfo, about the sender and the frame
//	message 1…  Extra: about one state, or control (id 0)
//
// All messages are L bytes long, a multiple of 4; the rest of each is zeros. A
// receiver reads the region before the states of its frame. It takes a region
// whose magic it does not know, or whose messages are shorter than FrameInfo,
// as not there; of a layout above its own it reads what it knows, because
// later layouts only add: fields behind FrameInfo, types of TLV, bytes behind
// the known ones of a value.
//
// FrameInfo, 24 bytes:
//
//	 0                   1                   2                   3
//	 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//	+---------------------------------------------------------------+
//	|                       magic, "Lpfs"                           |
//	+---------------+---------------+---------------+---------------+
//	|    layout     |     flags     |   demotion    |      pad      |
//	+---------------+---------------+---------------+---------------+
//	|                             epoch                             |
//	+---------------------------------------------------------------+
//	|                             frame                             |
//	+---------------------------------------------------------------+
//	|                           table size                          |
//	+---------------------------------------------------------------+
//	|                           creatorid                           |
//	+---------------------------------------------------------------+
//
// Extra, 12 bytes and TLVs:
//
//	+---------------------------------------------------------------+
//	|                         id (8 bytes)                          |
//	+---------------------------------------------------------------+
//	|                           creatorid                           |
//	+---------------+---------------+-------------------------------+
//	|     type      |      len      |       value, len bytes …      |
//	+---------------+---------------+-------------------------------+
//	|  … more TLVs, unaligned; a type of 0 or the end of the        |
//	|  message ends them                                            |
//	+---------------------------------------------------------------+
//
// With an id other than 0 the TLVs are about the state {id, creatorid}. With
// id 0 they are control for the peer whose own creatorid is given; creatorid 0
// is every peer. A state or a peer may have several messages. A TLV whose
// length runs over the message ends the message there; unknown types are
// skipped. See tlv.go for the types.

// FrameInfoLen is the shortest message of a Linux region in bytes.
const FrameInfoLen = 24

// LinuxMagic is the first word of a Linux region, "Lpfs". LinuxLayout is the
// layout described here.
const (
	LinuxMagic  = 0x4c706673
	LinuxLayout = 1
)

// Flags of FrameInfo; the others are sent 0 and ignored.
const (
	InfoCarried = 0x01 // the sender carries the traffic of all states in this frame
	InfoInSync  = 0x02 // the sender has had its bulk transfer and missed nothing since
	InfoSending = 0x04 // the sender is in the middle of a bulk transfer of its table
	InfoDigests = 0x08 // the sender answers TLVWantDigests and what goes with it
	InfoNaming  = 0x10 // the sender has started and not told yet all that its kernel has
)

// FrameInfo is the first message of a Linux region.
type FrameInfo struct {
	Magic     uint32 // LinuxMagic
	Layout    uint8  // LinuxLayout
	Flags     uint8  // InfoCarried, InfoInSync, InfoSending, InfoDigests, InfoNaming
	Demotion  uint8  // the sender's demotion, 255 at most
	Pad       uint8  // sent 0, ignored
	Epoch     uint32 // another one after each start of the sender: frame numbers begin anew; a little higher where it goes on with the kernel's table that it had before
	Frame     uint32 // number of this frame, from 1; wraps to 1
	TableSize uint32 // states that the sender has
	CreatorID uint32 // the sender's own
}

// AppendFrameInfo appends the 24 bytes of m to b.
func AppendFrameInfo(b []byte, m *FrameInfo) []byte {
	b = binary.BigEndian.AppendUint32(b, m.Magic)
	b = append(b, m.Layout, m.Flags, m.Demotion, m.Pad)
	b = binary.BigEndian.AppendUint32(b, m.Epoch)
	b = binary.BigEndian.AppendUint32(b, m.Frame)
	b = binary.BigEndian.AppendUint32(b, m.TableSize)
	return binary.BigEndian.AppendUint32(b, m.CreatorID)
}

// ParseFrameInfo reads m from the first 24 bytes of b. A magic that is not
// LinuxMagic is ErrVersion.
func ParseFrameInfo(b []byte, m *FrameInfo) error {
	if len(b) < FrameInfoLen {
		return ErrShort
	}
	if binary.BigEndian.Uint32(b[0:]) != LinuxMagic {
		return ErrVersion
	}
	m.Magic = LinuxMagic
	m.Layout, m.Flags, m.Demotion, m.Pad = b[4], b[5], b[6], b[7]
	m.Epoch = binary.BigEndian.Uint32(b[8:])
	m.Frame = binary.BigEndian.Uint32(b[12:])
	m.TableSize = binary.BigEndian.Uint32(b[16:])
	m.CreatorID = binary.BigEndian.Uint32(b[20:])
	return nil
}

// extraHead is the length of an Extra before its TLVs, in bytes.
const extraHead = 12

// Extra is a message of a Linux region behind the first.
type Extra struct {
	ID        uint64 // 0: control
	CreatorID uint32 // control: the peer it is for, 0 all
	TLVs      []byte // as built by the Append functions of tlv.go; read with NextTLV
}

// Len returns the length of the message in bytes, without padding.
func (m *Extra) Len() int { return extraHead + len(m.TLVs) }

// Stride returns the shortest stride of a region that can hold an Extra with
// n bytes of TLVs: a multiple of 4, not less than FrameInfoLen. More than
// MaxMessageLen cannot be sent.
func Stride(n int) int { return max(FrameInfoLen, (extraHead+n+3)&^3) }

// AppendExtra appends m to b without padding.
func AppendExtra(b []byte, m *Extra) []byte {
	b = binary.BigEndian.AppendUint64(b, m.ID)
	b = binary.BigEndian.AppendUint32(b, m.CreatorID)
	return append(b, m.TLVs...)
}

// ParseExtra reads m from the whole message b. TLVs points into b and includes
// the padding.
func ParseExtra(b []byte, m *Extra) error {
	if len(b) < extraHead {
		return ErrShort
	}
	m.ID = binary.BigEndian.Uint64(b[0:])
	m.CreatorID = binary.BigEndian.Uint32(b[8:])
	m.TLVs = b[extraHead:]
	return nil
}
