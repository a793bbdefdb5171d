package syncproto_test

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	. "github.com/pfsync/pfsync/syncproto"
	"github.com/pfsync/pfsync/syncproto/golden"
)

// eachPacket runs f for every packet of every dialect.
func eachPacket(t *testing.T, f func(t *testing.T, c *golden.Case, p *golden.Packet)) {
	for _, d := range golden.Dialects {
		for _, c := range golden.Cases(t, d) {
			for i := range c.Packets {
				t.Run(d+"/"+c.Name+"/"+strconv.Itoa(i), func(t *testing.T) { f(t, &c, &c.Packets[i]) })
			}
		}
	}
}

// TestGoldenValues reads every message where the JSON says it is, in malformed
// frames too, compares all fields, and writes it back.
func TestGoldenValues(t *testing.T) {
	seen := make(map[string]int)
	eachPacket(t, func(t *testing.T, c *golden.Case, p *golden.Packet) {
		for _, r := range p.Regions {
			for _, m := range r.Messages {
				if m.Offset+m.Length > len(p.Data) {
					continue // cut off
				}
				b := p.Data[m.Offset : m.Offset+m.Length]
				if m.Raw != "" {
					if hex.EncodeToString(b) != m.Raw {
						t.Errorf("raw bytes at %d differ", m.Offset)
					}
					continue
				}
				checkMessage(t, p.Header.Version, &r, &m, b)
				seen[c.Dialect+" "+r.Name]++
			}
		}
	})
	for _, name := range []string{"CLR", "INS_ACK", "UPD_C", "UPD_REQ", "DEL", "DEL_C", "BUS", "TDB"} {
		for _, d := range golden.Dialects {
			if seen[d+" "+name] == 0 {
				t.Errorf("no %s in %s", name, d)
			}
		}
	}
	for _, k := range []string{"openbsd6 INS", "freebsd-1301 UPD_1301", "freebsd-1400 UPD_1400", "freebsd-1500 UPD_1500"} {
		if seen[k] == 0 {
			t.Errorf("no %s", k)
		}
	}
}

// regionFormat returns the format of a region of the JSON.
func regionFormat(version int, name string) Format {
	switch {
	case version != Version5:
		return Format6
	case name == "INS_1400", name == "UPD_1400":
		return Format1400
	case name == "INS_1500", name == "UPD_1500":
		return Format1500
	}
	return Format1301
}

func checkMessage(t *testing.T, version int, r *golden.Region, m *golden.Message, b []byte) {
	t.Helper()
	f := regionFormat(version, r.Name)
	var got, want any
	var again []byte
	var err error
	switch r.Name {
	case "CLR":
		var v Clr
		err = ParseClr(b, &v)
		again = AppendClr(nil, &v)
		got, want = v, Clr{IfName: MakeName(m.IfName), CreatorID: hex32(t, m.CreatorID)}
	case "INS_ACK", "UPD_REQ", "DEL_C":
		var v ID
		err = ParseID(b, &v)
		again = AppendID(nil, &v)
		got, want = v, ID{ID: hex64(t, m.ID), CreatorID: hex32(t, m.CreatorID)}
	case "UPD_C":
		var v UpdC
		err = ParseUpdC(b, &v)
		again = AppendUpdC(nil, &v)
		got, want = v, UpdC{ID: hex64(t, m.ID), CreatorID: hex32(t, m.CreatorID), Src: wantPeer(&m.Src.Peer),
			Dst: wantPeer(&m.Dst.Peer), Expire: m.Expire, Timeout: m.Timeout}
	case "BUS":
		var v Bus
		err = ParseBus(b, &v)
		again = AppendBus(nil, &v)
		got, want = v, Bus{CreatorID: hex32(t, m.CreatorID), EndTime: m.EndTime, Status: m.Status}
	case "TDB":
		var v TDB
		err = ParseTDB(b, f, &v)
		again = AppendTDB(nil, f, &v)
		got, want = v, wantTDB(t, f, m, &v)
	default:
		var v State
		err = ParseState(b, f, &v)
		again = AppendState(nil, f, &v)
		got, want = v, wantState(t, f, m)
	}
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s at %d (-want +got):\n%s", r.Name, m.Offset, diff)
	}
	if !bytes.Equal(again, b[:len(again)]) {
		t.Errorf("%s at %d: written back:\n%x, want\n%x", r.Name, m.Offset, again, b)
	}
}

