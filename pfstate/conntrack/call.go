package conntrack

import (
	"bytes"

	"github.com/pfsync/pfsync/pfstate"
)

// A call of PPTP is a GRE connection with two keys, of which each packet has one:
// that of its receiver. The other the kernel finds where its helper has noted it
// (nf_ct_gre_keymap_add), which nothing but a packet of the control connection
// makes it do. To a kernel that has no note a packet's source key is 0
// (gre_pkt_to_tuple), so an entry with both keys, as the kernel that read the
// call has it, is one that no packet meets.
//
// So a call is written as two entries, one for each way, whose original tuple is
// what a packet of that way is without the note. What comes back to an entry is
// only there to say how to translate, and whose half it is:
//
//	the call  orig {C,a → V,b}   reply {S,b → N,d}
//	back      orig {S,0 → N,d}   reply {C,a → V,b}
//	forth     orig {C,0 → V,b}   reply {S,keyForth → N,d}, or {S,b → N,keyForth}
//
// The one back has all there is to know and stands for the call: it is found by
// the call's original tuple, and read as the call. The one forth is never told.
//
// The kernel translates the number of one end only, whose packets the half back
// translates. If the packet that made the call's entry was of the other end, the
// call is written from the other side, as its reverse is.

// keyForth marks the half that is not told.
const keyForth = 0xffff

// isCall reports whether f is to be written as two halves.
func isCall(f *pfstate.Flow) bool {
	return f.Proto == pfstate.ProtoGRE && isKey(f.Orig.SrcPort) && isKey(f.Orig.DstPort) && isKey(f.Reply.SrcPort) && isKey(f.Reply.DstPort) &&
		(f.Reply.SrcPort == f.Orig.DstPort || f.Reply.DstPort == f.Orig.SrcPort)
}

func isKey(k uint16) bool { return k != 0 && k != keyForth }

// asCall is a call from the side from which it is written: that of the end whose
// number is translated, else of the lower number.
func asCall(f *pfstate.Flow) pfstate.Flow {
	a, b := f.Orig.SrcPort, f.Reply.SrcPort
	switch {
	case b != f.Orig.DstPort,
		f.Reply.DstPort == a && (a > b || a == b && bytes.Compare(f.Orig.Src[:], f.Reply.Src[:]) > 0):
		return f.Reversed()
	}
	return *f
}

// backOf is the half that packets of the reply direction meet.
func backOf(f *pfstate.Flow) pfstate.Flow {
	h := asCall(f)
	h = h.Reversed()
	h.Orig.SrcPort = 0
	return h
}

// forthOf is the half that packets of the original direction meet. Nothing but
// these passes by it, so it need not wait for an answer.
func forthOf(f *pfstate.Flow) pfstate.Flow {
	h := asCall(f)
	h.Orig.SrcPort = 0
	if h.Reply.Src == h.Orig.Dst {
		h.Reply.SrcPort = keyForth
	} else {
		h.Reply.DstPort = keyForth // the other is what a translated packet gets
	}
	h.Status |= pfstate.StatusSeenReply | pfstate.StatusAssured
	return h
}

// isHalf reports whether the kernel's f is one: no packet makes such an entry.
func isHalf(f *pfstate.Flow) bool {
	return f.Proto == pfstate.ProtoGRE && f.Status&pfstate.StatusFixedTimeout != 0 &&
		f.Orig.SrcPort == 0 && f.Orig.DstPort != 0 && f.Reply.SrcPort != 0 && f.Reply.DstPort != 0
}

// isForth reports whether the kernel's f is the half that is not told.
func isForth(f *pfstate.Flow) bool {
	return isHalf(f) && (f.Reply.SrcPort == keyForth || f.Reply.DstPort == keyForth)
}

// callOf is the call that the half back stands for.
func callOf(f *pfstate.Flow) pfstate.Flow {
	c := f.Reversed()
	c.Reply.SrcPort = c.Orig.DstPort
	return c
}

// otherHalves makes, makes anew and removes the half forth of the calls among
// ops whose half back was.
func (i *Injector) otherHalves(ops []pfstate.Op, res []pfstate.Result) error {
	for k := range ops {
		f := &ops[k].Flow
		if !isCall(f) || res[k].Code != pfstate.ResultOK {
			continue
		}
		var err error
		switch ops[k].Kind {
		case pfstate.OpCreate:
			err = i.makeForth(f)
		case pfstate.OpDelete:
			err = i.removeForth(f)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// makeForth makes a half forth in place of one that may be there.
func (i *Injector) makeForth(f *pfstate.Flow) error {
	if err := i.removeForth(f); err != nil {
		return err
	}
	h := forthOf(f)
	return i.single(appendCreate(i.start(), i.seq+1, &h))
}

// removeForth removes a half forth by its reply tuple, which is nobody else's.
func (i *Injector) removeForth(f *pfstate.Flow) error {
	h := forthOf(f)
	h = h.Reversed()
	h.CtID = 0
	return i.single(AppendDelete(i.start(), i.seq+1, &h, EitherWay))
}
