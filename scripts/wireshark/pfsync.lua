-- pfsync for Wireshark and tshark, 4.0 and later.
--
-- Decodes IP protocol 240 over IPv4 and IPv6: version 6 of OpenBSD with the
-- region that Linux senders add, and version 5 of FreeBSD with its state
-- records 1301, 1400 and 1500. What a receiver would refuse is marked as
-- expert information named after the receiver's counter, as in pfsync.badlen.
--
-- Install it for one user, then restart Wireshark (or Ctrl+Shift+L):
--
--	mkdir -p ~/.local/lib/wireshark/plugins
--	cp pfsync.lua ~/.local/lib/wireshark/plugins/
--
-- or use it once: tshark -X lua_script:pfsync.lua -i eth1 -V ip proto 240
--
-- Some filters:
--
--	pfsync and _ws.expert                     something is wrong or noteworthy
--	pfsync.badlen or pfsync.badval            a receiver drops (part of) this
--	pfsync.addr == 10.0.0.0/8                 any address of any state; addr6 for IPv6
--	pfsync.key.stack.port == 443              one key only
--	pfsync.id == 0x654e873400001d61           all about one state
--	pfsync.action.name == "DEL_C"             by name, the same in all versions but
--	pfsync.action.name contains "INS_1"       for version 5's INS and UPD
--	pfsync.src.state == 4 and pfsync.timeout == 2
--	pfsync.linux.frame > 1000                 of the region that Linux adds
--
-- A capture made on the pfsync0 of a BSD has link type 246, which Wireshark 4.0
-- cannot open. Give a copy of the file a user link type, 147, and say what is
-- inside:
--
--	printf '\223' | dd of=copy.pcap bs=1 seek=20 conv=notrunc
--	tshark -X lua_script:pfsync.lua -r copy.pcap \
--		-o 'uat:user_dlts:"User 0 (DLT=147)","pfsync","0","","0",""'
--
-- A file with the bytes a1 b2 c3 d4 first is big-endian: seek=23. In Wireshark
-- the option is Preferences, Protocols, DLT_USER. pfsync0 on Linux shows whole
-- IP packets and needs none of this.

local pfsync = Proto("pfsync", "Packet Filter State Table Synchronisation Protocol")

local HEADER, SUBHEADER = 20, 4
local REGION_MAX5 = 2048 -- FreeBSD: a region must fit one mbuf cluster
local IPV4 = 2
local TCP, UDP, ICMP, ICMP6, SCTP = 6, 17, 1, 58, 132

-- Names

local TIMEOUT = {
	[0] = "tcp.first", "tcp.opening", "tcp.established", "tcp.closing", "tcp.finwait", "tcp.closed",
	"udp.first", "udp.single", "udp.multiple", "icmp.first", "icmp.error",
	"other.first", "other.single", "other.multiple", "frag", "interval",
	"adaptive.start", "adaptive.end", "src.track", "tsdiff",
	"sctp.first", "sctp.opening", "sctp.established", "sctp.closing", "sctp.closed",
}
local DIRECTION = { [0] = "in-out", "in", "out" }
local BUS_STATUS = { [1] = "start", [2] = "end" }
local PEER_TCP = {
	[0] = "CLOSED", "LISTEN", "SYN_SENT", "SYN_RCVD", "ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT_1",
	"CLOSING", "LAST_ACK", "FIN_WAIT_2", "TIME_WAIT", "PROXY:SRC", "PROXY:DST",
}
local PEER_OTHER = { [0] = "NO_TRAFFIC", "SINGLE", "MULTIPLE" }
local PROTOCOL = { [TCP] = "tcp", [UDP] = "udp", [ICMP] = "icmp", [ICMP6] = "icmp6", [SCTP] = "sctp", [47] = "gre" }
local ROUTE6 = { [0] = "none", "route-to", "dup-to", "reply-to" }
local ROUTE5 = { [0] = "none", "fastroute", "route-to", "dup-to", "reply-to" }
local STATE_FLAGS = {
	{ 0x0001, "allow-opts" }, { 0x0002, "sloppy" }, { 0x0004, "pflow" }, { 0x0008, "no-sync" },
	{ 0x0010, "ack" }, { 0x0020, "no-df" }, { 0x0040, "set-tos" }, { 0x0080, "random-id" },
	{ 0x0100, "scrub-tcp" }, { 0x0200, "set-prio" }, { 0x0400, "inp-unlinked" },
	{ 0x4000, "dummynet-pipe" }, { 0x8000, "dummynet-queue" },
}

-- Of the kernel: enum tcp_conntrack, sctp_conntrack, ct_dccp_states, ip_conntrack_status.
local CT_TCP = {
	[0] = "NONE", "SYN_SENT", "SYN_RECV", "ESTABLISHED", "FIN_WAIT", "CLOSE_WAIT", "LAST_ACK",
	"TIME_WAIT", "CLOSE", "SYN_SENT2",
}
local CT_SCTP = {
	[0] = "NONE", "CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED", "SHUTDOWN_SENT",
	"SHUTDOWN_RECD", "SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT",
}
local CT_DCCP = {
	[0] = "NONE", "REQUEST", "RESPOND", "PARTOPEN", "OPEN", "CLOSEREQ", "CLOSING", "TIMEWAIT",
	"IGNORE", "INVALID",
}
local CT_STATUS = {
	{ 0x0001, "expected" }, { 0x0002, "seen-reply" }, { 0x0004, "assured" }, { 0x0008, "confirmed" },
	{ 0x0010, "src-nat" }, { 0x0020, "dst-nat" }, { 0x0040, "seq-adjust" }, { 0x0080, "src-nat-done" },
	{ 0x0100, "dst-nat-done" }, { 0x0200, "dying" }, { 0x0400, "fixed-timeout" }, { 0x0800, "template" },
	{ 0x1000, "nat-clash" }, { 0x2000, "helper" }, { 0x4000, "offload" }, { 0x8000, "hw-offload" },
}
local TLV_NAME = {
	[0] = "end", "mark", "zone", "labels", "helper", "sctp", "gre", "code", "tcp", "seqadj", "status",
	"killed", "carried", "timeout", "dccp", "expect", "pair", "master", "unsure", "synproxy",
	[64] = "want-frames", [65] = "digest", [66] = "want-buckets", [67] = "frames-again",
	[68] = "want-digests", [69] = "bucket", [70] = "look", [71] = "looked", [72] = "lack",
}

-- Fields

local F = {} -- by name without "pfsync."
local TEXT, BITS = {}, {} -- fields that are zero padded text; that are sets of bits, with their names

