package daemon

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/engine"
	"github.com/pfsync/pfsync/tunif/syncdev"
)

// setup is a configuration together with what it took to put into force. It is
// handed to the loop as a whole.
type setup struct {
	conf        control.Config
	hostID      uint32
	filter      pfstate.Filter // without the addresses of this host
	localFilter bool           // those belong to it
	port        *port          // nil: nothing is exchanged
	link        syncdev.Link   // of the port when it was opened
	resync      bool           // it is another port
	hold        *hold          // nil: no packets are held
}

// formats are the arguments of the word version.
var formats = map[int]syncproto.Format{
	6: syncproto.Format6, 1301: syncproto.Format1301, 1400: syncproto.Format1400, 1500: syncproto.Format1500,
}

// engineConfig is the part of the engine's configuration that the words set.
func (s *setup) engineConfig() engine.Config {
	c := &s.conf
	return engine.Config{
		HostID: s.hostID, Format: formats[c.Version],
		Sync: exchanges(c), Unicast: c.SyncPeer.IsValid() && !c.SyncPeer.IsMulticast(),
		MaxUpd: c.MaxUpd, MaxDelay: time.Duration(c.MaxDelay) * time.Millisecond,
		MaxStates: c.MaxStates, Demotion: c.Demotion, Filter: s.filter,
		Defer: s.hold != nil, DeferDelay: time.Duration(c.DeferDelay) * time.Millisecond,
	}
}

// exchanges reports whether frames are sent and received.
func exchanges(c *control.Config) bool { return c.Up && c.SyncDev != "" }

// newFilter makes the filter of the nosync words. local is left to the loop.
func newFilter(fs []control.Filter) (x pfstate.Filter, local bool, err error) {
	for _, f := range fs {
		switch f.Kind {
		case control.FilterLocal:
			local = true
		case control.FilterMark:
			x.Marks = append(x.Marks, pfstate.MarkMatch{Value: f.Value, Mask: f.Mask})
		case control.FilterZone:
			x.Zones = append(x.Zones, uint16(f.Value))
		case control.FilterProto:
			x.Protos = append(x.Protos, uint8(f.Value))
		case control.FilterPort:
			x.Ports = append(x.Ports, uint16(f.Value))
		case control.FilterAddr:
			x.Nets = append(x.Nets, f.Prefix)
		case control.FilterLabel:
			bit, err := labelBit(f.Label, connlabelFile)
			if err != nil {
				return x, local, &control.WordError{Word: "nosync", Arg: f.String(), Err: err}
			}
			x.Labels = append(x.Labels, bit)
		}
	}
	return x, local, nil
}

// connlabelFile gives the bits of connlabels names, as conntrack(8), iptables
// and nft read it.
const connlabelFile = "/etc/xtables/connlabel.conf"

// labelBit returns the bit of a label given by number or name.
func labelBit(label, path string) (uint8, error) {
	if n, err := strconv.ParseUint(label, 10, 8); err == nil {
		if n > 127 {
			return 0, control.ErrTooLarge
		}
		return uint8(n), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("names of labels: %w", err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		fields := strings.Fields(s.Text())
		if len(fields) < 2 || fields[1] != label {
			continue
		}
		if n, err := strconv.ParseUint(fields[0], 0, 8); err == nil && n < 128 {
			return uint8(n), nil
		}
	}
	return 0, fmt.Errorf("%w: no such label in %s", control.ErrInvalid, path)
}
