"""pfsync version 6 for Scapy, to take frames apart and to make any, also wrong
ones. Put it beside your script, or into ~/.local/lib/python3*/site-packages.

    >>> from scapy.all import IP, send
    >>> from pfsync import *
    >>> frame = PFSync(regions=[
    ...     Region(action="UPD_REQ", messages=[ID(id=0, creatorid=0)]),
    ...     Region(action="CLR", messages=[Clr(ifname=b"em0", creatorid=0x72c67ab3)])])
    >>> send(IP(dst="224.0.0.240") / frame, iface="eth1")

What is left None is computed: the length of the frame, the length of messages
(of the first one of a region) and their count. TTL 255, TOS and DF are set too.
Of other versions only the header is taken apart.
"""

import socket

from scapy.config import conf
from scapy.fields import (ByteEnumField, ByteField, Field, FieldLenField, IntField, LongField, PacketField,
                          PacketListField, ShortField, SignedIntField, StrFixedLenField, XByteField, XIntField,
                          XLongField, XShortField)
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, bind_bottom_up, bind_top_down

__all__ = ["PFSync", "Region", "Clr", "ID", "UpdC", "Bus", "TDB", "Peer", "Key", "State", "FrameInfo", "Extra"]

ACTIONS = {0: "CLR", 1: "OINS", 2: "INS_ACK", 3: "OUPD", 4: "UPD_C", 5: "UPD_REQ", 6: "DEL", 7: "DEL_C",
           8: "INS_F", 9: "DEL_F", 10: "BUS", 11: "OTDB", 12: "EOF", 13: "INS", 14: "UPD", 15: "TDB", 0xf0: "LINUX"}
LINUX = 0xf0


class Address(Field):
    """16 bytes. Text is taken too; an IPv4 address fills the first 4."""

    def __init__(self, name, default=b"\0" * 16):
        Field.__init__(self, name, default, "16s")

    def any2i(self, pkt, x):
        if isinstance(x, str):
            x = socket.inet_pton(socket.AF_INET6 if ":" in x else socket.AF_INET, x)
        return x.ljust(16, b"\0")

    def i2repr(self, pkt, x):
        if any(x[4:]):
            return socket.inet_ntop(socket.AF_INET6, x)
        return socket.inet_ntop(socket.AF_INET, x[:4])


class Part(Packet):
    """Leaves the bytes behind it to whoever contains it."""

    def extract_padding(self, s):
        return b"", s


class Clr(Packet):
    fields_desc = [StrFixedLenField("ifname", b"", 16), XIntField("creatorid", 0)]


class ID(Packet):
    """INS_ACK, UPD_REQ, DEL_C"""
    fields_desc = [XLongField("id", 0), XIntField("creatorid", 0)]


class Peer(Part):
    fields_desc = [XShortField("scrub_flags", 0), ByteField("scrub_ttl", 0), ByteField("scrub_valid", 0),
                   IntField("scrub_tsmod", 0), IntField("seqlo", 0), IntField("seqhi", 0), IntField("seqdiff", 0),
                   ShortField("max_win", 0), ShortField("mss", 0), ByteField("state", 0), XByteField("wscale", 0),
                   StrFixedLenField("pad", b"", 6)]


class UpdC(Packet):
    fields_desc = [XLongField("id", 0), PacketField("src", Peer(), Peer), PacketField("dst", Peer(), Peer),
                   XIntField("creatorid", 0), IntField("expire", 0), ByteField("timeout", 0),
                   StrFixedLenField("pad", b"", 3)]


class Bus(Packet):
    fields_desc = [XIntField("creatorid", 0), IntField("endtime", 0), ByteEnumField("status", 1, {1: "start", 2: "end"}),
                   StrFixedLenField("pad", b"", 3)]


class TDB(Packet):
    """dst is a socket address of OpenBSD."""
    fields_desc = [XIntField("spi", 0), StrFixedLenField("dst", b"", 28), LongField("rpl", 0),
                   LongField("cur_bytes", 0), ByteField("sproto", 50), ByteField("updates", 0), ShortField("rdomain", 0)]


class Key(Part):
    fields_desc = [Address("addr0"), Address("addr1"), ShortField("port0", 0), ShortField("port1", 0),
                   ShortField("rdomain", 0), ByteField("af", 2), ByteField("pad", 0)]


