// Package syncproto is pfsync on the wire: the header, the region subheader
// and every message of the two dialects alive, as values with Append and
// Parse functions; a [Reader] that walks the regions of a received frame by
// the rules of the BSD kernels; a [Builder] that makes frames.
//
// It does no I/O, keeps no state between frames and allocates nothing: the
// machine that gives messages a meaning is syncproto/engine, captures are
// read by syncproto/capture.
//
// A frame is an IP packet of protocol 240 from behind its IP header. Version 6
// is spoken by OpenBSD, version 5 by FreeBSD with state records of three
// [Format]s. Action numbers mean different things in the two versions, so
// that here an [Action] always has its version 6 number and the pair of
// Action and Format says what version 5 writes as a number of its own.
//
// Values are in host order; they are what the wire says, not what it ought to
// say, so that parsing and appending again gives the same bytes. Whether a
// receiver takes the values is told by [State.CheckIns], [State.CheckUpd] and
// [UpdC.Check].
//
//	var r syncproto.Reader
//	if err := r.Reset(frame); err != nil {
//		return err // ErrShort, ErrVersion, ErrLength
//	}
//	for reg, ok := r.Next(); ok; reg, ok = r.Next() {
//		if reg.Skip || reg.Action != syncproto.ActDelC {
//			continue
//		}
//		for i := range reg.Count {
//			var id syncproto.ID
//			syncproto.ParseID(reg.Message(i), &id)
//		}
//	}
//	return r.Err() // nil, ErrAction, ErrLength
//
// Spec: pfsync-protocol.md sections 2 to 9 and 16; if_pfsync.h and pfvar.h of
// OpenBSD and FreeBSD.
package syncproto
