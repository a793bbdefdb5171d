package scapy

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/golden"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// driver reads packets in hexadecimal, a line each, and writes what the layer
// made of them: the fields of the messages by region, and the frame built
// again from nothing but fields.
const driver = `
import json, sys
from scapy.layers.inet import IP
from scapy.packet import Raw
from pfsync import *

def plain(v):
    if hasattr(v, "fields"):
        return {k: plain(x) for k, x in v.fields.items()}
    return v.hex() if isinstance(v, bytes) else v

for line in sys.stdin:
    frame = IP(bytes.fromhex(line))[PFSync]
    print(json.dumps({"frame": bytes(eval(frame.command())).hex(), "regions": [
        {"action": r.action, "count": r.count, "messages": [
            dict(plain(m), kind=type(m).__name__) for m in r.messages]} for r in frame.regions]}))
`

// decoded is a line of its output; values are numbers, strings of hexadecimal,
// or maps of such.
type decoded struct {
	Frame   string
	Regions []struct {
		Action, Count int
		Messages      []map[string]any
	}
}

// python returns an interpreter that has Scapy. It skips the test if there is
// none, or fails it where nothing may be skipped.
func python(t *testing.T) string {
	t.Helper()
	// The system's own is the one that has Debian's python3-scapy.
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(name, "-c", "import scapy").Run() == nil {
			return name
		}
	}
	if os.Getenv(nstest.RequireEnv) == "1" {
		t.Fatalf("no Python with Scapy (python3-scapy), and %s=1", nstest.RequireEnv)
	}
	t.Skip("no Python with Scapy (python3-scapy)")
	return ""
}

// run gives a program its input and returns what it prints.
func run(t *testing.T, program, input string) []byte {
	t.Helper()
	cmd := exec.Command(python(t), "-c", program)
	cmd.Stdin = strings.NewReader(input)
	cmd.Env = append(os.Environ(), "PYTHONPATH=.", "PYTHONDONTWRITEBYTECODE=1", "HOME="+t.TempDir())
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Fatalf("%v\n%s", err, exit.Stderr)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestGolden takes all recorded frames apart, compares values, and builds them
// again.
func TestGolden(t *testing.T) {
	var input strings.Builder
	var names []string
	var packets []*golden.Packet
	for _, c := range golden.Cases(t, "openbsd6") {
		for i := range c.Packets {
			p := c.Packets[i]
			if len(p.Frame()) < syncproto.HeaderLen {
				continue
			}
			if !c.Valid() {
				p.Regions = nil // not all there
			}
			input.WriteString(hex.EncodeToString(p.Data) + "\n")
			names, packets = append(names, c.Name+"/"+strconv.Itoa(i)), append(packets, &p)
		}
	}
	d := json.NewDecoder(bytes.NewReader(run(t, driver, input.String())))
	for i, name := range names {
		var got decoded
		if err := d.Decode(&got); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Run(name, func(t *testing.T) {
			if want := hex.EncodeToString(packets[i].Frame()); got.Frame != want {
				t.Errorf("built again:\n%s, want\n%s", got.Frame, want)
			}
			if packets[i].Regions != nil {
				compare(t, packets[i].Regions, &got)
			}
		})
	}
}

func compare(t *testing.T, want []golden.Region, got *decoded) {
	t.Helper()
	if len(got.Regions) != len(want) {
		t.Fatalf("%d regions, want %d", len(got.Regions), len(want))
	}
	for i, r := range want {
		g := got.Regions[i]
		if g.Action != r.Action || g.Count != r.Count || len(g.Messages) != len(r.Messages) && r.Raw == "" {
			t.Fatalf("region %d: action %d count %d, %d messages; want %d, %d, %d", i, g.Action, g.Count, len(g.Messages),
				r.Action, r.Count, len(r.Messages))
		}
		for j := range r.Messages {
			if m := &r.Messages[j]; m.Raw == "" {
				compareMessage(t, m, g.Messages[j])
			}
		}
	}
}

// compareMessage compares a field or two of each part: that the bytes come
// back the same shows the lengths of the others.
func compareMessage(t *testing.T, m *golden.Message, got map[string]any) {
	t.Helper()
	kind, _ := got["kind"].(string)
	want := wantMessage(t, kind, m)
	found := make(map[string]any)
	for name := range want {
		part, field, nested := strings.Cut(name, ".")
		found[name] = got[part]
		if g, ok := got[part].(map[string]any); ok && nested {
			found[name] = g[field]
		}
	}
	if diff := cmp.Diff(want, found); diff != "" || len(want) == 0 {
		t.Errorf("%q at %d (-want +got):\n%s", kind, m.Offset, diff)
	}
}

// wantMessage returns fields of a message, those of its parts with a dot.
func wantMessage(t *testing.T, kind string, m *golden.Message) map[string]any {
	t.Helper()
	want := make(map[string]any)
	switch kind {
	case "TDB":
		want["spi"], want["rdomain"] = float64(m.SPI), float64(m.RDomain)
		return want
	case "Bus":
		want["status"], want["endtime"] = float64(m.Status), float64(m.EndTime)
	case "ID":
		want["id"] = number(t, m.ID)
	case "UpdC", "State":
		want["id"], want["timeout"] = number(t, m.ID), float64(m.Timeout)
		want["src.seqhi"], want["src.wscale"] = float64(m.Src.SeqHi), float64(m.Src.WScale)
		want["dst.seqhi"], want["dst.wscale"] = float64(m.Dst.SeqHi), float64(m.Dst.WScale)
	}
	want["creatorid"] = number(t, m.CreatorID)
	if kind == "State" {
		want["wire.port1"], want["wire.rdomain"] = float64(m.Key.Wire.Port[1]), float64(m.Key.Wire.RDomain)
		want["stack.port1"], want["stack.rdomain"] = float64(m.Key.Stack.Port[1]), float64(m.Key.Stack.RDomain)
		want["bytes1"], want["state_flags"], want["set_prio1"] = float64(m.Bytes[1]), float64(m.StateFlags), float64(m.SetPrio[1])
	}
	return want
}

// number reads hexadecimal as JSON's numbers come out.
func number(t *testing.T, s string) float64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return float64(n)
}

