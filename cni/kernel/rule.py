"""Rules: which routing table a packet is looked up in (man 8 ip-rule)."""

import errno
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

from cni.config import IPNetwork
from cni.errors import KernelError
from cni.kernel.netlink import (
    CREATE,
    EXCL,
    TOGETHER,
    Netlink,
    Request,
    attribute,
    attributes,
    integer,
    number,
)
from cni.kernel.route import COMPAT, LOCAL, MAIN

RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
HEADER = struct.Struct("=BBBBBxxBI")  # fib_rule_hdr: family, bits of dst, of src, tos, table,
# action, flags
TO_TABLE = 1  # FR_ACT_TO_TBL
INVERTED = 0x2  # FIB_RULE_INVERT
FRA_DST, FRA_SRC, FRA_PRIORITY, FRA_FWMARK = 1, 2, 6, 10
FRA_TABLE, FRA_FWMASK, FRA_PROTOCOL = 15, 16, 21
FRA_SUPPRESS = (13, 14)  # FRA_SUPPRESS_IFGROUP, FRA_SUPPRESS_PREFIXLEN
KNOWN = {FRA_DST, FRA_SRC, FRA_PRIORITY, FRA_FWMARK, FRA_TABLE, FRA_FWMASK, FRA_PROTOCOL}
NOTHING = b"\xff\xff\xff\xff"  # as the kernel says that it suppresses nothing
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
VERSION = {socket.AF_INET: 4, socket.AF_INET6: 6}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of IP `version` that leads to `table`; what is None or 0 matches everything.

    `protocol` says who made it (RTPROT_*); `more`: it has selectors or an action besides.
    """

    version: int
    priority: int
    table: int = MAIN
    src: IPNetwork | None = None
    dst: IPNetwork | None = None
    mark: int = 0
    mask: int = 0
    protocol: int = 0
    more: bool = False


def add(rule: Rule) -> Request:
    """Add a rule.  EEXIST if there is one like it, whoever made it."""
    return _request("add", RTM_NEWRULE, CREATE | EXCL, rule)


def delete(rule: Rule) -> Request:
    """Remove the first rule that is so, whatever else it has.  ENOENT when there is none."""
    return _request("delete", RTM_DELRULE, 0, rule)


def _request(verb: str, kind: int, flags: int, rule: Rule) -> Request:
    attrs = number(FRA_PRIORITY, rule.priority) + number(FRA_TABLE, rule.table)
    lengths = []
    for key, network in ((FRA_DST, rule.dst), (FRA_SRC, rule.src)):
        lengths.append(network.prefixlen if network else 0)
        if network:
            attrs += attribute(key, network.network_address.packed)
    if rule.mask:
        attrs += number(FRA_FWMARK, rule.mark) + number(FRA_FWMASK, rule.mask)
    if rule.protocol:
        attrs += attribute(FRA_PROTOCOL, bytes((rule.protocol,)))
    table = COMPAT if rule.table > LOCAL else rule.table
    header = HEADER.pack(FAMILY[rule.version], *lengths, 0, table, TO_TABLE, 0)
    return Request(f"{verb} rule {describe(rule)}", kind, flags, header + attrs)


def describe(rule: Rule) -> str:
    """Return the rule as ip(8) shows it."""
    words = [f"{rule.priority}:", f"from {rule.src or 'all'}"]
    if rule.dst:
        words.append(f"to {rule.dst}")
    if rule.mask:
        words.append(f"fwmark {rule.mark:#x}/{rule.mask:#x}")
    return " ".join([*words, f"lookup {'main' if rule.table == MAIN else rule.table}"])


def list_all(rtnl: Netlink, version: int) -> Iterator[Rule]:
    """Yield the rules of an IP version in the order of their priorities; none without IPv6."""
    header = HEADER.pack(FAMILY[version], 0, 0, 0, 0, 0, 0)
    try:
        for payload in rtnl.dump(Request("list rules", RTM_GETRULE, 0, header)):
            yield _read(payload)
    except KernelError as error:
        if error.errno != errno.EAFNOSUPPORT:
            raise


def _read(payload: bytes) -> Rule:
    family, dst_len, src_len, tos, table, action, flags = HEADER.unpack_from(payload)
    fields = dict(attributes(payload[HEADER.size :]))
    odd = {key for key in fields.keys() - KNOWN if key not in FRA_SUPPRESS}
    odd |= {key for key in FRA_SUPPRESS if fields.get(key, NOTHING) != NOTHING}
    return Rule(
        version=VERSION[family],
        priority=integer(fields.get(FRA_PRIORITY)),
        table=integer(fields.get(FRA_TABLE)) or table,
        src=_network(fields.get(FRA_SRC), src_len),
        dst=_network(fields.get(FRA_DST), dst_len),
        mark=integer(fields.get(FRA_FWMARK)),
        mask=integer(fields.get(FRA_FWMASK)),
        protocol=integer(fields.get(FRA_PROTOCOL)),
        more=bool(odd or tos or action != TO_TABLE or flags & INVERTED),
    )


def _network(value: bytes | None, length: int) -> IPNetwork | None:
    if value is None:
        return None
    return (IPv4Network if len(value) == 4 else IPv6Network)((value, length))


def change(rtnl: Netlink, remove: Iterable[Rule], make: Iterable[Rule]) -> None:
    """Remove rules, which may be gone, and make rules, which may be there."""
    requests = [*map(delete, remove), *map(add, make)]
    for at in range(0, len(requests), TOGETHER):
        for error in rtnl.do_each(requests[at : at + TOGETHER]).values():
            if error.errno not in (errno.ENOENT, errno.EEXIST):
                raise error
