package cli

import (
	"cmp"
	"io"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/capture"
	"github.com/pfsync/pfsync/syncproto/engine"
	"github.com/pfsync/pfsync/syncproto/text"
)

func (a *app) replayCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "replay file.pcap | -",
		Short: "print the states that the pfsync packets of a capture end with",
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("replay: name one capture file; - is stdin")
			}
			return a.replayFile(args[0])
		},
	}
	a.commonFlags(c.Flags())
	return c
}

func (a *app) replayFile(path string) error {
	return a.readCapture(path, func(in io.Reader) error {
		states, err := replay(in)
		for i := range states { // what was read of a file that is cut counts
			if perr := a.printReplayed(&states[i]); perr != nil {
				return perr
			}
		}
		return err
	})
}

// replay feeds all frames to an engine, at the times of their capture, and
// returns the states of the last moment, by creatorid and id.
func replay(in io.Reader) ([]syncproto.State, error) {
	var rp *engine.Replay
	var now int64
	var failed error
	for p, err := range capture.Packets(in) {
		if err != nil {
			failed = err
			break
		}
		now = max(now, p.Time.UnixNano()) // a capture may be out of order
		if rp == nil {
			rp = engine.NewReplay(now)
		}
		var from netip.Addr
		if p.IP != nil {
			from = p.IP.Src
		}
		rp.Frame(now, from, p.Frame)
	}
	if rp == nil {
		return nil, failed
	}
	states := rp.States(now, nil)
	slices.SortFunc(states, func(a, b syncproto.State) int {
		return cmp.Or(cmp.Compare(a.CreatorID, b.CreatorID), cmp.Compare(a.ID, b.ID))
	})
	return states, failed
}

// printReplayed prints the text of states, or the record: what else states
// tells is not known without a kernel.
func (a *app) printReplayed(w *syncproto.State) error {
	if a.json {
		return a.out.object(text.NewState(syncproto.Format6, w))
	}
	s := fromWire(w)
	return pfText(a.out, &s, min(a.verbose, 1))
}
