package control

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Word is one word of the configuration: its name, whether an argument
// follows, and what it does to a Config. The table of them is the only place
// that knows names and ranges: pfsyncctl parses by it, pfsyncd applies by it,
// help, completion and manual are checked against it.
type Word struct {
	Name  string
	Arg   string // what follows, for people; "" if nothing does
	Range string // what the argument may be, for people
	Help  string
	apply func(c *Config, arg string) error
}

// The words beside the table's that are no setting: they make and end the
// interface.
const (
	WordCreate  = "create"
	WordDestroy = "destroy"
)

var words = []Word{
	{Name: WordCreate, Help: "make the interface", apply: func(*Config, string) error { return nil }},
	{Name: WordDestroy, Help: "remove the interface and end its daemon", apply: func(*Config, string) error { return ErrAlone }},
	{Name: "up", Help: "mark the interface up", apply: func(c *Config, _ string) error { c.Up = true; return nil }},
	{Name: "down", Help: "mark the interface down", apply: func(c *Config, _ string) error { c.Up = false; return nil }},
	{Name: "syncdev", Arg: "IF", Help: "exchange state changes over this interface, and mark pfsync up", apply: setSyncDev},
	{Name: "-syncdev", Help: "exchange nothing", apply: unsetSyncDev},
	{Name: "syncif", Arg: "IF", Help: "same as syncdev", apply: setSyncDev},
	{Name: "-syncif", Help: "same as -syncdev", apply: unsetSyncDev},
	{Name: "syncpeer", Arg: "ADDR", Range: "IPv4, IPv6 or ff12::f0", Help: "send to this address instead of the group 224.0.0.240", apply: setSyncPeer},
	{Name: "-syncpeer", Help: "send to the group", apply: func(c *Config, _ string) error { c.SyncPeer = netip.Addr{}; return nil }},
	number("maxupd", "N", 0, 255, "updates of one state that may be merged into one", func(c *Config) *int { return &c.MaxUpd }),
	number("maxdelay", "MS", 0, 1000, "milliseconds from the first change to the frame", func(c *Config) *int { return &c.MaxDelay }),
	flag("defer", true, "hold the first packet of a connection until a peer has the state", func(c *Config) *bool { return &c.Defer }),
	flag("-defer", false, "hold no packets", func(c *Config) *bool { return &c.Defer }),
	number("deferdelay", "MS", 1, 1000, "milliseconds a packet is held at most", func(c *Config) *int { return &c.DeferDelay }),
	number("deferqueue", "N", 0, 65535, "NFQUEUE number used by defer", func(c *Config) *int { return &c.DeferQueue }),
	{Name: "version", Arg: "N", Range: "6, 1301, 1400 or 1500", Help: "what is sent: 6 OpenBSD and Linux, the others FreeBSD's formats", apply: setVersion},
	number("mtu", "N", 41, 65535, "largest frame, at most the syncdev's", func(c *Config) *int { return &c.MTU }),
	{Name: "description", Arg: "TEXT", Range: "63 bytes", Help: "a remark shown by status", apply: setDescription},
	{Name: "-description", Help: "no remark", apply: func(c *Config, _ string) error { c.Description = ""; return nil }},
	{Name: "nosync", Arg: "FILTER", Range: filterRange, Help: "do not synchronise states that match", apply: setNoSync},
	{Name: "-nosync", Arg: "FILTER", Range: filterRange, Help: "take a filter away", apply: unsetNoSync},
	flag("liberal", true, "accept TCP outside its window while a syncdev is set", func(c *Config) *bool { return &c.Liberal }),
	flag("-liberal", false, "leave nf_conntrack_tcp_be_liberal alone", func(c *Config) *bool { return &c.Liberal }),
	{Name: "hostid", Arg: "HEX", Range: "1 to ffffffff, or random", Help: "creatorid of the states made here", apply: setHostID},
	number("maxstates", "N", 0, 1<<31-1, "states of peers held; 0: as many as nf_conntrack_max", func(c *Config) *int { return &c.MaxStates }),
	number("demotion", "N", 0, 253, "what keepalived is told while a bulk transfer runs", func(c *Config) *int { return &c.Demotion }),
}

const filterRange = "local, mark V/MASK, label NAME, zone N, proto P, addr CIDR or port P"

// Words returns the table, in the order of the manual.
func Words() []Word { return slices.Clone(words) }

// LookupWord finds a word by its name.
func LookupWord(name string) (Word, bool) {
	i := slices.IndexFunc(words, func(w Word) bool { return w.Name == name })
	if i < 0 {
		return Word{}, false
	}
	return words[i], true
}

// WordError says which setting is wrong and why. Its text is ifconfig's:
// "maxupd 256: too large".
type WordError struct {
	Word, Arg string
	Err       error
}

func (e *WordError) Error() string {
	var missing *argumentError
	switch {
	case errors.As(e.Err, &missing):
		return missing.Error()
	case errors.Is(e.Err, errAddress):
		return "error in parsing address string: " + e.Arg + ": " + e.Err.Error()
	}
	if e.Arg == "" {
		return e.Word + ": " + e.Err.Error()
	}
	return e.Word + " " + e.Arg + ": " + e.Err.Error()
}

