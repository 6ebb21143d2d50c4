"""nf_tables over netlink: tables, chains, rules, sets and their elements (man 8 nft).

Each function returns one request of a transaction; `commit` sends them.  Expressions carry the
names of the kernel's attributes in lower case: NFTA_META_KEY is `key` of "meta".
"""

import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyroute2.netlink.nfnetlink.nftsocket import (
    nft_chain_msg,
    nft_rule_msg,
    nft_table_msg,
)

from cni.errors import KernelError
from cni.kernel.netlink import APPEND, CREATE, NETFILTER, Netlink, Request, attributes, text

NEWTABLE, GETTABLE, DELTABLE = 0, 1, 2  # NFT_MSG_*
NEWCHAIN, GETCHAIN, DELCHAIN = 3, 4, 5
NEWRULE, GETRULE, DELRULE = 6, 7, 8
NFTABLES = 10 << 8  # NFNL_SUBSYS_NFTABLES in the upper byte of a message's type
BATCH_BEGIN, BATCH_END = 16, 17  # NFNL_MSG_BATCH_*
INET, IPV4, BRIDGE, IPV6 = 1, 2, 7, 10  # NFPROTO_*
DROP, ACCEPT, JUMP, RETURN = 0, 1, -3, -5  # verdicts: NF_DROP, NFT_JUMP ...
GENERATION = struct.Struct("=Bxxx")  # nfgenmsg: family
GENERATION_ID = slice(2, 4)  # of nfgenmsg, in what the kernel lists
LISTS = 50  # of which one is whole, as a rule the first: transactions are short
# NFTA_*: the table is 1 of all, the name 2 of sets and elements, and of rules their chain's
TABLE, NAME, RULE_HANDLE = 1, 2, 3
CHAIN_NAME = 3
Expression = dict[str, Any]


def to_nft(what: str, kind: int, flags: int, family: int, message: Any) -> Request:
    """Return one request to nf_tables: `kind` and `family` are NFT_MSG_* and NFPROTO_*."""
    message["nfgen_family"] = family
    return Request(what, NFTABLES | kind, flags, message)


def commit(netlink: Netlink, *requests: Request) -> None:
    """Do all of `requests` or none.  Raises the first refusal."""
    subsystem = struct.pack(">BBH", 0, 0, NFTABLES >> 8)
    netlink.do_batch(
        Request("begin a transaction of nf_tables", BATCH_BEGIN, 0, subsystem),
        requests,
        Request("commit to nf_tables", BATCH_END, 0, subsystem),
    )


def socket() -> Netlink:
    """Return a socket to nf_tables of this network namespace.

    It lingers: closing one waits 10 ms for what was deleted meanwhile to be freed, whoever
    deleted it.  Programs end soon, after they have said what they have to say.
    """
    return Netlink(NETFILTER, linger=True)


