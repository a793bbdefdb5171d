package capture_test

import (
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/capture"
	"github.com/pfsync/pfsync/syncproto/golden"
)

// TestLayer decodes all recorded packets through gopacket.
func TestLayer(t *testing.T) {
	for _, d := range golden.Dialects {
		for _, c := range golden.Cases(t, d) {
			for i, p := range c.Packets {
				packet := gopacket.NewPacket(p.Data, layers.LinkTypeRaw, gopacket.Default)
				layer, _ := packet.Layer(capture.LayerTypePFSync).(*capture.PFSync)
				var r syncproto.Reader
				err := r.Reset(p.Frame())
				if (layer == nil) != (err != nil) {
					t.Errorf("%s/%s: packet %d: layer %v, error %v: %v", d, c.Name, i, layer, err, packet.ErrorLayer())
					continue
				}
				if layer == nil {
					continue
				}
				n := 0
				for _, ok := r.Next(); ok; _, ok = r.Next() {
					n++
				}
				if len(layer.Regions) != n || layer.Err != r.Err() || layer.Header != *r.Header() {
					t.Errorf("%s/%s: packet %d: %+v", d, c.Name, i, layer)
				}
			}
		}
	}
}

// TestParser uses the layer in a DecodingLayerParser, again and again.
func TestParser(t *testing.T) {
	v4, _ := packets(t)
	var (
		ip    layers.IPv4
		frame capture.PFSync
		found []gopacket.LayerType
	)
	parser := gopacket.NewDecodingLayerParser(layers.LayerTypeIPv4, &ip, &frame)
	for range 2 {
		if err := parser.DecodeLayers(v4, &found); err != nil {
			t.Fatal(err)
		}
		if len(found) != 2 || found[1] != capture.LayerTypePFSync || len(frame.Regions) != 2 {
			t.Errorf("%v, %+v", found, frame)
		}
	}
}
