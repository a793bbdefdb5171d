package capture_test

import (
	"bytes"
	"fmt"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/capture"
	"github.com/pfsync/pfsync/syncproto/text"
)

// examplePacket is an IPv4 packet with one compressed delete.
func examplePacket() []byte {
	var w syncproto.Builder
	w.Begin(nil, syncproto.Version6, 1480, nil)
	w.AddID(syncproto.ActDelC, &syncproto.ID{ID: 0x674ddcb900000001, CreatorID: 0x1e2fa300})
	ip := &layers.IPv4{Version: 4, IHL: 5, TTL: syncproto.TTL, Protocol: syncproto.Protocol,
		SrcIP: []byte{192, 0, 2, 1}, DstIP: []byte{224, 0, 0, 240}}
	b := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(b, options, ip, gopacket.Payload(w.End())); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// A program that imports the package sees pfsync as a layer of any packet.
func Example() {
	packet := gopacket.NewPacket(examplePacket(), layers.LayerTypeIPv4, gopacket.Default)
	frame, ok := packet.Layer(capture.LayerTypePFSync).(*capture.PFSync)
	if !ok {
		fmt.Println("no pfsync:", packet.ErrorLayer())
		return
	}
	for _, r := range frame.Regions {
		fmt.Println(r.Action, r.Count)
	}
	// Output: DEL_C 1
}

func ExamplePackets() {
	var file bytes.Buffer // a file written by tcpdump -w
	w, err := capture.NewWriter(&file)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := w.Write(exampleTime, examplePacket()); err != nil {
		fmt.Println(err)
		return
	}
	for p, err := range capture.Packets(&file) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Print(string(text.AppendOpenBSD(nil, nil, p.Frame, 0)))
	}
	// Output:
	// PFSYNCv6 len 36
	//     act DEL ST COMP count 1
	// 	id: 674ddcb900000001 creatorid: 1e2fa300
}
