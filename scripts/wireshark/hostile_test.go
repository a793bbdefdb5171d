package wireshark

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/golden"
)

// hostileFrames returns frames with a few bytes changed or cut off, and frames
// of nothing but noise, the same in every run.
func hostileFrames(t *testing.T) [][]byte {
	rnd := rand.New(rand.NewPCG(240, 246))
	seeds := [][]byte{linuxFrame(t)}
	for _, d := range golden.Dialects {
		for _, c := range golden.Cases(t, d) {
			if f := c.Packets[0].Frame(); len(f) >= syncproto.HeaderLen && len(f) < 1500 {
				seeds = append(seeds, f)
			}
		}
	}
	var list [][]byte
	for i := range 3 * len(seeds) {
		list = append(list, mutate(rnd, slices.Clone(seeds[i%len(seeds)])))
	}
	for range 200 {
		list = append(list, mutate(rnd, slices.Clone(seeds[0])), noise(rnd))
	}
	return list
}

// mutate changes some bytes, half of them in the first region, or the end.
func mutate(rnd *rand.Rand, b []byte) []byte {
	for range 1 + rnd.IntN(4) {
		at := rnd.IntN(len(b))
		if rnd.IntN(2) == 0 {
			at = rnd.IntN(min(len(b), 48))
		}
		b[at] = byte(rnd.Uint32())
	}
	if rnd.IntN(3) == 0 {
		b = b[:rnd.IntN(len(b))]
		if len(b) > 4 && rnd.IntN(2) == 0 {
			binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		}
	}
	return b
}

// noise is a frame with a good header, and in it regions of known actions with
// anything else wrong.
func noise(rnd *rand.Rand) []byte {
	b := make([]byte, syncproto.HeaderLen+rnd.IntN(600))
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	b[0] = byte(5 + rnd.IntN(2))
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	if len(b) > 24 {
		b[20] = []byte{byte(rnd.IntN(18)), byte(syncproto.ActLinux)}[rnd.IntN(2)]
		b[21] = byte(rnd.IntN(80))
		binary.BigEndian.PutUint16(b[22:], uint16(rnd.IntN(8)))
	}
	if len(b) > 48 && rnd.IntN(2) == 0 {
		binary.BigEndian.PutUint32(b[24:], syncproto.LinuxMagic)
	}
	return b
}

// verdict counts what a receiver dislikes in a frame, by syncproto's own
// reading of it.
func verdict(frame []byte) map[string]int {
	m := make(map[string]int)
	note := func(err error) {
		for name, e := range map[string]error{"hdrops": syncproto.ErrShort, "badver": syncproto.ErrVersion,
			"badlen": syncproto.ErrLength, "badact": syncproto.ErrAction, "badval": syncproto.ErrValue} {
			if errors.Is(err, e) {
				m[name]++
			}
		}
	}
	var r syncproto.Reader
	note(r.Reset(frame))
	for reg, ok := r.Next(); ok; reg, ok = r.Next() {
		if reg.Skip {
			continue
		}
		for i := range reg.Count {
			note(judge(&reg, reg.Message(i)))
		}
	}
	note(r.Err())
	return m
}

// judge checks the values of a message.
func judge(reg *syncproto.Region, b []byte) error {
	var s syncproto.State
	var u syncproto.UpdC
	switch reg.Action {
	case syncproto.ActUpdC:
		return errors.Join(syncproto.ParseUpdC(b, &u), u.Check(reg.Format))
	case syncproto.ActIns:
		return errors.Join(syncproto.ParseState(b, reg.Format, &s), s.CheckIns(reg.Format))
	case syncproto.ActUpd:
		return errors.Join(syncproto.ParseState(b, reg.Format, &s), s.CheckUpd(reg.Format))
	}
	return nil
}

// TestHostile: whatever the bytes, the script does not fail, and marks what
// syncproto refuses.
func TestHostile(t *testing.T) {
	c := capture{link: linkRaw}
	var frames [][]byte
	for _, f := range hostileFrames(t) {
		if len(f) > 0 {
			frames, c.packets = append(frames, f), append(c.packets, ipv4(f))
		}
	}
	seen := make(map[string]int)
	for i, v := range dissect(t, &c, prefixed(verdicts)) {
		want := verdict(frames[i])
		if diff := cmp.Diff(want, v.counts(verdicts)); diff != "" {
			t.Errorf("packet %d (-want +got):\n%s%x", i+1, diff, frames[i])
		}
		for name := range want {
			seen[name]++
		}
	}
	for _, name := range verdicts[:5] {
		if seen[name] < 10 {
			t.Errorf("%d frames with %s", seen[name], name)
		}
	}
}

// TestCutByCapture reads files with the beginning of each packet only: what is
// not there is neither read nor a fault of the sender.
func TestCutByCapture(t *testing.T) {
	c := capture{link: linkRaw}
	for _, d := range golden.Dialects {
		for _, kase := range golden.Cases(t, d) {
			if p := &kase.Packets[0]; kase.Valid() && len(p.Regions) > 0 {
				c.packets = append(c.packets, p.Data)
			}
		}
	}
	for _, n := range []int{20 + 16, 20 + 20, 20 + 22, 20 + 30, 20 + 150} {
		c.snap = n
		for i, v := range dissect(t, &c, prefixed([]string{"cut", "hdrops", "version"})) {
			long := len(c.packets[i]) > n && c.packets[i][0] == 0x45
			if v["pfsync.hdrops"] != "" || (n < 40 && long) != (long && v["pfsync.version"] == "") || long && v["pfsync.cut"] == "" && n < 50 {
				t.Errorf("%d bytes of packet %d: %v", n, i+1, v)
			}
		}
	}
}
