package control

import (
	"fmt"
	"net/netip"
	"strconv"
	"time"
)

// Protocol is the version of the control protocol, in every answer and in
// every request with a body. It changes when a reader of the old one would
// misunderstand the new one.
const Protocol = 1

// Status is what pfsyncctl prints for an interface, and what tells it the
// configuration in force.
type Status struct {
	Name     string   `json:"name"`
	Up       bool     `json:"up"`      // IFF_UP of the interface
	Running  bool     `json:"running"` // the syncdev is there and has a carrier
	MTU      int      `json:"mtu"`     // in force
	Config   Config   `json:"config"`
	HostID   HexID    `json:"hostid"` // creatorid in force
	Sync     Sync     `json:"sync"`
	Demotion int      `json:"demotion"` // as in the demotion file now
	Peers    []Peer   `json:"peers"`
	Groups   []string `json:"groups"`
	States   Counts   `json:"states"`
	Daemon   Daemon   `json:"daemon"`
}

// Groups returns the interface groups that pfsync belongs to on OpenBSD.
func Groups() []string { return []string{"carp", "pfsync"} }

// SyncState says how this host's table stands to the peers'.
type SyncState string

// States of synchronisation, design section 2.
const (
	SyncOK       SyncState = "ok"
	SyncBulk     SyncState = "bulk"         // a bulk transfer was asked for or runs
	SyncFailed   SyncState = "failed"       // the bulk transfer was given up
	SyncLinkDown SyncState = "link down"    // no carrier, or the syncdev is not there
	SyncAlone    SyncState = "alone"        // nobody to be in sync with
	SyncDiverged SyncState = "diverged"     // changes were lost and are being repaired
	SyncClash    SyncState = "hostid clash" // another host has our creatorid
)

// Done reports whether waiting is over: nothing more will come by itself.
func (s SyncState) Done() bool { return s == SyncOK || s == SyncAlone }

// Sync is the state of synchronisation with what belongs to it.
type Sync struct {
	State   SyncState  `json:"state"`
	Percent int        `json:"percent"`          // of a bulk transfer; -1: not known
	Addr    netip.Addr `json:"addr,omitzero"`    // who has our hostid, or sends the bulk
	Since   time.Time  `json:"since,omitzero"`   // when this state was entered
	Tries   int        `json:"tries,omitempty"`  // bulk requests sent
	Reason  string     `json:"reason,omitempty"` // why, in a few words, where there is more to say
}

// String is the form of the status line.
func (s Sync) String() string {
	switch {
	case s.State == SyncBulk && s.Percent >= 0:
		return fmt.Sprintf("bulk %d%%", s.Percent)
	case s.State == SyncClash && s.Addr.IsValid():
		return "hostid clash with " + s.Addr.String()
	}
	return string(s.State)
}

// Counts are the sizes of the tables.
type Counts struct {
	Total   int `json:"total"`   // states held
	Local   int `json:"local"`   // made here
	Peer    int `json:"peer"`    // made by peers
	Carried int `json:"carried"` // carried here
	Kernel  int `json:"kernel"`  // entries of nf_conntrack
	Max     int `json:"max"`     // nf_conntrack_max
}

// Daemon describes the process that answers.
type Daemon struct {
	PID     int       `json:"pid"`
	Version string    `json:"version"`
	Started time.Time `json:"started"`
	NetNS   uint64    `json:"netns"` // inode of its network namespace
}

// Peer is another firewall heard on the syncdev.
type Peer struct {
	Addr       netip.Addr `json:"addr"`
	Version    int        `json:"version"`          // of the header: 5 or 6
	Format     int        `json:"format,omitempty"` // version 5: 1301, 1400, 1500; 0 = not known yet
	Linux      bool       `json:"linux"`            // sends the Linux region
	Alive      bool       `json:"alive"`            // heard lately enough for its kind
	Heard      float64    `json:"heard"`            // seconds since the last frame
	FirstHeard time.Time  `json:"first_heard"`
	States     int        `json:"states"`     // states held here that it made
	CreatorIDs []HexID    `json:"creatorids"` // seen from this address
	Table      int        `json:"table"`      // size of its table as it says; -1: not known
	Demotion   int        `json:"demotion"`   // as it says; -1: not known
	InSync     bool       `json:"in_sync"`    // it has had its bulk transfer and misses nothing, as it says; a BSD does not
	Frames     uint64     `json:"frames"`     // received from it
	Lost       uint64     `json:"lost"`       // missing frame numbers
	Bulk       PeerBulk   `json:"bulk,omitzero"`
	Mismatch   bool       `json:"mismatch"` // speaks another format than we send
}

// PeerBulk is a transfer to a peer that asked for one, or from it.
type PeerBulk struct {
	Sending   bool `json:"sending"`
	Sent      int  `json:"sent"`                // states so far
	Total     int  `json:"total"`               // states in all
	Receiving bool `json:"receiving,omitempty"` // from it
	Percent   int  `json:"percent,omitempty"`   // of its table received
}

// Wire returns what the word version calls the dialect of the peer: 6, 1301,
// 1400, 1500, or 5 while the format is not known.
func (p Peer) Wire() int {
	if p.Version == 5 && p.Format != 0 {
		return p.Format
	}
	return p.Version
}

// HexID is a creatorid: eight hexadecimal digits in JSON and text.
type HexID uint32

func (h HexID) String() string { return fmt.Sprintf("%08x", uint32(h)) }

// MarshalJSON writes a string.
func (h HexID) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, `"%08x"`, uint32(h)), nil }

// UnmarshalJSON reads what MarshalJSON wrote.
func (h *HexID) UnmarshalJSON(b []byte) error {
	v, err := unmarshalHex(b, 32)
	*h = HexID(v)
	return err
}

// HexID64 is the id of a state: sixteen hexadecimal digits in JSON and text.
type HexID64 uint64

func (h HexID64) String() string { return fmt.Sprintf("%016x", uint64(h)) }

// MarshalJSON writes a string.
func (h HexID64) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, `"%016x"`, uint64(h)), nil }

// UnmarshalJSON reads what MarshalJSON wrote.
func (h *HexID64) UnmarshalJSON(b []byte) error {
	v, err := unmarshalHex(b, 64)
	*h = HexID64(v)
	return err
}

// unmarshalHex reads digits between quotes. A million states are read this way,
// so it takes no detour over a string of JSON.
func unmarshalHex(b []byte, bits int) (uint64, error) {
	if len(b) < 2 || b[0] != '"' || b[len(b)-1] != '"' {
		return 0, fmt.Errorf("%w: not a string of hexadecimal digits", ErrInvalid)
	}
	return strconv.ParseUint(string(b[1:len(b)-1]), 16, bits)
}
