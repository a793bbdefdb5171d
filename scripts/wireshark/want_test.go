package wireshark

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/pfsync/pfsync/syncproto/golden"
)

// wanted collects the values that the fields of one packet should have, in the
// order of the packet.
type wanted map[string][]string

func (w wanted) add(name string, v ...string) {
	w["pfsync."+name] = append(w["pfsync."+name], v...)
}

func (w wanted) dec(name string, n int64) { w.add(name, strconv.FormatInt(n, 10)) }

func (w wanted) hex8(name string, n uint8) { w.add(name, fmt.Sprintf("0x%02x", n)) }

func (w wanted) hex16(name string, n uint16) { w.add(name, fmt.Sprintf("0x%04x", n)) }

func (w wanted) big(name string, n uint64) { w.add(name, strconv.FormatUint(n, 10)) }

// packet adds what the JSON tells of a packet.
func (w wanted) packet(t *testing.T, p *golden.Packet) {
	t.Helper()
	w.dec("version", int64(p.Header.Version))
	w.hex8("pad", uint8(p.Header.Pad))
	w.dec("len", int64(p.Header.Len))
	w.add("pfcksum", p.Header.PFCksum)
	for i := range p.Regions {
		r := &p.Regions[i]
		w.dec("action", int64(r.Action))
		w.add("action.name", r.Name)
		w.dec("count", int64(r.Count))
		if p.Header.Version == 6 {
			w.dec("msglen", int64(r.LenDwords))
		} else {
			w.hex8("region.pad", uint8(r.Pad))
		}
		for j := range r.Messages {
			if r.Messages[j].Raw == "" {
				w.message(t, p.Header.Version, r.Name, &r.Messages[j])
			}
		}
	}
}

func (w wanted) message(t *testing.T, version int, name string, m *golden.Message) {
	t.Helper()
	switch name {
	case "CLR":
		w.name("ifname", m.IfName)
		w.creator(m)
	case "INS_ACK", "UPD_REQ", "DEL_C":
		w.add("id", "0x"+m.ID)
		w.creator(m)
	case "UPD_C":
		w.add("id", "0x"+m.ID)
		w.creator(m)
		w.peer("src.", &m.Src.Peer)
		w.peer("dst.", &m.Dst.Peer)
		w.dec("expire", int64(m.Expire))
		w.dec("timeout", int64(m.Timeout))
	case "BUS":
		w.creator(m)
		w.dec("bus.endtime", int64(m.EndTime))
		w.dec("bus.status", int64(m.Status))
	case "TDB":
		w.tdb(version, m)
	default:
		w.state(t, version, name, m)
	}
}

func (w wanted) creator(m *golden.Message) { w.add("creatorid", "0x"+m.CreatorID) }

// name adds a text as the script shows it: escaped, without what is behind the
// first zero.
func (w wanted) name(field, s string) {
	s, _, _ = strings.Cut(s, "\x00")
	var b strings.Builder
	for _, c := range []byte(s) {
		if c >= ' ' && c <= '~' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "\\x%02x", c)
		}
	}
	w.add(field, b.String())
}

func (w wanted) peer(prefix string, p *golden.Peer) {
	w.hex16(prefix+"scrub.flags", p.Scrub.Flags)
	w.dec(prefix+"scrub.ttl", int64(p.Scrub.TTL))
	w.dec(prefix+"scrub.valid", int64(p.Scrub.Flag))
	w.dec(prefix+"scrub.tsmod", int64(p.Scrub.TSMod))
	w.dec(prefix+"seqlo", int64(p.SeqLo))
	w.dec(prefix+"seqhi", int64(p.SeqHi))
	w.dec(prefix+"seqdiff", int64(p.SeqDiff))
	w.dec(prefix+"max_win", int64(p.MaxWin))
	w.dec(prefix+"mss", int64(p.MSS))
	w.dec(prefix+"state", int64(p.State))
	w.hex8(prefix+"wscale", p.WScale)
}

