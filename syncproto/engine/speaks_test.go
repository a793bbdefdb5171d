package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// TestSpeaks: a format other than ours is logged once, with the word to set, as
// soon as it is known; so is a silent peer.
func TestSpeaks(t *testing.T) {
	inFormat := func(f syncproto.Format) []byte {
		var w syncproto.Builder
		w.Begin(nil, f.Version(), 1480, nil)
		st, _ := strictPair(nil, 4, 4)
		st.StackAF = st.AF
		w.AddState(syncproto.ActIns, f, &st)
		return w.End()
	}
	for ours := range syncproto.Formats {
		for theirs := range syncproto.Formats {
			t.Run(fmt.Sprintf("%s hears %s", ours, theirs), func(t *testing.T) {
				var logged []string
				g := newRig(t, func(c *Config) {
					c.Format = ours
					c.Log = func(msg string, args ...any) {
						if strings.HasPrefix(msg, "peer") {
							logged = append(logged, strings.TrimSpace(fmt.Sprintln(append([]any{msg}, args...)...)))
						}
					}
				})
				for range 3 {
					g.hear(rigBSD, inFormat(theirs))
					g.pass(second)
				}
				var want []string
				if ours != theirs {
					want = append(want, "peer speaks another format than is sent peer 10.99.0.1 set version "+theirs.String())
				}
				g.pass(3 * bsdSilent)
				want = append(want, "peer is silent peer 10.99.0.1")
				if strings.Join(logged, "; ") != strings.Join(want, "; ") {
					t.Errorf("logged %q, want %q", logged, want)
				}
				g.hear(rigBSD, inFormat(theirs))
				if last := logged[len(logged)-1]; last != "peer heard again peer 10.99.0.1" {
					t.Errorf("then %q", last)
				}
				p := g.e.Peers(nil)[0]
				if p.Format != theirs || !p.Spoken || p.CreatorID != pfHost || p.First == 0 || p.Last != g.now {
					t.Errorf("%+v", p)
				}
			})
		}
	}
}

// TestSpeaksLater: a FreeBSD that has told no state yet has no format to set.
func TestSpeaksLater(t *testing.T) {
	n := 0
	g := newRig(t, func(c *Config) {
		c.Log = func(msg string, _ ...any) {
			if strings.Contains(msg, "format") {
				n++
			}
		}
	})
	var w syncproto.Builder
	w.Begin(nil, syncproto.Version5, 1480, nil)
	w.AddID(syncproto.ActUpdReq, &syncproto.ID{})
	g.hear(rigBSD, w.End())
	if p := g.e.Peers(nil)[0]; n != 0 || p.Spoken || p.Version != 5 {
		t.Errorf("logged %d times, %+v", n, p)
	}
}

// TestPeerCreator: whose states a pf's are is known by its BUS or by what it
// inserts; what it repeats of others says nothing.
func TestPeerCreator(t *testing.T) {
	in, _ := strictPair(nil, 4, 4)
	tests := []struct {
		name  string
		frame []byte
		want  uint32
	}{
		{"BUS", busFrame(syncproto.BusStart), pfHost},
		{"INS", insert(syncproto.ActIns, in), pfHost},
		{"UPD", insert(syncproto.ActUpd, in), 0},
		{"DEL_C", idFrame(syncproto.ActDelC, in.StateID()), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := newRig(t, nil)
			g.hear(rigBSD, tt.frame)
			if got := g.e.Peers(nil)[0].CreatorID; got != tt.want {
				t.Errorf("%08x, want %08x", got, tt.want)
			}
		})
	}
	g := newRig(t, nil)
	g.hear(rigBSD, insert(syncproto.ActIns, in))
	if s := g.find(pfstate.ID(in.StateID())); s == nil {
		t.Error("not imported")
	}
}
