package cli

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/syncproto"
)

// frameFilter chooses messages of a frame. Address, protocol and port are
// those of a state's original direction, so that messages without them (a
// DEL_C names a state and no more) are left out when one of them is asked for.
// Mark and zone are those of the frame's Linux region, 0 where it has none.
type frameFilter struct {
	values  map[string]*string
	actions []string

	query  control.StateQuery
	states bool   // query chooses something
	origin string // as in control.StateQuery, "" for all
	hostID uint32 // what local means; 0: not known
}

// frameFilters are those of stateFilters that a frame can answer.
var frameFilters = []string{"src", "dst", "proto", "sport", "dport", "mark", "zone", "origin"}

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
			return s.usage(*v, err)
		}
		o.states = o.states || s.name != "origin"
	}
	o.origin, o.query.Origin = o.query.Origin, ""
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
// chosen. from is who sent the frame.
func (o *frameFilter) reduce(frame []byte, from netip.Addr) []byte {
	if !o.states && len(o.actions) == 0 && o.origin == "" {
		return frame
	}
	var r syncproto.Reader
	if r.Reset(frame) != nil {
		return nil
	}
	all := o.origin == "" || o.origin == from.String()
	extras := o.extras(frame)
	out := slices.Clone(frame[:syncproto.HeaderLen])
	for reg, ok := r.Next(); ok; reg, ok = r.Next() {
		out = o.reduceRegion(out, frame, &reg, all, extras)
	}
	if len(out) == syncproto.HeaderLen {
		return nil
	}
	binary.BigEndian.PutUint16(out[2:], uint16(len(out)))
	return out
}

// reduceRegion appends the region with its chosen messages, if there are any.
// all: messages of any creator.
func (o *frameFilter) reduceRegion(out, frame []byte, reg *syncproto.Region, all bool, extras map[syncproto.ID]extra) []byte {
	if len(o.actions) > 0 && !slices.Contains(o.actions, reg.Action.String()) {
		return out
	}
	head := len(out)
	out = append(out, frame[reg.Offset:reg.Offset+syncproto.SubheaderLen]...)
	count := 0
	for i := range reg.Whole() {
		if m := reg.Message(i); (all || o.matchCreator(reg, m)) && o.matchState(reg, m, extras) {
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

func (o *frameFilter) matchState(reg *syncproto.Region, m []byte, extras map[syncproto.ID]extra) bool {
	if !o.states {
		return true
	}
	s, ok := wireState(reg, m)
	if !ok {
		return false
	}
	x := extras[syncproto.ID{ID: uint64(s.ID), CreatorID: uint32(s.CreatorID)}]
	s.Mark, s.Zone = x.mark, x.zone
	return o.query.Match(&s)
}

// matchCreator looks at the creatorid that the message carries.
func (o *frameFilter) matchCreator(reg *syncproto.Region, m []byte) bool {
	id, ok := creatorOf(reg, m)
	switch {
	case !ok:
		return false
	case o.origin == control.OriginLocal:
		return id == o.hostID
	case o.origin == control.OriginPeer:
		return id != o.hostID
	}
	return o.origin == control.HexID(id).String()
}
