package pfstate

import (
	"fmt"
	"log/slog"
)

// ID names a state: struct pfsync_state id and creatorid. Both are opaque,
// given by the firewall that made the state and kept by all others.
type ID struct {
	ID        uint64
	CreatorID uint32 // 0 is no name
}

// IsZero reports whether id names nothing.
func (id ID) IsZero() bool { return id.CreatorID == 0 }

// Less orders names. Of two names for one connection the lower stays, on every
// firewall (design section 5, identity).
func (id ID) Less(o ID) bool {
	if id.CreatorID != o.CreatorID {
		return id.CreatorID < o.CreatorID
	}
	return id.ID < o.ID
}

func (id ID) String() string { return fmt.Sprintf("%016x/%08x", id.ID, id.CreatorID) }

// LogValue prints the name as pf does.
func (id ID) LogValue() slog.Value { return slog.StringValue(id.String()) }

// Side tells under which of its names a state is meant.
type Side uint8

// A pf firewall has two states for a forwarded connection, one coming in and
// one going out; here they are two names of one State. An alias is a name that
// lost against a lower one and still is to be understood until its maker
// deletes it.
const (
	SideIn Side = iota
	SideOut
	SideAlias
	Sides
)

// Other is the other of in and out.
func (s Side) Other() Side { return s ^ 1 }

// Directions as on the wire (PF_IN, PF_OUT).
const (
	DirIn  uint8 = 1
	DirOut uint8 = 2
)

// Peer is the tracking half of one side of a state (struct pf_state_peer).
type Peer struct {
	SeqLo      uint32
	SeqHi      uint32
	SeqDiff    uint32
	TSMod      uint32
	MaxWin     uint16 // before scaling
	MSS        uint16
	ScrubFlags uint16
	ScrubTTL   uint8
	ScrubValid uint8
	State      uint8 // 0 to 12, pfsync-protocol.md section 7.2
	WScale     uint8 // shift, 0x80 option seen
}

// Flag is a property of a State.
type Flag uint16

// What we know of a state beyond its contents.
const (
	FlagImported  Flag = 1 << iota // came from a peer
	FlagInKernel                   // the kernel has the entry, as far as we were told
	FlagCarried                    // the last evidence of life is ours, not a peer's
	FlagUnclaimed                  // found at start, not yet named
	FlagReversed                   // the kernel's entry runs the other way: its original tuple is our Reply
	FlagDead                       // gone; kept until its delete is sent
	FlagKilled                     // ended before its time: its delete is to be obeyed
	FlagAckWanted                  // a peer waits for INS_ACK
	FlagDeaf                       // may not send events (linux-facts 0.3): follow by dumps; of what is refused: the kernel cannot hold it
	FlagAnnounced                  // has been sent, or came from a peer
	FlagRefused                    // the kernel did not take it
	FlagAckOut                     // with FlagAckWanted, or on its queue: what is waited for is the name of the out side
	FlagDoubted                    // a peer that does not carry it says that it is further than here; of what is refused: its carrier is asked for its time
	FlagRetried                    // the create found the tuple taken, and was tried again
	FlagUnsure                     // carried here for want of anybody else, not for a packet seen
	FlagLiveness                   // queued only to tell that it lives
)

// Deferral is how far a peer has a state whose first packet may be held.
type Deferral uint8

// What is known; none for a state that nothing was held for.
const (
	DeferAsk     Deferral = 1 << iota // its insert asks for an acknowledgement
	DeferKnown                        // a peer has it
	DeferPending                      // made of a held packet: the kernel has not told of it yet
	DeferGivenUp                      // a packet was let go unacknowledged: no other one is held
)

