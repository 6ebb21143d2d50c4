"""Maps of nf_tables and their elements over netlink (man 8 nft, SETS and MAPS)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink.nfnetlink.nftsocket import nft_set_elem_list_msg, nft_set_msg

from cni.kernel.netlink import CREATE, EXCL, Netlink, Request, attributes
from cni.kernel.nft import (
    GENERATION_SIZE,
    Expression,
    Table,
    dump_if_there,
    text_of,
    to_nft,
    value,
)

NEWSET = 9  # NFT_MSG_*
NEWSETELEM, GETSETELEM, DELSETELEM = 12, 13, 14
TYPES = {  # nft(8) name: (number in NFTA_SET_KEY_TYPE, bytes)
    "ipv4_addr": (7, 4),
    "ipv6_addr": (8, 16),
    "ether_addr": (9, 6),
    "inet_proto": (12, 1),
    "inet_service": (13, 2),
    "ifname": (41, 16),
}
VERDICT = 0xFFFFFF00  # NFT_DATA_VERDICT


def _type(name: str) -> tuple[int, int]:
    """Return number and length of a type; of `a . b` the concatenation, fields padded to 4."""
    number = length = 0
    for part in name.split(" . "):
        code, size = TYPES[part]
        number, length = number << 6 | code, length + (size + 3 & ~3)
    return number, length


@dataclass(frozen=True)
class Element:
    """An element as the kernel has it: padded key, data (empty: a verdict), and its comment."""

    key: bytes
    data: bytes
    comment: str


@dataclass(frozen=True)
class Map:
    """A map of `table` from `key` to `data`, types as nft(8) writes them; "verdict" too."""

    table: Table
    name: str
    key: str
    data: str

    def add(self) -> Request:
        """Add the map; it may be there."""
        key, key_length = _type(self.key)
        data, data_length = (VERDICT, 0) if self.data == "verdict" else _type(self.data)
        message = nft_set_msg()
        attrs: list[tuple[str, Any]] = [
            ("NFTA_SET_TABLE", self.table.name),
            ("NFTA_SET_NAME", self.name),
            ("NFTA_SET_FLAGS", {"NFT_SET_MAP"}),
            ("NFTA_SET_KEY_TYPE", key),
            ("NFTA_SET_KEY_LEN", key_length),
            ("NFTA_SET_DATA_TYPE", data),
            ("NFTA_SET_ID", 1),
        ]
        if data_length:
            attrs.insert(-1, ("NFTA_SET_DATA_LEN", data_length))
        message["attrs"] = attrs
        return to_nft(f"add map {self.name}", NEWSET, CREATE, self.table.family, message)

    def add_element(self, key: bytes, data: Expression, comment: str) -> Request:
        """Add an element.  EEXIST when the key is there."""
        element = {
            "attrs": [
                ("NFTA_SET_ELEM_KEY", value(key)),
                ("NFTA_SET_ELEM_DATA", data),
                ("NFTA_SET_ELEM_USERDATA", [("NFTNL_UDATA_SET_ELEM_COMMENT", comment)]),
            ]
        }
        return self._elements(f"add element to {self.name}", NEWSETELEM, CREATE | EXCL, element)

    def delete_element(self, key: bytes) -> Request:
        """Delete an element.  ENOENT when the key is not there."""
        element = {"attrs": [("NFTA_SET_ELEM_KEY", value(key))]}
        return self._elements(f"delete element of {self.name}", DELSETELEM, 0, element)

    def _elements(self, what: str, kind: int, flags: int, *elements: Expression) -> Request:
        message = nft_set_elem_list_msg()
        attrs: list[tuple[str, Any]] = [
            ("NFTA_SET_ELEM_LIST_TABLE", self.table.name),
            ("NFTA_SET_ELEM_LIST_SET", self.name),
        ]
        if elements:
            attrs.append(("NFTA_SET_ELEM_LIST_ELEMENTS", list(elements)))
        message["attrs"] = attrs
        return to_nft(what, kind, flags, self.table.family, message)

    def elements(self, netlink: Netlink, *hints: bytes) -> Iterator[Element]:
        """Yield the elements; none when there is no map.

        With `hints` at least all of those whose key, data or comment holds one of them: a chunk
        of the dump has hundreds of elements, and most chunks need no look inside.
        """
        request = self._elements(f"list elements of {self.name}", GETSETELEM, 0)
        for payload in dump_if_there(netlink, request):
            if not hints or any(hint in payload for hint in hints):
                yield from _elements_in(payload)


def _elements_in(payload: bytes) -> Iterator[Element]:
    fields = dict(attributes(payload[GENERATION_SIZE:]))
    for _, element in attributes(fields.get(3, b"")):  # NFTA_SET_ELEM_LIST_ELEMENTS
        parts = dict(attributes(element))
        key, data = (dict(attributes(parts.get(kind, b""))) for kind in (1, 2))
        yield Element(key.get(1, b""), data.get(1, b""), _comment(parts.get(6, b"")))


def _comment(userdata: bytes) -> str:
    """Return the comment in a set element's user data: type 0, length, text, NUL."""
    if len(userdata) < 2 or userdata[0] != 0:
        return ""
    return text_of(userdata[2 : 2 + userdata[1]])
