package syncproto

import "encoding/binary"

// Values of the TLVs with which two tables are compared; see also TLVDigest
// and TLVWantBuckets in tlvrepair.go, and pfstate for what a digest is. The
// functions that append a list take of more items than fit the first.

// WantDigests is the value of a TLVWantDigests.
type WantDigests struct {
	Buckets uint16 // of how many, a power of two
	First   uint16
	Count   uint16
}

// AppendWantDigests appends a TLVWantDigests.
func AppendWantDigests(b []byte, m *WantDigests) []byte {
	b = append(b, uint8(TLVWantDigests), 6)
	b = binary.BigEndian.AppendUint16(b, m.Buckets)
	b = binary.BigEndian.AppendUint16(b, m.First)
	return binary.BigEndian.AppendUint16(b, m.Count)
}

// ParseWantDigests reads a TLVWantDigests.
func ParseWantDigests(v []byte, m *WantDigests) error {
	if len(v) < 6 {
		return ErrShort
	}
	m.Buckets, m.First, m.Count = binary.BigEndian.Uint16(v), binary.BigEndian.Uint16(v[2:]), binary.BigEndian.Uint16(v[4:])
	return nil
}

// Flags of an Item.
const (
	ItemCarried  = 0x01 // its traffic passes at the sender
	ItemChanging = 0x02 // it changes right now: a difference says nothing yet
	ItemRefused  = 0x04 // the sender's kernel did not take it
	ItemEnding   = 0x08 // it is about to end, which firewalls see at different times
)

// Item is one state in a TLVBucket.
type Item struct {
	ID
	Digest uint32
	Flags  uint8 // ItemCarried, …; the others are sent 0 and ignored
}

// Bucket is the value of a TLVBucket: some of the states of a bucket. A bucket
// without states has one without items.
type Bucket struct {
	Buckets uint16 // of how many, a power of two
	Number  uint16
	Total   uint16 // states in it
	First   uint16 // place of the first one told here, from 0
	Data    []byte // the items, read with At
}

// AppendBucket appends a TLVBucket with items for Data.
func AppendBucket(b []byte, m *Bucket, items []Item) []byte {
	items = items[:min(len(items), MaxItems)]
	b = append(b, uint8(TLVBucket), uint8(8+17*len(items)))
	b = binary.BigEndian.AppendUint16(b, m.Buckets)
	b = binary.BigEndian.AppendUint16(b, m.Number)
	b = binary.BigEndian.AppendUint16(b, m.Total)
	b = binary.BigEndian.AppendUint16(b, m.First)
	for i := range items {
		b = AppendID(b, &items[i].ID)
		b = binary.BigEndian.AppendUint32(b, items[i].Digest)
		b = append(b, items[i].Flags)
	}
	return b
}

// ParseBucket reads a TLVBucket. Data points into v.
func ParseBucket(v []byte, m *Bucket) error {
	if len(v) < 8 {
		return ErrShort
	}
	m.Buckets, m.Number = binary.BigEndian.Uint16(v), binary.BigEndian.Uint16(v[2:])
	m.Total, m.First = binary.BigEndian.Uint16(v[4:]), binary.BigEndian.Uint16(v[6:])
	m.Data = v[8:]
	return nil
}

// Len returns how many items there are.
func (m *Bucket) Len() int { return len(m.Data) / 17 }

// At returns item i.
func (m *Bucket) At(i int) (it Item) {
	b := m.Data[17*i:]
	_ = ParseID(b, &it.ID) // there are 17 bytes
	it.Digest, it.Flags = binary.BigEndian.Uint32(b[12:]), b[16]
	return it
}

// AppendLook appends a TLVLook.
func AppendLook(b []byte, number uint32) []byte { return appendTLV32(b, TLVLook, number) }

// ParseLook reads a TLVLook.
func ParseLook(v []byte, number *uint32) error { return ParseUint32(v, number) }

// How a state was found in the kernel.
const (
	FoundGone    = 1 // the entry was not there any more
	FoundChanged = 2 // it had changed
	FoundNew     = 3 // there was an entry without a state
)

// Found is one state in a TLVLooked.
type Found struct {
	ID
	How uint8 // FoundGone, …
}

// Looked is the value of a TLVLooked, the answer to TLVLook.
type Looked struct {
	Number uint32 // of the TLVLook
	Total  uint32 // states found other than the sender thought, told here or not
	Data   []byte // some of them, read with At
}

// AppendLooked appends a TLVLooked with found for Data.
func AppendLooked(b []byte, m *Looked, found []Found) []byte {
	found = found[:min(len(found), MaxLooked)]
	b = append(b, uint8(TLVLooked), uint8(8+13*len(found)))
	b = binary.BigEndian.AppendUint32(b, m.Number)
	b = binary.BigEndian.AppendUint32(b, m.Total)
	for i := range found {
		b = AppendID(b, &found[i].ID)
		b = append(b, found[i].How)
	}
	return b
}

// ParseLooked reads a TLVLooked. Data points into v.
func ParseLooked(v []byte, m *Looked) error {
	if len(v) < 8 {
		return ErrShort
	}
	m.Number, m.Total, m.Data = binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:]), v[8:]
	return nil
}

// Len returns how many items there are.
func (m *Looked) Len() int { return len(m.Data) / 13 }

// At returns item i.
func (m *Looked) At(i int) (f Found) {
	b := m.Data[13*i:]
	_ = ParseID(b, &f.ID) // there are 13 bytes
	f.How = b[12]
	return f
}

// AppendLack appends a TLVLack.
func AppendLack(b []byte, ids []ID) []byte {
	ids = ids[:min(len(ids), MaxLack)]
	b = append(b, uint8(TLVLack), uint8(12*len(ids)))
	for i := range ids {
		b = AppendID(b, &ids[i])
	}
	return b
}

// NextLack takes the first name off the value of a TLVLack.
func NextLack(v []byte) (id ID, rest []byte, ok bool) {
	if len(v) < 12 {
		return ID{}, nil, false
	}
	_ = ParseID(v, &id) // there are 12 bytes
	return id, v[12:], true
}
