"""Sets of addresses of nf_tables over netlink (man 8 nft, SETS), made for thousands of elements."""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import collapse_addresses
from typing import Any

from cni.config import IPAddress, IPNetwork
from cni.kernel.netlink import CREATE, EXCL, Netlink, Request, attribute, attributes, nested
from cni.kernel.nft import GENERATION, Table, dump_if_there
from cni.kernel.nftmap import (
    DELSETELEM,
    ELEMENT,
    ELEMENTS,
    GETSETELEM,
    KEY,
    NEWSET,
    NEWSETELEM,
    TYPES,
    VALUE,
    constant,
)

FLAGS, KEY_TYPE, KEY_LENGTH, SET_ID = 3, 4, 5, 10  # NFTA_SET_*
INTERVAL = 4  # NFT_SET_INTERVAL
ELEMENT_FLAGS, INTERVAL_END = 3, 1  # NFTA_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END
TOGETHER = 1000  # elements of one message: its list has at most 64 KiB
Point = tuple[bytes, bool]  # an address; True: an interval ends before it


def single(addresses: Iterable[IPAddress], version: int) -> frozenset[Point]:
    """Return the elements of a set of single addresses: those of that IP version."""
    return frozenset((one.packed, False) for one in addresses if one.version == version)


def intervals(networks: Iterable[IPNetwork], version: int) -> frozenset[Point]:
    """Return the elements of an interval set: where networks of that IP version begin and end."""
    chosen: Iterable[Any] = (one for one in networks if one.version == version)
    begins, ends = set(), set()
    for network in collapse_addresses(chosen):
        begins.add(network.network_address.packed)
        if int(network.broadcast_address) + 1 < 1 << network.max_prefixlen:
            ends.add((network.broadcast_address + 1).packed)
    # where one ends and the next one begins is no end
    found = {(address, False) for address in begins - ends}
    return frozenset(found | {(address, True) for address in ends - begins})


@dataclass(frozen=True)
class Set:
    """A set of `table` with addresses of an IP version; `interval`: with whole networks."""

    table: Table
    name: str
    version: int
    interval: bool = False

    def add(self) -> Request:
        """Add the set; it may be there."""
        number, length = TYPES[f"ipv{self.version}_addr"]
        values = {
            FLAGS: INTERVAL * self.interval,
            KEY_TYPE: number,
            KEY_LENGTH: length,
            SET_ID: 1,
        }
        attrs = self.table.named(self.name) + b"".join(
            attribute(kind, struct.pack(">I", value)) for kind, value in values.items()
        )
        return self.table.request(f"add set {self.name}", NEWSET, CREATE, attrs)

    def change(self, before: frozenset[Point], after: frozenset[Point]) -> list[Request]:
        """Put `after` in the place of `before`, within one transaction.

        Intervals are written anew: the kernel has its own mind about the order of parts of them.
        ENOENT or EEXIST when it was not so before.
        """
        if before == after:
            return []
        if self.interval:
            flush = self._request(f"flush set {self.name}", DELSETELEM, 0, b"")
            return [flush, *self.add_elements(after)]
        what = f"delete elements of {self.name}"
        deletes = self._messages(what, DELSETELEM, 0, before - after)
        return [*deletes, *self.add_elements(after - before)]

    def add_elements(self, points: Iterable[Point]) -> list[Request]:
        """Add elements.  EEXIST when one is there."""
        return self._messages(f"add elements to {self.name}", NEWSETELEM, CREATE | EXCL, points)

    def _messages(self, what: str, kind: int, flags: int, points: Iterable[Point]) -> list[Request]:
        elements = [nested(ELEMENT, _encode(point)) for point in sorted(points)]
        chunks = (elements[at : at + TOGETHER] for at in range(0, len(elements), TOGETHER))
        return [
            self._request(what, kind, flags, nested(ELEMENTS, b"".join(chunk))) for chunk in chunks
        ]

    def _request(self, what: str, kind: int, flags: int, elements: bytes) -> Request:
        return self.table.request(what, kind, flags, self.table.named(self.name) + elements)

    def elements(self, netlink: Netlink) -> frozenset[Point]:
        """Return the elements; none when there is no set."""
        request = self._request(f"list elements of {self.name}", GETSETELEM, 0, b"")
        return frozenset(
            _decode(element)
            for payload in dump_if_there(netlink, request)
            for element in _listed(payload)
        )


def _encode(point: Point) -> bytes:
    address, ends = point
    flags = attribute(ELEMENT_FLAGS, struct.pack(">I", INTERVAL_END)) if ends else b""
    return constant(KEY, address) + flags


def _listed(payload: bytes) -> Iterator[bytes]:
    fields = dict(attributes(payload[GENERATION.size :]))
    return (element for _, element in attributes(fields.get(ELEMENTS, b"")))


def _decode(element: bytes) -> Point:
    parts = dict(attributes(element))
    flags = int.from_bytes(parts.get(ELEMENT_FLAGS, b""), "big")
    return dict(attributes(parts[KEY]))[VALUE], bool(flags & INTERVAL_END)
