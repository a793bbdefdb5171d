package cli

import (
	"io"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/syncproto/capture"
	"github.com/pfsync/pfsync/syncproto/text"
)

// decodeOptions are the options of the command decode.
type decodeOptions struct {
	frameFilter
	times bool
	count int
}

func (a *app) decodeCommand() *cobra.Command {
	var o decodeOptions
	c := &cobra.Command{
		Use:   "decode file.pcap | -",
		Short: "print the pfsync packets of a capture, as tcpdump prints them",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("decode: name one capture file; - is stdin")
			}
			if err := o.parse(c.Flags()); err != nil {
				return err
			}
			if o.origin == control.OriginLocal || o.origin == control.OriginPeer {
				return usage("--origin %s: a capture does not tell whose it is; give an address or a creatorid", o.origin)
			}
			return a.decodeFile(&o, args[0])
		},
	}
	f := c.Flags()
	o.addFlags(f)
	f.BoolVar(&o.times, "time", false, "print when each packet was captured")
	f.IntVarP(&o.count, "count", "c", 0, "stop after `N` packets")
	a.commonFlags(f)
	return c
}

func (a *app) decodeFile(o *decodeOptions, path string) error {
	if o.count < 0 {
		return usage("--count %d: less than 0", o.count)
	}
	return a.readCapture(path, func(in io.Reader) error { return a.decode(o, in) })
}

// decode prints what can be read; a file that is cut ends in an error.
func (a *app) decode(o *decodeOptions, in io.Reader) error {
	n := 0
	for p, err := range capture.Packets(in) {
		if err != nil {
			return err
		}
		if !o.reducePacket(&p) {
			continue
		}
		if err := a.printPacket(o, &p); err != nil {
			return err
		}
		if n++; n == o.count {
			break
		}
	}
	return nil
}

// reducePacket leaves the chosen messages in a packet and reports whether there
// are any. What was taken out is not missing from the packet.
func (o *frameFilter) reducePacket(p *capture.Packet) bool {
	before := len(p.Frame)
	var from netip.Addr
	if p.IP != nil {
		from = p.IP.Src
	}
	p.Frame = o.reduce(p.Frame, from)
	if p.Frame != nil && p.IP != nil && len(p.Frame) != before {
		ip := *p.IP
		ip.TotalLen = ip.HeaderLen + len(p.Frame)
		p.IP = &ip
	}
	return p.Frame != nil
}

// shownPacket is the JSON of a packet with what is known of its way.
type shownPacket struct {
	Time time.Time `json:"time"`
	Dir  string    `json:"dir,omitempty"`
	*text.Packet
}

func (a *app) printPacket(o *decodeOptions, p *capture.Packet) error {
	if a.json {
		return a.out.object(shownPacket{Time: p.Time.UTC(), Packet: text.Decode(p.IP, p.Frame)})
	}
	var b []byte
	if o.times {
		b = p.Time.Local().AppendFormat(b, timeForm)
	}
	_, err := a.out.Write(text.Append(b, p.IP, p.Frame, a.verbose))
	return err
}
