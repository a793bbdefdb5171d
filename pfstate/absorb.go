package pfstate

// Change says what a Flow altered in a State.
type Change uint8

// Changes, combined with or.
const (
	ChangePeers Change = 1 << iota // a half moved on, or a reply was seen
	ChangeMeta                     // what UPD_C cannot carry: mark, labels, helper
	ChangeBack                     // the kernel is at the start of a later connection; nothing was taken over
)

const second = int64(1e9)

// statusKept are the status bits that a State remembers: those ctnetlink lets
// us write.
const statusKept = StatusSeenReply | StatusAssured | StatusConfirmed | StatusFixedTimeout

// StatusLife is what an entry never loses: what the kernel tells without is older
// than what was known with it, or the kernel knows less.
const StatusLife = StatusSeenReply | StatusAssured

// Absorb takes over what the kernel tells of the entry of s, whose tuples are
// those of f, and says what is new. Times are the caller's. A half never moves
// back: the kernel may lag behind a peer's update that is still on its way
// into it.
func (t *Table) Absorb(s *State, f *Flow) Change {
	var c Change
	if s.Proto == ProtoTCP && f.Has&HasProto != 0 {
		c = s.absorbTCP(f)
		if c&ChangeBack != 0 {
			return c
		}
	} else if s.Proto == ProtoSCTP || s.Proto == ProtoDCCP {
		if f.Has&HasProto != 0 && s.ProtoState != f.ProtoState && s.Status&StatusLife&^f.Status == 0 {
			s.ProtoState = f.ProtoState
			c |= ChangeMeta
		}
	}
	if add := f.Status & statusKept &^ s.Status; add != 0 {
		s.Status |= add
		if s.Proto != ProtoTCP {
			c |= ChangePeers
			s.Src.State, s.Dst.State = OtherToPeers(s.Proto, s.Status)
		}
	}
	if s.Mark != f.Mark {
		s.Mark = f.Mark
		c |= ChangeMeta
	}
	s.CtID = f.CtID
	s.Timeout = TimeoutIndex(s.Proto, s.Src.State, s.Dst.State)
	return c | t.absorbExtra(s, f)
}

// absorbTCP takes over the halves, and the options that both ends agreed on.
func (s *State) absorbTCP(f *Flow) Change {
	src, dst := TCPToPeers(f.ProtoState, f.TCPFlags)
	opening := f.ProtoState == TCPSynSent || f.ProtoState == TCPSynRecv || f.ProtoState == TCPSynSent2
	if opening && s.Src.State >= PFEstablished && s.Dst.State >= PFEstablished {
		return ChangeBack
	}
	var c Change
	_, odd := s.OddTCP()
	if src > s.Src.State {
		s.Src.State = src
		c = ChangePeers
	}
	if dst > s.Dst.State {
		s.Dst.State = dst
		c = ChangePeers
	}
	s.ProtoState, _ = TCPFromPeers(s.Src.State, s.Dst.State)
	if f.TCPFlags != [2]uint8{} {
		s.TCPFlags = f.TCPFlags
	}
	for i, p := range [2]*Peer{&s.Src, &s.Dst} {
		if f.TCPFlags[i]&TCPFlagWScale != 0 {
			p.WScale = 0x80 | f.WScale[i]&0x0f
		}
	}
	if _, is := s.OddTCP(); is != odd {
		c |= ChangeMeta
	}
	return c
}

// OddTCP returns the flags of both directions that another kernel has to be
// told, and whether it has to: it takes selective acknowledgements for allowed,
// which nearly every connection agrees on. Nothing is odd before both ends have
// shown their options, nor where the kernel has told none: of an established
// connection it always has some.
func (s *State) OddTCP() (flags [2]uint8, odd bool) {
	if s.Proto != ProtoTCP || s.Dst.State == PFClosed || s.TCPFlags == [2]uint8{} {
		return flags, false
	}
	for i := range flags {
		flags[i] = s.TCPFlags[i] &^ TCPFlagLiberal
	}
	return flags, flags[0]&flags[1]&TCPFlagSackPerm == 0
}

