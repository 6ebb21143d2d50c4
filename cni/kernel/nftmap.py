"""Maps of nf_tables and their elements over netlink (man 8 nft, SETS and MAPS)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink.nfnetlink.nftsocket import nft_set_msg

from cni.kernel.netlink import (
    CREATE,
    EXCL,
    Netlink,
    Request,
    attribute,
    attributes,
    nested,
    text,
)
from cni.kernel.nft import GENERATION, Table, dump_if_there, text_of, to_nft

NEWSET = 9  # NFT_MSG_*
NEWSETELEM, GETSETELEM, DELSETELEM = 12, 13, 14
TYPES = {  # nft(8) name: (number in NFTA_SET_KEY_TYPE, bytes)
    "ipv4_addr": (7, 4),
    "ipv6_addr": (8, 16),
    "ether_addr": (9, 6),
    "inet_proto": (12, 1),
    "inet_service": (13, 2),
    "mark": (19, 4),
    "ifname": (41, 16),
}
VERDICT = 0xFFFFFF00  # NFT_DATA_VERDICT
ELEMENTS, ELEMENT = 3, 1  # NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_LIST_ELEM
KEY, DATA, USERDATA = 1, 2, 6  # NFTA_SET_ELEM_*
VALUE, VERDICT_VALUE = 1, 2  # NFTA_DATA_*
CODE, CHAIN = 1, 2  # NFTA_VERDICT_*
COMMENT = 0  # NFTNL_UDATA_SET_ELEM_COMMENT


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

    def add_element(self, key: bytes, data: bytes, comment: str) -> Request:
        """Add an element; `data` as of `verdict` and `constant`.  EEXIST when the key is there."""
        userdata = bytes((COMMENT, len(comment.encode()) + 1)) + comment.encode() + b"\0"
        parts = constant(KEY, key) + data + attribute(USERDATA, userdata)
        return self._request(f"add element to {self.name}", NEWSETELEM, CREATE | EXCL, parts)

    def delete_element(self, key: bytes) -> Request:
        """Delete an element.  ENOENT when the key is not there."""
        parts = constant(KEY, key)
        return self._request(f"delete element of {self.name}", DELSETELEM, 0, parts)

    def _request(self, what: str, kind: int, flags: int, element: bytes = b"") -> Request:
        attrs = self.table.named(self.name)
        if element:
            attrs += nested(ELEMENTS, nested(ELEMENT, element))
        return self.table.request(what, kind, flags, attrs)

    def elements(self, netlink: Netlink, *hints: bytes) -> Iterator[Element]:
        """Yield the elements; none when there is no map.

        With `hints` at least all of those whose key, data or comment holds one of them: a chunk
        of the dump has hundreds of elements, and most chunks need no look inside.
        """
        request = self._request(f"list elements of {self.name}", GETSETELEM, 0)
        for payload in dump_if_there(netlink, request):
            if not hints or any(hint in payload for hint in hints):
                yield from _elements_in(payload)


def verdict(code: int, chain: str = "") -> bytes:
    """Return the data of an element that decides: NF_ACCEPT ..., or NFT_JUMP to `chain`."""
    said = attribute(CODE, struct.pack(">i", code)) + (text(CHAIN, chain) if chain else b"")
    return nested(DATA, nested(VERDICT_VALUE, said))


def constant(kind: int, value: bytes) -> bytes:
    """Return the KEY or the DATA of an element."""
    return nested(kind, attribute(VALUE, value))


def _elements_in(payload: bytes) -> Iterator[Element]:
    fields = dict(attributes(payload[GENERATION.size :]))
    for _, element in attributes(fields.get(ELEMENTS, b"")):
        parts = dict(attributes(element))
        key, data = (dict(attributes(parts.get(kind, b""))) for kind in (KEY, DATA))
        comment = _comment(parts.get(USERDATA, b""))
        yield Element(key.get(VALUE, b""), data.get(VALUE, b""), comment)


def _comment(userdata: bytes) -> str:
    """Return the comment in a set element's user data: type, length, text, NUL."""
    if len(userdata) < 2 or userdata[0] != COMMENT:
        return ""
    return text_of(userdata[2 : 2 + userdata[1]])
