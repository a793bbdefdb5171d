package conntrack

import (
	"io"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"golang.org/x/sys/unix"
)

// dumpSize is the receive buffer of a dump. The kernel fills as much as the
// largest buffer it has seen, at most 32 KiB; with a smaller one records would
// be cut off.
const dumpSize = 256 << 10

// dumpTimeout bounds the wait for the kernel, which fills the next datagram
// within the system call that asks for it.
const dumpTimeout = 30 * time.Second

// DumpStats counts what a Dumper met.
type DumpStats struct {
	Records   uint64
	Malformed uint64 // could not be decoded
	Truncated uint64 // datagrams cut (MSG_TRUNC)
	Intr      uint64 // dumps the kernel called inconsistent (NLM_F_DUMP_INTR)
	Failed    uint64 // dumps that ended with EventDumpFail
}

// Dumper reads the table of one network namespace, one dump at a time.
type Dumper struct {
	*socket
	recv *receiver
	req  []byte
	seq  uint32

	filter   Filter
	partial  bool
	families []uint8 // still to ask for
	running  bool
	sound    bool   // nothing was lost so far
	rest     []byte // of the datagram being read

	records, malformed, truncated, intr, failed atomic.Uint64
}

// NewDumper opens a socket in the calling thread's network namespace.
func NewDumper() (*Dumper, error) {
	s, err := openSocket(0, 0, func(fd int) error {
		tv := unix.NsecToTimeval(int64(dumpTimeout))
		return opError("socket timeout", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv))
	})
	if err != nil {
		return nil, err
	}
	return &Dumper{socket: s, recv: newReceiver(1, dumpSize), req: make([]byte, 0, maxMessage)}, nil
}

// PortID is the netlink port id of the socket.
func (d *Dumper) PortID() uint32 { return d.portID }

// Begin asks for a dump. The caller that follows events too has to subscribe
// before and to count the events from before this call on as newer than the
// dump's records.
func (d *Dumper) Begin(f Filter) error {
	if d.running {
		return ErrBusy
	}
	d.filter, d.partial, d.families = f, f != Filter{}, f.families()
	d.sound, d.rest = true, nil
	if err := d.ask(); err != nil {
		return err
	}
	d.running = true
	return nil
}

// ask sends the request for the next family.
func (d *Dumper) ask() error {
	d.seq++
	d.req = d.filter.appendDump(d.req[:0], d.seq, d.families[0])
	d.families = d.families[1:]
	return opError("ask for a dump", unix.Send(d.fd, d.req, 0))
}

// Read fills evs with EventDump records, as many as one datagram of the kernel
// holds (some 150) or evs has room for. The last event of a dump is an
// EventDumpEnd, or an EventDumpFail if it ended early or something was lost;
// after it Read returns io.EOF until the next Begin. The kernel walks its table
// only as Read is called, so a caller paces the dump by calling it less often.
func (d *Dumper) Read(evs []pfstate.Event) (int, error) {
	if !d.running {
		return 0, io.EOF
	}
	for {
		n, done := d.decode(evs)
		if done {
			evs[n] = d.end()
			return n + 1, nil
		}
		if n > 0 {
			return n, nil
		}
		if len(d.rest) == 0 && !d.receive() {
			evs[0] = d.end()
			return 1, nil
		}
	}
}

// receive reads the next datagram; false ends the dump.
func (d *Dumper) receive() bool {
	_, err := d.recv.recv(d.fd, 1, 0)
	if err != nil {
		d.sound = false
		return false
	}
	b, whole, kernel := d.recv.datagram(0)
	if !whole {
		d.truncated.Add(1)
		d.sound = false
	}
	if kernel {
		d.rest = b
	}
	return true
}

// decode takes messages off the datagram. done says that the dump is over;
// then there is room for one more event.
func (d *Dumper) decode(evs []pfstate.Event) (n int, done bool) {
	for n < len(evs) && len(d.rest) > 0 {
		h, body, rest, err := nextMessage(d.rest)
		d.rest = rest
		if err != nil {
			d.malformed.Add(1)
			d.sound = false
			return n, false
		}
		if h.seq != d.seq || h.portid != d.portID {
			continue
		}
		if h.flags&unix.NLM_F_DUMP_INTR != 0 {
			d.intr.Add(1)
			d.sound = false
		}
		switch h.typ {
		case msgNew:
			n += d.record(body, &evs[n])
		case unix.NLMSG_DONE, unix.NLMSG_ERROR:
			if d.last(body) {
				return n, true
			}
		}
	}
	return n, false
}

// record decodes an entry, and tells if it is one that was asked for.
func (d *Dumper) record(body []byte, ev *pfstate.Event) int {
	if err := ParseFlow(body, &ev.Flow); err != nil {
		d.malformed.Add(1)
		d.sound = false
		return 0
	}
	if skipped(ev.Flow.Proto) || isForth(&ev.Flow) || !d.filter.match(&ev.Flow) {
		return 0
	}
	d.records.Add(1)
	ev.Kind, ev.Partial = pfstate.EventDump, d.partial
	return 1
}

// last handles the end of the dump of a family: it opens with an errno. If
// another family is to follow it is asked for, else the dump is over.
func (d *Dumper) last(body []byte) bool {
	if errno := ackErrno(body); errno != 0 {
		d.sound = false
		return true
	}
	if len(d.families) == 0 {
		return true
	}
	if d.ask() != nil {
		d.sound = false
		return true
	}
	return false
}

// end closes the dump.
func (d *Dumper) end() pfstate.Event {
	d.running = false
	d.rest = nil
	ev := pfstate.Event{Kind: pfstate.EventDumpEnd, Partial: d.partial}
	if !d.sound {
		d.failed.Add(1)
		ev.Kind = pfstate.EventDumpFail
	}
	return ev
}

// Abort gives up a dump that is under way: the rest of it is read and thrown
// away. The next Begin starts anew.
func (d *Dumper) Abort() {
	for d.running {
		d.families = nil
		var evs [64]pfstate.Event
		if _, err := d.Read(evs[:]); err != nil {
			return
		}
	}
}

// Stats may be called from any goroutine.
func (d *Dumper) Stats() DumpStats {
	return DumpStats{
		Records: d.records.Load(), Malformed: d.malformed.Load(), Truncated: d.truncated.Load(),
		Intr: d.intr.Load(), Failed: d.failed.Load(),
	}
}

// Close closes the socket. No Read may be under way.
func (d *Dumper) Close() error {
	return opError("close", unix.Close(d.fd))
}

// ackErrno reads the errno that opens the body of NLMSG_ERROR and NLMSG_DONE;
// a body too short for one is EBADMSG.
func ackErrno(body []byte) syscall.Errno {
	if len(body) < ackLen {
		return unix.EBADMSG
	}
	return syscall.Errno(-int32(nativeUint32(body)))
}
