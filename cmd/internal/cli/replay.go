package cli

import (
	"cmp"
	"encoding/hex"
	"io"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/capture"
	"github.com/pfsync/pfsync/syncproto/engine"
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

// record is a version 6 record in JSON, under the names of decode.
type record struct {
	ID         control.HexID64   `json:"id"`
	CreatorID  control.HexID     `json:"creatorid"`
	IfName     string            `json:"ifname"`
	Key        control.Keys      `json:"key"`
	Src        control.StatePeer `json:"src"`
	Dst        control.StatePeer `json:"dst"`
	RtAddr     string            `json:"rt_addr"`
	Rule       int64             `json:"rule"`
	Anchor     int64             `json:"anchor"`
	NATRule    int64             `json:"nat_rule"`
	Creation   uint32            `json:"creation"`
	Expire     uint32            `json:"expire"`
	Packets    [2]uint64         `json:"packets"`
	Bytes      [2]uint64         `json:"bytes"`
	Direction  uint8             `json:"direction"`
	Log        uint8             `json:"log"`
	Timeout    uint8             `json:"timeout"`
	StateFlags uint16            `json:"state_flags"`
	RTableID   [2]int32          `json:"rtableid"`
	AF         uint8             `json:"af"`
	Proto      uint8             `json:"proto"`
	SyncFlags  uint8             `json:"sync_flags"`
	Updates    uint8             `json:"updates"`
	MaxMSS     uint16            `json:"max_mss"`
	MinTTL     uint8             `json:"min_ttl"`
	SetTOS     uint8             `json:"set_tos"`
	SetPrio    [2]int            `json:"set_prio"`
	Rt         uint8             `json:"rt"`
}

func recordOf(w *syncproto.State) record {
	s := fromWire(w)
	return record{
		ID: s.ID, CreatorID: s.CreatorID, IfName: s.IfName, Key: s.Key, Src: s.Src, Dst: s.Dst, RtAddr: hex.EncodeToString(w.RtAddr[:]),
		Rule: s.Rule, Anchor: s.Anchor, NATRule: s.NATRule, Creation: s.Creation, Expire: s.Expire, Packets: s.Packets, Bytes: s.Bytes,
		Direction: s.Direction, Log: w.Log, Timeout: s.Timeout, StateFlags: s.StateFlags, RTableID: s.RTableID, AF: s.AF, Proto: s.Proto,
		SyncFlags: s.SyncFlags, Updates: w.Updates, MaxMSS: s.MaxMSS, MinTTL: w.MinTTL, SetTOS: w.SetTOS,
		SetPrio: [2]int{int(w.SetPrio[0]), int(w.SetPrio[1])}, Rt: w.Rt,
	}
}

// printReplayed prints the text of states, or the record: what else states
// tells is not known without a kernel.
func (a *app) printReplayed(w *syncproto.State) error {
	if a.json {
		return a.out.object(recordOf(w))
	}
	s := fromWire(w)
	return pfText(a.out, &s, min(a.verbose, 1))
}
