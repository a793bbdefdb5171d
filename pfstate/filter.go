package pfstate

import "net/netip"

// Filter says which kernel entries are never told to peers (design section 5,
// never synchronised and nosync filters). The zero value lets all pass but what can
// never be synchronised.
type Filter struct {
	Local  map[Addr]struct{} // addresses of this host; nil: `nosync local` is off
	Marks  []MarkMatch
	Zones  []uint16
	Protos []uint8
	Nets   []netip.Prefix
	Ports  []uint16
	Labels []uint8 // bit numbers
}

// MarkMatch is a mark as nft and conntrack write it.
type MarkMatch struct{ Value, Mask uint32 }

// Match reports whether f is not to be synchronised.
func (x *Filter) Match(f *Flow) bool {
	return never(f) || x.local(f) || x.listed(f)
}

// never: pfsync and VRRP themselves, loopback, and what has no one other end.
func never(f *Flow) bool {
	if f.Proto == ProtoPfsync || f.Proto == ProtoVRRP {
		return true
	}
	if f.AF == AFInet {
		d, s := f.Orig.Dst[0], f.Orig.Src[0]
		return d>>4 >= 0xe || d == 127 || s == 127 || f.Reply.Src[0] == 127 // multicast, 240/4 with broadcast, loopback
	}
	loop := Addr{15: 1}
	return f.Orig.Dst[0] == 0xff || f.Orig.Dst == loop || f.Orig.Src == loop
}

func (x *Filter) local(f *Flow) bool {
	if x.Local == nil {
		return false
	}
	if _, ok := x.Local[f.Orig.Src]; ok {
		return true
	}
	_, ok := x.Local[f.Reply.Src]
	return ok
}

func (x *Filter) listed(f *Flow) bool {
	for _, m := range x.Marks {
		if f.Mark&m.Mask == m.Value {
			return true
		}
	}
	for _, z := range x.Zones {
		if f.Zone[0] == z || f.Zone[1] == z {
			return true
		}
	}
	for _, p := range x.Protos {
		if f.Proto == p {
			return true
		}
	}
	for _, l := range x.Labels {
		if l < 128 && f.Labels[l/8]&(1<<(l%8)) != 0 {
			return true
		}
	}
	return x.listedPort(f) || x.listedNet(f)
}

// listedPort: ICMP and GRE have other things where ports stand.
func (x *Filter) listedPort(f *Flow) bool {
	switch f.Proto {
	case ProtoTCP, ProtoUDP, ProtoUDPLite, ProtoSCTP, ProtoDCCP:
	default:
		return false
	}
	for _, p := range x.Ports {
		if f.Orig.SrcPort == p || f.Orig.DstPort == p || f.Reply.SrcPort == p || f.Reply.DstPort == p {
			return true
		}
	}
	return false
}

func (x *Filter) listedNet(f *Flow) bool {
	for _, n := range x.Nets {
		for _, a := range [...]*Addr{&f.Orig.Src, &f.Orig.Dst, &f.Reply.Src, &f.Reply.Dst} {
			if n.Contains(a.IP(f.AF)) {
				return true
			}
		}
	}
	return false
}