local function field(kind, name, title, ...)
	F[name] = ProtoField[kind]("pfsync." .. name, title, ...)
end

local function text_field(name, title)
	field("string", name, title)
	TEXT[name] = true
end

-- numbers declares decimal fields of one kind from pairs of name and title.
local function numbers(kind, list)
	for _, f in ipairs(list) do
		field(kind, f[1], f[2], base.DEC, f[3])
	end
end

numbers("uint8", { { "version", "Version" }, { "action", "Action" }, { "msglen", "Message length / 4" } })
numbers("uint16", { { "len", "Length" }, { "count", "Count" } })
field("uint8", "pad", "Pad", base.HEX)
field("bytes", "pfcksum", "Ruleset checksum")
field("none", "region", "Region")
field("string", "action.name", "Action name")
field("uint8", "region.pad", "Pad", base.HEX)
field("none", "message", "Message")
field("bytes", "data", "Data")
field("uint64", "id", "ID", base.HEX)
field("uint32", "creatorid", "Creator ID", base.HEX)
text_field("ifname", "Interface")
numbers("uint8", { { "timeout", "Timeout", TIMEOUT } })
numbers("uint32", { { "expire", "Expires in (seconds)" } })

numbers("uint32", { { "bus.endtime", "End time (seconds)" } })
numbers("uint8", { { "bus.status", "Status", BUS_STATUS } })

field("uint32", "tdb.spi", "SPI", base.HEX)
numbers("uint8", { { "tdb.af", "Family" }, { "tdb.sproto", "Protocol", { [50] = "ESP", [51] = "AH" } },
	{ "tdb.updates", "Updates" } })
field("ipv4", "tdb.dst", "Destination")
field("ipv6", "tdb.dst6", "Destination")
numbers("uint64", { { "tdb.rpl", "Replay counter" }, { "tdb.cur_bytes", "Current bytes" } })
numbers("uint16", { { "tdb.rdomain", "Routing domain" } })

field("ipv4", "addr", "Any address")
field("ipv6", "addr6", "Any address")
numbers("uint16", { { "port", "Any port" } })
for name, title in pairs({ wire = "Wire", stack = "Stack" }) do
	local k = "key." .. name
	field("none", k, title .. " key")
	field("ipv4", k .. ".addr", "Address")
	field("ipv6", k .. ".addr6", "Address")
	field("bytes", k .. ".addr_raw", "Address of unknown family")
	numbers("uint16", { { k .. ".port", "Port" }, { k .. ".rdomain", "Routing domain" } })
	numbers("uint8", { { k .. ".af", "Family" } })
end
for name, title in pairs({ src = "Source", dst = "Destination" }) do
	local p = name .. "."
	field("none", name, title .. " peer")
	field("uint16", p .. "scrub.flags", "Scrub flags", base.HEX)
	numbers("uint8", { { p .. "scrub.ttl", "Scrub TTL" }, { p .. "scrub.valid", "Scrub valid" }, { p .. "state", "State" } })
	numbers("uint32", { { p .. "scrub.tsmod", "Timestamp modulator" }, { p .. "seqlo", "Highest sequence sent" },
		{ p .. "seqhi", "Highest acknowledged plus window" }, { p .. "seqdiff", "Sequence modulator" } })
	numbers("uint16", { { p .. "max_win", "Largest window" }, { p .. "mss", "MSS" } })
	field("uint8", p .. "wscale", "Window scale", base.HEX)
end

field("bytes", "state.rt_addr", "Route address")
numbers("uint32", { { "state.rule", "Rule" }, { "state.anchor", "Anchor" }, { "state.nat_rule", "NAT rule" },
	{ "state.creation", "Age (seconds)" } })
numbers("uint64", { { "state.packets", "Packets" }, { "state.bytes", "Bytes" } })
numbers("int32", { { "state.rtableid", "Routing table" } })
numbers("uint8", { { "state.af", "Family" }, { "state.proto", "Protocol" }, { "state.direction", "Direction", DIRECTION },
	{ "state.rt", "Route option" }, { "state.updates", "Updates" }, { "state.min_ttl", "Minimum TTL" },
	{ "state.set_prio", "Priority" }, { "state.stack_af", "Stack family" }, { "state.stack_proto", "Stack protocol" },
	{ "state.rt_af", "Route family" } })
for name, title in pairs({ log = "Log", sync_flags = "Sync flags", set_tos = "Type of service" }) do
	field("uint8", "state." .. name, title, base.HEX)
end
field("uint16", "state.flags", "Flags", base.HEX)
BITS["state.flags"] = STATE_FLAGS
numbers("uint16", { { "state.max_mss", "Largest MSS" }, { "state.qid", "Queue" }, { "state.pqid", "Priority queue" },
	{ "state.dnpipe", "Dummynet pipe" }, { "state.dnrpipe", "Dummynet reply pipe" } })
text_field("state.tag", "Tag")
text_field("state.rt_ifname", "Route interface")
text_field("state.orig_ifname", "Original interface")

for name, title in pairs({ magic = "Magic", epoch = "Epoch", creatorid = "Sender's creator ID", mark = "Mark",
	status = "Conntrack status", peer = "For the peer" }) do
	field("uint32", "linux." .. name, title, base.HEX)
end
field("uint8", "linux.flags", "Flags", base.HEX)
field("bool", "linux.flags.carried", "Sender carries the traffic", 8, nil, 0x01)
field("bool", "linux.flags.insync", "Sender is in sync", 8, nil, 0x02)
field("bool", "linux.flags.sending", "Sender is in a bulk transfer", 8, nil, 0x04)
field("bool", "linux.flags.digests", "Sender answers digests", 8, nil, 0x08)
field("bool", "linux.flags.naming", "Sender has not told all yet", 8, nil, 0x10)
numbers("uint8", { { "linux.layout", "Layout" }, { "linux.demotion", "Demotion" },
	{ "linux.tlv.type", "Type", TLV_NAME }, { "linux.tlv.len", "Length" }, { "linux.icmp.code", "ICMP code" },
	{ "linux.tcp.state", "TCP state", CT_TCP }, { "linux.sctp.state", "SCTP state", CT_SCTP },
	{ "linux.dccp.state", "DCCP state", CT_DCCP }, { "linux.dccp.role", "DCCP role" },
	{ "linux.again.forgotten", "Forgotten" },
	{ "linux.found.how", "How", { "gone", "changed", "new" } } })
