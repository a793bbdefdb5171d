package golden

// The types below are the JSON of a case, see README.md in the archive.

// Case is one capture.
type Case struct {
	Name        string   `json:"name"`
	Dialect     string   `json:"dialect"`
	Set         string   `json:"set"`
	Kind        string   `json:"kind"` // valid, malformed
	Description string   `json:"description"`
	PcapFile    string   `json:"pcap"`
	LinkType    int      `json:"linktype"`
	Packets     []Packet `json:"packets"`

	JSON []byte            `json:"-"` // the file
	Pcap []byte            `json:"-"` // the file
	Text map[string]string `json:"-"` // by section, as in "openbsd tcpdump -nt -v"
}

// Packet is one packet of a capture.
type Packet struct {
	IP       IP                `json:"ip"`
	SHA256   string            `json:"packet_hex_sha256"`
	Header   *Header           `json:"header"`
	Regions  []Region          `json:"regions"`
	Trailing string            `json:"trailing_hex"`
	Expect   map[string]Expect `json:"expect"` // by kernel: openbsd, freebsd, freebsd-12.1

	Data []byte `json:"-"` // the whole IP packet
}

// IP has the fields of the IP header; which are set depends on the version.
type IP struct {
	Version       int    `json:"version"`
	Src           string `json:"src"`
	Dst           string `json:"dst"`
	TTL           int    `json:"ttl"`
	TOS           int    `json:"tos"`
	ID            int    `json:"id"`
	DF            bool   `json:"df"`
	Protocol      int    `json:"protocol"`
	HeaderLength  int    `json:"header_length"`
	TotalLength   int    `json:"total_length"`
	Checksum      int    `json:"checksum"`
	HopLimit      int    `json:"hop_limit"`
	NextHeader    int    `json:"next_header"`
	PayloadLength int    `json:"payload_length"`
}

// HeaderLen returns the length of the IP header in bytes.
func (ip *IP) HeaderLen() int {
	if ip.Version == 6 {
		return 40
	}
	return ip.HeaderLength
}

// Header is the pfsync header.
type Header struct {
	Version int    `json:"version"`
	Pad     int    `json:"_pad"`
	Len     int    `json:"len"`
	PFCksum string `json:"pfcksum"`
}

// Region is one region; Offset counts from the IP header.
type Region struct {
	Offset    int       `json:"offset"`
	Action    int       `json:"action"`
	Name      string    `json:"name"`
	LenDwords int       `json:"len_dwords"`
	Pad       int       `json:"pad"`
	Count     int       `json:"count"`
	Messages  []Message `json:"messages"`
	Raw       string    `json:"raw"`
}

