package conntrack

import (
	"encoding/binary"

	"github.com/pfsync/pfsync/pfstate"
	"golang.org/x/sys/unix"
)

// maxMessage is more than the longest message the encoder makes (IPv6, both
// translations, every attribute: about 600 bytes).
const maxMessage = 1024

// flagsTCP are the flags that a create or an update writes, set or cleared as
// the Flow says. The rest (unacknowledged data, challenge ack …) is the
// kernel's own view of the wire and stays.
const flagsTCP = pfstate.TCPFlagWScale | pfstate.TCPFlagSackPerm | pfstate.TCPFlagCloseInit | pfstate.TCPFlagLiberal

// The requests ask for no acknowledgement: the kernel answers a create, update
// or delete only if it refuses it, unless requestAck is called on it.

// AppendCreate appends a request to make the entry f. An entry that exists, or
// whose reply tuple is taken, is refused with EEXIST. f.Orig and f.Reply have to
// be given, and f.Timeout, for without one the kernel refuses. Of a call of PPTP
// it makes one half (see call.go).
func AppendCreate(b []byte, seq uint32, f *pfstate.Flow) ([]byte, error) {
	if isCall(f) {
		h := backOf(f)
		f = &h
	}
	return appendCreate(b, seq, f)
}

func appendCreate(b []byte, seq uint32, f *pfstate.Flow) ([]byte, error) {
	if err := checkFlow(f); err != nil {
		return b, err
	}
	if f.Reply.Src == (pfstate.Addr{}) && f.Reply.Dst == (pfstate.Addr{}) {
		return b, ErrNoReply
	}
	b, at := putMessage(b, msgNew, unix.NLM_F_CREATE|unix.NLM_F_EXCL, seq, f.AF)
	orig, reply, zone := splitZone(f.Zone)
	plain := plainReply(f)
	b = putTuple(b, ctaTupleOrig, f, &f.Orig, orig)
	b = putTuple(b, ctaTupleReply, f, &plain, reply)
	if zone != 0 {
		b = put16(b, ctaZone, zone)
	}
	b = putNAT(b, f)
	b = put32(b, ctaTimeout, f.Timeout)
	b = put32(b, ctaStatus, createStatus(f))
	if f.Has&pfstate.HasHelper != 0 && !deadly(f) {
		b = putHelp(b, f)
	}
	if takesMaster(f) {
		b = putTuple(b, ctaTupleMaster, &pfstate.Flow{AF: f.AF, Proto: f.Master.Proto}, &f.Master.Tuple, 0)
	}
	b = putValues(b, f)
	return closeMessage(b, at), nil
}

// takesMaster reports whether an entry is made with its master. Older kernels
// look for notes of PPTP's helper in that of a GRE entry that goes, whatever
// helper it has or none, and free what they find (nf_conntrack_core.c
// destroy_gre_conntrack).
func takesMaster(f *pfstate.Flow) bool {
	return f.Has&pfstate.HasMaster != 0 && f.Proto != pfstate.ProtoGRE
}

// AppendUpdate appends a request to change the entry f in what f.Has names. The
// master is left out: the kernel cannot give an entry another one. A helper has
// to be the entry's own, or the whole request is refused; told of it again, it
// takes up reading at the next packet, wherever in the connection that is
// (nf_conntrack_ftp.c nf_ct_ftp_from_nlattr).
func AppendUpdate(b []byte, seq uint32, f *pfstate.Flow, g Guard) ([]byte, error) {
	if err := checkFlow(f); err != nil {
		return b, err
	}
	b, at := putMessage(b, msgNew, 0, seq, f.AF)
	b = putLookup(b, f, g)
	if f.Has&pfstate.HasHelper != 0 && !deadly(f) {
		b = putHelp(b, f)
	}
	if f.Has&pfstate.HasTimeout != 0 {
		b = put32(b, ctaTimeout, f.Timeout)
	}
	if f.Has&pfstate.HasStatus != 0 {
		b = put32(b, ctaStatus, updateStatus(f))
	}
	b = putValues(b, f)
	return closeMessage(b, at), nil
}

// AppendDelete appends a request to remove the entry f, and if f.CtID is not 0,
// only the one with that CTA_ID.
func AppendDelete(b []byte, seq uint32, f *pfstate.Flow, g Guard) ([]byte, error) {
	if err := checkFlow(f); err != nil {
		return b, err
	}
	b, at := putMessage(b, msgDelete, 0, seq, f.AF)
	b = putLookup(b, f, g)
	if f.CtID != 0 {
		b = put32(b, ctaID, f.CtID)
	}
	return closeMessage(b, at), nil
}

// AppendGet appends a request for the entry f. The answer is the entry or an
// error.
func AppendGet(b []byte, seq uint32, f *pfstate.Flow, g Guard) ([]byte, error) {
	if err := checkFlow(f); err != nil {
		return b, err
	}
	b, at := putMessage(b, msgGet, 0, seq, f.AF)
	b = putLookup(b, f, g)
	return closeMessage(b, at), nil
}

