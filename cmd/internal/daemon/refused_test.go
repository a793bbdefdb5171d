package daemon

import (
	"fmt"
	"testing"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/tunif/nstest"
)

// told is an established TCP connection to a port, as a peer tells it.
func told(port uint16) syncproto.State {
	peer := syncproto.Peer{State: pfstate.PFEstablished, SeqHi: 1, MaxWin: 1}
	st := syncproto.State{
		ID: uint64(port), CreatorID: 0x12345678, IfName: syncproto.MakeName("all"), Src: peer, Dst: peer,
		Rule: syncproto.NoRule, Anchor: syncproto.NoRule, NATRule: syncproto.NoRule,
		Expire: 1000, AF: syncproto.FamilyIPv4, Proto: pfstate.ProtoTCP, Direction: syncproto.DirIn,
		Timeout: pfstate.TimeoutTCPEstablished, StateFlags: syncproto.FlagSloppy, RTableID: [2]int32{-1, -1},
	}
	st.StackAF, st.StackProto = st.AF, st.Proto
	for i := range st.Key {
		k := &st.Key[i]
		k.AF = st.AF
		k.Addr[0], k.Addr[1] = [16]byte{10, 0, 1, 10}, [16]byte{10, 0, 2, 10}
		k.Port[0], k.Port[1] = 40000, port
	}
	return st
}

// tellFrame is a frame with one connection and what is said beside it.
func tellFrame(frame uint32, port uint16, tlvs []byte) []byte {
	st := told(port)
	stride := syncproto.Stride(len(tlvs))
	var w syncproto.Builder
	w.Begin(nil, syncproto.Format6.Version(), 1400, nil)
	w.AddState(syncproto.ActIns, syncproto.Format6, &st)
	w.AddFrameInfo(stride, &syncproto.FrameInfo{
		Magic: syncproto.LinuxMagic, Layout: syncproto.LinuxLayout, Flags: syncproto.InfoCarried,
		Epoch: 77, Frame: frame, TableSize: 1, CreatorID: st.CreatorID,
	})
	w.AddExtra(&syncproto.Extra{ID: st.ID, CreatorID: st.CreatorID, TLVs: tlvs})
	return w.End()
}

// TestRefused: what this kernel cannot have of a connection is counted by its
// reason, and the rest of the connection is there.
func TestRefused(t *testing.T) {
	p := newPair(t, nstest.Options{})
	n := p.n[0]
	peer := newRawSender(t, p.FW[1], nstest.SyncDev, 255)
	control := &syncproto.Master{Proto: pfstate.ProtoTCP, SrcPort: 1, DstPort: 2, Src: [16]byte{10, 9, 9, 9}, Dst: [16]byte{10, 9, 9, 8}}
	for i, tt := range []struct {
		name    string
		tlvs    []byte
		counter string
	}{
		{"a helper that nobody has", syncproto.AppendTLV(nil, syncproto.TLVHelper, []byte("no-such")), "kernnohelper"},
		{"a master that is not here", syncproto.AppendMaster(nil, control, 4), "kernnomaster"},
		{"both", syncproto.AppendMaster(syncproto.AppendTLV(nil, syncproto.TLVHelper, []byte("no-such")), control, 4), "kernnohelper"},
		{"an expectation without helper", syncproto.AppendExpect(nil, &syncproto.Expect{
			Proto: pfstate.ProtoTCP, Left: 300, DstPort: 5, Src: [16]byte{10, 0, 1, 10}, Dst: [16]byte{10, 0, 2, 10},
		}, 4), "expectrefused"},
		{"labels without room", syncproto.AppendLabels(nil, &[16]byte{1, 15: 1}), ""},
		{"a zone of one direction", syncproto.AppendZone(nil, &syncproto.Zone{Reply: 9}), ""},
		{"values that are cut", []byte{byte(syncproto.TLVMaster), 3, 1, 2, 3, byte(syncproto.TLVMark), 1, 9, byte(syncproto.TLVExpect), 200}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			port := uint16(6201 + i)
			before := n.stats().Reasons
			peer.send("224.0.0.240", tellFrame(uint32(i+1), port, tt.tlvs))
			waitLine(t, p.FW[0], "tcp", "ESTABLISHED", "sport=40000", fmt.Sprintf("dport=%d", port), "[ASSURED]")
			if tt.counter == "" {
				return
			}
			nstest.EventuallyNil(t, patience/2, func() error {
				if got := n.stats().Reasons[tt.counter]; got != before[tt.counter]+1 {
					return fmt.Errorf("%s is %d, was %d", tt.counter, got, before[tt.counter])
				}
				return nil
			}, tt.counter)
		})
	}
}
