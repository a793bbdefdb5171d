package pfstate

// Expect is an expectation of the kernel (struct nf_conntrack_expect): a helper
// has read in a connection, the master, that another one will come. Its first
// packet is then RELATED to the master.
type Expect struct {
	AF          uint8
	Proto       uint8  // of the connection expected
	MasterProto uint8  // of the master
	NATDir      uint8  // with NAT: the direction of the master from which the connection is to come
	Zone        uint16 // of the master's original direction
	MaskPort    uint16 // which bits of Tuple.SrcPort count
	Flags       uint32 // NF_CT_EXPECT_*
	Class       uint32 // the helper's own
	Timeout     uint32 // seconds left

	Master  Tuple  // original tuple
	Tuple   Tuple  // what is expected
	MaskSrc Addr   // which bits of Tuple.Src count
	NATSrc  Addr   // with NAT: the address that the connection has without
	NATPort uint16 // and the port
	NAT     bool

	Helper [16]byte // name, zero padded; empty: the master's
	Fn     [24]byte // name of what the kernel does with the connection, zero padded
}

// Same reports whether both expect the same packets.
func (x *Expect) Same(y *Expect) bool {
	return x.Tuple == y.Tuple && x.Proto == y.Proto && x.AF == y.AF && x.Zone == y.Zone &&
		x.MaskSrc == y.MaskSrc && x.MaskPort == y.MaskPort
}

// ExpectEvent is news of an expectation that neither we nor an operation of ours
// caused.
type ExpectEvent struct {
	Gone   bool // used, over, or taken away; else it was made
	Dump   bool // it was there when we asked
	Expect Expect
}

// ExpectOp is what the kernel is asked to do with an expectation: make it, or
// remove it.
type ExpectOp struct {
	Remove bool
	Expect Expect
}

// Expected is an expectation of a State.
type Expected struct {
	Expect
	Expire   int64 // when it ends
	InKernel bool  // our kernel has it, as far as we were told
}

// MaxExpects is how many expectations a State may have.
const MaxExpects = 8

// ExpectPermanent is NF_CT_EXPECT_PERMANENT: it serves more than one connection.
const ExpectPermanent uint32 = 1

// Matches reports whether a connection that begins like this is one of those
// expected.
func (x *Expect) Matches(t *Tuple, proto uint8) bool {
	if x.Proto != proto || x.Tuple.Dst != t.Dst || x.Tuple.DstPort != t.DstPort || (x.Tuple.SrcPort^t.SrcPort)&x.MaskPort != 0 {
		return false
	}
	for i := range t.Src {
		if (x.Tuple.Src[i]^t.Src[i])&x.MaskSrc[i] != 0 {
			return false
		}
	}
	return true
}

// Expects returns what is expected of the connection of s. The slice is the
// table's, good until the next change.
func (t *Table) Expects(s *State) []Expected {
	if len(t.expects) == 0 {
		return nil
	}
	return t.expects[s]
}

// Masters is how many states something is expected of.
func (t *Table) Masters() int { return len(t.expects) }

// SetExpects replaces what is expected of the connection of s; of more than
// MaxExpects the first stay.
func (t *Table) SetExpects(s *State, list []Expected) {
	if len(list) == 0 {
		delete(t.expects, s)
		return
	}
	if t.expects == nil {
		t.expects = map[*State][]Expected{}
	}
	t.expects[s] = list[:min(len(list), MaxExpects)]
}
