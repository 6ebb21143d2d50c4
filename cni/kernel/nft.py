"""nf_tables over netlink: tables, chains, rules, sets and their elements (man 8 nft).

Each function returns one request of a transaction; `commit` sends them.  Expressions carry the
names of the kernel's attributes in lower case: NFTA_META_KEY is `key` of "meta".
"""

import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink.nfnetlink import nfgen_msg
from pyroute2.netlink.nfnetlink.nftsocket import (
    nft_chain_msg,
    nft_rule_msg,
    nft_set_elem_list_msg,
    nft_set_msg,
    nft_table_msg,
)

from cni.errors import KernelError
from cni.kernel.netlink import APPEND, CREATE, EXCL, NETFILTER, Netlink, Request, attributes

NEWTABLE, GETTABLE, DELTABLE = 0, 1, 2  # NFT_MSG_*
NEWCHAIN, GETCHAIN, DELCHAIN = 3, 4, 5
NEWRULE, GETRULE, DELRULE = 6, 7, 8
NEWSET, GETSET, DELSET = 9, 10, 11
NEWSETELEM, GETSETELEM, DELSETELEM = 12, 13, 14
NFTABLES = 10 << 8  # NFNL_SUBSYS_NFTABLES in the upper byte of a message's type
BATCH_BEGIN, BATCH_END = 16, 17  # NFNL_MSG_BATCH_*
INET, IPV4, IPV6 = 1, 2, 10  # NFPROTO_*
JUMP, RETURN = -3, -5  # verdicts, NFT_JUMP ...
GENERATION_SIZE = 4  # bytes of nfgenmsg
Expression = dict[str, Any]


def _request(what: str, kind: int, flags: int, family: int, message: Any) -> Request:
    message["nfgen_family"] = family
    return Request(what, NFTABLES | kind, flags, message)


def commit(netlink: Netlink, *requests: Request) -> None:
    """Do all of `requests` or none.  Raises the first refusal."""
    begin, end = nfgen_msg(), nfgen_msg()
    begin["res_id"] = end["res_id"] = NFTABLES >> 8
    netlink.do_batch(
        Request("begin a transaction of nf_tables", BATCH_BEGIN, 0, begin),
        requests,
        Request("commit to nf_tables", BATCH_END, 0, end),
    )


def socket() -> Netlink:
    """Return a socket to nf_tables of this network namespace."""
    return Netlink(NETFILTER)


