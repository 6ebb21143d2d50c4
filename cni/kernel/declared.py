"""A table of nf_tables that is said as a whole, compared with the kernel's, and made so.

Each rule's comment holds a digest of the rule, so that the kernel's listing tells whether all is
as it was made, by this process or by one before it.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from cni.kernel import nft
from cni.kernel.netlink import NETFILTER, Netlink, Request, attribute, attributes, text
from cni.kernel.nft import (
    CHAIN_NAME,
    GENERATION,
    GETCHAIN,
    GETRULE,
    NAME,
    Expression,
    Table,
    text_of,
)
from cni.kernel.nftset import Point, Set

CHAIN_HOOK, CHAIN_POLICY, CHAIN_TYPE = 4, 5, 7  # NFTA_CHAIN_*
HOOK_NUMBER, HOOK_PRIORITY = 1, 2  # NFTA_HOOK_*
USERDATA, COMMENT = 7, 0  # NFTA_RULE_USERDATA, NFTNL_UDATA_RULE_COMMENT
Elements = Mapping[Set, frozenset[Point]]
Text = tuple[str, str, tuple[Expression, ...]]  # of a rule: chain, comment, expressions


class Hook(NamedTuple):
    """Where a base chain hangs; `policy` is what becomes of a packet that no rule decides."""

    kind: str
    number: int
    priority: int
    policy: int = nft.ACCEPT


@dataclass(frozen=True)
class Rule:
    """A rule of `chain`; two with the same user data, which is a comment, are the same."""

    chain: str
    userdata: bytes
    request: Request


@dataclass(frozen=True)
class Declared:
    """What a table has; a chain without hook is one to jump to.

    `rules` are in their order within a chain.
    """

    table: Table
    chains: Mapping[str, Hook | None]
    rules: list[Rule]
    elements: Elements


def rules(table: Table, texts: Iterable[Text]) -> list[Rule]:
    """Return rules whose comments hold a digest of them."""
    return [_rule(table, *one) for one in texts]


def _rule(table: Table, chain: str, about: str, expressions: tuple[Expression, ...]) -> Rule:
    rule = table.add_rule(chain, *expressions)
    comment = f"{about} [{hashlib.sha256(rule.payload).hexdigest()[:8]}]".encode() + b"\0"
    userdata = bytes((COMMENT, len(comment))) + comment
    payload = rule.payload + attribute(USERDATA, userdata)
    return Rule(chain, userdata, Request(rule.what, rule.kind, rule.flags, payload))


@dataclass(frozen=True)
class _Found:
    """What the table has: `rules` are (chain, user data), those of a chain in their order."""

    chains: frozenset[tuple[str, Hook | None]]
    rules: list[tuple[str, bytes]]
    elements: Elements


class Keeper:
    """Keeps one table as declared, in the network namespace where it is worked on.

    `count`: rules and elements.
    """

    def __init__(self) -> None:
        self.count = 0
        self._known: _Found | None = None

    def reconcile(self, wanted: Declared, *, full: bool) -> dict[str, int]:
        """Make the table what `wanted` says; return how many of its rules and elements changed.

        Unless `full`, what the call before has made is taken to be there.  Raises KernelError.
        """
        known, self._known = self._known, None
        goal = _goal(wanted)
        with Netlink(NETFILTER) as netlink:
            if full or known is None:
                known = _read(netlink, wanted)
            if (known.chains, known.rules) != (goal.chains, goal.rules):
                nft.commit(netlink, *_all(wanted))
                changed = {"rule": len(wanted.rules)}
            else:
                changed = _change_elements(netlink, known.elements, goal.elements)
        self._known = goal
        self.count = len(wanted.rules) + sum(map(len, goal.elements.values()))
        return changed


def _goal(wanted: Declared) -> _Found:
    listed = sorted(((rule.chain, rule.userdata) for rule in wanted.rules), key=lambda one: one[0])
    return _Found(frozenset(wanted.chains.items()), listed, wanted.elements)


def _all(wanted: Declared) -> list[Request]:
    """Return what replaces the whole table."""
    table = wanted.table
    chains = [
        table.add_chain(name, **(hook._asdict() if hook else {}))
        for name, hook in wanted.chains.items()
    ]
    filled = [
        request for one, points in wanted.elements.items() for request in one.add_elements(points)
    ]
    return [
        table.add(),
        table.delete(),
        table.add(),
        *(one.add() for one in wanted.elements),
        *filled,
        *chains,
        *(rule.request for rule in wanted.rules),
    ]


def _change_elements(netlink: Netlink, known: Elements, goal: Elements) -> dict[str, int]:
    requests: list[Request] = []
    count = 0
    for one, points in goal.items():
        requests += one.change(known[one], points)
        count += len(points ^ known[one])
    if requests:
        nft.commit(netlink, *requests)
    return {"element": count} if count else {}


def _read(netlink: Netlink, wanted: Declared) -> _Found:
    elements = {one: one.elements(netlink) for one in wanted.elements}
    return _Found(_chains(netlink, wanted.table), _rules(netlink, wanted.table), elements)


def _chains(netlink: Netlink, table: Table) -> frozenset[tuple[str, Hook | None]]:
    found = set()
    for payload in netlink.dump(table.request("list chains", GETCHAIN, 0)):
        fields = dict(attributes(payload[GENERATION.size :]))
        if text_of(fields[nft.TABLE]) == table.name:
            found.add((text_of(fields[CHAIN_NAME]), _hook(fields)))
    return frozenset(found)


def _hook(fields: Mapping[int, bytes]) -> Hook | None:
    if CHAIN_HOOK not in fields:
        return None
    hook = dict(attributes(fields[CHAIN_HOOK]))
    values = hook[HOOK_NUMBER], hook[HOOK_PRIORITY], fields[CHAIN_POLICY]
    numbers = (int.from_bytes(value, "big", signed=True) for value in values)
    return Hook(text_of(fields[CHAIN_TYPE]), *numbers)


def _rules(netlink: Netlink, table: Table) -> list[tuple[str, bytes]]:
    request = table.request("list rules", GETRULE, 0, text(nft.TABLE, table.name))
    found = []
    for payload in netlink.dump(request):
        fields = dict(attributes(payload[GENERATION.size :]))
        if text_of(fields[nft.TABLE]) == table.name:
            found.append((text_of(fields[NAME]), fields.get(USERDATA, b"")))
    return sorted(found, key=lambda one: one[0])
