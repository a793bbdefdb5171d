package control

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
)

// StateQuery chooses states. The zero value chooses all; fields are joined by
// and. Addresses and ports are those of the original direction, as with
// conntrack -L.
type StateQuery struct {
	Src, Dst     netip.Prefix
	Proto        *uint8
	SPort, DPort *uint16
	Mark         *MarkMatch
	Zone         *uint16
	Origin       string // "", OriginLocal, OriginPeer, a peer's address, a creatorid
	Direction    uint8  // 0: both
}

// MarkMatch is a value under a mask.
type MarkMatch struct{ Value, Mask uint32 }

// queryKeys reads one parameter of a query each.
var queryKeys = map[string]func(*StateQuery, string) error{
	"src":    func(q *StateQuery, s string) (err error) { q.Src, err = ParsePrefix(s); return err },
	"dst":    func(q *StateQuery, s string) (err error) { q.Dst, err = ParsePrefix(s); return err },
	"proto":  func(q *StateQuery, s string) error { p, err := ParseProto(s); q.Proto = &p; return err },
	"sport":  func(q *StateQuery, s string) (err error) { q.SPort, err = queryUint16(s); return err },
	"dport":  func(q *StateQuery, s string) (err error) { q.DPort, err = queryUint16(s); return err },
	"zone":   func(q *StateQuery, s string) (err error) { q.Zone, err = queryUint16(s); return err },
	"mark":   queryMark,
	"origin": queryOrigin,
	"dir":    queryDirection,
}

// Set takes one parameter: src, dst, proto, sport, dport, mark, zone, origin,
// dir.
func (q *StateQuery) Set(key, value string) error {
	set, ok := queryKeys[key]
	if !ok {
		return fmt.Errorf("%s: %w", key, ErrNoSuchWord)
	}
	if err := set(q, value); err != nil {
		return fmt.Errorf("%s %s: %w", key, value, err)
	}
	return nil
}

// ParseStateQuery reads the parameters of a request. An unknown or repeated
// one is an error.
func ParseStateQuery(v url.Values) (StateQuery, error) {
	var q StateQuery
	for key, values := range v {
		if len(values) != 1 {
			return StateQuery{}, fmt.Errorf("%s: given more than once: %w", key, ErrInvalid)
		}
		if err := q.Set(key, values[0]); err != nil {
			return StateQuery{}, err
		}
	}
	return q, nil
}

// Values is the inverse of ParseStateQuery.
func (q StateQuery) Values() url.Values {
	v := url.Values{}
	if q.Src.IsValid() {
		v.Set("src", q.Src.String())
	}
	if q.Dst.IsValid() {
		v.Set("dst", q.Dst.String())
	}
	if q.Proto != nil {
		v.Set("proto", strconv.Itoa(int(*q.Proto)))
	}
	for key, p := range map[string]*uint16{"sport": q.SPort, "dport": q.DPort, "zone": q.Zone} {
		if p != nil {
			v.Set(key, strconv.Itoa(int(*p)))
		}
	}
	if q.Mark != nil {
		v.Set("mark", fmt.Sprintf("%#x/%#x", q.Mark.Value, q.Mark.Mask))
	}
	if q.Origin != "" {
		v.Set("origin", q.Origin)
	}
	if q.Direction != 0 {
		v.Set("dir", map[uint8]string{DirIn: "in", DirOut: "out"}[q.Direction])
	}
	return v
}

// Match reports whether s is chosen.
func (q *StateQuery) Match(s *State) bool {
	orig, _ := s.Tuples()
	return within(q.Src, orig[0].Addr) && within(q.Dst, orig[1].Addr) &&
		(q.Proto == nil || *q.Proto == s.Proto) &&
		(q.SPort == nil || *q.SPort == orig[0].Port) &&
		(q.DPort == nil || *q.DPort == orig[1].Port) &&
		(q.Zone == nil || *q.Zone == s.Zone) &&
		(q.Mark == nil || s.Mark&q.Mark.Mask == q.Mark.Value) &&
		(q.Direction == 0 || q.Direction == s.Direction) &&
		q.matchOrigin(s)
}

func (q *StateQuery) matchOrigin(s *State) bool {
	switch q.Origin {
	case "":
		return true
	case OriginLocal, OriginPeer:
		return s.Origin == q.Origin
	}
	return q.Origin == s.From || q.Origin == s.CreatorID.String()
}

func within(p netip.Prefix, a netip.Addr) bool { return !p.IsValid() || p.Contains(a) }

func queryUint16(s string) (*uint16, error) {
	n, err := ParseNumber(s, 0, 1<<16-1)
	v := uint16(n)
	return &v, err
}

func queryMark(q *StateQuery, s string) error {
	v, m, err := ParseMark(s)
	q.Mark = &MarkMatch{v, m}
	return err
}

// queryOrigin brings addresses and creatorids into the form that states carry.
func queryOrigin(q *StateQuery, s string) error {
	if s == OriginLocal || s == OriginPeer {
		q.Origin = s
		return nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		q.Origin = a.Unmap().String()
		return nil
	}
	id, err := strconv.ParseUint(s, 16, 32)
	if err != nil {
		return fmt.Errorf("%w: local, peer, an address or a creatorid", ErrInvalid)
	}
	q.Origin = HexID(id).String()
	return nil
}

func queryDirection(q *StateQuery, s string) error {
	switch s {
	case "in":
		q.Direction = DirIn
	case "out":
		q.Direction = DirOut
	default:
		return fmt.Errorf("%w: in or out", ErrInvalid)
	}
	return nil
}
