package capture

import (
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"github.com/pfsync/pfsync/syncproto"
)

// LayerTypePFSync is the type of layer PFSync. The number is in gopacket's
// range for private use.
var LayerTypePFSync = gopacket.RegisterLayerType(2240, gopacket.LayerTypeMetadata{
	Name: "PFSync", Decoder: gopacket.DecodeFunc(decodePFSync)})

func init() {
	layers.IPProtocolMetadata[syncproto.Protocol] = layers.EnumMetadata{
		DecodeWith: gopacket.DecodeFunc(decodePFSync), Name: "PFSync", LayerType: LayerTypePFSync}
	layers.LinkTypeMetadata[linkPFSync] = layers.EnumMetadata{
		DecodeWith: gopacket.DecodeFunc(decodePFSync), Name: "PFSync"}
}

// PFSync is a frame as a layer of gopacket. Its content is the whole frame; it
// has no payload.
type PFSync struct {
	layers.BaseLayer
	Header  syncproto.Header
	Regions []syncproto.Region
	Err     error // why the rest of the frame is dropped: syncproto.ErrAction, ErrLength; nil if it is whole
}

// LayerType returns LayerTypePFSync.
func (p *PFSync) LayerType() gopacket.LayerType { return LayerTypePFSync }

// CanDecode returns LayerTypePFSync.
func (p *PFSync) CanDecode() gopacket.LayerClass { return LayerTypePFSync }

// NextLayerType returns gopacket.LayerTypeZero: nothing is inside.
func (p *PFSync) NextLayerType() gopacket.LayerType { return gopacket.LayerTypeZero }

// DecodeFromBytes reads a frame. A header that no receiver takes is an error,
// as of syncproto.Reader.Reset; what is wrong behind it is told in Err.
func (p *PFSync) DecodeFromBytes(data []byte, df gopacket.DecodeFeedback) error {
	var r syncproto.Reader
	if err := r.Reset(data); err != nil {
		if err == syncproto.ErrShort || err == syncproto.ErrLength {
			df.SetTruncated()
		}
		return err
	}
	p.BaseLayer = layers.BaseLayer{Contents: data}
	p.Header, p.Regions = *r.Header(), p.Regions[:0]
	for reg, ok := r.Next(); ok; reg, ok = r.Next() {
		p.Regions = append(p.Regions, reg)
	}
	p.Err = r.Err()
	return nil
}

func decodePFSync(data []byte, b gopacket.PacketBuilder) error {
	p := &PFSync{}
	if err := p.DecodeFromBytes(data, b); err != nil {
		return err
	}
	b.AddLayer(p)
	b.SetApplicationLayer(p)
	return nil
}

// Payload returns nil; with it PFSync is a gopacket.ApplicationLayer.
func (p *PFSync) Payload() []byte { return nil }