class State(Packet):
    """INS, UPD, DEL"""
    fields_desc = [
        XLongField("id", 0), StrFixedLenField("ifname", b"all", 16),
        PacketField("wire", Key(), Key), PacketField("stack", Key(), Key),
        PacketField("src", Peer(), Peer), PacketField("dst", Peer(), Peer), Address("rt_addr"),
        IntField("rule", 0xffffffff), IntField("anchor", 0xffffffff), IntField("nat_rule", 0xffffffff),
        IntField("creation", 0), IntField("expire", 0),
        LongField("packets0", 0), LongField("packets1", 0), LongField("bytes0", 0), LongField("bytes1", 0),
        XIntField("creatorid", 0), SignedIntField("rtableid0", -1), SignedIntField("rtableid1", -1),
        ShortField("max_mss", 0), ByteField("af", 2), ByteField("proto", 6),
        ByteEnumField("direction", 1, {0: "inout", 1: "in", 2: "out"}), ByteField("log", 0), ByteField("rt", 0),
        ByteField("timeout", 0), XByteField("sync_flags", 0), ByteField("updates", 0), ByteField("min_ttl", 0),
        XByteField("set_tos", 0), XShortField("state_flags", 0), ByteField("set_prio0", 0), ByteField("set_prio1", 0)]


class FrameInfo(Packet):
    """The first message of a LINUX region."""
    fields_desc = [XIntField("magic", 0x4c706673), ByteField("layout", 1), XByteField("flags", 0),
                   ByteField("demotion", 0), ByteField("pad", 0), XIntField("epoch", 0), IntField("frame", 1),
                   IntField("table_size", 0), XIntField("creatorid", 0)]


class Extra(Packet):
    """The others; the TLVs are the payload."""
    fields_desc = [XLongField("id", 0), XIntField("creatorid", 0)]


MESSAGES = {"CLR": (Clr, 20), "INS_ACK": (ID, 12), "UPD_C": (UpdC, 84), "UPD_REQ": (ID, 12), "DEL": (State, 264),
            "DEL_C": (ID, 12), "BUS": (Bus, 12), "INS": (State, 264), "UPD": (State, 264), "TDB": (TDB, 52),
            "LINUX": (Extra, 24)}


class Messages(PacketListField):
    """Messages at the stride that the region tells, as far as they are there."""

    def getfield(self, pkt, s):
        stride, found = 4 * pkt.msglen, []
        while stride and len(found) < pkt.count and len(s) >= stride:
            cls, need = MESSAGES.get(ACTIONS.get(pkt.action), (conf.raw_layer, 0))
            if stride < need:
                cls = conf.raw_layer
            elif pkt.action == LINUX and not found:
                cls = FrameInfo
            found.append(cls(s[:stride]))
            s = s[stride:]
        return s, found


class Region(Part):
    fields_desc = [ByteEnumField("action", "INS", ACTIONS), ByteField("msglen", None),
                   FieldLenField("count", None, fmt="!H", count_of="messages"), Messages("messages", [], conf.raw_layer)]

    def post_build(self, p, pay):
        if self.msglen is None and self.messages:
            p = p[:1] + bytes([len(self.messages[0]) // 4 & 0xff]) + p[2:]
        return p + pay


class PFSync(Packet):
    name = "pfsync"
    fields_desc = [ByteField("version", 6), ByteField("pad", 0), ShortField("len", None),
                   StrFixedLenField("pfcksum", b"", 16),
                   PacketListField("regions", [], next_cls_cb=lambda pkt, found, last, rest: pkt.next_region(rest))]

    def next_region(self, rest):
        return Region if self.version == 6 and len(rest) >= 4 else None

    def post_build(self, p, pay):
        if self.len is None:
            p = p[:2] + len(p + pay).to_bytes(2, "big") + p[4:]
        return p + pay


for lower, fields in ((IP, {"proto": 240}), (IPv6, {"nh": 240})):
    bind_bottom_up(lower, PFSync, **fields)
bind_top_down(IP, PFSync, proto=240, ttl=255, tos=0x10, flags=2)  # DF
bind_top_down(IPv6, PFSync, nh=240, hlim=255)
