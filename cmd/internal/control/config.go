package control

import (
	"net/netip"
	"slices"
)

// Config is all that the words of pfsyncctl set. The zero value is no
// configuration: start from [DefaultConfig].
type Config struct {
	Up          bool       `json:"up"`
	SyncDev     string     `json:"syncdev"`          // "" = none
	SyncPeer    netip.Addr `json:"syncpeer"`         // zero = the group 224.0.0.240
	MaxUpd      int        `json:"maxupd"`           // 0…255 updates of a state merged into one
	MaxDelay    int        `json:"maxdelay"`         // 0…1000 ms from first change to frame
	Defer       bool       `json:"defer"`            // hold first packets
	DeferDelay  int        `json:"deferdelay"`       // 1…1000 ms a packet is held at most
	DeferQueue  int        `json:"deferqueue"`       // 0…65535, NFQUEUE number
	Version     int        `json:"version"`          // 6, 1301, 1400, 1500: what is sent
	MTU         int        `json:"mtu"`              // 0 = the syncdev's
	Description string     `json:"description"`      // "" = none
	NoSync      []Filter   `json:"nosync"`           // states that match one are not synchronised
	Liberal     bool       `json:"liberal"`          // nf_conntrack_tcp_be_liberal while a syncdev is set
	HostID      uint32     `json:"hostid,omitempty"` // 0 = as kept in the state directory
	MaxStates   int        `json:"maxstates"`        // states of peers held; 0 = nf_conntrack_max
	Demotion    int        `json:"demotion"`         // 0…253 while a bulk transfer runs
}

// Defaults of design section 2.
const (
	DefaultMaxUpd     = 128
	DefaultMaxDelay   = 10
	DefaultDeferDelay = 20
	DefaultDeferQueue = 240
	DefaultVersion    = 6
	DefaultDemotion   = 240
)

// Groups that a syncpeer may name: 224.0.0.240 (INADDR_PFSYNC_GROUP) and its
// IPv6 counterpart of FreeBSD 14.
var (
	Group4 = netip.AddrFrom4([4]byte{224, 0, 0, 240})
	Group6 = netip.MustParseAddr("ff12::f0")
)

// DefaultConfig returns the configuration of a fresh interface: down, no
// syncdev.
func DefaultConfig() Config {
	return Config{
		MaxUpd:     DefaultMaxUpd,
		MaxDelay:   DefaultMaxDelay,
		DeferDelay: DefaultDeferDelay,
		DeferQueue: DefaultDeferQueue,
		Version:    DefaultVersion,
		NoSync:     []Filter{{Kind: FilterLocal}},
		Liberal:    true,
		Demotion:   DefaultDemotion,
	}
}

// Clone returns a copy that shares no memory.
func (c Config) Clone() Config {
	c.NoSync = slices.Clone(c.NoSync)
	return c
}

// Equal reports whether both say the same. The order of filters counts for
// nothing.
func (c Config) Equal(o Config) bool {
	if len(c.NoSync) != len(o.NoSync) {
		return false
	}
	for _, f := range c.NoSync {
		if !slices.Contains(o.NoSync, f) {
			return false
		}
	}
	c.NoSync, o.NoSync = nil, nil
	return c.sameScalars(o)
}

func (c Config) sameScalars(o Config) bool {
	return c.Up == o.Up && c.SyncDev == o.SyncDev && c.SyncPeer == o.SyncPeer && c.MaxUpd == o.MaxUpd &&
		c.MaxDelay == o.MaxDelay && c.Defer == o.Defer && c.DeferDelay == o.DeferDelay && c.DeferQueue == o.DeferQueue &&
		c.Version == o.Version && c.MTU == o.MTU && c.Description == o.Description && c.Liberal == o.Liberal &&
		c.HostID == o.HostID && c.MaxStates == o.MaxStates && c.Demotion == o.Demotion
}
