package cli

import (
	"encoding/binary"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/syncproto"
)

// frameFilter chooses messages of a frame. Address, protocol and port are
// those of a state's original direction, so that messages without them (a
// DEL_C names a state and no more) are left out when one of them is asked for.
type frameFilter struct {
	values  map[string]*string
	actions []string

	query  control.StateQuery
	states bool // query chooses something
}

// frameFilters are those of stateFilters that a frame can answer.
var frameFilters = []string{"src", "dst", "proto", "sport", "dport"}

func (o *frameFilter) addFlags(f *pflag.FlagSet) {
	o.values = map[string]*string{}
	for _, s := range stateFilters {
		if slices.Contains(frameFilters, s.name) {
			o.values[s.name] = f.StringP(s.name, s.short, "", s.help)
		}
	}
	f.StringSliceVar(&o.actions, "action", nil, "messages of these `actions` only: "+strings.Join(actionNames(), ", "))
}

// actionNames are the names that --action knows.
func actionNames() []string {
	var names []string
	for a := range syncproto.Action(255) {
		if actionWords[a.String()] != "" {
			names = append(names, a.String())
		}
	}
	return names
}

func (o *frameFilter) parse(f *pflag.FlagSet) error {
	for _, s := range stateFilters {
		v, ok := o.values[s.name]
		if !ok || !f.Changed(s.name) {
			continue
		}
		if err := o.query.Set(s.key, *v); err != nil {
			return usage("--%w", err)
		}
		o.states = true
	}
	for i, name := range o.actions {
		o.actions[i] = strings.ToUpper(name)
		if !slices.Contains(actionNames(), o.actions[i]) {
			return usage("--action %s: want one of %s", name, strings.Join(actionNames(), ", "))
		}
	}
	return nil
}

// reduce returns a frame of those messages that are chosen, the frame itself
// if all are, nil if none is. What cannot be read is shown only when nothing is
// chosen.
func (o *frameFilter) reduce(frame []byte) []byte {
	if !o.states && len(o.actions) == 0 {
		return frame
	}
	var r syncproto.Reader
	if r.Reset(frame) != nil {
		return nil
	}
	out := slices.Clone(frame[:syncproto.HeaderLen])
	for reg, ok := r.Next(); ok; reg, ok = r.Next() {
		out = o.reduceRegion(out, frame, &reg)
	}
	if len(out) == syncproto.HeaderLen {
		return nil
	}
	binary.BigEndian.PutUint16(out[2:], uint16(len(out)))
	return out
}

// reduceRegion appends the region with its chosen messages, if there are any.
func (o *frameFilter) reduceRegion(out, frame []byte, reg *syncproto.Region) []byte {
	if len(o.actions) > 0 && !slices.Contains(o.actions, reg.Action.String()) {
		return out
	}
	head := len(out)
	out = append(out, frame[reg.Offset:reg.Offset+syncproto.SubheaderLen]...)
	count := 0
	for i := range reg.Whole() {
		if m := reg.Message(i); o.match(reg, m) {
			out = append(out, m...)
			count++
		}
	}
	if count == 0 {
		return out[:head]
	}
	binary.BigEndian.PutUint16(out[head+2:], uint16(count))
	return out
}

func (o *frameFilter) match(reg *syncproto.Region, m []byte) bool {
	if !o.states {
		return true
	}
	s, ok := wireState(reg, m)
	return ok && o.query.Match(&s)
}