// Message has the fields of all messages. Those that a message has not are
// zero.
type Message struct {
	Offset    int    `json:"offset"`
	Length    int    `json:"length"`
	Raw       string `json:"raw"` // hexadecimal; stands for all fields
	ID        string `json:"id"`
	CreatorID string `json:"creatorid"`
	IfName    string `json:"ifname"`
	IfNameHex string `json:"ifname_hex"` // stands for IfName

	EndTime uint32 `json:"endtime"` // BUS
	Status  uint8  `json:"status"`

	SPI      uint32 `json:"spi"` // TDB
	DstAF    uint8  `json:"dst_af"`
	DstIPVer int    `json:"dst_ip_version"`
	RPL      uint64 `json:"rpl"`
	CurBytes uint64 `json:"cur_bytes"`
	SProto   uint8  `json:"sproto"`
	RDomain  uint16 `json:"rdomain"`

	Src Endpoint `json:"src"` // state and UPD_C
	Dst Endpoint `json:"dst"` // state and UPD_C; TDB: Addr

	Key        Keys      `json:"key"` // state
	Rule       uint32    `json:"rule"`
	Anchor     uint32    `json:"anchor"`
	NATRule    uint32    `json:"nat_rule"`
	Creation   uint32    `json:"creation"`
	Expire     uint32    `json:"expire"`
	Packets    [2]uint64 `json:"packets"`
	Bytes      [2]uint64 `json:"bytes"`
	Direction  uint8     `json:"direction"`
	Log        uint8     `json:"log"`
	Timeout    uint8     `json:"timeout"`
	SyncFlags  uint8     `json:"sync_flags"`
	Updates    uint8     `json:"updates"`
	StateFlags uint16    `json:"state_flags"`
	RTableID   Int32s    `json:"rtableid"`
	MaxMSS     uint16    `json:"max_mss"`
	AF         uint8     `json:"af"`
	Proto      uint8     `json:"proto"`
	Rt         uint8     `json:"rt"`
	MinTTL     uint8     `json:"min_ttl"`
	SetTOS     uint8     `json:"set_tos"`
	SetPrio    [2]uint8  `json:"set_prio"`
	RtAddr     string    `json:"rt_addr"`
	QID        uint16    `json:"qid"`
	PQID       uint16    `json:"pqid"`
	DNPipe     uint16    `json:"dnpipe"`
	DNRPipe    uint16    `json:"dnrpipe"`
	RtIfName   string    `json:"rt_ifname"`
	TagName    string    `json:"tagname"`
	OrigIfName string    `json:"orig_ifname"`
	WireAF     uint8     `json:"wire_af"`
	StackAF    uint8     `json:"stack_af"`
	RtAF       uint8     `json:"rt_af"`
	WireProto  uint8     `json:"wire_proto"`
	StackProto uint8     `json:"stack_proto"`
}

// Keys are the two keys of a state.
type Keys struct {
	Wire  Key `json:"wire"`
	Stack Key `json:"stack"`
}

// Key is one key of a state.
type Key struct {
	Addr      [2]string `json:"addr"`
	Port      [2]uint16 `json:"port"`
	RDomain   uint16    `json:"rdomain"`
	AF        uint8     `json:"af"`
	IPVersion int       `json:"ip_version"` // how the addresses were filled, not on the wire
}

// Peer is one side of a state.
type Peer struct {
	Scrub struct {
		Flags uint16 `json:"pfss_flags"`
		TTL   uint8  `json:"pfss_ttl"`
		Flag  uint8  `json:"scrub_flag"`
		TSMod uint32 `json:"pfss_ts_mod"`
	} `json:"scrub"`
	SeqLo   uint32 `json:"seqlo"`
	SeqHi   uint32 `json:"seqhi"`
	SeqDiff uint32 `json:"seqdiff"`
	MaxWin  uint16 `json:"max_win"`
	MSS     uint16 `json:"mss"`
	State   uint8  `json:"state"`
	WScale  uint8  `json:"wscale"`
}

// Expect is what a receiving kernel does with a packet.
type Expect struct {
	Counters map[string]int `json:"counters"` // by name of struct pfsyncstats, as in pfsyncs_badlen
	IActs    map[string]int `json:"iacts"`    // FreeBSD's input histogram, by action byte
	Stopped  string         `json:"stopped"`  // why parsing ended early
	Events   []Event        `json:"events"`
	Replies  []Reply        `json:"replies"`

	NotApplicable  string `json:"not_applicable"`
	Observed       any    `json:"observed"`
	ObservedReason string `json:"observed_reason"`
}

// Event is what becomes of one message.
type Event struct {
	Kind      string `json:"kind"`
	ID        string `json:"id"`
	CreatorID string `json:"creatorid"`
	Counter   string `json:"counter"`
	Error     string `json:"error"`
	Why       string `json:"why"`
	Note      string `json:"note"`
	IfName    string `json:"ifname"`
	Action    any    `json:"action"`
	Status    any    `json:"status"`
	SPI       any    `json:"spi"`
	Count     any    `json:"count"`
	Index     any    `json:"index"`
	Region    any    `json:"region"`
}

// Reply is what the receiver sends because of a packet.
type Reply struct {
	Action   string           `json:"action"`
	When     string           `json:"when"`
	Note     string           `json:"note"`
	Messages []map[string]any `json:"messages"`
}