func (w wanted) tdb(version int, m *golden.Message) {
	w.add("tdb.spi", fmt.Sprintf("0x%08x", m.SPI))
	w.dec("tdb.af", int64(m.DstAF))
	if m.DstIPVer == 4 {
		w.add("tdb.dst", m.Dst.Addr)
	} else {
		w.add("tdb.dst6", m.Dst.Addr)
	}
	w.big("tdb.rpl", m.RPL)
	w.big("tdb.cur_bytes", m.CurBytes)
	w.dec("tdb.sproto", int64(m.SProto))
	w.dec("tdb.updates", int64(m.Updates))
	if version == 6 {
		w.dec("tdb.rdomain", int64(m.RDomain))
	}
}

func (w wanted) key(version int, prefix string, k *golden.Key) {
	addr := "addr"
	if k.IPVersion == 6 {
		addr = "addr6"
	}
	for i := range k.Addr {
		w.add(prefix+addr, k.Addr[i])
		w.add(addr, k.Addr[i])
		w.dec(prefix+"port", int64(k.Port[i]))
		w.dec("port", int64(k.Port[i]))
	}
	if version == 6 {
		w.dec(prefix+"rdomain", int64(k.RDomain))
		w.dec(prefix+"af", int64(k.AF))
	}
}

// state adds a record; name tells the layout of those of version 5.
func (w wanted) state(t *testing.T, version int, name string, m *golden.Message) {
	t.Helper()
	w.head(t, version, m)
	w.dec("state.direction", int64(m.Direction))
	w.hex8("state.log", m.Log)
	w.dec("timeout", int64(m.Timeout))
	_, layout, _ := strings.Cut(name, "_")
	if layout == "1500" {
		w.dec("state.af", int64(m.WireAF))
		w.dec("state.stack_af", int64(m.StackAF))
		w.dec("state.rt_af", int64(m.RtAF))
		w.dec("state.proto", int64(m.WireProto))
		w.dec("state.stack_proto", int64(m.StackProto))
		w.name("state.tag", m.TagName)
		w.name("state.orig_ifname", m.OrigIfName)
	} else {
		w.dec("state.af", int64(m.AF))
		w.dec("state.proto", int64(m.Proto))
		w.hex8("state.sync_flags", m.SyncFlags)
		w.dec("state.updates", int64(m.Updates))
	}
	if version == 6 || layout == "1400" || layout == "1500" {
		w.options(version, m)
	} else {
		w.add("state.flags", fmt.Sprintf("0x%04x", m.StateFlags))
	}
}

// head adds what all records have.
func (w wanted) head(t *testing.T, version int, m *golden.Message) {
	t.Helper()
	w.add("id", "0x"+m.ID)
	ifname := m.IfName
	if m.IfNameHex != "" {
		b, err := hex.DecodeString(m.IfNameHex)
		if err != nil {
			t.Fatal(err)
		}
		ifname = string(b)
	}
	w.name("ifname", ifname)
	w.key(version, "key.wire.", &m.Key.Wire)
	w.key(version, "key.stack.", &m.Key.Stack)
	w.peer("src.", &m.Src.Peer)
	w.peer("dst.", &m.Dst.Peer)
	w.add("state.rt_addr", m.RtAddr)
	w.dec("state.rule", int64(m.Rule))
	w.dec("state.anchor", int64(m.Anchor))
	w.dec("state.nat_rule", int64(m.NATRule))
	w.dec("state.creation", int64(m.Creation))
	w.dec("expire", int64(m.Expire))
	for i := range 2 {
		w.big("state.packets", m.Packets[i])
		w.big("state.bytes", m.Bytes[i])
	}
	w.creator(m)
}

// options adds what the records have that were made for rules with options.
func (w wanted) options(version int, m *golden.Message) {
	for _, id := range m.RTableID {
		w.dec("state.rtableid", int64(id))
	}
	w.dec("state.max_mss", int64(m.MaxMSS))
	w.dec("state.rt", int64(m.Rt))
	w.dec("state.min_ttl", int64(m.MinTTL))
	w.hex8("state.set_tos", m.SetTOS)
	w.hex16("state.flags", m.StateFlags)
	w.dec("state.set_prio", int64(m.SetPrio[0]))
	w.dec("state.set_prio", int64(m.SetPrio[1]))
	if version == 6 {
		return
	}
	w.name("state.rt_ifname", m.RtIfName)
	w.dec("state.qid", int64(m.QID))
	w.dec("state.pqid", int64(m.PQID))
	w.dec("state.dnpipe", int64(m.DNPipe))
	w.dec("state.dnrpipe", int64(m.DNRPipe))
}
