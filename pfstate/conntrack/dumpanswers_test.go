package conntrack

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"golang.org/x/sys/unix"
)

// dumped is an entry as dump number seq of the socket portid tells it.
func dumped(t *testing.T, seq, portid uint32) []byte {
	b := create(t, &flowCases()[0].flow)
	binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_MULTI)
	binary.NativeEndian.PutUint32(b[8:], seq)
	binary.NativeEndian.PutUint32(b[12:], portid)
	return b
}

// done is the end of a dump.
func done(seq, portid uint32, errno unix.Errno) []byte {
	b := ack(seq, portid, errno)[:nlHdrLen+4]
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], unix.NLMSG_DONE)
	return b
}

// TestDumpAnswers: a dump takes what answers it, in whatever datagrams, and
// concludes nothing if something of it was lost or cannot be read.
func TestDumpAnswers(t *testing.T) {
	one := func(change func(b []byte)) []byte {
		b := dumped(t, 11, ownPort)
		change(b)
		return b
	}
	good, end := dumped(t, 11, ownPort), done(11, ownPort, 0)
	first := nlHdrLen + genLen // the original tuple
	for _, tc := range []struct {
		name    string
		answers [][]byte
		records int
		last    pfstate.EventKind
	}{
		{"two and the end", [][]byte{good, good, end}, 2, pfstate.EventDumpEnd},
		{"all in one datagram", [][]byte{bytes.Join([][]byte{good, good, end}, nil)}, 2, pfstate.EventDumpEnd},
		{"nothing", [][]byte{end}, 0, pfstate.EventDumpEnd},
		{"of an earlier dump", [][]byte{dumped(t, 10, ownPort), done(10, ownPort, 0), good, end}, 1, pfstate.EventDumpEnd},
		{"of another socket", [][]byte{dumped(t, 11, ownPort+1), done(11, ownPort+1, 0), end}, 0, pfstate.EventDumpEnd},
		{"an event", [][]byte{one(func(b []byte) { binary.NativeEndian.PutUint32(b[8:], 0) }), end}, 0, pfstate.EventDumpEnd},
		{"the table changed under it", [][]byte{one(func(b []byte) { binary.NativeEndian.PutUint16(b[6:], unix.NLM_F_MULTI|unix.NLM_F_DUMP_INTR) }), end}, 1, pfstate.EventDumpFail},
		{"an error at the end", [][]byte{good, done(11, ownPort, unix.EINTR)}, 1, pfstate.EventDumpFail},
		{"an error at once", [][]byte{ack(11, ownPort, unix.EPERM)}, 0, pfstate.EventDumpFail},
		{"an end without a number", [][]byte{good, one(func(b []byte) { binary.NativeEndian.PutUint16(b[4:], unix.NLMSG_DONE) })[:nlHdrLen]}, 1, 0},
		{"cut in a header", [][]byte{good[:nlHdrLen-2], end}, 0, pfstate.EventDumpFail},
		{"cut in an attribute", [][]byte{good[:len(good)-3], end}, 0, pfstate.EventDumpFail},
		{"a message longer than its datagram", [][]byte{one(func(b []byte) { binary.NativeEndian.PutUint32(b, uint32(len(b)+4)) }), end}, 0, pfstate.EventDumpFail},
		{"a message shorter than a header", [][]byte{one(func(b []byte) { binary.NativeEndian.PutUint32(b, nlHdrLen-1) }), end}, 0, pfstate.EventDumpFail},
		{"an attribute too long", [][]byte{one(func(b []byte) { binary.NativeEndian.PutUint16(b[first:], 60000) }), end}, 0, pfstate.EventDumpFail},
		{"an attribute too short", [][]byte{one(func(b []byte) { binary.NativeEndian.PutUint16(b[first:], 3) }), end}, 0, pfstate.EventDumpFail},
		{"no original tuple", [][]byte{one(func(b []byte) { binary.NativeEndian.PutUint16(b[first+2:], 99) }), end}, 0, pfstate.EventDumpFail},
		{"another family", [][]byte{one(func(b []byte) { b[nlHdrLen] = unix.AF_UNIX }), end}, 0, pfstate.EventDumpFail},
		{"a bad one between good ones", [][]byte{good, one(func(b []byte) { b[nlHdrLen] = 0 }), good, end}, 2, pfstate.EventDumpFail},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := &Dumper{socket: &socket{portID: ownPort, fd: -1}, seq: 11, running: true, sound: true}
			records, last := 0, pfstate.EventKind(0)
			evs := make([]pfstate.Event, 8)
			for _, b := range tc.answers {
				for d.rest = b; len(d.rest) > 0 && last == 0; {
					n, over := d.decode(evs[:7])
					for i := range evs[:n] {
						if evs[i].Kind != pfstate.EventDump || evs[i].Flow.Orig != flowCases()[0].flow.Orig {
							t.Errorf("%+v", evs[i])
						}
					}
					records += n
					if over {
						last = d.end().Kind
					}
				}
			}
			if records != tc.records || last != tc.last {
				t.Errorf("%d records, then %v; want %d, %v", records, last, tc.records, tc.last)
			}
		})
	}
}