@dataclass(frozen=True)
class Table:
    """A table of `family` (INET, IPV4, IPV6) and `name`."""

    family: int
    name: str

    def add(self) -> Request:
        """Add the table; it may be there."""
        message = nft_table_msg()
        message["attrs"] = [("NFTA_TABLE_NAME", self.name), ("NFTA_TABLE_FLAGS", 0)]
        return _request(f"add table {self.name}", NEWTABLE, CREATE, self.family, message)

    def add_chain(self, name: str, **hook: Any) -> Request:
        """Add a chain; with kind=, number= and priority= a base chain.  It may be there."""
        message = nft_chain_msg()
        attrs: list[tuple[str, Any]] = [
            ("NFTA_CHAIN_TABLE", self.name),
            ("NFTA_CHAIN_NAME", name),
        ]
        if hook:
            place = [
                ("NFTA_HOOK_HOOKNUM", hook["number"]),
                ("NFTA_HOOK_PRIORITY", hook["priority"]),
            ]
            attrs += [("NFTA_CHAIN_HOOK", {"attrs": place}), ("NFTA_CHAIN_TYPE", hook["kind"])]
        message["attrs"] = attrs
        return _request(f"add chain {name}", NEWCHAIN, CREATE, self.family, message)

    def delete_chain(self, name: str) -> Request:
        """Delete a chain.  EBUSY when something jumps to it."""
        message = nft_chain_msg()
        message["attrs"] = [("NFTA_CHAIN_TABLE", self.name), ("NFTA_CHAIN_NAME", name)]
        return _request(f"delete chain {name}", DELCHAIN, 0, self.family, message)

    def flush_chain(self, name: str) -> Request:
        """Delete all rules of a chain."""
        message = nft_rule_msg()
        message["attrs"] = [("NFTA_RULE_TABLE", self.name), ("NFTA_RULE_CHAIN", name)]
        return _request(f"flush chain {name}", DELRULE, 0, self.family, message)

    def add_rule(self, chain: str, *expressions: Expression) -> Request:
        """Append a rule to a chain."""
        message = nft_rule_msg()
        message["attrs"] = [
            ("NFTA_RULE_TABLE", self.name),
            ("NFTA_RULE_CHAIN", chain),
            ("NFTA_RULE_EXPRESSIONS", list(expressions)),
        ]
        return _request(f"add rule to {chain}", NEWRULE, CREATE | APPEND, self.family, message)

    def delete_rule(self, chain: str, handle: int) -> Request:
        """Delete the rule of that handle."""
        message = nft_rule_msg()
        message["attrs"] = [
            ("NFTA_RULE_TABLE", self.name),
            ("NFTA_RULE_CHAIN", chain),
            ("NFTA_RULE_HANDLE", handle),
        ]
        return _request(f"delete rule of {chain}", DELRULE, 0, self.family, message)

    def chain_exists(self, netlink: Netlink, name: str) -> bool:
        """Tell whether the chain is there."""
        message = nft_chain_msg()
        message["attrs"] = [("NFTA_CHAIN_TABLE", self.name), ("NFTA_CHAIN_NAME", name)]
        request = _request(f"get chain {name}", GETCHAIN, 0, self.family, message)
        try:
            netlink.get(request, nft_chain_msg)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def chains(self, netlink: Netlink) -> list[str]:
        """Return the names of the table's chains; none when there is no table."""
        request = _request("list chains", GETCHAIN, 0, self.family, nft_chain_msg())
        found = []
        for payload in netlink.dump(request):
            fields = dict(attributes(payload[GENERATION_SIZE:]))
            if _text(fields[1]) == self.name:  # NFTA_CHAIN_TABLE
                found.append(_text(fields[3]))  # NFTA_CHAIN_NAME
        return found

    def rules(self, netlink: Netlink, chain: str) -> Iterator[tuple[int, bytes]]:
        """Yield (handle, encoded rule) of a chain's rules; none when there is no such chain."""
        message = nft_rule_msg()
        message["attrs"] = [("NFTA_RULE_TABLE", self.name), ("NFTA_RULE_CHAIN", chain)]
        request = _request(f"list rules of {chain}", GETRULE, 0, self.family, message)
        for payload in _dump_if_there(netlink, request):
            fields = dict(attributes(payload[GENERATION_SIZE:]))
            if _text(fields[1]) == self.name and _text(fields[2]) == chain:
                yield struct.unpack(">Q", fields[3])[0], payload


def tables(netlink: Netlink) -> set[Table]:
    """Return the tables that there are."""
    request = _request("list tables", GETTABLE, 0, 0, nft_table_msg())
    return {
        Table(payload[0], _text(dict(attributes(payload[GENERATION_SIZE:]))[1]))
        for payload in netlink.dump(request)
    }


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode()


def _dump_if_there(netlink: Netlink, request: Request) -> list[bytes]:
    try:
        return list(netlink.dump(request))
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return []
        raise


# sets, maps and their elements

TYPES = {  # nft(8) name: (number in NFTA_SET_KEY_TYPE, bytes)
    "ipv4_addr": (7, 4),
    "ipv6_addr": (8, 16),
    "inet_proto": (12, 1),
    "inet_service": (13, 2),
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
        return _request(f"add map {self.name}", NEWSET, CREATE, self.table.family, message)

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
        return _request(what, kind, flags, self.table.family, message)

    def elements(self, netlink: Netlink, *hints: bytes) -> Iterator[Element]:
        """Yield the elements; none when there is no map.

        With `hints` at least all of those whose key, data or comment holds one of them: a chunk
        of the dump has hundreds of elements, and most chunks need no look inside.
        """
        request = self._elements(f"list elements of {self.name}", GETSETELEM, 0)
        for payload in _dump_if_there(netlink, request):
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
    return _text(userdata[2 : 2 + userdata[1]])


# expressions of rules


def value(data: bytes) -> Expression:
    """Return a constant."""
    return {"attrs": [("NFTA_DATA_VALUE", data)]}


def jump(chain: str) -> Expression:
    """Return the verdict that goes to `chain` and comes back."""
    verdict = [("NFTA_VERDICT_CODE", JUMP), ("NFTA_VERDICT_CHAIN", chain)]
    return {"attrs": [("NFTA_DATA_VERDICT", {"attrs": verdict})]}


def expression(name: str, **fields: Any) -> Expression:
    """Return the expression `name` of a rule with its attributes."""
    prefix = f"NFTA_{name.upper()}"
    attrs = [(f"{prefix}_{key.upper()}", given) for key, given in fields.items()]
    return {"attrs": [("NFTA_EXPR_NAME", name), ("NFTA_EXPR_DATA", {"attrs": attrs})]}