// State is one tracked connection, pf's and the kernel's view in one. It is
// owned by a Table; nobody keeps a pointer to it over a change of the Table.
//
// Times are monotonic nanoseconds of the engine's clock.
type State struct {
	Orig, Reply Tuple
	Zone        [2]uint16

	ids      [Sides]uint64
	creators [Sides]uint32

	Src, Dst Peer // of the sender of the first packet, and of the other

	bucket uint16 // whose sum digest is in
	Source uint8  // 1 + number of the peer that told of it, as the engine counts them and marks it; 0 none

	Created   int64
	Expire    int64 // when it ends unless it lives on
	LastLocal int64 // last news from our kernel
	LastPeer  int64 // last news from a peer, 0 never
	LastOp    int64 // last time an operation that writes the kernel entry was asked or answered

	KernExpire int64 // when our kernel will end it, as far as we know
	SentExpire int64 // Expire when we last told it
	LastSent   int64 // when that was, 0 never

	Mark   uint32
	Status uint32 // IPS_* as the kernel has it or shall have it
	CtID   uint32
	Ext    uint32 // 1 + index of its Extra, 0 none

	idNext    [Sides]uint32
	tupleNext [2]uint32
	links     [linkSets]link

	Flags      Flag
	AF, Proto  uint8
	ProtoState uint8    // conntrack's
	TCPFlags   [2]uint8 // conntrack's
	Timeout    uint8    // PFTM index, pfsync-protocol.md section 7.1
	Queue      uint8    // which sync queue it is on, 0 none
	Op         OpKind   // operation wanted or under way, 0 none
	InFlight   OpKind   // operation handed out, 0 none
	Updates    uint8    // collapsed since queued
	Tries      uint8    // how often a lost one was asked for
	Seen       uint8    // generation of the dump that last told it
	Defer      Deferral // what holding its first packet has come to
	linked     uint8    // indexes it is in
	digest     uint32   // in the sum of its bucket, 0 in none
}

// Name returns the state's name of a side; zero if it has none.
func (s *State) Name(side Side) ID { return ID{s.ids[side], s.creators[side]} }

// Names is how many names it has.
func (s *State) Names() (n int) {
	for side := range Sides {
		if !s.Name(side).IsZero() {
			n++
		}
	}
	return n
}

// Direction is what a Linux-made state is to pf: out if only the source is
// translated, else in (design section 5, direction).
func (s *State) Direction() uint8 {
	f := Flow{Orig: s.Orig, Reply: s.Reply, Proto: s.Proto}
	if src, dst := f.Translated(); src && !dst {
		return DirOut
	}
	return DirIn
}

// MainSide is the side under which a state with one name is named.
func (s *State) MainSide() Side {
	switch {
	case s.creators[SideIn] != 0 && s.creators[SideOut] != 0:
		if s.Direction() == DirOut {
			return SideOut
		}
		return SideIn
	case s.creators[SideOut] != 0:
		return SideOut
	}
	return SideIn
}

// MainName is the name under which the state is sent.
func (s *State) MainName() ID { return s.Name(s.MainSide()) }

// Has reports whether all of f are set.
func (s *State) Has(f Flag) bool { return s.Flags&f == f }

// Carried reports whether a packet has told that the connection passes here,
// and none since that it passes elsewhere.
func (s *State) Carried() bool { return s.Flags&(FlagCarried|FlagUnsure) == FlagCarried }

// Set sets f if on, else clears it.
func (s *State) Set(f Flag, on bool) {
	if on {
		s.Flags |= f
	} else {
		s.Flags &^= f
	}
}

// Extra holds what few states have, kept apart from State so that the others
// do not pay for it.
type Extra struct {
	VTag     [2]uint32
	DCCPSeq  uint64
	DCCPRole uint8
	Has      Has
	Labels   [16]byte
	Helper   [16]byte
	SeqAdj   [2]SeqAdj
	Adjust   bool // the kernel has yet to be told of SeqAdj or Proxy
	Proxy    Synproxy
	Master   Master
	Foreign  [2]Foreign // of the names SideIn and SideOut
}

// Foreign is what a pf told of one of its states: the two that it has of a
// forwarded connection differ in more than their names. What Linux has no use
// for goes back to other pfs as it came; halves and times stand here as that
// state has them, while State has the further of both.
type Foreign struct {
	Set        bool
	Halves     bool // Src, Dst, Timeout and Expire hold: nothing has passed at a Linux since
	Src, Dst   Peer
	SeqDiff    [2]uint32 // which src and dst have for good, 0 before
	Timeout    uint8     // index
	Expire     int64     // when it ends unless it lives on
	IfName     [16]byte
	Rule       uint32
	Anchor     uint32
	RtAddr     [16]byte
	Rt         uint8
	Log        uint8
	MinTTL     uint8
	SetTOS     uint8
	StateFlags uint16
	MaxMSS     uint16
	SetPrio    [2]uint8
	RTableID   [2]int32
	RDomain    [2]uint16
	Version    uint8     // of the frame: the flags are that system's
	RtAF       uint8     // family of RtAddr on the wire, FreeBSD 15
	SyncFlags  uint8     // not FreeBSD 15
	Queues     [4]uint16 // qid, pqid, dnpipe, dnrpipe, FreeBSD 14 and later
	RtIfName   [16]byte  // FreeBSD 14 and later
	OrigIfName [16]byte  // FreeBSD 15
}
