package engine

import (
	"testing"

	"github.com/pfsync/pfsync/syncproto"
)

// TestFrameNumbers: where the numbers begin again, none is missed that was
// never given.
func TestFrameNumbers(t *testing.T) {
	const last = 1<<32 - 1
	tests := []struct {
		a, b uint32
		want int32
	}{
		{1, 1, 0}, {1, 2, 1}, {2, 1, -1}, {last, 1, 1}, {1, last, -1}, {last - 1, 2, 3}, {2, last - 1, -3}, {last, last - 5, -5},
	}
	for _, tt := range tests {
		if got := framesFrom(tt.a, tt.b); got != tt.want {
			t.Errorf("from %d to %d: %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
	if frameAfter(last) != 1 || frameBefore(1) != last || frameAfter(6) != 7 || frameBefore(7) != 6 {
		t.Error("neighbours")
	}
}

// TestWrap: frames of a Linux peer over the end of their numbers, whole and
// with one missing on either side of it.
func TestWrap(t *testing.T) {
	const last = 1<<32 - 1
	tests := []struct {
		name   string
		frames []uint32
		lost   uint64
		want   []syncproto.Frames // missing at the end, without epoch
	}{
		{"nothing lost", []uint32{last - 1, last, 1, 2}, 0, nil},
		{"the last lost", []uint32{last - 1, 1, 2}, 1, []syncproto.Frames{{First: last, Last: last}}},
		{"the first lost", []uint32{last - 1, last, 2}, 1, []syncproto.Frames{{First: 1, Last: 1}}},
		{"both lost, one came late", []uint32{last - 1, 2, last}, 2, []syncproto.Frames{{First: 1, Last: 1}}},
		{"both lost, both came late", []uint32{last - 1, 2, 1, last}, 2, nil},
		{"overtaken", []uint32{last, 2, 1, 3}, 1, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := ready(t)
			r.b.epoch++ // begins anew, at a number of ours
			for _, n := range tt.frames {
				r.b.frame = n - 1
				r.b.say()
			}
			var p Peer
			for _, q := range r.e.Peers(nil) {
				if q.Addr == r.b.addr {
					p = q
				}
			}
			got := p.gap.ranges[:p.gap.n]
			if p.Lost != tt.lost || len(got) != len(tt.want) {
				t.Fatalf("%d lost, missing %v; want %d, %v", p.Lost, got, tt.lost, tt.want)
			}
			for i, w := range tt.want {
				if got[i].First != w.First || got[i].Last != w.Last {
					t.Errorf("missing %v, want %v", got[i], w)
				}
			}
		})
	}
}

// TestResendOverWrap: asked for frames on both sides of the wrap, we know all
// of them.
func TestResendOverWrap(t *testing.T) {
	r := ready(t)
	r.e.frameNo = 1<<32 - 3
	for range 6 {
		r.pass(2 * second)
		r.sent()
	}
	first := frameBefore(frameBefore(1))
	r.b.say(control(hostA, wantFrames(r.e.cfg.Epoch, first, r.e.frameNo)))
	if a := r.e.repair.answers; len(a) != 1 || a[0].Forgotten {
		t.Errorf("answers %+v", a)
	}
}
