package nfqueue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	copyRange  = 256     // bytes of a packet: headers with all options
	rcvBuf     = 4 << 20 // bytes; the kernel holds 1024 packets at most
	maxMessage = 8192    // bytes of a message with its conntrack entry
	maxAccept  = 256     // verdicts in one system call
)

// Queue is one queue of the network namespace it was opened in. Read may be
// called by one goroutine, Accept by another.
type Queue struct {
	num       uint16
	conntrack bool
	file      *os.File
	raw       syscall.RawConn
	buf       []byte

	// Of the Read under way: readFn is made once so that Read allocates nothing.
	readFn  func(fd uintptr) bool
	lookFn  func(fd uintptr)
	n       int
	readErr error

	acceptMu  sync.Mutex // guards the next four
	out       []byte
	one       [1]uint32
	writeFn   func(fd uintptr) bool
	acceptErr error

	passed, malformed atomic.Uint64
}

// Stats counts what a Queue met.
type Stats struct {
	Passed    uint64 // let go at once: no first packet of a kind known here
	Malformed uint64 // messages that are none
}

// Open binds queue num in the calling thread's network namespace: whole
// headers are copied, packets pass when the queue is full, and conntrack's
// entry comes along where the kernel can. A queue that another program has is
// ErrTaken.
func Open(num uint16) (*Queue, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, &OpError{"netlink socket", err}
	}
	q := &Queue{num: num, buf: make([]byte, maxMessage), out: make([]byte, 0, maxAccept*verdictMsgLen)}
	if err := q.configure(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	q.file = os.NewFile(uintptr(fd), "nfqueue")
	if q.raw, err = q.file.SyscallConn(); err != nil {
		q.file.Close()
		return nil, &OpError{"poll netlink socket", err}
	}
	q.readFn, q.writeFn = q.receive, q.send
	q.lookFn = func(fd uintptr) { q.receive(fd) }
	return q, nil
}

// Conntrack reports whether packets bring their conntrack entry.
func (q *Queue) Conntrack() bool { return q.conntrack }

// configure binds the queue and sets it up. That the flag for conntrack is
// refused changes nothing of the rest.
func (q *Queue) configure(fd int) error {
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return &OpError{"bind netlink socket", err}
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, rcvBuf) != nil {
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, rcvBuf)
	}
	// What does not fit passes, for the queue fails open: no error needed.
	unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, 1)
	params := append(be32(copyRange), copyPacket)
	if err := q.ask(fd, putAttr(nil, cfgCmd, cmdBind, 0, 0, 0)); err != nil {
		return q.bindError(err)
	}
	if err := q.ask(fd, putAttr(nil, cfgParams, params...)); err != nil {
		return &OpError{"set copy mode", err}
	}
	if err := q.ask(fd, flags(flagFailOpen|flagGSO)); err != nil {
		return &OpError{"set fail-open", err}
	}
	err := q.ask(fd, flags(flagConntrack))
	if err == unix.EAGAIN { // the module has just been loaded
		err = q.ask(fd, flags(flagConntrack))
	}
	q.conntrack = err == nil
	return nil
}

func flags(f uint32) []byte {
	return putAttr(putAttr(nil, cfgFlags, be32(f)...), cfgMask, be32(f)...)
}

// bindError tells a queue that is taken from missing rights: to both the
// kernel says EPERM.
func (q *Queue) bindError(err error) error {
	op := fmt.Sprintf("bind queue %d", q.num)
	switch {
	case errors.Is(err, unix.EPERM) && q.taken(), errors.Is(err, unix.EBUSY):
		return &OpError{op, ErrTaken}
	case errors.Is(err, unix.EPERM):
		return &OpError{op, ErrPermission}
	case errors.Is(err, unix.EINVAL):
		return &OpError{op, ErrNoQueue}
	}
	return &OpError{op, err}
}

// taken looks for the queue among those that are bound: number, port id …
func (q *Queue) taken() bool {
	b, err := os.ReadFile("/proc/thread-self/net/netfilter/nfnetlink_queue")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 0 && f[0] == fmt.Sprint(q.num) {
			return true
		}
	}
	return false
}

// askWait bounds the wait for an answer that the kernel gives at once.
const askWait = 5000 // milliseconds

// ask sends a configuration message and returns the kernel's answer.
func (q *Queue) ask(fd int, attrs []byte) error {
	b := beginMessage(nil, msgConfig, unix.NLM_F_ACK, 1, q.num)
	b = endMessage(append(b, attrs...), 0)
	if err := unix.Sendto(fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, askWait); err != nil && err != unix.EINTR {
			return err
		} else if n == 0 && err == nil {
			return unix.ETIMEDOUT
		}
		n, err := unix.Read(fd, q.buf)
		if err == unix.EAGAIN || err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if errno, ok := q.answer(fd, q.buf[:n]); ok {
			return errno
		}
	}
}

