package control

import (
	"net/netip"
	"time"
)

// Record is one frame on its way, as monitor shows it.
type Record struct {
	Time time.Time  `json:"time"`
	Dir  string     `json:"dir"`            // RecordIn, RecordOut
	Src  netip.Addr `json:"src"`            // of the packet
	Dst  netip.Addr `json:"dst"`            // of the packet
	TTL  uint8      `json:"ttl"`            // hop limit if IPv6
	TOS  uint8      `json:"tos"`            // traffic class if IPv6
	IPID uint16     `json:"ipid"`           // IPv4 identification; 0 where not known
	DF   bool       `json:"df"`             // IPv4 don't fragment
	Data []byte     `json:"data"`           // from the pfsync header on
	Lost uint64     `json:"lost,omitempty"` // frames this client was too slow for, since the last record
}

// Directions of a frame.
const (
	RecordIn  = "in"
	RecordOut = "out"
)
