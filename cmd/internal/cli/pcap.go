package cli

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/capture"
)

// readCapture calls f with the file of a capture, the standard input for "-".
func (a *app) readCapture(path string, f func(io.Reader) error) error {
	in := a.in
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return captureError(path, err)
		}
		defer file.Close()
		in = file
	}
	err := f(in)
	if err == nil || a.out.err != nil { // else it is the output that failed
		return err
	}
	return captureError(path, err)
}

// captureError says in the user's words what is wrong with a file that was to
// be a capture.
func captureError(path string, err error) error {
	var file *fs.PathError
	switch {
	case errors.As(err, &file):
		return fmt.Errorf("%s: %w", path, file.Err)
	case errors.Is(err, capture.ErrPacked):
		return fmt.Errorf("%s: compressed; 'zcat %s | pfsyncctl decode -' or the like", path, path)
	case errors.Is(err, capture.ErrFormat):
		return fmt.Errorf("%s: not a capture, neither pcap nor pcapng", path)
	case errors.Is(err, capture.ErrLinkType):
		return fmt.Errorf("%s: %s; there is no pfsync in it that could be found", path, strings.TrimPrefix(err.Error(), "capture: "))
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: ends in the middle of a packet", path)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// pcapPrinter writes frames to a capture file, whole packets of link type 101
// (raw IP), every one at once: who watches the file sees them.
func (a *app) pcapPrinter(path string) (print func(*control.Record) error, finish func() error, err error) {
	var w io.Writer = a.out
	finish = func() error { return nil }
	flush := a.out.Flush
	if path != "-" {
		f, err := os.Create(path)
		if err != nil {
			return nil, nil, err
		}
		w, finish, flush = f, f.Close, finish
	} else if isTerminal(a.out.dst) {
		return nil, nil, usage("--write -: a capture is nothing for a terminal")
	}
	pcap, err := capture.NewWriter(w)
	if err != nil {
		return nil, nil, err
	}
	return func(r *control.Record) error {
		if err := pcap.Write(r.Time, packetOf(r)); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return flush()
	}, finish, nil
}

// packetOf puts the IP header back in front of a frame.
func packetOf(r *control.Record) []byte {
	be := binary.BigEndian
	if !r.Src.Is4() {
		b := be.AppendUint32(nil, 6<<28|uint32(r.TOS)<<20)
		b = be.AppendUint16(b, uint16(len(r.Data)))
		b = append(b, syncproto.Protocol, r.TTL)
		src, dst := r.Src.As16(), r.Dst.As16()
		b = append(append(b, src[:]...), dst[:]...)
		return append(b, r.Data...)
	}
	b := []byte{4<<4 | 5, r.TOS}
	b = be.AppendUint16(b, uint16(20+len(r.Data)))
	b = be.AppendUint16(b, r.IPID)
	b = be.AppendUint16(b, map[bool]uint16{true: 0x4000}[r.DF])
	b = append(b, r.TTL, syncproto.Protocol, 0, 0)
	src, dst := r.Src.As4(), r.Dst.As4()
	b = append(append(b, src[:]...), dst[:]...)
	be.PutUint16(b[10:], checksum(b))
	return append(b, r.Data...)
}

// checksum is RFC 1071 over a header of even length.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
