package daemon

import (
	"math"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
)

// Packets make no events, so whether a connection lives is only to be seen by
// looking at its entry: its timeout is longer than it was. What ends soon has
// to be looked at often, or a peer would let it expire; an established TCP
// connection has five days.
//
// A small table is read as a whole each time. Of a large one the kernel is
// asked for a part: it walks over an entry that is not asked for in an eighth
// of the time that it takes to tell it (0.25 µs against 2 µs on a machine where
// a create takes 4), and ends what has expired on the way, whatever it is asked
// for.
//
// A look at the whole of a large table is spread over the time until the next
// one, so that the share is kept at any time and not only in the long run; what
// ends soon is looked at meanwhile.

// lookKind is a part of the table with entries that last alike.
type lookKind uint8

const (
	lookWhole  lookKind = iota
	lookBrief           // not ASSURED: handshakes, queries, one-way traffic
	lookStream          // UDP that goes both ways
	lookKinds
)

// looks says for each kind how often it is to be looked at, and how many
// thousandths of one core that may cost; they are a twentieth in all. At a
// quarter of a microsecond for an entry passed over, a million of them may be
// passed over every ten seconds.
var looks = [lookKinds]struct {
	filter conntrack.Filter
	every  time.Duration
	share  int64
}{
	lookWhole:  {conntrack.Filter{}, looksEvery, 15},
	lookBrief:  {conntrack.Filter{StatusMask: pfstate.StatusAssured}, looksEvery, 25},
	lookStream: {conntrack.Filter{Proto: pfstate.ProtoUDP, Status: pfstate.StatusAssured, StatusMask: pfstate.StatusAssured}, 30 * time.Second, 10},
}

// looksEvery is how often what ends soon should be looked at.
const looksEvery = 10 * time.Second

// A look that costs more than half of one at the whole table is not worth it:
// it is left out, but for one among so many of the whole, and most of its share
// is that of the whole.
const (
	leftOut   = 10
	leftShare = 80 // percent
)

// schedule says when to look at what.
type schedule struct {
	last   [lookKinds]int64 // when the last one of a kind began
	cost   [lookKinds]int64 // nanoseconds, of that; 0 not known
	every  [lookKinds]int64 // nanoseconds from one of a kind to the next
	hinted int64            // when to look at the whole table in any case
}

func newSchedule() (s schedule) {
	s.hinted = math.MaxInt64
	s.pace()
	return s
}

// due is the look that comes next, and when.
func (s *schedule) due() (kind lookKind, at int64) {
	whole := min(s.hinted, s.last[lookWhole]+s.every[lookWhole])
	if kind, at = s.dueWithin(); at >= whole {
		return lookWhole, whole
	}
	return kind, at
}

// dueWithin is the look at a part that comes next: what can be done while one
// at the whole table is under way.
func (s *schedule) dueWithin() (kind lookKind, at int64) {
	at = math.MaxInt64
	for k := lookWhole + 1; k < lookKinds; k++ {
		if next := s.last[k] + s.every[k]; next < at {
			kind, at = k, next
		}
	}
	return kind, at
}

// looked notes that a look has ended, when it began and what it cost in
// nanoseconds. One at the whole table is one of every kind, too, unless that
// was looked at since, but for those left out, which are to be tried at times.
func (s *schedule) looked(began int64, kind lookKind, cost int64) {
	s.last[kind], s.cost[kind] = began, cost
	s.pace()
	if kind != lookWhole {
		return
	}
	if s.hinted <= began {
		s.hinted = math.MaxInt64
	}
	for k := range s.last {
		if !s.left(lookKind(k)) {
			s.last[k] = max(s.last[k], began)
		}
	}
}

// left reports whether a kind of look is left out.
func (s *schedule) left(kind lookKind) bool {
	return kind != lookWhole && s.cost[kind]*2 > s.cost[lookWhole]
}

// share is how many thousandths of a core looks at the whole table may cost.
func (s *schedule) share() int64 {
	share := looks[lookWhole].share
	for k := range looks {
		if s.left(lookKind(k)) {
			share += looks[k].share * leftShare / 100
		}
	}
	return share
}

// calm is the pace at which a look at the whole table takes as long as there is
// until the next.
func (s *schedule) calm() pace { return pace(1000 / s.share()) }

// pace finds how often to look at each kind.
func (s *schedule) pace() {
	s.every[lookWhole] = max(int64(looks[lookWhole].every), s.cost[lookWhole]*1000/s.share())
	for k := lookWhole + 1; k < lookKinds; k++ {
		s.every[k] = max(int64(looks[k].every), s.cost[k]*1000/looks[k].share)
		if s.left(k) {
			s.every[k] = s.every[lookWhole] * leftOut
		}
	}
}

// interval is how long an entry that ends soon is not looked at.
func (s *schedule) interval() time.Duration {
	return time.Duration(min(s.every[lookWhole], s.every[lookBrief]))
}

// slowed reports whether that is clearly longer than it should be.
func (s *schedule) slowed() bool {
	const enough = 5 * looksEvery / 4
	return s.interval() > enough
}

// takeoverLook is how long after an address came or went the table is read:
// keepalived moves addresses when the master changes, and what passes here from
// then on is not known to.
const takeoverLook = time.Second

// hint lets the whole table be looked at soon.
func (s *schedule) hint(now int64) {
	s.hinted = min(s.hinted, now+int64(takeoverLook))
}