numbers("uint16", { { "linux.zone.orig", "Zone of orig" }, { "linux.zone.reply", "Zone of reply" },
	{ "linux.gre.orig", "GRE key of orig" }, { "linux.gre.reply", "GRE key of reply" },
	{ "linux.buckets", "Buckets in all" }, { "linux.digest.first", "First bucket" }, { "linux.want.bucket", "Bucket" },
	{ "linux.want.count", "Buckets wanted" }, { "linux.bucket", "Bucket" }, { "linux.bucket.total", "States in it" },
	{ "linux.bucket.first", "Place of the first" } })
numbers("uint32", { { "linux.frame", "Frame" }, { "linux.table_size", "Table size" },
	{ "linux.timeout", "Seconds left" }, { "linux.want.first", "First frame" }, { "linux.want.last", "Last frame" },
	{ "linux.again.first", "First frame" }, { "linux.again.last", "Last frame" }, { "linux.look", "Number of the look" },
	{ "linux.found.total", "States found other" } })
numbers("uint32", { { "linux.synproxy.isn", "Sequence number of the proxy" }, { "linux.synproxy.its", "Timestamp of the proxy" },
	{ "linux.synproxy.tsoff", "Offset of timestamps" } })
numbers("uint64", { { "linux.dccp.seq", "Handshake sequence number" } })
for _, dir in ipairs({ "orig", "reply" }) do
	field("uint8", "linux.tcp.flags." .. dir, "TCP flags of " .. dir, base.HEX)
	field("uint32", "linux.sctp.vtag." .. dir, "Verification tag of " .. dir, base.HEX)
	local p = "linux.seqadj." .. dir .. "."
	numbers("uint32", { { p .. "pos", "Position of " .. dir } })
	numbers("int32", { { p .. "before", "Shift before" }, { p .. "after", "Shift after" } })
end
for name, title in pairs({ want = "Epoch", again = "Epoch" }) do
	field("uint32", "linux." .. name .. ".epoch", title, base.HEX)
end
field("uint64", "linux.digest", "Digest", base.HEX)
for name, title in pairs({ item = "State", found = "State found", lack = "State lacking" }) do
	field("uint64", "linux." .. name .. ".id", title .. ", id", base.HEX)
	field("uint32", "linux." .. name .. ".creatorid", title .. ", creator ID", base.HEX)
end
field("uint32", "linux.item.digest", "Digest", base.HEX)
field("uint8", "linux.item.flags", "Flags", base.HEX)
field("uint64", "linux.pair.id", "ID of the other half", base.HEX)
field("uint32", "linux.pair.creatorid", "Creator ID of the other half", base.HEX)
field("bytes", "linux.pair.addr", "Address")
numbers("uint16", { { "linux.pair.port", "Port" } })
field("bytes", "linux.labels", "Labels")
field("bytes", "linux.expect", "Expectation")
field("bytes", "linux.master", "Master connection")
field("bytes", "linux.value", "Value")
field("none", "linux.tlv", "TLV")
field("none", "linux.killed", "Killed, not expired")
field("none", "linux.carried", "Sender carries the traffic of this state")
field("none", "linux.unsure", "Sender has seen no packet of this state since its start")
text_field("linux.helper", "Helper")
BITS["linux.status"] = CT_STATUS