// answer reads an acknowledgement. A packet that some rule sends already is
// let go.
func (q *Queue) answer(fd int, b []byte) (err error, ok bool) {
	if len(b) < nlHdrLen+4 {
		return nil, false
	}
	switch binary.NativeEndian.Uint16(b[4:]) {
	case unix.NLMSG_ERROR:
		if errno := -int32(binary.NativeEndian.Uint32(b[nlHdrLen:])); errno != 0 {
			return unix.Errno(errno), true
		}
		return nil, true
	case msgPacket:
		var p Packet
		if err := ParsePacket(b[nlHdrLen:], &p); err == nil || err == ErrPacket {
			unix.Sendto(fd, appendVerdict(nil, q.num, p.ID), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		}
	}
	return nil, false
}

// Read waits for packets and fills pkts with those that are there, at least
// one. A packet whose connection cannot be told is let go. After Wake the
// error is os.ErrDeadlineExceeded, after Close os.ErrClosed.
func (q *Queue) Read(pkts []Packet) (n int, err error) {
	for n == 0 {
		for n < len(pkts) {
			if n > 0 {
				err = q.raw.Control(q.lookFn)
			} else {
				err = q.raw.Read(q.readFn)
			}
			if err != nil || q.readErr == unix.EAGAIN {
				break
			}
			if q.readErr != nil {
				return n, &OpError{"read packets", q.readErr}
			}
			n += q.parse(&pkts[n])
		}
		if err != nil && n == 0 {
			return 0, err
		}
	}
	return n, nil
}

// receive is called by the poller when there may be something to read; false
// waits on.
func (q *Queue) receive(fd uintptr) bool {
	for {
		q.n, q.readErr = unix.Read(int(fd), q.buf)
		if q.readErr != unix.EINTR {
			return q.readErr != unix.EAGAIN
		}
	}
}

// parse turns the message read last into a packet; 0 if it holds none for us.
func (q *Queue) parse(p *Packet) int {
	b := q.buf[:q.n]
	if len(b) < nlHdrLen || binary.NativeEndian.Uint16(b[4:]) != msgPacket {
		return 0 // the answer to a verdict that came too late
	}
	switch ParsePacket(b[nlHdrLen:], p) {
	case nil:
		return 1
	case ErrPacket:
		q.passed.Add(1)
		q.one[0] = p.ID
		q.Accept(q.one[:])
	default:
		q.malformed.Add(1)
	}
	return 0
}

// Accept lets packets go, in the order given. The kernel sends them on before
// Accept returns. An id that the kernel does not hold is nothing to it.
func (q *Queue) Accept(ids []uint32) error {
	q.acceptMu.Lock()
	defer q.acceptMu.Unlock()
	for len(ids) > 0 {
		n := min(len(ids), maxAccept)
		q.out = q.out[:0]
		for _, id := range ids[:n] {
			q.out = appendVerdict(q.out, q.num, id)
		}
		ids = ids[n:]
		if err := q.raw.Write(q.writeFn); err != nil {
			return err
		}
		if q.acceptErr != nil {
			return &OpError{"send verdicts", q.acceptErr}
		}
	}
	return nil
}

// send writes what is in out; false waits for room.
func (q *Queue) send(fd uintptr) bool {
	for {
		_, q.acceptErr = unix.Write(int(fd), q.out)
		if q.acceptErr != unix.EINTR {
			return q.acceptErr != unix.EAGAIN
		}
	}
}

// Wake ends the Read that waits and those to come; Drain reads on without
// waiting.
func (q *Queue) Wake() error { return q.file.SetReadDeadline(time.Unix(1, 0)) }

// Drain lets all packets go that wait to be read. It must not be called while
// Read is.
func (q *Queue) Drain() error {
	var p Packet
	for {
		err := q.raw.Control(q.lookFn)
		if err != nil {
			return err
		}
		if q.readErr != nil {
			return nil
		}
		if q.parse(&p) == 1 {
			if err := q.Accept([]uint32{p.ID}); err != nil {
				return err
			}
		}
	}
}

// Stats may be called from any goroutine.
func (q *Queue) Stats() Stats {
	return Stats{Passed: q.passed.Load(), Malformed: q.malformed.Load()}
}

// Close unbinds the queue: packets still held are dropped by the kernel, later
// ones pass by the rules' bypass.
func (q *Queue) Close() error { return q.file.Close() }
