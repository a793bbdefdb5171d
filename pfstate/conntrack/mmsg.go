package conntrack

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32 // bytes received
}

// receiver reads many datagrams with one system call into memory of its own.
// x/sys has no recvmmsg, and its recvmsg allocates an address per call.
type receiver struct {
	hdrs  []mmsghdr
	iovs  []unix.Iovec
	names []unix.RawSockaddrNetlink
	bufs  []byte
	size  int // of one buffer
}

// newReceiver makes room for count datagrams of up to size bytes.
func newReceiver(count, size int) *receiver {
	r := &receiver{
		hdrs:  make([]mmsghdr, count),
		iovs:  make([]unix.Iovec, count),
		names: make([]unix.RawSockaddrNetlink, count),
		bufs:  make([]byte, count*size),
		size:  size,
	}
	for i := range r.hdrs {
		r.iovs[i].Base = &r.bufs[i*size]
		r.iovs[i].SetLen(size)
		h := &r.hdrs[i].hdr
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&r.names[i]))
	}
	return r
}

// recv reads up to limit datagrams and does not wait for more than the first;
// with MSG_DONTWAIT in flags not for that either.
func (r *receiver) recv(fd, limit, flags int) (int, error) {
	limit = min(limit, len(r.hdrs))
	for i := range limit {
		r.hdrs[i].hdr.Namelen = unix.SizeofSockaddrNetlink
	}
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.hdrs[0])),
			uintptr(limit), uintptr(flags|unix.MSG_WAITFORONE), 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// datagram gives the i-th datagram of the last recv, and whether all of it was
// read and it is from the kernel.
func (r *receiver) datagram(i int) (b []byte, whole, kernel bool) {
	h := &r.hdrs[i]
	b = r.bufs[i*r.size:][:min(int(h.n), r.size)]
	return b, h.hdr.Flags&unix.MSG_TRUNC == 0, r.names[i].Pid == 0
}

// portIDOrder turns a port id into what BPF loads at its place in a message:
// BPF reads big endian, netlink headers are in host order.
func portIDOrder(id uint32) uint32 {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], id)
	return binary.BigEndian.Uint32(b[:])
}
