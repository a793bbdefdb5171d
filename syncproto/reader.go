package syncproto

// MaxRegion5 is the largest region in bytes, without its subheader, that a
// version 5 receiver takes (one mbuf cluster); more counts badlen. A sender
// with more to say repeats the subheader.
const MaxRegion5 = 2048

// Region is one subheader and its messages.
type Region struct {
	Action Action // known actions have their version 6 number, whatever the version
	Format Format // of state records; version 5: of INS and UPD, else Format1301
	Raw    uint8  // action byte on the wire
	Len    uint8  // second byte on the wire: message length / 4, or pad
	Skip   bool   // a receiver steps over it: retired or unknown action, messages too short
	Offset int    // of the subheader, from the first byte of the frame
	Stride int    // from message to message, bytes; may be more than the message needs
	Count  int    // of messages, as on the wire
	Data   []byte // the messages, Count*Stride bytes of the frame; less only if Skip
}

// Whole returns how many messages lie in Data: Count unless Skip is set.
func (r *Region) Whole() int {
	if r.Stride == 0 {
		return 0
	}
	return min(r.Count, len(r.Data)/r.Stride)
}

// Message returns message i, Stride bytes. It panics if i is not below Whole.
func (r *Region) Message(i int) []byte {
	return r.Data[i*r.Stride : (i+1)*r.Stride]
}

// Reader walks the regions of a frame in place: version 6 by the rules of
// OpenBSD, version 5 by those of FreeBSD's main branch of 2025
// (pfsync-protocol.md sections 2.1 and 9). The zero value is ready for Reset
// and can be used again for any number of frames; it keeps the frame until
// the next.
type Reader struct {
	// BulkAsked says that a bulk transfer was asked for. Without it FreeBSD
	// steps over a BUS region without looking whether it is whole. Version 5
	// only; Reset leaves it.
	BulkAsked bool

	frame []byte // as received, or cut to the header's length (version 6)
	head  Header
	off   int // of the next subheader
	done  bool
	err   error
	bad   Region
}

// Reset starts to read a frame, the payload of an IP packet. The frame stays
// the caller's; regions point into it. The errors are ErrShort (hdrops),
// ErrVersion (badver) and ErrLength (badlen); Next then has no region.
//
// A header length below 20 is ErrLength in version 6, where OpenBSD does not
// look and reads on (pfsync-protocol.md section 20, 9); in version 5 it makes
// an empty frame.
func (r *Reader) Reset(frame []byte) error {
	r.frame, r.off, r.err, r.bad = frame, HeaderLen, nil, Region{}
	r.done = true
	if err := ParseHeader(frame, &r.head); err != nil {
		r.head = Header{}
		return err
	}
	if r.head.Version != Version5 && r.head.Version != Version6 {
		return ErrVersion
	}
	n := int(r.head.Len)
	if n > len(frame) {
		return ErrLength
	}
	if r.head.Version == Version6 {
		if n < HeaderLen {
			return ErrLength
		}
		r.frame = frame[:n]
	}
	r.done = false
	return nil
}

// Header returns the header of the frame; zero if the frame was too short.
func (r *Reader) Header() *Header { return &r.head }

// Next returns the next region; ok is false at the end, then see Err. The EOF
// region of version 5 is returned too, with Skip set.
func (r *Reader) Next() (reg Region, ok bool) {
	if r.done {
		return Region{}, false
	}
	if r.head.Version == Version5 {
		return r.next5()
	}
	return r.next6()
}

// Err returns why Next had no more: nil at the regular end, ErrAction (badact)
// or ErrLength (badlen) if the rest of the frame is dropped. Regions before
// stay valid.
func (r *Reader) Err() error { return r.err }

// Bad returns the region that made Err an error, without Data. Counts of it
// and of the regions returned, by Raw, are FreeBSD's input histogram (iacts),
// which leaves out a Raw of WireActions5 and more.
func (r *Reader) Bad() Region { return r.bad }

// fail ends the walk at reg.
func (r *Reader) fail(reg Region, err error) (Region, bool) {
	reg.Data, r.done, r.err, r.bad = nil, true, err, reg
	return Region{}, false
}

// region reads the subheader at r.off and what its action byte means.
func (r *Reader) region() (Region, actionInfo) {
	var sub Subheader
	// The callers have seen that the subheader is there.
	_ = ParseSubheader(r.frame[r.off:], &sub)
	info := lookup(r.head.Version, sub.Action)
	return Region{Action: info.action, Format: info.format, Raw: sub.Action, Len: sub.Len,
		Offset: r.off, Count: int(sub.Count), Stride: info.length}, info
}

// next6 is the loop of OpenBSD's pfsync_input.
func (r *Reader) next6() (Region, bool) {
	if len(r.frame)-r.off < SubheaderLen {
		r.done = true // what is left over is nobody's
		return Region{}, false
	}
	reg, info := r.region()
	reg.Stride = int(reg.Len) * 4
	reg.Skip = info.handling != message
	if info.handling == unknown || reg.Stride < info.length || reg.Action == ActLinux {
		if reg.Count == 0 || reg.Len == 0 {
			return r.fail(reg, ErrAction)
		}
		reg.Skip = reg.Skip || reg.Stride < info.length
	}
	body := r.off + SubheaderLen
	n := reg.Stride * reg.Count
	if n > len(r.frame)-body {
		return r.fail(reg, ErrLength)
	}
	reg.Data = r.frame[body : body+n : body+n]
	r.off = body + n
	return reg, true
}

// next5 is the loop of FreeBSD's pfsync_input. The header's length bounds the
// subheaders only; messages must lie inside the packet.
func (r *Reader) next5() (Region, bool) {
	if r.off+SubheaderLen > int(r.head.Len) {
		r.done = true
		return Region{}, false
	}
	reg, info := r.region()
	body := r.off + SubheaderLen
	switch info.handling {
	case unknown, refused:
		return r.fail(reg, ErrAction)
	case end:
		return r.end5(reg, body)
	}
	n := reg.Stride * reg.Count
	reg.Skip = info.handling == retired
	if !r.whole5(n, body) {
		if !reg.Skip && (reg.Action != ActBus || r.BulkAsked) {
			return r.fail(reg, ErrLength)
		}
		reg.Skip = true
	}
	r.off = body + n
	body = min(body, len(r.frame))
	stop := min(r.off, len(r.frame))
	reg.Data = r.frame[body:stop:stop]
	return reg, true
}

// whole5 tells whether FreeBSD can pull up a region: inside the packet, not
// larger than a cluster, and if it is empty not at the very end.
func (r *Reader) whole5(n, body int) bool {
	return n <= MaxRegion5 && n <= len(r.frame)-body && (n > 0 || body < len(r.frame))
}

// end5 takes the EOF region, which must be the end of the packet.
func (r *Reader) end5(reg Region, body int) (Region, bool) {
	if body != len(r.frame) {
		return r.fail(reg, ErrLength)
	}
	r.done = true
	reg.Skip = true
	return reg, true
}
