package conntrack

import (
	"errors"
	"os"

	"github.com/pfsync/pfsync/pfstate"
)

// timeoutSysctls names the sysctl of each timeout. TCP states without one of
// their own keep the kernel's constant: NONE and SYN_SENT2 are as SYN_SENT
// (nf_conntrack_proto_tcp.c tcp_timeouts).
func timeoutSysctls(t *pfstate.Timeouts) []struct {
	name string
	v    *uint32
} {
	return []struct {
		name string
		v    *uint32
	}{
		{"tcp_timeout_syn_sent", &t.TCP[pfstate.TCPSynSent]},
		{"tcp_timeout_syn_recv", &t.TCP[pfstate.TCPSynRecv]},
		{"tcp_timeout_established", &t.TCP[pfstate.TCPEstablished]},
		{"tcp_timeout_fin_wait", &t.TCP[pfstate.TCPFinWait]},
		{"tcp_timeout_close_wait", &t.TCP[pfstate.TCPCloseWait]},
		{"tcp_timeout_last_ack", &t.TCP[pfstate.TCPLastAck]},
		{"tcp_timeout_time_wait", &t.TCP[pfstate.TCPTimeWait]},
		{"tcp_timeout_close", &t.TCP[pfstate.TCPClose]},
		{"udp_timeout", &t.UDP},
		{"udp_timeout_stream", &t.UDPStream},
		{"gre_timeout", &t.GRE},
		{"gre_timeout_stream", &t.GREStream},
		{"icmp_timeout", &t.ICMP},
		{"icmpv6_timeout", &t.ICMPv6},
		{"generic_timeout", &t.Generic},
		{"sctp_timeout_closed", &t.SCTP[1]},
		{"sctp_timeout_cookie_wait", &t.SCTP[2]},
		{"sctp_timeout_cookie_echoed", &t.SCTP[3]},
		{"sctp_timeout_established", &t.SCTP[4]},
		{"sctp_timeout_shutdown_sent", &t.SCTP[5]},
		{"sctp_timeout_shutdown_recd", &t.SCTP[6]},
		{"sctp_timeout_shutdown_ack_sent", &t.SCTP[7]},
		{"sctp_timeout_heartbeat_sent", &t.SCTP[8]},
		{"sctp_timeout_heartbeat_acked", &t.SCTP[9]},
		{"dccp_timeout_request", &t.DCCP[1]},
		{"dccp_timeout_respond", &t.DCCP[2]},
		{"dccp_timeout_partopen", &t.DCCP[3]},
		{"dccp_timeout_open", &t.DCCP[4]},
		{"dccp_timeout_closereq", &t.DCCP[5]},
		{"dccp_timeout_closing", &t.DCCP[6]},
		{"dccp_timeout_timewait", &t.DCCP[7]},
	}
}

// ReadTimeouts reads the timeouts of the calling thread's network namespace.
// Where a kernel lacks a protocol (6.17 and later have no DCCP) the default
// stands; that no sysctl can be read at all is an error.
func ReadTimeouts() (pfstate.Timeouts, error) {
	t := pfstate.DefaultTimeouts()
	found := false
	for _, s := range timeoutSysctls(&t) {
		v, err := readSysctl(s.name)
		switch {
		case err == nil:
			*s.v = v
			found = true
		case !errors.Is(err, os.ErrNotExist):
			return pfstate.DefaultTimeouts(), err
		}
	}
	if !found {
		return t, ErrNoConntrack
	}
	t.TCP[pfstate.TCPNone] = t.TCP[pfstate.TCPSynSent]
	t.SCTP[0] = t.SCTP[1]
	return t, nil
}
