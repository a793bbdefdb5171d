package conntrack

import (
	"io"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"golang.org/x/sys/unix"
)

// BenchmarkParse decodes what the kernel said.
func BenchmarkParse(b *testing.B) {
	for _, r := range readRecorded(b) {
		switch r.name {
		case "tcp4", "tcp6", "udp4", "both tcp6":
		default:
			continue
		}
		b.Run(r.name+" "+r.kind, func(b *testing.B) {
			body := r.msg[nlHdrLen:]
			var f pfstate.Flow
			b.ReportAllocs()
			for b.Loop() {
				if err := ParseFlow(body, &f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendCreate(b *testing.B) {
	for _, tc := range codecCases() {
		switch tc.name {
		case "tcp4", "both tcp6", "udp4":
		default:
			continue
		}
		b.Run(tc.name, func(b *testing.B) {
			buf := make([]byte, 0, maxMessage)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := AppendCreate(buf, 1, &tc.flow); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// benchFlows is what a benchmark of the kernel works on at once.
const benchFlows = 20000

// rate reports entries a second.
func rate(b *testing.B) {
	b.ReportMetric(float64(benchFlows)*float64(b.N)/b.Elapsed().Seconds(), "states/s")
}

// bareBatch sends ready-made requests in datagrams of up to 64 KiB and reads
// the answers without looking at them: the kernel's own cost.
func bareBatch(b *testing.B, r *receiver, fd int, datagrams [][]byte, answers []int) {
	for k, d := range datagrams {
		if err := unix.Send(fd, d, 0); err != nil {
			b.Fatal(err)
		}
		for left := answers[k]; left > 0; {
			n, err := r.recv(fd, left, unix.MSG_DONTWAIT)
			if err != nil {
				b.Fatal(err)
			}
			left -= n
		}
	}
}

// datagramsOf encodes creates, of which the last of a datagram is answered, or
// all.
func datagramsOf(ops []pfstate.Op, ackAll bool) (datagrams [][]byte, answers []int) {
	var buf []byte
	count := 0
	for k := range ops {
		at := len(buf)
		buf, _ = AppendCreate(buf, uint32(k+1), &ops[k].Flow)
		last := k == len(ops)-1 || len(buf) > maxSend-maxMessage
		if ackAll || last {
			requestAck(buf[at:])
			count++
		}
		if last {
			datagrams, answers = append(datagrams, buf), append(answers, count)
			buf, count = nil, 0
		}
	}
	return datagrams, answers
}

// BenchmarkInject measures operations against bare batches of the same.
func BenchmarkInject(b *testing.B) {
	inj := newInjector(b, newNS(b))
	res := make([]pfstate.Result, benchFlows)
	creates, deletes := manyOps(pfstate.OpCreate, benchFlows), manyOps(pfstate.OpDelete, benchFlows)
	run := func(b *testing.B, ops []pfstate.Op) {
		if _, err := inj.Do(ops, res); err != nil {
			b.Fatal(err)
		}
		for k := range res {
			if res[k].Code != pfstate.ResultOK {
				b.Fatalf("operation %d: %v (%v)", ops[k].Kind, res[k].Code, res[k].Errno)
			}
		}
	}
	// timed runs fn with the table empty before it and emptied after it.
	timed := func(b *testing.B, fn func()) {
		b.ReportAllocs()
		for b.Loop() {
			fn()
			b.StopTimer()
			run(b, deletes)
			b.StartTimer()
		}
		rate(b)
	}
	b.Run("create", func(b *testing.B) { timed(b, func() { run(b, creates) }) })
	for name, ackAll := range map[string]bool{"bare create, all acknowledged": true, "bare create, last acknowledged": false} {
		b.Run(name, func(b *testing.B) {
			datagrams, answers := datagramsOf(creates, ackAll)
			r := newReceiver(answerSlots, answerSize)
			timed(b, func() { bareBatch(b, r, inj.fd, datagrams, answers) })
		})
	}
	run(b, creates)
	defer run(b, deletes)
	for name, kind := range map[string]pfstate.OpKind{"update": pfstate.OpUpdate, "get": pfstate.OpGet} {
		b.Run(name, func(b *testing.B) {
			ops := manyOps(kind, benchFlows)
			b.ReportAllocs()
			for b.Loop() {
				run(b, ops)
			}
			rate(b)
		})
	}
	b.Run("delete", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			run(b, deletes)
			b.StopTimer()
			run(b, creates)
			b.StartTimer()
		}
		rate(b)
	})
}

func BenchmarkDump(b *testing.B) {
	ns := newNS(b)
	createMany(b, newInjector(b, ns), benchFlows)
	d := newDumper(b, ns)
	evs := make([]pfstate.Event, 256)
	for _, tc := range []struct {
		name string
		f    Filter
	}{{"all", Filter{}}, {"none match", Filter{Mark: 1, MarkMask: 1}}} {
		b.Run(tc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := d.Begin(tc.f); err != nil {
					b.Fatal(err)
				}
				for {
					if _, err := d.Read(evs); err == io.EOF {
						break
					}
				}
			}
			rate(b)
		})
	}
}

// BenchmarkListen reads events out of a buffer that is full of them.
func BenchmarkListen(b *testing.B) {
	ns := newNS(b)
	stranger := newInjector(b, ns)
	l := newListener(b, ns, ListenConfig{RcvBuf: 64 << 20})
	creates, deletes := manyOps(pfstate.OpCreate, benchFlows), manyOps(pfstate.OpDelete, benchFlows)
	res := make([]pfstate.Result, benchFlows)
	evs := make([]pfstate.Event, 256)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		stranger.Do(creates, res)
		stranger.Do(deletes, res)
		b.StartTimer()
		for left := 2 * benchFlows; left > 0; {
			n, err := l.Read(evs)
			if err != nil || evs[0].Kind == pfstate.EventOverrun {
				b.Fatal(err, evs[0].Kind)
			}
			left -= n
		}
	}
	b.ReportMetric(2*float64(benchFlows)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
