package cli

import (
	"fmt"
	"io"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/syncproto/text"
)

// Status bits that conntrack -L prints, nf_conntrack_common.h.
const (
	ctSeenReply = 1 << 1
	ctAssured   = 1 << 2
)

// ctNames are the protocol names of conntrack(8).
var ctNames = map[uint8]string{1: "icmp", 6: "tcp", 17: "udp", 33: "dccp", 47: "gre", 58: "icmpv6", 132: "sctp", 136: "udplite"}

// ctText prints a state as conntrack -L does. The use count is the kernel's own
// affair and always 1 here.
func ctText(w io.Writer, s *control.State) error {
	name := ctNames[s.Proto]
	if name == "" {
		name = "unknown"
	}
	orig, reply := s.Tuples()
	fmt.Fprintf(w, "%-8s %d %d ", name, s.Proto, s.Expire)
	if s.CTState != "" {
		fmt.Fprintf(w, "%s ", s.CTState)
	}
	ctTuple(w, s, orig, false)
	ctCounts(w, s, 0)
	if s.Status&ctSeenReply == 0 {
		io.WriteString(w, "[UNREPLIED] ")
	}
	ctTuple(w, s, reply, true)
	ctCounts(w, s, 1)
	if s.Status&ctAssured != 0 {
		io.WriteString(w, "[ASSURED] ")
	}
	fmt.Fprintf(w, "mark=%d ", s.Mark)
	if s.Zone != 0 {
		fmt.Fprintf(w, "zone=%d ", s.Zone)
	}
	if s.Helper != "" {
		fmt.Fprintf(w, "helper=%s ", text.Vis(s.Helper))
	}
	_, err := io.WriteString(w, "use=1\n")
	return err
}

// ctCounts prints what has passed in a direction, if anything was counted at
// all.
func ctCounts(w io.Writer, s *control.State, dir int) {
	if s.Packets != [2]uint64{} {
		fmt.Fprintf(w, "packets=%d bytes=%d ", s.Packets[dir], s.Bytes[dir])
	}
}

func ctTuple(w io.Writer, s *control.State, t [2]control.Endpoint, reply bool) {
	fmt.Fprintf(w, "src=%s dst=%s ", addrText(t[0].Addr), addrText(t[1].Addr))
	switch s.Proto {
	case protoICMP, protoICMPv6:
		if s.ICMP != nil {
			fmt.Fprintf(w, "type=%d code=%d id=%d ", icmpType(s, reply), s.ICMP.Code, s.ICMPID())
		}
	case protoGRE:
		if s.GRE != nil {
			keys := s.GRE.Orig
			if reply {
				keys = s.GRE.Reply
			}
			fmt.Fprintf(w, "srckey=%#x dstkey=%#x ", keys[0], keys[1])
		}
	case protoTCP, protoUDP, 33, 132, 136: // and DCCP, SCTP, UDP-Lite
		fmt.Fprintf(w, "sport=%d dport=%d ", t[0].Port, t[1].Port)
	}
}

// icmpAnswers are the types that answer a query, nf_conntrack_proto_icmp.c and
// nf_conntrack_proto_icmpv6.c invmap.
var icmpAnswers = map[uint8]map[uint8]uint8{
	protoICMP:   {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17},
	protoICMPv6: {128: 129, 129: 128, 139: 140, 140: 139},
}

func icmpType(s *control.State, reply bool) uint8 {
	if answer, ok := icmpAnswers[s.Proto][s.ICMP.Type]; reply && ok {
		return answer
	}
	return s.ICMP.Type
}
