package text

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/golden"
)

type object = map[string]any

// toObject decodes JSON with numbers as they are written.
func toObject(t *testing.T, b []byte) object {
	t.Helper()
	var o object
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&o); err != nil {
		t.Fatal(err)
	}
	return o
}

// decoded returns the JSON of a packet as an object.
func decoded(t *testing.T, packet []byte) object {
	t.Helper()
	var ip IP
	frame, err := ParseIP(packet, &ip)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(Decode(&ip, frame))
	if err != nil {
		t.Fatal(err)
	}
	return toObject(t, b)
}

// onWire takes what is not on the wire out of the golden JSON: the verdict,
// and values of the generator that a layout has no field for.
func onWire(dialect string, packet object) object {
	delete(packet, "expect")
	delete(packet, "packet_hex_sha256")
	for _, r := range packet["regions"].([]any) {
		for _, m := range r.(object)["messages"].([]any) {
			if m := m.(object); m["spi"] != nil && dialect != "openbsd6" {
				delete(m, "rdomain")
			} else if m["tagname"] != nil {
				delete(m, "sync_flags")
				delete(m, "updates")
			}
		}
	}
	return packet
}

// TestGoldenJSON compares whole packets of valid cases; of malformed ones the
// headers and what a decoder can know of the regions.
func TestGoldenJSON(t *testing.T) {
	for _, d := range golden.Dialects {
		for _, c := range golden.Cases(t, d) {
			t.Run(d+"/"+c.Name, func(t *testing.T) {
				for i, p := range toObject(t, c.JSON)["packets"].([]any) {
					want, got := onWire(d, p.(object)), decoded(t, c.Packets[i].Data)
					opaque(want, got)
					if !c.Valid() || got["error"] != nil {
						reduce(t, want, got, &c.Packets[i])
					}
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("packet %d (-want +got):\n%s", i, diff)
					}
				}
			})
		}
	}
}

// reduce takes out of both what the generator wrote and the frame does not
// show: regions that a fault hides, and those that the packet does not hold
// whole.
func reduce(t *testing.T, want, got object, p *golden.Packet) {
	t.Helper()
	delete(got, "error")
	delete(got, "trailing_hex")
	delete(want, "trailing_hex")
	if len(p.Frame()) < syncproto.HeaderLen {
		delete(want, "header")
	}
	w, g := want["regions"].([]any), got["regions"].([]any)
	n := min(len(w), len(g))
	if n == 0 && len(w) > 0 && len(p.Frame()) >= syncproto.HeaderLen+syncproto.SubheaderLen &&
		(p.Header.Version == syncproto.Version5 || p.Header.Version == syncproto.Version6) &&
		p.Header.Len >= syncproto.HeaderLen && p.Header.Len <= len(p.Frame()) {
		t.Error("no regions")
	}
	if len(w) > 0 && len(g) > 0 && (w[0].(object)["pad"] == nil) != (g[0].(object)["pad"] == nil) {
		n = 0 // the version byte was changed, so the second byte of a subheader has another name
	}
	w, g = w[:n], g[:n]
	for i := range n {
		reduceRegion(w[i].(object), g[i].(object), len(p.Data))
	}
	want["regions"], got["regions"] = w, g
}

// reduceRegion leaves the messages that lie in the packet and are of a length
// that the region tells.
func reduceRegion(want, got object, size int) {
	w, g := want["messages"].([]any), got["messages"].([]any)
	n := 0
	for n < len(w) && n < len(g) && endOf(w[n].(object)) <= size && w[n].(object)["length"] == g[n].(object)["length"] {
		n++
	}
	want["messages"], got["messages"] = w[:n], g[:n]
	if len(w) > 0 || want["raw"] == nil { // else noise, which must be told as such
		delete(want, "raw")
		delete(got, "raw")
	}
}

// opaque reduces messages that the generator shows raw although a decoder can
// read them to their place.
func opaque(want, got object) {
	w, g := want["regions"].([]any), got["regions"].([]any)
	for i := range min(len(w), len(g)) {
		wm, gm := w[i].(object)["messages"].([]any), g[i].(object)["messages"].([]any)
		for j := range min(len(wm), len(gm)) {
			m, read := wm[j].(object), gm[j].(object)
			if m["raw"] != nil && read["raw"] == nil && m["offset"] == read["offset"] && m["length"] == read["length"] {
				gm[j] = m
			}
		}
	}
}

func endOf(m object) int {
	at, _ := m["offset"].(json.Number).Int64()
	n, _ := m["length"].(json.Number).Int64()
	return int(at + n)
}

func TestDecodeLinux(t *testing.T) {
	var w syncproto.Builder
	w.Begin(nil, syncproto.Version6, 1480, nil)
	w.AddFrameInfo(24, &syncproto.FrameInfo{Magic: syncproto.LinuxMagic, Layout: 1, Epoch: 5, Frame: 9, TableSize: 3, CreatorID: 0xcd})
	w.AddExtra(&syncproto.Extra{ID: 1, CreatorID: 2, TLVs: syncproto.AppendMark(nil, 7)})
	b, err := json.Marshal(Decode(nil, w.End()))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"header":{"version":6,"_pad":0,"len":72,"pfcksum":"00000000000000000000000000000000"},"regions":[` +
		`{"offset":20,"action":240,"name":"LINUX","len_dwords":6,"count":2,"messages":[` +
		`{"offset":24,"length":24,"layout":1,"flags":0,"demotion":0,"epoch":5,"frame":9,"table_size":3,"creatorid":"000000cd"},` +
		`{"offset":48,"length":24,"id":"0000000000000001","creatorid":"00000002","tlvs":[{"type":1,"name":"mark","value":"00000007"}]}]}]}`
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// FuzzDecode: every frame has a JSON form.
func FuzzDecode(f *testing.F) {
	for _, d := range golden.Dialects {
		f.Add(golden.Cases(f, d)[0].Packets[0].Frame())
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		if _, err := json.Marshal(Decode(nil, frame)); err != nil {
			t.Fatal(err)
		}
	})
}