@dataclass(frozen=True)
class Table:
    """A table of `family` (INET, IPV4, IPV6) and `name`."""

    family: int
    name: str

    def add(self) -> Request:
        """Add the table; it may be there."""
        message = nft_table_msg()
        message["attrs"] = [("NFTA_TABLE_NAME", self.name), ("NFTA_TABLE_FLAGS", 0)]
        return to_nft(f"add table {self.name}", NEWTABLE, CREATE, self.family, message)

    def delete(self) -> Request:
        """Delete the table with all that is in it.  ENOENT when it is not there."""
        return self.request(f"delete table {self.name}", DELTABLE, 0, text(TABLE, self.name))

    def named(self, name: str) -> bytes:
        """Return the attributes that name a chain or set of this table, or a rule's chain."""
        return text(TABLE, self.name) + text(NAME, name)

    def request(self, what: str, kind: int, flags: int, attrs: bytes = b"") -> Request:
        """Return a request with encoded attributes: what every ADD and DEL sends."""
        return Request(what, NFTABLES | kind, flags, GENERATION.pack(self.family) + attrs)

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
        return to_nft(f"add chain {name}", NEWCHAIN, CREATE, self.family, message)

    def delete_chain(self, name: str) -> Request:
        """Delete a chain.  EBUSY when something jumps to it."""
        message = nft_chain_msg()
        message["attrs"] = [("NFTA_CHAIN_TABLE", self.name), ("NFTA_CHAIN_NAME", name)]
        return to_nft(f"delete chain {name}", DELCHAIN, 0, self.family, message)

    def flush_chain(self, name: str) -> Request:
        """Delete all rules of a chain."""
        message = nft_rule_msg()
        message["attrs"] = [("NFTA_RULE_TABLE", self.name), ("NFTA_RULE_CHAIN", name)]
        return to_nft(f"flush chain {name}", DELRULE, 0, self.family, message)

    def add_rule(self, chain: str, *expressions: Expression) -> Request:
        """Append a rule to a chain."""
        message = nft_rule_msg()
        message["attrs"] = [
            ("NFTA_RULE_TABLE", self.name),
            ("NFTA_RULE_CHAIN", chain),
            ("NFTA_RULE_EXPRESSIONS", list(expressions)),
        ]
        return to_nft(f"add rule to {chain}", NEWRULE, CREATE | APPEND, self.family, message)

    def delete_rule(self, chain: str, handle: int) -> Request:
        """Delete the rule of that handle."""
        message = nft_rule_msg()
        message["attrs"] = [
            ("NFTA_RULE_TABLE", self.name),
            ("NFTA_RULE_CHAIN", chain),
            ("NFTA_RULE_HANDLE", handle),
        ]
        return to_nft(f"delete rule of {chain}", DELRULE, 0, self.family, message)

    def chain_exists(self, netlink: Netlink, name: str) -> bool:
        """Tell whether the chain is there."""
        attrs = text(TABLE, self.name) + text(CHAIN_NAME, name)
        try:
            netlink.ask(self.request(f"get chain {name}", GETCHAIN, 0, attrs))
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def chains(self, netlink: Netlink) -> list[str]:
        """Return the names of the table's chains; none when there is no table."""
        found = []
        for payload in netlink.dump(self.request("list chains", GETCHAIN, 0)):
            fields = dict(attributes(payload[GENERATION.size :]))
            if text_of(fields[TABLE]) == self.name:
                found.append(text_of(fields[CHAIN_NAME]))
        return found

    def rules(self, netlink: Netlink, chain: str) -> Iterator[tuple[int, bytes]]:
        """Yield (handle, encoded rule) of a chain's rules; none when there is no such chain."""
        request = self.request(f"list rules of {chain}", GETRULE, 0, self.named(chain))
        for payload in dump_if_there(netlink, request):
            fields = dict(attributes(payload[GENERATION.size :]))
            if text_of(fields[TABLE]) == self.name and text_of(fields[NAME]) == chain:
                yield struct.unpack(">Q", fields[RULE_HANDLE])[0], payload


def tables(netlink: Netlink) -> set[Table]:
    """Return the tables that there are."""
    request = Request("list tables", NFTABLES | GETTABLE, 0, GENERATION.pack(0))
    return {
        Table(payload[0], text_of(dict(attributes(payload[GENERATION.size :]))[TABLE]))
        for payload in netlink.dump(request)
    }


def text_of(value: bytes) -> str:
    """Return the text of an attribute, without its NUL."""
    return value.rstrip(b"\0").decode()


def dump_if_there(netlink: Netlink, request: Request) -> list[bytes]:
    """Return what `request` lists; nothing when the table, chain or set is not there.

    The kernel lists in chunks, and finds the next one by counting: what goes meanwhile hides as
    many others.  So a list that spans two generations of the tables is asked for again.
    """
    payloads: list[bytes] = []
    for _ in range(LISTS):
        try:
            payloads = list(netlink.dump(request))
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return []
            raise
        if len({payload[GENERATION_ID] for payload in payloads}) <= 1:
            break
    return payloads


# expressions of rules


def value(data: bytes) -> Expression:
    """Return a constant."""
    return {"attrs": [("NFTA_DATA_VALUE", data)]}


def jump(chain: str) -> Expression:
    """Return the verdict that goes to `chain` and comes back."""
    return _verdict(("NFTA_VERDICT_CODE", JUMP), ("NFTA_VERDICT_CHAIN", chain))


def verdict(code: int) -> Expression:
    """Return the verdict DROP, ACCEPT or RETURN."""
    return _verdict(("NFTA_VERDICT_CODE", code))


def _verdict(*attrs: tuple[str, Any]) -> Expression:
    return {"attrs": [("NFTA_DATA_VERDICT", {"attrs": list(attrs)})]}


def expression(name: str, **fields: Any) -> Expression:
    """Return the expression `name` of a rule with its attributes."""
    prefix = f"NFTA_{name.upper()}"
    attrs = [(f"{prefix}_{key.upper()}", given) for key, given in fields.items()]
    return {"attrs": [("NFTA_EXPR_NAME", name), ("NFTA_EXPR_DATA", {"attrs": attrs})]}
