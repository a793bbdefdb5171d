package conntrack

import (
	"github.com/pfsync/pfsync/pfstate"
	"golang.org/x/sys/unix"
)

// Kernel extensions of classic BPF (filter.h SKF_AD_OFF): find the attribute of
// type X in the attributes from offset A on, or in the nest at offset A. The
// result is its offset, 0 if there is none.
const (
	bpfExt     = 0xfffff000
	bpfNlattr  = bpfExt + 12
	bpfNlaNest = bpfExt + 16
)

// portIDOffset is where struct nlmsghdr has nlmsg_pid.
const portIDOffset = 12

// skipProtocols are never synchronised: pfsync's own frames and VRRP.
var skipProtocols = [...]uint8{pfstate.ProtoPfsync, pfstate.ProtoVRRP}

// eventFilter is the program of an event socket: it drops what the sockets with
// these port ids caused, which is told by nlmsg_pid and by nothing else, and
// what is of a protocol in skipProtocols.
//
//	ld [12]; jeq own…, drop
//	find CTA_TUPLE_ORIG, in it CTA_TUPLE_PROTO, in it CTA_PROTO_NUM, or accept
//	ldb [x+4]; jeq 240 or 112, drop
//	accept: ret all; drop: ret 0
func eventFilter(own []uint32) []unix.SockFilter {
	p := []unix.SockFilter{stmt(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, portIDOffset)}
	for _, id := range own {
		p = append(p, jumpDrop(portIDOrder(id)))
	}
	p = append(p, stmt(unix.BPF_LD|unix.BPF_IMM, nlHdrLen+genLen))
	for i, typ := range [...]uint32{ctaTupleOrig, ctaTupleProto, ctaProtoNum} {
		find := uint32(bpfNlaNest)
		if i == 0 {
			find = bpfNlattr
		}
		p = append(p,
			stmt(unix.BPF_LDX|unix.BPF_IMM, typ),
			stmt(unix.BPF_LD|unix.BPF_B|unix.BPF_ABS, find),
			jumpAccept(0))
	}
	p = append(p,
		stmt(unix.BPF_MISC|unix.BPF_TAX, 0),
		stmt(unix.BPF_LD|unix.BPF_B|unix.BPF_IND, attrHdr))
	for _, proto := range skipProtocols {
		p = append(p, jumpDrop(uint32(proto)))
	}
	accept := len(p)
	p = append(p, stmt(unix.BPF_RET|unix.BPF_K, 0xffffffff), stmt(unix.BPF_RET|unix.BPF_K, 0))
	return resolve(p, accept)
}

// Marks that resolve turns into distances.
const (
	toAccept = 254
	toDrop   = 255
)

func stmt(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }

func jumpDrop(k uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: toDrop, K: k}
}

func jumpAccept(k uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: toAccept, K: k}
}

// resolve fills in the jumps. accept is the index of the accepting
// instruction, the dropping one follows it.
func resolve(p []unix.SockFilter, accept int) []unix.SockFilter {
	for i := range p {
		switch p[i].Jt {
		case toAccept:
			p[i].Jt = uint8(accept - i - 1)
		case toDrop:
			p[i].Jt = uint8(accept + 1 - i - 1)
		}
	}
	return p
}

// attachFilter attaches p to a socket.
func attachFilter(fd int, p []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	return opError("attach filter", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog))
}
