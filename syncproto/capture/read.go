package capture

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/pfsync/pfsync/syncproto/text"
)

// Errors of a file, besides those of reading it and of pcapgo.
var (
	ErrLinkType = errors.New("capture: unknown link type")                  // of the whole file
	ErrFormat   = errors.New("capture: neither a pcap nor a pcapng file")   // or one cut inside its header
	ErrPacked   = errors.New("capture: a compressed file, unpack it first") // gzip, xz, zstd
)

// Packet is one pfsync packet of a file.
type Packet struct {
	Time  time.Time // of capture
	IP    *text.IP  // nil if the file has frames without IP header (DLT_PFSYNC)
	Frame []byte    // behind the IP header, as far as it was captured
	Data  []byte    // with the IP header, as far as it was captured
}

// Reader reads the pfsync packets of a pcap or pcapng file. It is not safe for
// concurrent use.
type Reader struct {
	source gopacket.PacketDataSource
	link   func(gopacket.CaptureInfo) layers.LinkType
}

// ngMagic opens a pcapng file.
var ngMagic = []byte{0x0a, 0x0d, 0x0d, 0x0a}

// packed are the first bytes of gzip, xz and zstd.
var packed = [][]byte{{0x1f, 0x8b}, {0xfd, '7', 'z', 'X'}, {0x28, 0xb5, 0x2f, 0xfd}}

// NewReader reads the file header. An error of r is returned as it is.
func NewReader(r io.Reader) (*Reader, error) {
	buffered := bufio.NewReader(r)
	magic, err := buffered.Peek(4)
	switch {
	case slices.ContainsFunc(packed, func(m []byte) bool { return bytes.HasPrefix(magic, m) }):
		return nil, ErrPacked
	case err == io.EOF:
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	case err != nil:
		return nil, fmt.Errorf("capture: file header: %w", err)
	case bytes.Equal(magic, ngMagic):
		return newNgReader(buffered)
	}
	p, err := pcapgo.NewReader(buffered)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if !supported(p.LinkType()) {
		return nil, fmt.Errorf("%w %d", ErrLinkType, p.LinkType())
	}
	link := p.LinkType()
	return &Reader{p, func(gopacket.CaptureInfo) layers.LinkType { return link }}, nil
}

// newNgReader reads packets of all interfaces; those of unknown link types are
// stepped over.
func newNgReader(r io.Reader) (*Reader, error) {
	options := pcapgo.DefaultNgReaderOptions
	options.WantMixedLinkType = true
	p, err := pcapgo.NewNgReader(r, options)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return &Reader{p, func(ci gopacket.CaptureInfo) layers.LinkType {
		in, err := p.Interface(ci.InterfaceIndex)
		if err != nil {
			return layers.LinkTypeMax
		}
		return in.LinkType
	}}, nil
}

// Next returns the next pfsync packet; others, and IP fragments, are stepped
// over. Its bytes stay valid. At the end of the file err is io.EOF; a file cut
// inside a packet ends in io.ErrUnexpectedEOF.
func (r *Reader) Next() (Packet, error) {
	for {
		data, ci, err := r.source.ReadPacketData()
		if err == io.EOF {
			return Packet{}, io.EOF
		}
		if err != nil {
			return Packet{}, fmt.Errorf("capture: packet: %w", err)
		}
		link := r.link(ci)
		if !supported(link) {
			continue
		}
		if p, ok := newPacket(link, data); ok {
			p.Time = ci.Timestamp
			return p, nil
		}
	}
}

// newPacket reads link and IP header.
func newPacket(link layers.LinkType, data []byte) (p Packet, ok bool) {
	data = strip(link, data)
	if len(data) == 0 {
		return p, false
	}
	bare := link == linkPFSync || link == linkPFSyncOpenBSD || link == linkPFSyncFreeBSD
	if bare && data[0]>>4 == 0 { // a version byte; OpenBSD writes IP headers all the same
		return Packet{Frame: data, Data: data}, true
	}
	var ip text.IP
	frame, err := text.ParseIP(data, &ip)
	if err != nil || ip.Fragment {
		return p, false
	}
	return Packet{IP: &ip, Frame: frame, Data: data[:ip.HeaderLen+len(frame)]}, true
}

// Packets returns the pfsync packets of a file one by one. An error is the
// last thing it yields.
func Packets(r io.Reader) iter.Seq2[Packet, error] {
	return func(yield func(Packet, error) bool) {
		file, err := NewReader(r)
		for err == nil {
			var p Packet
			if p, err = file.Next(); err == nil && !yield(p, nil) {
				return
			}
		}
		if err != io.EOF {
			yield(Packet{}, err)
		}
	}
}