func hex64(t *testing.T, s string) uint64 {
	t.Helper()
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func hex32(t *testing.T, s string) uint32 {
	t.Helper()
	n, err := strconv.ParseUint(s, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

func hexBytes(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func wantPeer(p *golden.Peer) Peer {
	return Peer{ScrubFlags: p.Scrub.Flags, ScrubTTL: p.Scrub.TTL, ScrubValid: p.Scrub.Flag, ScrubTSMod: p.Scrub.TSMod,
		SeqLo: p.SeqLo, SeqHi: p.SeqHi, SeqDiff: p.SeqDiff, MaxWin: p.MaxWin, MSS: p.MSS, State: p.State, WScale: p.WScale}
}

func wantKey(t *testing.T, k *golden.Key) (w Key) {
	t.Helper()
	for i, s := range k.Addr {
		copy(w.Addr[i][:], netip.MustParseAddr(s).AsSlice())
	}
	w.Port, w.RDomain, w.AF = k.Port, k.RDomain, k.AF
	return w
}

// wantTDB takes port, flow and scope of the address, which the JSON does not
// tell, from what was read.
func wantTDB(t *testing.T, f Format, m *golden.Message, read *TDB) TDB {
	t.Helper()
	w := TDB{SPI: m.SPI, Dst: read.Dst, RPL: m.RPL, CurBytes: m.CurBytes, SProto: m.SProto, Updates: m.Updates}
	if f == Format6 {
		w.RDomain = m.RDomain
	}
	family, addr := read.DstAddr()
	if family != m.DstAF || (addr.IsValid() && addr.String() != m.Dst.Addr) {
		t.Errorf("TDB address %d %v, want %d %v", family, addr, m.DstAF, m.Dst.Addr)
	}
	return w
}

func wantState(t *testing.T, f Format, m *golden.Message) State {
	t.Helper()
	w := State{
		ID: hex64(t, m.ID), CreatorID: hex32(t, m.CreatorID),
		IfName: Name(append([]byte(m.IfName), make([]byte, 16)...)),
		Key:    [2]Key{wantKey(t, &m.Key.Wire), wantKey(t, &m.Key.Stack)},
		Src:    wantPeer(&m.Src.Peer), Dst: wantPeer(&m.Dst.Peer),
		RtAddr: [16]byte(hexBytes(t, m.RtAddr)),
		Rule:   m.Rule, Anchor: m.Anchor, NATRule: m.NATRule, Creation: m.Creation, Expire: m.Expire,
		Packets: m.Packets, Bytes: m.Bytes,
		AF: m.AF, Proto: m.Proto, Direction: m.Direction, Log: m.Log, Timeout: m.Timeout,
		StateFlags: m.StateFlags, SyncFlags: m.SyncFlags, Updates: m.Updates,
		MaxMSS: m.MaxMSS, MinTTL: m.MinTTL, SetTOS: m.SetTOS, SetPrio: m.SetPrio, Rt: m.Rt,
		QID: m.QID, PQID: m.PQID, DNPipe: m.DNPipe, DNRPipe: m.DNRPipe,
		RtIfName: MakeName(m.RtIfName), OrigIfName: MakeName(m.OrigIfName),
		StackAF: m.StackAF, StackProto: m.StackProto, RtAF: m.RtAF,
	}
	copy(w.RTableID[:], m.RTableID)
	copy(w.Tag[:], m.TagName)
	if m.IfNameHex != "" {
		w.IfName = Name(hexBytes(t, m.IfNameHex))
	}
	if f == Format1500 {
		w.AF, w.Proto = m.WireAF, m.WireProto
		w.SyncFlags, w.Updates = 0, 0 // told by the JSON, not by the record
	}
	return w
}
