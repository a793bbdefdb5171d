package pfstate

import "testing"

func TestTimeoutsFor(t *testing.T) {
	d := DefaultTimeouts()
	for _, tc := range []struct {
		name   string
		proto  uint8
		state  uint8
		status uint32
		want   uint32
	}{
		{"tcp established", ProtoTCP, TCPEstablished, StatusAssured, 432000},
		{"tcp syn sent", ProtoTCP, TCPSynSent, 0, 120},
		{"tcp state out of range", ProtoTCP, TCPMax, 0, 120},
		{"udp fresh", ProtoUDP, 0, StatusSeenReply, 30},
		{"udp stream", ProtoUDP, 0, StatusSeenReply | StatusAssured, 120},
		{"udplite stream", ProtoUDPLite, 0, StatusAssured, 120},
		{"gre fresh", ProtoGRE, 0, 0, 30},
		{"gre answered", ProtoGRE, 0, StatusSeenReply, 180},
		{"icmp", ProtoICMP, 0, 0, 30},
		{"icmpv6", ProtoICMPv6, 0, 0, 30},
		{"sctp established", ProtoSCTP, 4, 0, 210},
		{"dccp open", ProtoDCCP, 4, 0, 43200},
		{"esp", ProtoESP, 0, 0, 600},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := d.For(tc.proto, tc.state, tc.status); got != tc.want {
				t.Errorf("For = %d, want %d", got, tc.want)
			}
		})
	}
}
