package control

import (
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
)

// FilterKind says what a no-sync filter looks at.
type FilterKind string

// Kinds of filters, design section 5.
const (
	FilterLocal FilterKind = "local" // an end of the connection is an address of this host
	FilterMark  FilterKind = "mark"  // V/MASK
	FilterLabel FilterKind = "label" // NAME or number of a connlabel
	FilterZone  FilterKind = "zone"  // N
	FilterProto FilterKind = "proto" // name or number
	FilterAddr  FilterKind = "addr"  // CIDR: either end, either direction
	FilterPort  FilterKind = "port"  // either end, either direction
)

// FilterKinds returns all kinds, in the order of the manual.
func FilterKinds() []FilterKind {
	return []FilterKind{FilterLocal, FilterMark, FilterLabel, FilterZone, FilterProto, FilterAddr, FilterPort}
}

// Filter is one no-sync filter. It compares with ==: values are kept in one
// canonical form.
type Filter struct {
	Kind   FilterKind
	Value  uint32       // mark, zone, proto, port
	Mask   uint32       // mark
	Prefix netip.Prefix // addr
	Label  string       // label: name or number as given
}

// ParseFilter reads one filter as the word nosync takes it: "local",
// "mark 1/0xff", "label dmz", "zone 3", "proto udp", "addr 10.0.0.0/8",
// "port 53".
func ParseFilter(s string) (Filter, error) {
	kind, arg, _ := strings.Cut(strings.TrimSpace(s), " ")
	f := Filter{Kind: FilterKind(kind)}
	arg = strings.TrimSpace(arg)
	if (arg == "") != (f.Kind == FilterLocal) {
		return Filter{}, fmt.Errorf("%w: want local, mark V/MASK, label NAME, zone N, proto P, addr CIDR or port P", ErrInvalid)
	}
	var err error
	switch f.Kind {
	case FilterLocal:
	case FilterMark:
		f.Value, f.Mask, err = ParseMark(arg)
	case FilterLabel:
		f.Label, err = parseLabel(arg)
	case FilterZone:
		f.Value, err = parseUint(arg, 1<<16-1)
	case FilterProto:
		f.Value, err = parseProto(arg)
	case FilterAddr:
		f.Prefix, err = ParsePrefix(arg)
	case FilterPort:
		f.Value, err = parseUint(arg, 1<<16-1)
	default:
		err = fmt.Errorf("%w: want local, mark V/MASK, label NAME, zone N, proto P, addr CIDR or port P", ErrInvalid)
	}
	if err != nil {
		return Filter{}, err
	}
	return f, nil
}

// String is the form that ParseFilter reads.
func (f Filter) String() string {
	switch f.Kind {
	case FilterMark:
		return fmt.Sprintf("mark %#x/%#x", f.Value, f.Mask)
	case FilterLabel:
		return "label " + f.Label
	case FilterProto:
		return "proto " + ProtoName(uint8(f.Value))
	case FilterAddr:
		return "addr " + f.Prefix.String()
	case FilterZone, FilterPort:
		return fmt.Sprintf("%s %d", f.Kind, f.Value)
	}
	return string(f.Kind)
}

// MarshalText and UnmarshalText make a filter travel as its String.
func (f Filter) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText is ParseFilter.
func (f *Filter) UnmarshalText(b []byte) error {
	v, err := ParseFilter(string(b))
	if err == nil {
		*f = v
	}
	return err
}

// ParseMark reads V or V/MASK, each decimal, 0x hexadecimal or 0 octal; without
// a mask all bits count. The value is cut down to the mask.
func ParseMark(s string) (value, mask uint32, err error) {
	v, m, cut := strings.Cut(s, "/")
	if value, err = parseUint(v, 1<<32-1); err != nil {
		return 0, 0, err
	}
	mask = 1<<32 - 1
	if cut {
		if mask, err = parseUint(m, 1<<32-1); err != nil {
			return 0, 0, err
		}
	}
	if value&^mask != 0 {
		return 0, 0, fmt.Errorf("%w: the value has bits outside the mask", ErrInvalid)
	}
	return value, mask, nil
}

// ParsePrefix reads ADDR or ADDR/BITS. Host bits are cut off.
func ParsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%w: not an address or prefix", ErrInvalid)
	}
	return p.Masked(), nil
}

// parseLabel takes what needs no quotes in a start file.
func parseLabel(s string) (string, error) {
	if len(s) > 64 || strings.ContainsFunc(s, notLabel) {
		return "", fmt.Errorf("%w: letters, digits and . _ : - make a label", ErrInvalid)
	}
	return s, nil
}

func notLabel(r rune) bool {
	letter := r|0x20 >= 'a' && r|0x20 <= 'z'
	return !letter && (r < '0' || r > '9') && !strings.ContainsRune("._:-", r)
}

func parseUint(s string, most uint64) (uint32, error) {
	v, err := strconv.ParseUint(s, 0, 64)
	if err != nil {
		return 0, numError(s, err)
	}
	if v > most || bits.Len64(v) > 32 {
		return 0, ErrTooLarge
	}
	return uint32(v), nil
}