// example makes a packet the way the head of pfsync.py tells.
const example = `
from scapy.layers.inet import IP
from pfsync import *
frame = PFSync(regions=[
    Region(action="UPD_REQ", messages=[ID(id=0, creatorid=0)]),
    Region(action="INS", messages=[State(id=7, creatorid=8, wire=Key(addr0="10.0.0.5", addr1="203.0.113.9", port0=4000))]),
    Region(action="LINUX", messages=[FrameInfo(frame=9), Extra(id=7, creatorid=8) / (bytes([1, 4, 0, 0, 0, 5]) + bytes(6))])])
print(bytes(IP(src="192.0.2.1", dst="224.0.0.240") / frame).hex())
`

func TestBuild(t *testing.T) {
	packet, err := hex.DecodeString(strings.TrimSpace(string(run(t, example, ""))))
	if err != nil {
		t.Fatal(err)
	}
	if packet[1] != 0x10 || packet[6] != 0x40 || packet[8] != syncproto.TTL || packet[9] != syncproto.Protocol {
		t.Errorf("IP header %x", packet[:20])
	}
	var got []string
	var r syncproto.Reader
	if err := r.Reset(packet[20:]); err != nil {
		t.Fatal(err)
	}
	var s syncproto.State
	var info syncproto.FrameInfo
	var x syncproto.Extra
	for reg, ok := r.Next(); ok; reg, ok = r.Next() {
		got = append(got, reg.Action.String()+" "+strconv.Itoa(reg.Whole()))
		switch reg.Action {
		case syncproto.ActIns:
			err = errors.Join(err, syncproto.ParseState(reg.Message(0), reg.Format, &s))
		case syncproto.ActLinux:
			err = errors.Join(err, syncproto.ParseFrameInfo(reg.Message(0), &info), syncproto.ParseExtra(reg.Message(1), &x))
		}
	}
	if err := errors.Join(err, r.Err()); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"UPD_REQ 1", "INS 1", "LINUX 2"}, got); diff != "" {
		t.Errorf("regions (-want +got):\n%s", diff)
	}
	mark, _ := syncproto.FindTLV(x.TLVs, syncproto.TLVMark)
	if s.ID != 7 || s.Key[0].Addr[0] != [16]byte{10, 0, 0, 5} || s.Key[0].Port[0] != 4000 || info.Frame != 9 || x.ID != 7 ||
		!bytes.Equal(mark, []byte{0, 0, 0, 5}) {
		t.Errorf("state %+v\ninfo %+v\nextra %+v", s, info, x)
	}
}
