package daemon

import (
	"context"
	"errors"
	"net/netip"

	"github.com/pfsync/pfsync/cmd/internal/control"
	"github.com/pfsync/pfsync/syncproto/engine"
)

// Verify implements control.Backend.
func (d *Daemon) Verify(ctx context.Context, peer netip.Addr) error {
	var err error
	l := d.loop
	derr := l.do(ctx, func() {
		switch {
		case !exchanges(&l.set.conf):
			err = &control.Error{Code: control.CodeNotInSync, Text: "no syncdev to compare over; see the word syncdev"}
		case !l.engineLink().Up:
			err = &control.Error{Code: control.CodeNotInSync, Text: "syncdev " + l.set.conf.SyncDev + " has no link"}
		default:
			err = verifyError(l.eng.Verify(l.now, peer), peer)
		}
	})
	return errors.Join(derr, err)
}

// verifyError says why a verification cannot begin, with the remedy.
func verifyError(err error, peer netip.Addr) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, engine.ErrNoPeer):
		return &control.Error{Code: control.CodeError, Text: "no peer heard, nothing to compare with"}
	case errors.Is(err, engine.ErrUnknownPeer):
		return &control.Error{Code: control.CodeError, Text: peer.String() + ": no such peer heard; see the verb peers"}
	case errors.Is(err, engine.ErrNoDigests):
		return &control.Error{Code: control.CodeError, Text: "frames of version 5 have no digests; set the word version 6 to compare"}
	}
	return &control.Error{Code: control.CodeBusy, Text: err.Error()}
}

// Verified implements control.Backend.
func (d *Daemon) Verified(ctx context.Context) (control.Verification, error) {
	v := control.Verification{Peers: []control.VerifiedPeer{}, Differences: []control.Difference{}}
	l := d.loop
	err := l.do(ctx, func() {
		e := l.eng.Verification()
		v.Number, v.Running, v.More = e.Number, e.Running, e.More
		for i := range e.Peers {
			v.Peers = append(v.Peers, tellVerified(&e.Peers[i]))
		}
		for i := range e.List {
			if !e.Running { // it is long, and asked for again and again
				v.Differences = append(v.Differences, tellDiffering(&e.List[i]))
			}
		}
	})
	return v, err
}

func tellVerified(p *engine.VerifyPeer) control.VerifiedPeer {
	v := control.VerifiedPeer{
		Addr: p.Addr, Outcome: control.VerifyOutcome(p.Outcome.String()), States: p.States,
		Differed: p.Differed, Healed: p.Healed, Unhealed: p.Unhealed, Withheld: p.Withheld,
	}
	if p.Of > 0 {
		v.Percent = p.Buckets * 100 / p.Of
	}
	return v
}

func tellDiffering(d *engine.Differing) control.Difference {
	v := control.Difference{
		Peer: d.Addr, ID: control.HexID64(d.ID.ID), CreatorID: control.HexID(d.ID.CreatorID),
		Kind: d.Kind.String(), Healed: d.Healed, Unhealed: d.Unhealed, Why: d.Why, Detail: d.Detail,
	}
	if d.Known {
		st := fromRecord(&d.Record)
		v.State = &st
	}
	return v
}