local list = {}
for _, f in pairs(F) do
	list[#list + 1] = f
end
pfsync.fields = list

-- Expert information

local X = {
	hdrops = { "Frame shorter than its header", "MALFORMED", "ERROR" },
	badver = { "Unknown version", "MALFORMED", "ERROR" },
	badlen = { "Bad length", "MALFORMED", "ERROR" },
	badact = { "Bad action", "MALFORMED", "ERROR" },
	badval = { "Bad value", "MALFORMED", "ERROR" },
	badttl = { "TTL is not 255", "PROTOCOL", "ERROR" },
	badtlv = { "Bad value in the Linux region", "MALFORMED", "ERROR" },
	short = { "Messages shorter than the action needs", "MALFORMED", "WARN" },
	skipped = { "Stepped over by receivers", "UNDECODED", "NOTE" },
	trailing = { "Bytes behind the end", "UNDECODED", "NOTE" },
	cut = { "Cut off by the capture", "UNDECODED", "WARN" },
}
list = {}
for name, x in pairs(X) do
	x.info = ProtoExpert.new("pfsync." .. name, x[1], expert.group[x[2]], expert.severity[x[3]])
	list[#list + 1] = x.info
end
pfsync.experts = list

-- mark adds expert information to an item. What comes behind the point where
-- a receiver drops the rest of the frame is shown but not judged.
local function mark(ctx, item, name, text)
	if ctx.dropped then
		return
	end
	item:add_proto_expert_info(X[name].info, text and X[name][1] .. ": " .. text or X[name][1])
	if not ctx.marks[name] then
		ctx.marks[name] = true
		ctx.marks[#ctx.marks + 1] = name
	end
end

-- Values

-- text returns what is before the first zero of a range, escaped.
local function text(range)
	local s = range:raw()
	local zero = s:find("\0", 1, true)
	s = zero and s:sub(1, zero - 1) or s
	return (s:gsub("[^\32-\126]", function(c)
		return string.format("\\x%02x", c:byte())
	end))
end

-- bits returns the names of the bits that are set in v.
local function bits(v, names)
	local set = {}
	for _, n in ipairs(names) do
		if math.floor(v / n[1]) % 2 == 1 then
			set[#set + 1] = n[2]
		end
	end
	return table.concat(set, ", ")
end

-- put adds one field.
local function put(tree, name, range)
	if TEXT[name] then
		return tree:add(F[name], range, text(range))
	end
	local item = tree:add(F[name], range)
	if BITS[name] and range:uint() > 0 then
		item:append_text(" (" .. bits(range:uint(), BITS[name]) .. ")")
	end
	return item
end

-- A layout is a list of {offset, length, name of the field}. put_all adds its
-- fields, their names behind a prefix, and returns the items by name.
local function put_all(tree, range, layout, prefix)
	local items = {}
	for _, f in ipairs(layout) do
		items[f[3]] = put(tree, (prefix or "") .. f[3], range(f[1], f[2]))
	end
	return items
end

-- hidden adds a field to be found by filters, not seen.
local function hidden(tree, name, range)
	tree:add(F[name], range):set_hidden(true)
end

local function id_text(range)
	return range:bytes():tohex(true)
end

local function name_of(names, v)
	return names[v] or tostring(v)
end

-- State records

local PEER = {
	{ 0, 2, "scrub.flags" }, { 2, 1, "scrub.ttl" }, { 3, 1, "scrub.valid" }, { 4, 4, "scrub.tsmod" },
	{ 8, 4, "seqlo" }, { 12, 4, "seqhi" }, { 16, 4, "seqdiff" }, { 20, 2, "max_win" }, { 22, 2, "mss" },
	{ 24, 1, "state" }, { 25, 1, "wscale" },
}
local PEER_STATE, PEER_STATE_MAX = 24, 12

-- What is behind the keys and peers in all records.
local AFTER_PEERS = {
	{ 0, 16, "state.rt_addr" }, { 16, 4, "state.rule" }, { 20, 4, "state.anchor" }, { 24, 4, "state.nat_rule" },
	{ 28, 4, "state.creation" }, { 32, 4, "expire" }, { 36, 8, "state.packets" }, { 44, 8, "state.packets" },
	{ 52, 8, "state.bytes" }, { 60, 8, "state.bytes" }, { 68, 4, "creatorid" },
}

-- Records: length, length of a key, number of IPv6, first timeout index that
-- is refused, where the fields are that say how to read the others.
local RECORD6 = {
	name = "6", size = 264, key = 40, ipv6 = 24, timeouts = 20, routes = ROUTE6,
	af = 250, proto = 251, direction = 252, rt = 254, timeout = 255,
	tail = {
		{ 240, 4, "state.rtableid" }, { 244, 4, "state.rtableid" }, { 248, 2, "state.max_mss" }, { 250, 1, "state.af" },
		{ 251, 1, "state.proto" }, { 252, 1, "state.direction" }, { 253, 1, "state.log" }, { 254, 1, "state.rt" },
		{ 255, 1, "timeout" }, { 256, 1, "state.sync_flags" }, { 257, 1, "state.updates" }, { 258, 1, "state.min_ttl" },
		{ 259, 1, "state.set_tos" }, { 260, 2, "state.flags" }, { 262, 1, "state.set_prio" }, { 263, 1, "state.set_prio" },
	},
}
local RECORD1301 = {
	name = "1301", size = 242, key = 36, ipv6 = 28, timeouts = 25, routes = ROUTE5,
	af = 232, proto = 233, direction = 234, timeout = 239,
	tail = {
		{ 232, 1, "state.af" }, { 233, 1, "state.proto" }, { 234, 1, "state.direction" }, { 237, 1, "state.log" },
		{ 238, 1, "state.flags" }, { 239, 1, "timeout" }, { 240, 1, "state.sync_flags" }, { 241, 1, "state.updates" },
	},
}
local RECORD1400 = {
	name = "1400", size = 277, key = 36, ipv6 = 28, timeouts = 25, routes = ROUTE5,
	af = 232, proto = 233, direction = 234, rt = 260, timeout = 239,
	tail = {
		{ 232, 1, "state.af" }, { 233, 1, "state.proto" }, { 234, 1, "state.direction" }, { 235, 2, "state.flags" },
		{ 237, 1, "state.log" }, { 239, 1, "timeout" }, { 240, 1, "state.sync_flags" }, { 241, 1, "state.updates" },
		{ 242, 2, "state.qid" }, { 244, 2, "state.pqid" }, { 246, 2, "state.dnpipe" }, { 248, 2, "state.dnrpipe" },
		{ 250, 4, "state.rtableid" }, { 254, 1, "state.min_ttl" }, { 255, 1, "state.set_tos" }, { 256, 2, "state.max_mss" },
		{ 258, 1, "state.set_prio" }, { 259, 1, "state.set_prio" }, { 260, 1, "state.rt" }, { 261, 16, "state.rt_ifname" },
	},
}
local RECORD1500 = {
	name = "1500", size = 360, key = 36, ipv6 = 28, timeouts = 25, routes = ROUTE5,
	af = 344, stack_af = 345, proto = 347, direction = 351, rt = 352, timeout = 350,
	tail = {
		{ 232, 64, "state.tag" }, { 296, 16, "state.rt_ifname" }, { 312, 16, "state.orig_ifname" },
		{ 328, 4, "state.rtableid" }, { 332, 2, "state.flags" }, { 334, 2, "state.qid" }, { 336, 2, "state.pqid" },
		{ 338, 2, "state.dnpipe" }, { 340, 2, "state.dnrpipe" }, { 342, 2, "state.max_mss" }, { 344, 1, "state.af" },
		{ 345, 1, "state.stack_af" }, { 346, 1, "state.rt_af" }, { 347, 1, "state.proto" }, { 348, 1, "state.stack_proto" },
		{ 349, 1, "state.log" }, { 350, 1, "timeout" }, { 351, 1, "state.direction" }, { 352, 1, "state.rt" },
		{ 353, 1, "state.min_ttl" }, { 354, 1, "state.set_tos" }, { 355, 1, "state.set_prio" }, { 356, 1, "state.set_prio" },
	},
}

-- peer_state returns the name of a peer's state for a protocol.
local function peer_state(proto, v)
	if proto == TCP then
		return name_of(PEER_TCP, v)
	elseif proto == ICMP or proto == ICMP6 or proto == SCTP then
		return tostring(v)
	end
	return name_of(PEER_OTHER, v)
end

-- put_peer adds one peer; proto is nil where the message does not tell it.
local function put_peer(tree, name, range, proto)
	local t = tree:add(F[name], range)
	local items = put_all(t, range, PEER, name .. ".")
	local v = range(PEER_STATE, 1):uint()
	local s = proto and peer_state(proto, v) or v <= PEER_STATE_MAX and PEER_TCP[v] .. " if TCP" or tostring(v)
	items.state:append_text(" (" .. s .. ")")
	t:append_text(", " .. s)
	local scale = range(25, 1):uint()
	if scale >= 0x80 then
		items.wscale:append_text(string.format(" (option seen, shift %d)", scale % 16))
	end
end

-- endpoint adds an address and its port to a key and returns their text.
local function endpoint(tree, name, addr, port, af, ipv6)
	local item, host
	if af == IPV4 then
		item = tree:add(F[name .. ".addr"], addr(0, 4))
		hidden(tree, "addr", addr(0, 4))
		host = tostring(addr(0, 4):ipv4())
	elseif af == ipv6 then
		item = tree:add(F[name .. ".addr6"], addr)
		hidden(tree, "addr6", addr)
		host = "[" .. tostring(addr:ipv6()) .. "]"
	else
		item = tree:add(F[name .. ".addr_raw"], addr)
		host = "?"
	end
	hidden(tree, "port", port)
	return item, tree:add(F[name .. ".port"], port), host .. ":" .. port:uint()
end

-- put_key adds one key. src is the index of the source of the first packet. It
-- returns "source -> destination".
local function put_key(tree, name, range, rec, af, src)
	local k = "key." .. name
	local t = tree:add(F[k], range)
	local ends = {}
	for i = 0, 1 do
		local a, p, s = endpoint(t, k, range(16 * i, 16), range(32 + 2 * i, 2), af, rec.ipv6)
		local role = string.format(" [%d], %s", i, i == src and "source" or "destination")
		a:append_text(role)
		p:append_text(role)
		ends[i] = s
	end
	if rec == RECORD6 then
		put(t, k .. ".rdomain", range(36, 2))
		put(t, k .. ".af", range(38, 1))
	end
	local s = ends[src] .. " -> " .. ends[1 - src]
	t:append_text(", " .. s)
	return s
end

-- families returns those of the wire and the stack key.
local function families(range, rec)
	local af = range(rec.af, 1):uint()
	if rec.stack_af then
		return af, range(rec.stack_af, 1):uint()
	elseif rec ~= RECORD6 then
		return af, af
	end
	local wire, stack = range(24 + 38, 1):uint(), range(64 + 38, 1):uint()
	if wire == 0 and stack == 0 then
		return af, af
	end
	return wire, stack
end

-- put_keys adds both keys. Index 0 is the source of a state in, 1 of a state
-- out; translation between families swaps the indexes of the translated key.
-- It returns the ends of the untranslated key.
local function put_keys(tree, range, rec)
	local out = range(rec.direction, 1):uint() == 2
	local wire_af, stack_af = families(range, rec)
	local src = out and 1 or 0
	local translated = wire_af == stack_af and src or 1 - src
	local wire = put_key(tree, "wire", range(24, rec.key), rec, wire_af, out and translated or src)
	local stack = put_key(tree, "stack", range(24 + rec.key, rec.key), rec, stack_af, out and src or translated)
	return out and stack or wire
end

-- bad_peers says what a receiver of INS, UPD and UPD_C dislikes, if anything.
local function bad_peers(timeout, limit, src, dst)
	if timeout >= limit then
		return "timeout index " .. timeout
	elseif src > PEER_STATE_MAX or dst > PEER_STATE_MAX then
		return string.format("peer states %d:%d", src, dst)
	end
end

-- bad_insert says what a receiver of INS dislikes beyond that.
local function bad_insert(range, rec)
	local function known(af)
		return af == IPV4 or af == rec.ipv6
	end
	local direction, af = range(rec.direction, 1):uint(), range(rec.af, 1):uint()
	local wire, stack = families(range, rec)
	if direction > 2 then
		return "direction " .. direction
	elseif not known(af) then
		return "family " .. af
	elseif rec == RECORD6 and not (known(wire) and known(stack)) then
		return string.format("families of the keys %d, %d", wire, stack)
	end
end

-- Messages: each function adds the fields of one message and returns a text
-- for its item and the Info column. They may rely on range having the length
-- that the action needs.

local function state(ctx, tree, range, act)
	local rec = act.record
	local peers = 24 + 2 * rec.key
	local function byte(at)
		return range(at, 1):uint()
	end
	local proto = byte(rec.proto)
	put(tree, "id", range(0, 8))
	put(tree, "ifname", range(8, 16))
	local ends = put_keys(tree, range, rec)
	put_peer(tree, "src", range(peers, 32), proto)
	put_peer(tree, "dst", range(peers + 32, 32), proto)
	put_all(tree, range(peers + 64, 72), AFTER_PEERS)
	local items = put_all(tree, range, rec.tail)
	items["state.proto"]:append_text(" (" .. name_of(PROTOCOL, proto) .. ")")
	if rec.rt then
		items["state.rt"]:append_text(" (" .. name_of(rec.routes, byte(rec.rt)) .. ")")
	end
	local bad = act.judge and (bad_peers(byte(rec.timeout), rec.timeouts, byte(peers + PEER_STATE), byte(peers + 32 + PEER_STATE))
		or act.judge == "INS" and bad_insert(range, rec))
	if bad then
		mark(ctx, tree, "badval", bad)
	end
	return name_of(PROTOCOL, proto) .. " " .. ends
end

local function clr(_, tree, range)
	put(tree, "ifname", range(0, 16))
	put(tree, "creatorid", range(16, 4))
	local name = text(range(0, 16))
	return "states of " .. id_text(range(16, 4)) .. (name ~= "" and " on " .. name or "")
end

local function id(_, tree, range, act)
	put(tree, "id", range(0, 8))
	put(tree, "creatorid", range(8, 4))
	local s = id_text(range(0, 8)) .. "/" .. id_text(range(8, 4))
	if act.name == "UPD_REQ" and not s:find("[^0/]") then
		return "bulk transfer"
	end
	return s
end

local UPD_C = { { 72, 4, "creatorid" }, { 76, 4, "expire" }, { 80, 1, "timeout" } }

local function upd_c(ctx, tree, range, act)
	put(tree, "id", range(0, 8))
	put_peer(tree, "src", range(8, 32))
	put_peer(tree, "dst", range(40, 32))
	put_all(tree, range, UPD_C)
	local bad = bad_peers(range(80, 1):uint(), act.timeouts, range(8 + PEER_STATE, 1):uint(), range(40 + PEER_STATE, 1):uint())
	if bad then
		mark(ctx, tree, "badval", bad)
	end
	return id_text(range(0, 8)) .. "/" .. id_text(range(72, 4))
end

local BUS = { { 0, 4, "creatorid" }, { 4, 4, "bus.endtime" }, { 8, 1, "bus.status" } }

local function bus(_, tree, range)
	put_all(tree, range, BUS)
	return name_of(BUS_STATUS, range(8, 1):uint())
end

local TDB6 = { { 32, 8, "tdb.rpl" }, { 40, 8, "tdb.cur_bytes" }, { 48, 1, "tdb.sproto" }, { 49, 1, "tdb.updates" },
	{ 50, 2, "tdb.rdomain" } }
local TDB5 = { { 32, 4, "tdb.rpl" }, { 36, 8, "tdb.cur_bytes" }, { 44, 1, "tdb.sproto" }, { 45, 1, "tdb.updates" } }

local function tdb(_, tree, range, act)
	put(tree, "tdb.spi", range(0, 4))
	put(tree, "tdb.af", range(5, 1))
	local af = range(5, 1):uint()
	if af == IPV4 then
		put(tree, "tdb.dst", range(8, 4))
	elseif af == 24 or af == 28 then
		put(tree, "tdb.dst6", range(12, 16))
	end
	put_all(tree, range, act.layout)
	return "spi 0x" .. id_text(range(0, 4))
end

-- The region of Linux

local MAGIC = 0x4c706673
local FRAME_INFO = { { 0, 4, "magic" }, { 4, 1, "layout" }, { 5, 1, "flags" }, { 6, 1, "demotion" }, { 8, 4, "epoch" },
	{ 12, 4, "frame" }, { 16, 4, "table_size" }, { 20, 4, "creatorid" } }

-- Values of TLVs: all have need bytes laid out so; an item is repeated behind
-- them to the end; rest is a field for all bytes.
local FRAMES = { { 0, 4, "want.epoch" }, { 4, 4, "want.first" }, { 8, 4, "want.last" } }
local TLV = {
	[1] = { need = 4, layout = { { 0, 4, "mark" } } },
	[2] = { need = 4, layout = { { 0, 2, "zone.orig" }, { 2, 2, "zone.reply" } } },
	[3] = { need = 16, layout = { { 0, 16, "labels" } } },
	[4] = { need = 1, rest = "helper" },
	[5] = { need = 12, layout = { { 0, 1, "sctp.state" }, { 4, 4, "sctp.vtag.orig" }, { 8, 4, "sctp.vtag.reply" } } },
	[6] = { need = 8, layout = { { 0, 2, "gre.orig" }, { 2, 2, "gre.orig" }, { 4, 2, "gre.reply" }, { 6, 2, "gre.reply" } } },
	[7] = { need = 1, layout = { { 0, 1, "icmp.code" } } },
	[8] = { need = 4, layout = { { 0, 1, "tcp.state" }, { 1, 1, "tcp.flags.orig" }, { 2, 1, "tcp.flags.reply" } } },
	[9] = { need = 24, layout = { { 0, 4, "seqadj.orig.pos" }, { 4, 4, "seqadj.orig.before" }, { 8, 4, "seqadj.orig.after" },
		{ 12, 4, "seqadj.reply.pos" }, { 16, 4, "seqadj.reply.before" }, { 20, 4, "seqadj.reply.after" } } },
	[10] = { need = 4, layout = { { 0, 4, "status" } } },
	[11] = { need = 0, flag = "killed" },
	[12] = { need = 0, flag = "carried" },
	[13] = { need = 4, layout = { { 0, 4, "timeout" } } },
	[14] = { need = 12, layout = { { 0, 1, "dccp.state" }, { 1, 1, "dccp.role" }, { 4, 8, "dccp.seq" } } },
	[15] = { need = 1, rest = "expect" },
	[16] = { need = 30, layout = { { 0, 8, "pair.id" }, { 8, 4, "pair.creatorid" }, { 12, 16, "pair.addr" }, { 28, 2, "pair.port" } } },
	[17] = { need = 16, rest = "master" },
	[18] = { need = 0, flag = "unsure" },
	[19] = { need = 12, layout = { { 0, 4, "synproxy.isn" }, { 4, 4, "synproxy.its" }, { 8, 4, "synproxy.tsoff" } } },
	[64] = { need = 0, item = FRAMES, size = 12 },
	[65] = { need = 4, layout = { { 0, 2, "buckets" }, { 2, 2, "digest.first" } }, item = { { 0, 8, "digest" } }, size = 8 },
	[66] = { need = 2, layout = { { 0, 2, "buckets" } }, item = { { 0, 2, "want.bucket" } }, size = 2 },
	[67] = { need = 13, layout = { { 0, 4, "again.epoch" }, { 4, 4, "again.first" }, { 8, 4, "again.last" },
		{ 12, 1, "again.forgotten" } } },
	[68] = { need = 6, layout = { { 0, 2, "buckets" }, { 2, 2, "digest.first" }, { 4, 2, "want.count" } } },
	[69] = { need = 8, layout = { { 0, 2, "buckets" }, { 2, 2, "bucket" }, { 4, 2, "bucket.total" }, { 6, 2, "bucket.first" } },
		item = { { 0, 8, "item.id" }, { 8, 4, "item.creatorid" }, { 12, 4, "item.digest" }, { 16, 1, "item.flags" } }, size = 17 },
	[70] = { need = 4, layout = { { 0, 4, "look" } } },
	[71] = { need = 8, layout = { { 0, 4, "look" }, { 4, 4, "found.total" } },
		item = { { 0, 8, "found.id" }, { 8, 4, "found.creatorid" }, { 12, 1, "found.how" } }, size = 13 },
	[72] = { need = 0, item = { { 0, 8, "lack.id" }, { 8, 4, "lack.creatorid" } }, size = 12 },
}

-- put_value adds the value of a TLV, n bytes; value is nil if it is empty.
local function put_value(ctx, tree, t, header, value, n)
	local spec = TLV[t]
	if not spec then
		if value then
			tree:add(F["linux.value"], value)
		end
		return
	elseif n < spec.need then
		mark(ctx, tree, "badtlv", string.format("%d of %d bytes", n, spec.need))
		return
	end
	if spec.flag then
		tree:add(F["linux." .. spec.flag], header)
	end
	if not value then
		return
	end
	put_all(tree, value, spec.layout or {}, "linux.")
	if spec.rest then
		put(tree, "linux." .. spec.rest, value)
	end
	for at = spec.need, spec.item and n - spec.size or -1, spec.size or 1 do
		put_all(tree, value(at, spec.size), spec.item, "linux.")
	end
end

-- put_tlvs adds the TLVs of an Extra from byte at on and returns their names.
local function put_tlvs(ctx, tree, range, at)
	local names = {}
	while range:len() - at >= 2 and range(at, 1):uint() ~= 0 do
		local t, n = range(at, 1):uint(), range(at + 1, 1):uint()
		local name = TLV_NAME[t] or "type " .. t
		local room = range:len() - at - 2
		local item = tree:add(F["linux.tlv"], range(at, 2 + math.min(n, room)))
		item:append_text(" " .. name)
		put(item, "linux.tlv.type", range(at, 1))
		put(item, "linux.tlv.len", range(at + 1, 1))
		if n > room then
			mark(ctx, item, "badtlv", name .. " runs over its message")
			break
		end
		put_value(ctx, item, t, range(at, 2), n > 0 and range(at + 2, n) or nil, n)
		names[#names + 1] = name
		at = at + 2 + n
	end
	return table.concat(names, " ")
end

local function frame_info(ctx, tree, range)
	if range(0, 4):uint() ~= MAGIC then
		put(tree, "linux.magic", range(0, 4))
		mark(ctx, tree, "skipped", "magic of somebody else")
		return nil
	end
	local items = put_all(tree, range, FRAME_INFO, "linux.")
	for _, name in ipairs({ "carried", "insync", "sending", "digests", "naming" }) do
		items.flags:add(F["linux.flags." .. name], range(5, 1))
	end
	return "frame " .. range(12, 4):uint()
end

-- extra adds a message behind the first: about a state, or with id 0 control.
local function extra(ctx, tree, range)
	local about = id_text(range(0, 8))
	if about:find("[^0]") then
		put(tree, "id", range(0, 8))
		put(tree, "creatorid", range(8, 4))
		about = about .. "/" .. id_text(range(8, 4))
	else
		put(tree, "linux.peer", range(8, 4))
		about = "control"
	end
	return about .. " " .. put_tlvs(ctx, tree, range, 12)
end

-- linux adds a message of the region; false ends it, which is not ours then.
local function linux(ctx, tree, range, _, index)
	if index > 0 then
		return extra(ctx, tree, range)
	end
	return frame_info(ctx, tree, range) or false
end

-- Actions

-- message makes an action with messages of size bytes.
local function message(name, size, dissect, more)
	local act = more or {}
	act.name, act.size, act.dissect = name, size, dissect
	return act
end

-- record makes an action with state records; judge says whose values a
-- receiver checks.
local function record(name, rec, judge)
	return message(name, rec.size, state, { record = rec, judge = judge })
end

-- LINUX is the action that only version 6 of Linux has.
local LINUX = 0xf0

-- What a receiver steps over is retired.
local ACTIONS6 = {
	[0] = message("CLR", 20, clr), { name = "OINS", retired = true },
	message("INS_ACK", 12, id), { name = "OUPD", retired = true },
	message("UPD_C", 84, upd_c, { timeouts = RECORD6.timeouts }), message("UPD_REQ", 12, id), record("DEL", RECORD6),
	message("DEL_C", 12, id), { name = "INS_F", retired = true },
	{ name = "DEL_F", retired = true }, message("BUS", 12, bus), { name = "OTDB", retired = true },
	{ name = "EOF", retired = true }, record("INS", RECORD6, "INS"),
	record("UPD", RECORD6, "UPD"), message("TDB", 52, tdb, { layout = TDB6 }),
	[LINUX] = message("LINUX", 24, linux),
}

-- As in FreeBSD 15. Those that are refused end the frame; of those with skip
-- it is not checked whether the messages are there.
local ACTIONS5 = {
	[0] = message("CLR", 20, clr), record("INS_1301", RECORD1301, "INS"),
	message("INS_ACK", 12, id), record("UPD_1301", RECORD1301, "UPD"),
	message("UPD_C", 84, upd_c, { timeouts = RECORD1301.timeouts }), message("UPD_REQ", 12, id),
	record("DEL", RECORD1301), message("DEL_C", 12, id),
	{ name = "INS_F", size = 0, refused = true }, { name = "DEL_F", size = 0, refused = true },
	message("BUS", 12, bus, { skip = true }), message("TDB", 48, tdb, { layout = TDB5, skip = true }),
	{ name = "EOF", size = 0, eof = true },
	record("INS_1400", RECORD1400, "INS"), record("UPD_1400", RECORD1400, "UPD"),
	record("INS_1500", RECORD1500, "INS"), record("UPD_1500", RECORD1500, "UPD"),
}
ACTIONS5[6].refused = true -- FreeBSD up to 12 takes it

-- Regions
--
-- ctx is what is known of the frame: tvb and root; version; len, the length in
-- the header; on_wire and captured, bytes; marks, names of the expert
-- information given; info, what the Info column will say; dropped, see mark.

-- clip returns the part of n bytes from off on that was captured.
local function clip(ctx, off, n)
	return ctx.tvb(off, math.max(0, math.min(n, ctx.captured - off)))
end

-- put_region starts a region. It returns nothing if the subheader is not there.
local function put_region(ctx, actions, off)
	if off + SUBHEADER > ctx.captured then
		mark(ctx, ctx.root, "cut")
		return nil
	end
	local range = ctx.tvb(off, SUBHEADER)
	local raw, count = range(0, 1):uint(), range(2, 2):uint()
	local act = actions[raw] or { name = "UNKNOWN_" .. raw, unknown = true }
	local t = ctx.root:add(F.region, range)
	t:append_text(string.format(", %s, %d", act.name, count))
	put(t, "action", range(0, 1)):append_text(" (" .. act.name .. ")")
	t:add(F["action.name"], range(0, 1), act.name):set_generated(true)
	put(t, ctx.version == 6 and "msglen" or "region.pad", range(1, 1))
	put(t, "count", range(2, 2))
	return { tree = t, act = act, raw = raw, second = range(1, 1):uint(), count = count, off = off, body = off + SUBHEADER }
end

-- note says in the Info column what a region has.
local function note(ctx, reg, s)
	local name = reg.act.name
	if reg.act.eof then
		return
	elseif s and (reg.count == 1 or reg.raw == LINUX) then
		name = name .. " " .. s
	elseif reg.count ~= 1 then
		name = name .. " x" .. reg.count
	end
	ctx.info[#ctx.info + 1] = name
end

-- put_messages adds the messages of a region that are whole in the frame.
local function put_messages(ctx, reg, stride, stop)
	local first
	for i = 0, reg.count - 1 do
		local at = reg.body + i * stride
		if at + stride > stop then
			break
		elseif at + stride > ctx.captured then
			mark(ctx, reg.tree, "cut")
			break
		end
		local range = ctx.tvb(at, stride)
		local t = reg.tree:add(F.message, range)
		local s = reg.act.dissect(ctx, t, range, reg.act, i)
		if not s then
			break
		end
		t:append_text(" " .. i + 1 .. ": " .. s)
		first = first or s
	end
	note(ctx, reg, first)
end

-- skip shows a region that receivers step over.
local function skip(ctx, reg, n, name)
	mark(ctx, reg.tree, name)
	note(ctx, reg)
	if n > 0 and reg.body < ctx.captured then
		reg.tree:add(F.data, clip(ctx, reg.body, n))
	end
end

-- fail marks a region at which receivers drop the rest of the frame.
local function fail(ctx, reg, name, why)
	mark(ctx, reg.tree, name, why)
	note(ctx, reg)
end

-- region6 adds one region and returns where the next begins, nothing if a
-- fault ends the frame.
local function region6(ctx, reg)
	local act, stride = reg.act, reg.second * 4
	local short = act.dissect and stride < act.size
	if (act.unknown or short or reg.raw == LINUX) and (reg.count == 0 or stride == 0) then
		return fail(ctx, reg, "badact", "no messages of an action unknown or too short")
	end
	local n, left = stride * reg.count, ctx.len - reg.body
	if n > left then
		mark(ctx, reg.tree, "badlen", string.format("%d bytes of messages, %d left", n, left))
		ctx.dropped = true
	end
	reg.tree:set_len(clip(ctx, reg.off, SUBHEADER + math.min(n, left)):len())
	if act.dissect and not short then
		put_messages(ctx, reg, stride, ctx.len)
	else
		skip(ctx, reg, math.min(n, left), short and "short" or "skipped")
	end
	return n <= left and reg.body + n or nil
end

-- walk6 goes through a frame as OpenBSD's pfsync_input does. It returns where
-- it stopped; nothing if a fault stopped it.
local function walk6(ctx)
	local off = HEADER
	while off and ctx.len - off >= SUBHEADER do
		local reg = put_region(ctx, ACTIONS6, off)
		off = reg and region6(ctx, reg)
	end
	return off
end

-- whole5 tells whether FreeBSD finds the n bytes of a region in the packet,
-- or why not.
local function whole5(ctx, reg, n)
	if n > ctx.on_wire - reg.body then
		return false, string.format("%d bytes of messages, %d left", n, ctx.on_wire - reg.body)
	elseif n == 0 and reg.body >= ctx.on_wire then
		return false, "no messages at the end of the packet"
	elseif n > REGION_MAX5 then
		return false, string.format("%d bytes of messages, more than %d", n, REGION_MAX5)
	end
	return true
end

-- eof5 ends a frame at its last region.
local function eof5(ctx, reg)
	note(ctx, reg)
	if reg.body ~= ctx.on_wire then
		return mark(ctx, reg.tree, "badlen", string.format("%d bytes behind the end", ctx.on_wire - reg.body))
	end
	return reg.body
end

-- region5 adds one region and returns where the next begins, nothing if a
-- fault ends the frame.
local function region5(ctx, reg)
	local act = reg.act
	if act.unknown or act.size == 0 then
		return fail(ctx, reg, "badact")
	end
	local n = act.size * reg.count
	local whole, why = whole5(ctx, reg, n)
	if act.refused then
		mark(ctx, reg.tree, "badact", "FreeBSD after 12 refuses it")
		ctx.dropped = true
	elseif not whole then
		mark(ctx, reg.tree, act.skip and "short" or "badlen", why)
		ctx.dropped = ctx.dropped or not act.skip
	end
	put_messages(ctx, reg, act.size, ctx.on_wire)
	if n > ctx.on_wire - reg.body then
		return nil
	end
	reg.tree:set_len(clip(ctx, reg.off, SUBHEADER + n):len())
	return reg.body + n
end

-- walk5 goes through a frame as FreeBSD's pfsync_input does, but on past what
-- that refuses, as long as it makes sense.
local function walk5(ctx)
	local off = HEADER
	while off and off + SUBHEADER <= ctx.len do
		local reg = put_region(ctx, ACTIONS5, off)
		if not reg then
			return nil
		elseif reg.act.eof then
			return eof5(ctx, reg)
		end
		off = region5(ctx, reg)
	end
	return off
end

-- Frames

local ip_ttl, ip6_hlim = Field.new("ip.ttl"), Field.new("ipv6.hlim")

-- bad_ttl returns a TTL that is not 255. Under both versions of IP it is not
-- clear whose is meant.
local function bad_ttl()
	local v4, v6 = { ip_ttl() }, { ip6_hlim() }
	if #v4 > 0 and #v6 > 0 then
		return nil
	end
	local last = v4[#v4] or v6[#v6]
	return last and last.value ~= 255 and last.value or nil
end

-- put_header adds the header and returns whether it makes sense to go on.
local function put_header(ctx)
	if ctx.captured < HEADER then
		mark(ctx, ctx.root, ctx.on_wire < HEADER and "hdrops" or "cut")
		return false
	end
	local range = ctx.tvb(0, HEADER)
	ctx.version, ctx.len = range(0, 1):uint(), range(2, 2):uint()
	ctx.info[1] = "v" .. ctx.version
	local version = put(ctx.root, "version", range(0, 1))
	put(ctx.root, "pad", range(1, 1))
	local len = put(ctx.root, "len", range(2, 2))
	put(ctx.root, "pfcksum", range(4, 16))
	ctx.root:append_text(", version " .. ctx.version)
	if ctx.version ~= 5 and ctx.version ~= 6 then
		mark(ctx, version, "badver", tostring(ctx.version))
		return false
	elseif ctx.len > ctx.on_wire then
		mark(ctx, len, "badlen", string.format("%d of %d bytes", ctx.on_wire, ctx.len))
		ctx.dropped, ctx.len = true, ctx.on_wire
	elseif ctx.len < HEADER and ctx.version == 6 then
		mark(ctx, len, "badlen", "less than the header")
		return false
	end
	return true
end

local function put_frame(ctx)
	local ttl = bad_ttl()
	if ttl then
		mark(ctx, ctx.root, "badttl", tostring(ttl))
	end
	if not put_header(ctx) then
		return
	end
	local stop = (ctx.version == 6 and walk6 or walk5)(ctx)
	if stop and stop < ctx.on_wire then
		mark(ctx, ctx.root, "trailing", tostring(ctx.on_wire - stop))
	end
end

function pfsync.dissector(tvb, pinfo, tree)
	local ctx = {
		tvb = tvb, root = tree:add(pfsync, tvb()), on_wire = tvb:reported_len(), captured = tvb:len(),
		info = {}, marks = {},
	}
	put_frame(ctx)
	pinfo.cols.protocol = "PFSYNC"
	local info = table.concat(ctx.info, ", ")
	if #ctx.marks > 0 then
		info = info .. " [" .. table.concat(ctx.marks, ", ") .. "]"
	end
	pinfo.cols.info = info
	return ctx.captured
end

DissectorTable.get("ip.proto"):add(240, pfsync)

-- For a Wireshark that knows link type 246; 4.0 does not.
local encap = (wtap_encaps or wtap).PFSYNC
if encap then
	DissectorTable.get("wtap_encap"):add(encap, pfsync)
end
