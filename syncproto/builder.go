package syncproto

import "encoding/binary"

// Builder makes one frame after the other. The order of use is Begin, any
// number of Add calls, End. An Add appends to the open region if action,
// format and length are its own, and else closes it and opens another; what
// does not fit leaves the frame as it was and returns false. The zero value is
// ready for Begin.
//
// The frame grows in the buffer given to Begin. If that has the capacity for
// the limit, nothing is allocated.
type Builder struct {
	buf     []byte
	start   int // of the header in buf
	limit   int // longest frame, bytes
	version uint8
	sub     int // of the open region's subheader in buf; 0: none is open
	raw     uint8
	stride  int
	count   int
}

// Begin starts a frame behind what b holds, for example the room for an IP
// header. Version is Version5 or Version6; the frame will not be longer than
// limit bytes, which is the MTU without the IP header. The checksum is the
// header's; nil is zeros.
func (w *Builder) Begin(b []byte, version uint8, limit int, checksum *[16]byte) {
	h := Header{Version: version}
	if checksum != nil {
		h.Checksum = *checksum
	}
	*w = Builder{start: len(b), version: version}
	w.SetLimit(limit)
	w.buf = AppendHeader(b, &h)
}

// SetLimit changes the limit of the frame that is being made: a smaller one
// first keeps room for what must be last. It is at most 65535, what the header
// can tell.
func (w *Builder) SetLimit(limit int) { w.limit = min(limit, 0xffff) }

// Len returns the length of the frame if it ended now, in bytes.
func (w *Builder) Len() int { return len(w.buf) - w.start + w.trailer() }

// Empty tells whether nothing was added.
func (w *Builder) Empty() bool { return len(w.buf) == w.start+HeaderLen }

// Room returns how many more bytes the frame may take, subheaders included.
func (w *Builder) Room() int { return w.limit - w.Len() }

// trailer is what End appends.
func (w *Builder) trailer() int {
	if w.version == Version5 {
		return SubheaderLen // EOF
	}
	return 0
}

// End closes the frame and returns the buffer given to Begin, frame appended.
// The frame itself is what is behind the bytes that b had.
func (w *Builder) End() []byte {
	w.closeRegion()
	if w.version == Version5 {
		w.buf = AppendSubheader(w.buf, &Subheader{Action: uint8(ActEOF), Count: 1})
	}
	binary.BigEndian.PutUint16(w.buf[w.start+2:], uint16(len(w.buf)-w.start))
	return w.buf
}

// AddState adds an INS, UPD or DEL. The format must be one of the frame's
// version; version 5 has no DEL.
func (w *Builder) AddState(a Action, f Format, m *State) bool {
	if !w.message(a, f) {
		return false
	}
	w.buf = AppendState(w.buf, f, m)
	return true
}

// AddID adds an INS_ACK, UPD_REQ or DEL_C.
func (w *Builder) AddID(a Action, m *ID) bool {
	if !w.message(a, w.anyFormat()) {
		return false
	}
	w.buf = AppendID(w.buf, m)
	return true
}

// AddUpdC adds an UPD_C.
func (w *Builder) AddUpdC(m *UpdC) bool {
	if !w.message(ActUpdC, w.anyFormat()) {
		return false
	}
	w.buf = AppendUpdC(w.buf, m)
	return true
}

// AddClr adds a CLR.
func (w *Builder) AddClr(m *Clr) bool {
	if !w.message(ActClr, w.anyFormat()) {
		return false
	}
	w.buf = AppendClr(w.buf, m)
	return true
}

// AddBus adds a BUS.
func (w *Builder) AddBus(m *Bus) bool {
	if !w.message(ActBus, w.anyFormat()) {
		return false
	}
	w.buf = AppendBus(w.buf, m)
	return true
}

// AddTDB adds a TDB.
func (w *Builder) AddTDB(m *TDB) bool {
	f := w.anyFormat()
	if !w.message(ActTDB, f) {
		return false
	}
	w.buf = AppendTDB(w.buf, f, m)
	return true
}

// AddFrameInfo opens the Linux region, whose messages all have stride bytes, a
// multiple of 4 from FrameInfoLen to MaxMessageLen, and adds its first
// message. Nothing but AddExtra and End may follow. Version 6 only.
func (w *Builder) AddFrameInfo(stride int, m *FrameInfo) bool {
	if w.version != Version6 || stride < FrameInfoLen || stride > MaxMessageLen || stride%4 != 0 {
		return false
	}
	w.closeRegion()
	if !w.take(uint8(ActLinux), stride) {
		return false
	}
	end := len(w.buf) + stride
	w.buf = pad(AppendFrameInfo(w.buf, m), end)
	return true
}

// AddExtra adds a message to the Linux region. It returns false also if the
// message is longer than the region's stride.
func (w *Builder) AddExtra(m *Extra) bool {
	if w.sub == 0 || w.raw != uint8(ActLinux) || m.Len() > w.stride || !w.take(w.raw, w.stride) {
		return false
	}
	end := len(w.buf) + w.stride
	w.buf = pad(AppendExtra(w.buf, m), end)
	return true
}

// anyFormat is a format of the frame's version, for messages that all share.
func (w *Builder) anyFormat() Format {
	if w.version == Version6 {
		return Format6
	}
	return Format1301
}

// message makes room for one message of an action.
func (w *Builder) message(a Action, f Format) bool {
	if f.Version() != w.version || a == ActLinux {
		return false
	}
	raw, ok := a.Wire(f)
	return ok && w.take(raw, a.Length(f))
}

// take makes room for n bytes in a region of the action byte raw: in the open
// one if that is it, else in a new one.
func (w *Builder) take(raw uint8, n int) bool {
	if w.sub != 0 && w.raw == raw && w.stride == n && !w.full() {
		if n > w.Room() {
			return false
		}
		w.count++
		return true
	}
	if SubheaderLen+n > w.Room() {
		return false
	}
	w.closeRegion()
	w.sub, w.raw, w.stride, w.count = len(w.buf), raw, n, 1
	sub := Subheader{Action: raw}
	if w.version == Version6 {
		sub.Len = uint8(n / 4)
	}
	w.buf = AppendSubheader(w.buf, &sub)
	return true
}

// full tells whether the open region can take no more by its own limits.
func (w *Builder) full() bool {
	return w.count == 0xffff || w.version == Version5 && (w.count+1)*w.stride > MaxRegion5
}

// closeRegion writes the count of the open region.
func (w *Builder) closeRegion() {
	if w.sub != 0 {
		binary.BigEndian.PutUint16(w.buf[w.sub+2:], uint16(w.count))
	}
	w.sub = 0
}

// pad appends zeros up to a length of end.
func pad(b []byte, end int) []byte {
	return append(b, make([]byte, end-len(b))...)
}
