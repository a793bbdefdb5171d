package cli

import (
	"bytes"
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

func (a *app) statsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "stats",
		Short: "counters, as netstat -s -p pfsync prints them, then ours",
		Long:  "Counters that are zero are left out of ours unless -v is given.",
		Args:  noArgs,
		RunE: func(*cobra.Command, []string) error {
			c := a.client()
			defer c.Close()
			st, err := c.Stats(a.ctx)
			if err != nil {
				return a.gone(err)
			}
			if a.json {
				return a.out.object(st)
			}
			_, err = a.out.Write(statsText(st, a.verbose > 0))
			return err
		},
	}
}

// counterLine is one line of netstat: %s is the plural ending.
type counterLine struct {
	format string
	value  func(*control.Counters) uint64
}

// netstatLines is OpenBSD's usr.bin/netstat/inet.c pfsync_stats
// (pfsync-protocol.md section 17.1). The last two never get an ending.
var netstatLines = []counterLine{
	{"\t%d packet%s received (IPv4)\n", func(c *control.Counters) uint64 { return c.IPackets }},
	{"\t%d packet%s received (IPv6)\n", func(c *control.Counters) uint64 { return c.IPackets6 }},
	{"\t\t%d packet%s discarded for bad interface\n", func(c *control.Counters) uint64 { return c.BadIf }},
	{"\t\t%d packet%s discarded for bad ttl\n", func(c *control.Counters) uint64 { return c.BadTTL }},
	{"\t\t%d packet%s shorter than header\n", func(c *control.Counters) uint64 { return c.HDrops }},
	{"\t\t%d packet%s discarded for bad version\n", func(c *control.Counters) uint64 { return c.BadVer }},
	{"\t\t%d packet%s discarded for bad HMAC\n", func(c *control.Counters) uint64 { return c.BadAuth }},
	{"\t\t%d packet%s discarded for bad action\n", func(c *control.Counters) uint64 { return c.BadAct }},
	{"\t\t%d packet%s discarded for short packet\n", func(c *control.Counters) uint64 { return c.BadLen }},
	{"\t\t%d state%s discarded for bad values\n", func(c *control.Counters) uint64 { return c.BadVal }},
	{"\t\t%d stale state%s\n", func(c *control.Counters) uint64 { return c.Stale }},
	{"\t\t%d failed state lookup/insert%s\n", func(c *control.Counters) uint64 { return c.BadState }},
	{"\t%d packet%s sent (IPv4)\n", func(c *control.Counters) uint64 { return c.OPackets }},
	{"\t%d packet%s sent (IPv6)\n", func(c *control.Counters) uint64 { return c.OPackets6 }},
	{"\t\t%d send failed due to mbuf memory error%.0s\n", func(c *control.Counters) uint64 { return c.ONoMem }},
	{"\t\t%d send error%.0s\n", func(c *control.Counters) uint64 { return c.OErrors }},
}

// actionWords are those of FreeBSD's histogram (section 17.2), by the name of
// the action.
var actionWords = map[string]string{
	"CLR":     "clear all request",
	"INS_ACK": "state inserted ack",
	"UPD_C":   "compressed state update",
	"UPD_REQ": "uncompressed state request",
	"DEL":     "state delete",
	"DEL_C":   "compressed state delete",
	"BUS":     "bulk update mark",
	"TDB":     "TDB replay counter update",
	"EOF":     "end of frame mark",
	"INS":     "state insert",
	"UPD":     "state update",
	"LINUX":   "Linux region message",
}

func statsText(st control.Stats, zeros bool) []byte {
	var b bytes.Buffer
	b.WriteString("pfsync:\n")
	for _, l := range netstatLines {
		v := l.value(&st.Counters)
		fmt.Fprintf(&b, l.format, v, plural(v))
	}
	b.WriteString("pfsync on Linux:\n")
	actionLines(&b, st.In, "received", zeros)
	actionLines(&b, st.Out, "sent", zeros)
	for _, name := range slices.Sorted(maps.Keys(st.Reasons)) {
		if v := st.Reasons[name]; v > 0 || zeros {
			fmt.Fprintf(&b, "\t%d %s\n", v, name)
		}
	}
	return b.Bytes()
}

func actionLines(b *bytes.Buffer, counts []control.Count, how string, zeros bool) {
	for _, c := range counts {
		if c.Count == 0 && !zeros {
			continue
		}
		word := actionWords[c.Name]
		if word == "" {
			word = c.Name + " message"
		}
		fmt.Fprintf(b, "\t%d %s%s %s\n", c.Count, word, plural(c.Count), how)
	}
}

func plural(n uint64) string {
	if n == 1 {
		return ""
	}
	return "s"
}
