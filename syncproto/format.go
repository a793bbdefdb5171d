package syncproto

// Versions, the first byte of a frame.
const (
	Version5 = 5 // FreeBSD
	Version6 = 6 // OpenBSD, and ours by default
)

// Format is a layout of the state record (pfsync-protocol.md section 6).
type Format uint8

// Formats of the state record. FreeBSD's are named after the release that
// brought them, as in its ifconfig word version.
const (
	Format6    Format = iota // OpenBSD, struct pfsync_state of pfvar.h
	Format1301               // FreeBSD 9 to 13, struct pfsync_state_1301
	Format1400               // FreeBSD 14, struct pfsync_state_1400
	Format1500               // FreeBSD 15, struct pfsync_state_1500
	Formats                  // number of formats
)

// Lengths of a state record, bytes.
const (
	StateLen6    = 264
	StateLen1301 = 242
	StateLen1400 = 277
	StateLen1500 = 360
)

var formats = [Formats]struct {
	name    string
	version uint8
	length  int
}{
	Format6:    {"6", Version6, StateLen6},
	Format1301: {"1301", Version5, StateLen1301},
	Format1400: {"1400", Version5, StateLen1400},
	Format1500: {"1500", Version5, StateLen1500},
}

// Version returns the version byte of frames that carry the format.
func (f Format) Version() uint8 {
	if f < Formats {
		return formats[f].version
	}
	return 0
}

// StateLen returns the length of a record in bytes, 0 for an unknown format.
func (f Format) StateLen() int {
	if f < Formats {
		return formats[f].length
	}
	return 0
}

// TimeoutLimit returns the first timeout index that a receiver refuses:
// OpenBSD has 20, FreeBSD since 14 another five for SCTP. FreeBSD 13 and
// earlier refuse from 20 on too; what they send is below that.
func (f Format) TimeoutLimit() uint8 {
	if f == Format6 {
		return 20
	}
	return 25
}

// String returns "6", "1301", "1400" or "1500".
func (f Format) String() string {
	if f < Formats {
		return formats[f].name
	}
	return "unknown"
}
