package conntrack

import (
	"encoding/binary"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"golang.org/x/sys/unix"
)

// ack is the kernel's answer to request seq of the socket portid.
func ack(seq, portid uint32, errno unix.Errno) []byte {
	b := binary.NativeEndian.AppendUint32(nil, nlHdrLen+ackLen)
	b = binary.NativeEndian.AppendUint16(b, unix.NLMSG_ERROR)
	b = binary.NativeEndian.AppendUint16(b, 0)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, portid)
	return binary.NativeEndian.AppendUint32(b, uint32(-int32(errno)))
}

const ownPort = 77

// deafInjector is one that has sent a create for each of ops, numbered from 11,
// and reads what it is given.
func deafInjector(n int) (i *Injector, ops []pfstate.Op, res []pfstate.Result) {
	i = &Injector{socket: &socket{portID: ownPort}, recv: newReceiver(1, answerSize), base: 11, seq: 10 + uint32(n), count: n}
	ops, res = make([]pfstate.Op, n), make([]pfstate.Result, n)
	for k := range ops {
		ops[k] = pfstate.Op{Kind: pfstate.OpCreate, Flow: flowCases()[0].flow}
		res[k].Code = pfstate.ResultError
		i.sent[k], i.open[k] = uint16(k), true
	}
	return i, ops, res
}

// hear gives the injector a datagram.
func (i *Injector) hear(b []byte, ops []pfstate.Op, res []pfstate.Result) {
	i.recv.hdrs[0].n = uint32(copy(i.recv.bufs, b))
	i.take(stepMain, 0, ops, res)
}

// TestAnswers: answers are told apart by number and port, whatever order they
// come in, and one that is cut or belongs to nobody changes nothing.
func TestAnswers(t *testing.T) {
	const none = pfstate.ResultError
	for _, tc := range []struct {
		name      string
		grams     [][]byte
		want      [3]pfstate.ResultCode
		unmatched uint64
	}{
		{"in order", [][]byte{ack(11, ownPort, 0), ack(12, ownPort, unix.EEXIST), ack(13, ownPort, unix.ENOMEM)},
			[3]pfstate.ResultCode{pfstate.ResultOK, pfstate.ResultExists, pfstate.ResultFull}, 0},
		{"out of order", [][]byte{ack(13, ownPort, unix.ENOMEM), ack(11, ownPort, 0), ack(12, ownPort, unix.EEXIST)},
			[3]pfstate.ResultCode{pfstate.ResultOK, pfstate.ResultExists, pfstate.ResultFull}, 0},
		{"all in one datagram", [][]byte{append(append(ack(12, ownPort, 0), ack(13, ownPort, 0)...), ack(11, ownPort, 0)...)},
			[3]pfstate.ResultCode{pfstate.ResultOK, pfstate.ResultOK, pfstate.ResultOK}, 0},
		{"of another socket", [][]byte{ack(11, ownPort+1, 0)}, [3]pfstate.ResultCode{none, none, none}, 1},
		{"of an earlier batch", [][]byte{ack(10, ownPort, 0)}, [3]pfstate.ResultCode{none, none, none}, 1},
		{"of a later one", [][]byte{ack(14, ownPort, 0)}, [3]pfstate.ResultCode{none, none, none}, 1},
		{"twice", [][]byte{ack(11, ownPort, 0), ack(11, ownPort, unix.EEXIST)}, [3]pfstate.ResultCode{pfstate.ResultOK, none, none}, 1},
		{"cut in its header", [][]byte{ack(11, ownPort, 0)[:nlHdrLen-1]}, [3]pfstate.ResultCode{none, none, none}, 1},
		{"cut in its body", [][]byte{ack(11, ownPort, 0)[:nlHdrLen+2]}, [3]pfstate.ResultCode{none, none, none}, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			i, ops, res := deafInjector(3)
			for _, b := range tc.grams {
				i.hear(b, ops, res)
			}
			for k, want := range tc.want {
				if res[k].Code != want {
					t.Errorf("request %d: %v, want %v", k, res[k].Code, want)
				}
			}
			if got := i.Stats().Unmatched; got != tc.unmatched {
				t.Errorf("%d unmatched, want %d", got, tc.unmatched)
			}
		})
	}
}

// TestAnswerNotOurs: what another process sends is not read at all.
func TestAnswerNotOurs(t *testing.T) {
	i, ops, res := deafInjector(1)
	i.recv.names[0].Pid = 1234
	i.hear(ack(11, ownPort, 0), ops, res)
	i.recv.names[0].Pid, i.recv.hdrs[0].hdr.Flags = 0, unix.MSG_TRUNC
	i.hear(ack(11, ownPort, 0), ops, res)
	if s := i.Stats(); s.Unmatched != 2 || !i.open[0] {
		t.Errorf("stats %+v", s)
	}
}

// FuzzDatagrams: whatever a datagram holds, each of the readers gets to its end.
func FuzzDatagrams(f *testing.F) {
	f.Add(append(ack(12, ownPort, 0), ack(11, ownPort, unix.EEXIST)...))
	for _, tc := range flowCases() {
		b, err := AppendCreate(nil, 11, &tc.flow)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	for _, x := range expectCases() {
		b, err := AppendExpectNew(nil, 1, &x)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		i, ops, res := deafInjector(3)
		i.hear(b, ops, res)
		d := &Dumper{socket: &socket{portID: ownPort, fd: -1}, seq: 11, running: true, sound: true, rest: b}
		for evs := make([]pfstate.Event, 4); len(d.rest) > 0; {
			if n, done := d.decode(evs[:3]); done || n == 0 {
				break
			}
		}
		x := &Expecter{recv: newReceiver(1, expectSize)}
		x.recv.hdrs[0].n = uint32(copy(x.recv.bufs, b))
		if n := len(x.decode(0, nil)); n > len(b)/nlHdrLen {
			t.Fatalf("%d events of %d bytes", n, len(b))
		}
	})
}
