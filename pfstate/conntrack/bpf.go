package conntrack

import (
	"errors"

	"github.com/pfsync/pfsync/pfstate"
	"golang.org/x/sys/unix"
)

// Kernel extensions of classic BPF (filter.h SKF_AD_OFF): find the attribute of
// type X in the attributes from offset A on, or in the nest at offset A. The
// result is its offset, 0 if there is none. So the order of attributes does not
// matter.
const (
	bpfExt     = 0xfffff000
	bpfNlattr  = bpfExt + 12
	bpfNlaNest = bpfExt + 16
)

// portIDOffset is where struct nlmsghdr has nlmsg_pid.
const portIDOffset = 12

// Scratch memory of a program: offsets of attributes, and the protocol.
const (
	memOrig  uint32 = iota // CTA_TUPLE_ORIG
	memReply               // CTA_TUPLE_REPLY
	memNest                // a nest in one of them
	memProto               // the number itself
)

// skipProtocols are never synchronised: pfsync's own frames and VRRP.
var skipProtocols = [...]uint8{pfstate.ProtoPfsync, pfstate.ProtoVRRP}

// eventFilter is the program of an event socket: it drops what the sockets with
// these port ids caused, which is told by nlmsg_pid and by nothing else, what
// is of a protocol in skipProtocols and, unless it is nil, what the part of
// nosync matches that the kernel can judge (bpfnosync.go), in most instructions
// or fewer.
//
//	ld [12]; jeq own…, drop
//	find CTA_TUPLE_ORIG, in it CTA_TUPLE_PROTO, in it CTA_PROTO_NUM, or accept
//	ldb [x+4]; jeq 240 or 112, drop
//	the tests of nosync
//	accept: ret all
func eventFilter(own []uint32, nosync *pfstate.Filter, most int) []unix.SockFilter {
	p := program{most: most}
	p.op(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, portIDOffset)
	for _, id := range own {
		p.dropEqual(portIDOrder(id))
	}
	missing := []int{p.find(ctaTupleOrig)}
	p.op(unix.BPF_ST, memOrig)
	missing = append(missing, p.findIn(memOrig, ctaTupleProto))
	p.op(unix.BPF_ST, memNest)
	missing = append(missing, p.findIn(memNest, ctaProtoNum))
	p.op(unix.BPF_MISC|unix.BPF_TAX, 0)
	p.op(unix.BPF_LD|unix.BPF_B|unix.BPF_IND, attrHdr)
	p.op(unix.BPF_ST, memProto)
	for _, proto := range skipProtocols {
		p.dropEqual(uint32(proto))
	}
	if nosync != nil {
		p.nosync(nosync)
	}
	p.here(missing...)
	p.op(unix.BPF_RET|unix.BPF_K, 0xffffffff)
	return p.ins
}

// program is a classic BPF program being written.
type program struct {
	ins  []unix.SockFilter
	most int // that tests may make it long
}

func (p *program) op(code uint16, k uint32) {
	p.ins = append(p.ins, unix.SockFilter{Code: code, K: k})
}

// jump goes over as many instructions if A equals k or not.
func (p *program) jump(k uint32, equal, other uint8) {
	p.ins = append(p.ins, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jt: equal, Jf: other, K: k})
}

func (p *program) drop() { p.op(unix.BPF_RET|unix.BPF_K, 0) }

// dropEqual drops if A equals k.
func (p *program) dropEqual(k uint32) {
	p.jump(k, 0, 1)
	p.drop()
}

// away jumps to where here is called with the result.
func (p *program) away() int {
	p.op(unix.BPF_JMP|unix.BPF_JA, 0)
	return len(p.ins) - 1
}

// here is where jumps of away lead.
func (p *program) here(from ...int) {
	for _, i := range from {
		p.ins[i].K = uint32(len(p.ins) - i - 1)
	}
}

// find loads the offset of an attribute of the message, and jumps away if there
// is none.
func (p *program) find(typ uint32) (missing int) {
	p.op(unix.BPF_LD|unix.BPF_IMM, nlHdrLen+genLen)
	return p.lookup(typ, bpfNlattr)
}

// findIn is find in the nest whose offset is in mem.
func (p *program) findIn(mem, typ uint32) (missing int) {
	p.op(unix.BPF_LD|unix.BPF_MEM, mem)
	return p.lookup(typ, bpfNlaNest)
}

func (p *program) lookup(typ, how uint32) (missing int) {
	p.op(unix.BPF_LDX|unix.BPF_IMM, typ)
	p.op(unix.BPF_LD|unix.BPF_B|unix.BPF_ABS, how)
	p.jump(0, 0, 1)
	return p.away()
}

// ignore makes the kernel drop what eventFilter says. Where a socket has no memory
// for the program beside the one that it replaces, that goes first: for a moment
// all arrives. Where it has none for the program alone, half the tests must do.
func ignore(fd int, own []uint32, nosync *pfstate.Filter) error {
	for most := maxProgram; ; most /= 2 {
		p := eventFilter(own, nosync, most)
		err := attachFilter(fd, p)
		if errors.Is(err, unix.ENOMEM) {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0) // there may be none
			err = attachFilter(fd, p)
		}
		if !errors.Is(err, unix.ENOMEM) || most < leastProgram {
			return err
		}
	}
}

// attachFilter attaches p to a socket, in place of what is there.
func attachFilter(fd int, p []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	return opError("attach filter", unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog))
}
