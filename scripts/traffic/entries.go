package main

import (
	"fmt"
	"strconv"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/pfstate/conntrack"
)

// entry is the i-th of a large table: mostly established TCP, of a hundred two
// UDP streams and one query.
func entry(i int) pfstate.Flow {
	f := pfstate.Flow{
		AF: pfstate.AFInet, Proto: pfstate.ProtoTCP, Has: pfstate.HasTimeout | pfstate.HasStatus | pfstate.HasProto,
		Timeout: 432_000, Status: pfstate.StatusSeenReply | pfstate.StatusAssured | pfstate.StatusConfirmed,
		ProtoState: pfstate.TCPEstablished, WScale: [2]uint8{7, 7},
		TCPFlags: [2]uint8{pfstate.TCPFlagWScale | pfstate.TCPFlagSackPerm, pfstate.TCPFlagWScale | pfstate.TCPFlagSackPerm},
		Orig: pfstate.Tuple{
			Src: pfstate.Addr{10, byte(i >> 16), byte(i >> 8), byte(i)}, Dst: pfstate.Addr{198, 51, 100, 1},
			SrcPort: uint16(1024 + i%60_000), DstPort: 443,
		},
	}
	switch i % 100 {
	case 1, 2:
		f.Proto, f.Has, f.Timeout = pfstate.ProtoUDP, pfstate.HasTimeout|pfstate.HasStatus, 3600
	case 3:
		f.Proto, f.Has, f.Timeout = pfstate.ProtoUDP, pfstate.HasTimeout|pfstate.HasStatus, 3600
		f.Status = pfstate.StatusConfirmed
	}
	f.Reply = f.Orig.Inverse(f.Proto)
	return f
}

// entries makes count entries in this namespace.
func entries(count string) error {
	n, err := strconv.Atoi(count)
	if err != nil || n < 1 {
		return errUsage
	}
	inj, err := conntrack.NewInjector()
	if err != nil {
		return err
	}
	defer inj.Close()
	const batch = 256
	ops, res := make([]pfstate.Op, batch), make([]pfstate.Result, batch)
	for from := 0; from < n; from += batch {
		part := min(batch, n-from)
		for k := range part {
			ops[k] = pfstate.Op{Kind: pfstate.OpCreate, Flow: entry(from + k)}
		}
		if _, err := inj.Do(ops[:part], res); err != nil {
			return err
		}
		for k := range part {
			if res[k].Code != pfstate.ResultOK {
				return fmt.Errorf("entry %d: %v", from+k, res[k].Code)
			}
		}
	}
	return nil
}