func (e *WordError) Unwrap() error { return e.Err }

var errAddress = errors.New("not an IPv4 or IPv6 address")

// number makes a word with a decimal argument from least to most.
func number(name, arg string, least, most int, help string, field func(*Config) *int) Word {
	return Word{Name: name, Arg: arg, Range: fmt.Sprintf("%d to %d", least, most), Help: help, apply: func(c *Config, s string) error {
		v, err := ParseNumber(s, least, most)
		if err == nil {
			*field(c) = v
		}
		return err
	}}
}

// ParseNumber reads a decimal number as strtonum(3) does: what is out of range
// is ErrTooSmall or ErrTooLarge, what is no number ErrInvalid.
func ParseNumber(s string, least, most int) (int, error) {
	v, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil:
		return 0, numError(s, err)
	case v < int64(least):
		return 0, ErrTooSmall
	case v > int64(most):
		return 0, ErrTooLarge
	}
	return int(v), nil
}

func numError(s string, err error) error {
	if !errors.Is(err, strconv.ErrRange) {
		return ErrInvalid
	}
	if strings.HasPrefix(s, "-") {
		return ErrTooSmall
	}
	return ErrTooLarge
}

func flag(name string, value bool, help string, field func(*Config) *bool) Word {
	return Word{Name: name, Help: help, apply: func(c *Config, _ string) error {
		*field(c) = value
		return nil
	}}
}

func setSyncDev(c *Config, s string) error {
	if !validIfName(s) || ValidName(s) {
		return fmt.Errorf("%w: not the name of an interface to sync over", ErrInvalid)
	}
	if s == "lo" {
		return fmt.Errorf("%w: no peer is on the loopback interface", ErrInvalid)
	}
	c.SyncDev, c.Up = s, true
	return nil
}

func unsetSyncDev(c *Config, _ string) error {
	c.SyncDev = ""
	return nil
}

// validIfName follows dev_valid_name of net/core/dev.c.
func validIfName(s string) bool {
	return s != "" && len(s) <= 15 && s != "." && s != ".." && !strings.ContainsAny(s, "/: \t\n\v\f\r\x00")
}

// setSyncPeer takes the unspecified address as the group of its family, as
// both BSDs do; any other group would reach nobody.
func setSyncPeer(c *Config, s string) error {
	a, err := netip.ParseAddr(s)
	if err != nil {
		return errAddress
	}
	a = a.Unmap()
	switch {
	case a == Group4, a == netip.IPv4Unspecified():
		a = netip.Addr{}
	case a == netip.IPv6Unspecified():
		a = Group6
	case a.WithZone("") == Group6: // of the syncdev, whatever scope is told
		a = Group6
	case a.IsMulticast():
		return fmt.Errorf("%w: the groups of pfsync are 224.0.0.240 and ff12::f0", ErrInvalid)
	case a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%w: broadcast", ErrInvalid)
	case a.IsLoopback():
		return fmt.Errorf("%w: loopback", ErrInvalid)
	}
	c.SyncPeer = a
	return nil
}

func setVersion(c *Config, s string) error {
	v, err := strconv.Atoi(s)
	if err != nil || !slices.Contains([]int{6, 1301, 1400, 1500}, v) {
		return fmt.Errorf("%w: 6, 1301, 1400 or 1500", ErrInvalid)
	}
	c.Version = v
	return nil
}

// setDescription keeps OpenBSD's limit, IFDESCRSIZE.
func setDescription(c *Config, s string) error {
	if len(s) > 63 {
		return ErrTooLarge
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return fmt.Errorf("%w: characters that do not print", ErrInvalid)
	}
	c.Description = s
	return nil
}

func setNoSync(c *Config, s string) error {
	f, err := ParseFilter(s)
	if err != nil || slices.Contains(c.NoSync, f) {
		return err
	}
	if len(c.NoSync) >= maxFilters {
		return fmt.Errorf("%w: more than %d filters", ErrTooLarge, maxFilters)
	}
	c.NoSync = append(c.NoSync, f)
	return nil
}

// maxFilters bounds what every change of a state is compared with.
const maxFilters = 64

func unsetNoSync(c *Config, s string) error {
	f, err := ParseFilter(s)
	if err != nil {
		return err
	}
	c.NoSync = slices.DeleteFunc(c.NoSync, func(g Filter) bool { return g == f })
	return nil
}

func setHostID(c *Config, s string) error {
	if s == "random" {
		c.HostID = RandomHostID()
		return nil
	}
	v, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 64)
	switch {
	case err != nil:
		return numError(s, err)
	case v == 0:
		return ErrTooSmall
	case v > 1<<32-1:
		return ErrTooLarge
	}
	c.HostID = uint32(v)
	return nil
}

// RandomHostID returns a creatorid nobody has, as far as chance goes. It is
// never 0.
func RandomHostID() uint32 {
	for {
		var b [4]byte
		rand.Read(b[:]) // never fails, crypto/rand
		if id := binary.BigEndian.Uint32(b[:]); id != 0 {
			return id
		}
	}
}