// checkFlow refuses what must not reach the kernel.
func checkFlow(f *pfstate.Flow) error {
	if f.AF != pfstate.AFInet && f.AF != pfstate.AFInet6 {
		return ErrFamily
	}
	if f.Orig.Src == (pfstate.Addr{}) && f.Orig.Dst == (pfstate.Addr{}) {
		return ErrNoTuple
	}
	return nil
}

// createStatus is the status an entry is made with. A GRE entry made by
// ctnetlink has no timeout of its own: its first packet would make it expire.
// So its timeout is fixed (nf_conntrack_proto_gre.c gre_packet).
func createStatus(f *pfstate.Flow) uint32 {
	s := f.Status&^(pfstate.StatusExpected|statusDying) | pfstate.StatusConfirmed
	if f.Proto == pfstate.ProtoGRE {
		s |= pfstate.StatusFixedTimeout
	}
	return s
}

// updateStatus is the status an update carries: the kernel adds its bits to the
// entry's. Which entries have a fixed timeout is each kernel's own affair.
func updateStatus(f *pfstate.Flow) uint32 {
	return f.Status&^(statusDying|pfstate.StatusFixedTimeout) | pfstate.StatusConfirmed
}

// putMessage appends a struct nlmsghdr, whose length closeMessage fills in, and
// a struct nfgenmsg. at is where it begins.
func putMessage(b []byte, typ, flags uint16, seq uint32, af uint8) (_ []byte, at int) {
	at = len(b)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags|unix.NLM_F_REQUEST)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0) // the kernel knows our port id
	return append(b, af, unix.NFNETLINK_V0, 0, 0), at
}

// requestAck makes the message at b be answered in any case.
func requestAck(b []byte) {
	const at = 6 // of nlmsg_flags
	flags := binary.NativeEndian.Uint16(b[at:])
	binary.NativeEndian.PutUint16(b[at:], flags|unix.NLM_F_ACK)
}

func closeMessage(b []byte, at int) []byte {
	binary.NativeEndian.PutUint32(b[at:], uint32(len(b)-at))
	return b
}

// splitZone turns the zones of both directions into what stands where: in the
// original tuple, in the reply tuple, or for the whole entry.
func splitZone(z [2]uint16) (orig, reply, both uint16) {
	if z[0] == z[1] {
		return 0, 0, z[0]
	}
	return z[0], z[1], 0
}

// putTuple appends t as a tuple of f's family and protocol; zone 0 is left out.
func putTuple(b []byte, typ uint16, f *pfstate.Flow, t *pfstate.Tuple, zone uint16) []byte {
	b, at := nest(b, typ)
	b, in := nest(b, ctaTupleIP)
	if f.AF == pfstate.AFInet6 {
		b = putBytes(b, ctaIPv6Src, t.Src[:])
		b = putBytes(b, ctaIPv6Dst, t.Dst[:])
	} else {
		b = putBytes(b, ctaIPv4Src, t.Src[:4])
		b = putBytes(b, ctaIPv4Dst, t.Dst[:4])
	}
	b = closeNest(b, in)
	b, in = nest(b, ctaTupleProto)
	b = put8(b, ctaProtoNum, f.Proto)
	b = putPorts(b, f.Proto, t)
	b = closeNest(b, in)
	if zone != 0 {
		b = put16(b, ctaTupleZone, zone)
	}
	return closeNest(b, at)
}

// putPorts appends what the protocol has for ports.
func putPorts(b []byte, proto uint8, t *pfstate.Tuple) []byte {
	switch {
	case hasPorts(proto):
		b = put16(b, ctaProtoSrcPort, t.SrcPort)
		b = put16(b, ctaProtoDstPort, t.DstPort)
	case proto == pfstate.ProtoICMP:
		b = put16(b, ctaProtoICMPID, t.SrcPort)
		b = put8(b, ctaProtoICMPType, uint8(t.DstPort>>8))
		b = put8(b, ctaProtoICMPCode, uint8(t.DstPort))
	case proto == pfstate.ProtoICMPv6:
		b = put16(b, ctaProtoICMPv6ID, t.SrcPort)
		b = put8(b, ctaProtoICMPv6Type, uint8(t.DstPort>>8))
		b = put8(b, ctaProtoICMPv6Code, uint8(t.DstPort))
	}
	return b
}

// hasPorts reports whether tuples of the protocol have CTA_PROTO_SRC_PORT and
// _DST_PORT; GRE has its keys there.
func hasPorts(proto uint8) bool {
	switch proto {
	case pfstate.ProtoTCP, pfstate.ProtoUDP, pfstate.ProtoUDPLite,
		pfstate.ProtoSCTP, pfstate.ProtoDCCP, pfstate.ProtoGRE:
		return true
	}
	return false
}
