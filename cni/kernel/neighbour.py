"""Neighbours: which MAC has an address (man 8 ip-neighbour; man 7 rtnetlink, struct ndmsg).

`request` and `dump` serve the forwarding database of cni.kernel.fdb too: the same messages.
"""

import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from cni.config import IPAddress
from cni.kernel.netlink import CREATE, REPLACE, Netlink, Request, attribute, attributes, number

RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
NDA_DST, NDA_LLADDR, NDA_IFINDEX = 1, 2, 8
PERMANENT = 0x80  # NUD_PERMANENT
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


class Neighbour(NamedTuple):
    """A neighbour on the interface of that index."""

    ifindex: int
    address: IPAddress
    mac: str


def replace(one: Neighbour) -> Request:
    """Make a permanent neighbour, or change the one of that address."""
    what = f"add neighbour {one.address} lladdr {one.mac}"
    return request(what, RTM_NEWNEIGH, FAMILY[one.address.version], 0, one)


def delete(one: Neighbour) -> Request:
    """Remove a neighbour.  ENOENT when it is not there."""
    what = f"delete neighbour {one.address}"
    return request(what, RTM_DELNEIGH, FAMILY[one.address.version], 0, one)


def list_permanent(rtnl: Netlink, index: int) -> Iterator[Neighbour]:
    """Yield the permanent neighbours on the interface `index`, of both IP versions."""
    message = NDMSG.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    message += number(NDA_IFINDEX, index)
    yield from read(rtnl.dump(Request("list neighbours", RTM_GETNEIGH, 0, message)), index)


def request(what: str, kind: int, family: int, flags: int, one: Neighbour) -> Request:
    """Return a request about `one`."""
    message = NDMSG.pack(family, one.ifindex, PERMANENT, flags, 0)
    message += attribute(NDA_DST, one.address.packed)
    message += attribute(NDA_LLADDR, bytes.fromhex(one.mac.replace(":", "")))
    return Request(what, kind, CREATE | REPLACE if kind == RTM_NEWNEIGH else 0, message)


def read(payloads: Iterator[bytes], index: int) -> Iterator[Neighbour]:
    """Yield what is permanent and has both MAC and address in the answers to a dump."""
    for payload in payloads:
        _, other, state, _, _ = NDMSG.unpack_from(payload)
        if other != index or not state & PERMANENT:
            continue
        fields = dict(attributes(payload[NDMSG.size :]))
        dst, mac = fields.get(NDA_DST, b""), fields.get(NDA_LLADDR)
        if mac is not None and len(dst) in (4, 16):
            address = IPv4Address(dst) if len(dst) == 4 else IPv6Address(dst)
            yield Neighbour(index, address, mac.hex(":"))
