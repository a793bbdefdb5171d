package control

// Stats are the counters since the daemon started.
type Stats struct {
	Counters Counters          `json:"counters"`
	In       []Count           `json:"in"`      // messages received per action, in wire order
	Out      []Count           `json:"out"`     // messages sent per action, in wire order
	Reasons  map[string]uint64 `json:"reasons"` // ours, by name; design sections 5 and 6
}

// Count is how often something with a name happened.
type Count struct {
	Name  string `json:"name"`
	Count uint64 `json:"count"`
}

// Counters is struct pfsyncstats, names and order as there
// (pfsync-protocol.md section 17).
type Counters struct {
	IPackets  uint64 `json:"ipackets"`
	IPackets6 uint64 `json:"ipackets6"`
	BadIf     uint64 `json:"badif"`
	BadTTL    uint64 `json:"badttl"`
	HDrops    uint64 `json:"hdrops"`
	BadVer    uint64 `json:"badver"`
	BadAct    uint64 `json:"badact"`
	BadLen    uint64 `json:"badlen"`
	BadAuth   uint64 `json:"badauth"`
	Stale     uint64 `json:"stale"`
	BadVal    uint64 `json:"badval"`
	BadState  uint64 `json:"badstate"`
	OPackets  uint64 `json:"opackets"`
	OPackets6 uint64 `json:"opackets6"`
	ONoMem    uint64 `json:"onomem"`
	OErrors   uint64 `json:"oerrors"`
}
