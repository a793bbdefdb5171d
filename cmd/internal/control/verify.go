package control

import "net/netip"

// Verification is how far the comparison of the table with those of peers is,
// and what it has found.
type Verification struct {
	Number      uint32         `json:"number"`  // of the one asked for last; 0: none yet
	Running     bool           `json:"running"` // more will come
	Peers       []VerifiedPeer `json:"peers"`
	Differences []Difference   `json:"differences"` // of the finished one; empty while it runs
	More        int            `json:"more"`        // that differed and are not listed
}

// VerifyOutcome says what has become of the verification of a peer.
type VerifyOutcome string

// Outcomes of a verification.
const (
	VerifyWaiting VerifyOutcome = "waiting"
	VerifyRunning VerifyOutcome = "running"
	VerifyDone    VerifyOutcome = "done"
	VerifyBSD     VerifyOutcome = "bsd"    // a pf has no digests
	VerifyOld     VerifyOutcome = "old"    // a Linux peer without them
	VerifySilent  VerifyOutcome = "silent" // not heard
	VerifyMute    VerifyOutcome = "mute"   // heard, but does not answer
	VerifyBroken  VerifyOutcome = "broken" // it, or this host, began anew meanwhile
)

// VerifiedPeer is the verification of one peer.
type VerifiedPeer struct {
	Addr     netip.Addr    `json:"addr"`
	Outcome  VerifyOutcome `json:"outcome"`
	States   int           `json:"states"`   // in the larger of the two tables
	Percent  int           `json:"percent"`  // of them compared
	Differed int           `json:"differed"` // states that did
	Healed   int           `json:"healed"`   // of them
	Unhealed int           `json:"unhealed"` // of them, what could not be
	Withheld int           `json:"withheld"` // of those, what a nosync filter keeps out here
}

// Difference is one state that differed.
type Difference struct {
	Peer      netip.Addr `json:"peer"`
	ID        HexID64    `json:"id"`
	CreatorID HexID      `json:"creatorid"`
	Kind      string     `json:"kind"` // missing here, missing there, contents …
	Healed    bool       `json:"healed"`
	Unhealed  bool       `json:"unhealed"`         // and it will not be; neither: not yet
	Why       string     `json:"why,omitempty"`    // counter that tells why it is not taken here
	Detail    string     `json:"detail,omitempty"` // what differs in it
	State     *State     `json:"state,omitempty"`  // as it was here, or as the peer told it
}

// verifyRequest is the body of POST /verify.
type verifyRequest struct {
	Version int        `json:"version"`
	Peer    netip.Addr `json:"peer,omitzero"` // all Linux peers without
}

func (r *verifyRequest) protocol() int { return r.Version }
