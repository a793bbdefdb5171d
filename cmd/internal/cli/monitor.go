package cli

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/syncproto/text"
)

// monitorOptions are the options of the verb monitor.
type monitorOptions struct {
	frameFilter
	direction string
	count     int
	file      string
}

func (a *app) monitorCommand() *cobra.Command {
	var o monitorOptions
	c := &cobra.Command{
		Use:   "monitor",
		Short: "frames as they come and go, as tcpdump prints them",
		Args:  noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.parse(c.Flags()); err != nil {
				return err
			}
			return a.monitor(&o)
		},
	}
	f := c.Flags()
	o.addFlags(f)
	f.StringVar(&o.direction, "direction", "", "frames received (in) or sent (out) only")
	f.IntVarP(&o.count, "count", "c", 0, "stop after `N` frames")
	f.StringVarP(&o.file, "write", "w", "", "write frames to a pcap `file` instead of printing them; - is stdout")
	return c
}

// errEnough ends the stream after the last frame wanted.
var errEnough = errors.New("enough")

func (a *app) monitor(o *monitorOptions) error {
	switch {
	case o.direction != "" && o.direction != control.RecordIn && o.direction != control.RecordOut:
		return usage("--direction %s: in or out", o.direction)
	case o.count < 0:
		return usage("--count %d: less than 0", o.count)
	}
	print, finish, err := a.recordPrinter(o)
	if err != nil {
		return err
	}
	c := a.client()
	defer c.Close()
	if o.origin != "" { // what local means may be asked
		st, err := c.Status(a.ctx)
		if err != nil {
			return errors.Join(a.gone(err), finish())
		}
		o.hostID = uint32(st.HostID)
	}
	n := 0
	err = c.Monitor(a.ctx, func(r *control.Record) error {
		if r.Lost > 0 {
			a.say("%s: %d frames were not shown: too slow", a.name, r.Lost)
		}
		if o.direction != "" && r.Dir != o.direction {
			return nil
		}
		if r.Data = o.reduce(r.Data, r.Src); r.Data == nil {
			return nil
		}
		if err := print(r); err != nil {
			return err
		}
		if n++; n == o.count {
			return errEnough
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return errors.Join(a.gone(err), finish())
}

// recordPrinter returns what shows a frame, at once, and what to do at the
// end.
func (a *app) recordPrinter(o *monitorOptions) (print func(*control.Record) error, finish func() error, err error) {
	nothing := func() error { return nil }
	switch {
	case o.file != "":
		return a.pcapPrinter(o.file)
	case a.json:
		return func(r *control.Record) error {
			ip := ipOf(r)
			return errors.Join(a.out.object(shownPacket{Time: r.Time, Dir: r.Dir, Packet: text.Decode(&ip, r.Data)}), a.out.Flush())
		}, nothing, nil
	}
	return func(r *control.Record) error {
		a.out.Write(recordText(r, a.verbose)) // kept by output until Flush
		return a.out.Flush()
	}, nothing, nil
}

// timeForm is tcpdump's.
const timeForm = "15:04:05.000000 "

// recordText prints a frame as the tcpdump of the system that speaks its
// version does, behind the time and the direction.
func recordText(r *control.Record, verbose int) []byte {
	b := r.Time.Local().AppendFormat(nil, timeForm)
	b = append(append(b, r.Dir...), ' ')
	ip := ipOf(r)
	return text.Append(b, &ip, r.Data, verbose)
}

// ipOf is the header of the packet that the frame was in.
func ipOf(r *control.Record) text.IP {
	ip := text.IP{Version: 4, Src: r.Src, Dst: r.Dst, TTL: r.TTL, TOS: r.TOS, ID: r.IPID, DF: r.DF, HeaderLen: 20}
	if !r.Src.Is4() {
		ip.Version, ip.HeaderLen = 6, 40
	}
	ip.TotalLen = ip.HeaderLen + len(r.Data)
	return ip
}
