package capture

import (
	"fmt"
	"io"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// snapLen is the longest packet of a file.
const snapLen = 65535

// Writer writes a pcap file of raw IP packets with times in microseconds. It
// is not safe for concurrent use.
type Writer struct{ file *pcapgo.Writer }

// NewWriter writes the file header.
func NewWriter(w io.Writer) (*Writer, error) {
	file := pcapgo.NewWriter(w)
	if err := file.WriteFileHeader(snapLen, layers.LinkTypeRaw); err != nil {
		return nil, fmt.Errorf("capture: file header: %w", err)
	}
	return &Writer{file}, nil
}

// Write writes one packet, IP header and all; it keeps nothing of it.
func (w *Writer) Write(at time.Time, packet []byte) error {
	ci := gopacket.CaptureInfo{Timestamp: at, CaptureLength: len(packet), Length: len(packet)}
	if err := w.file.WritePacket(ci, packet); err != nil {
		return fmt.Errorf("capture: packet: %w", err)
	}
	return nil
}