// absorbExtra takes over what few entries have.
func (t *Table) absorbExtra(s *State, f *Flow) Change {
	const rare = HasLabels | HasHelper | HasSeqAdj | HasMaster | HasSynproxy
	has := f.Has & rare
	if has&HasSeqAdj != 0 && f.SeqAdj == [2]SeqAdj{} {
		has &^= HasSeqAdj // the kernel tells zeros of every entry made by ctnetlink
	}
	vtags := f.Has&HasProto != 0 && (s.Proto == ProtoSCTP || s.Proto == ProtoDCCP)
	if has == 0 && !vtags {
		return 0
	}
	old := Extra{}
	if x := t.Extra(s); x != nil {
		old = *x
	}
	x := t.NeedExtra(s)
	x.Has |= has
	if vtags {
		x.VTag, x.DCCPRole, x.DCCPSeq = f.VTag, f.DCCPRole, f.DCCPSeq
	}
	if has&HasLabels != 0 {
		x.Labels = f.Labels
	}
	if has&HasHelper != 0 {
		x.Helper = f.Helper
	}
	if has&HasSeqAdj != 0 {
		x.absorbSeqAdj(&f.SeqAdj, s.Has(FlagImported))
	}
	if has&HasSynproxy != 0 {
		x.Proxy = f.Proxy
	}
	if has&HasMaster != 0 {
		x.Master = f.Master
	}
	if *x != old {
		return ChangeMeta
	}
	return 0
}

// absorbSeqAdj takes over the adjustments of directions that have one. A kernel
// does not take one back; where it has none, or of an imported entry another one
// that is the same for all sequence numbers, ours is on its way into it.
func (x *Extra) absorbSeqAdj(adj *[2]SeqAdj, imported bool) {
	for dir, a := range adj {
		have := &x.SeqAdj[dir]
		behind := imported && *have != (SeqAdj{}) && have.Plain() && a.Plain()
		if a != (SeqAdj{}) && !behind {
			*have = a
		}
	}
}

// FlowOf returns what our kernel shall have of s: the entry to create or to
// update. TCP is made liberal both ways, for this kernel has not seen what
// passed elsewhere (linux-facts 0.5).
func (t *Table) FlowOf(s *State, now int64) Flow {
	f := Flow{
		Orig: s.Orig, Reply: s.Reply, AF: s.AF, Proto: s.Proto, Zone: s.Zone,
		Has:    HasTimeout | HasStatus | HasMark,
		Status: s.Status&statusKept | StatusConfirmed,
		Mark:   s.Mark,
		CtID:   s.CtID,
	}
	f.Timeout = uint32(max(1, (s.Expire-now+second/2)/second))
	if s.Proto == ProtoTCP {
		f.Has |= HasProto
		f.ProtoState = s.ProtoState
		f.WScale = [2]uint8{s.Src.WScale & 0x0f, s.Dst.WScale & 0x0f}
		f.TCPFlags = s.wantTCPFlags()
	}
	t.addExtra(s, &f)
	if s.Has(FlagReversed) {
		return f.Reversed()
	}
	return f
}

func (s *State) wantTCPFlags() (flags [2]uint8) {
	for i, p := range [2]*Peer{&s.Src, &s.Dst} {
		flags[i] = s.TCPFlags[i]&(TCPFlagSackPerm|TCPFlagCloseInit) | TCPFlagLiberal
		if p.WScale&0x80 != 0 {
			flags[i] |= TCPFlagWScale
		}
		if s.TCPFlags == [2]uint8{} {
			flags[i] |= TCPFlagSackPerm // unknown: allowed does no harm
		}
	}
	switch state, closer := TCPFromPeers(s.Src.State, s.Dst.State); {
	case closer >= 0:
		flags[closer] |= TCPFlagCloseInit
	case (state == TCPTimeWait || state == TCPClose) && (flags[0]|flags[1])&TCPFlagCloseInit == 0:
		// Without it a new connection of the same ports would be none to the
		// kernel, which does not look in which direction it is.
		flags[0] |= TCPFlagCloseInit
	}
	return flags
}

func (t *Table) addExtra(s *State, f *Flow) {
	x := t.Extra(s)
	if x == nil {
		return
	}
	f.Has |= x.Has
	f.Labels, f.Helper, f.SeqAdj, f.Proxy, f.Master = x.Labels, x.Helper, x.SeqAdj, x.Proxy, x.Master
	if x.VTag != [2]uint32{} || s.Proto == ProtoDCCP {
		f.Has |= HasProto
		f.ProtoState, f.VTag, f.DCCPRole, f.DCCPSeq = s.ProtoState, x.VTag, x.DCCPRole, x.DCCPSeq
	}
}
