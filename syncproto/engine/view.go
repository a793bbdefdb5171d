package engine

import (
	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

// Record writes the state of r, which must be in use, as a version 6 record
// under its main name, whatever format is sent: what programs show. A state
// without a name has creator 0.
func (e *Engine) Record(now int64, r pfstate.Ref, w *syncproto.State) {
	sent := e.cfg.Format
	e.cfg.Format = syncproto.Format6
	s := e.tab.At(r)
	side := s.MainSide()
	if s.MainName().IsZero() && s.Direction() == pfstate.DirOut {
		side = pfstate.SideOut
	}
	e.toWire(now, s, side, w)
	e.countsToWire(r, w)
	e.cfg.Format = sent
}
