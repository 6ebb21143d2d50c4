"""Keeps the node's own nf_tables table as it should be (`cni.kernel.clusterrules` is its text)."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from cni.kernel import nft
from cni.kernel.clusterrules import (
    CHAINS,
    CLUSTER,
    NODES,
    TABLE,
    USERDATA,
    Hook,
    Rule,
    Wanted,
    rules,
)
from cni.kernel.netlink import NETFILTER, Netlink, Request, attributes, text
from cni.kernel.nft import CHAIN_NAME, GENERATION, GETCHAIN, GETRULE, NAME, text_of
from cni.kernel.nftset import Point, Set, intervals, single

CHAIN_HOOK, CHAIN_POLICY, CHAIN_TYPE = 4, 5, 7  # NFTA_CHAIN_*
HOOK_NUMBER, HOOK_PRIORITY = 1, 2  # NFTA_HOOK_*
SO_SNDBUFFORCE, SEND_BUFFER = 32, 4 << 20  # bytes: a table with 5,000 nodes is one batch
Elements = Mapping[Set, frozenset[Point]]


@dataclass(frozen=True)
class _Table:
    """What the table has: `rules` are (chain, user data), those of a chain in their order."""

    chains: frozenset[tuple[str, Hook | None]]
    rules: list[tuple[str, bytes]]
    elements: Elements


class ClusterTable:
    """The table in the network namespace where it is worked on; `count`: rules and elements."""

    def __init__(self) -> None:
        self.count = 0
        self._known: _Table | None = None

    def reconcile(self, wanted: Wanted, *, full: bool) -> dict[str, int]:
        """Make the table what `wanted` says; return how many of its rules and elements changed.

        Unless `full`, what the call before has made is taken to be there.  Raises KernelError.
        """
        known, self._known = self._known, None
        made = rules(wanted)
        goal = _goal(wanted, made)
        with _Socket(NETFILTER) as netlink:
            if full or known is None:
                known = _read(netlink)
            if (known.chains, known.rules) != (goal.chains, goal.rules):
                nft.commit(netlink, *_all(goal, made))
                changed = {"rule": len(made)}
            else:
                changed = _change_elements(netlink, known.elements, goal.elements)
        self._known = goal
        self.count = len(made) + sum(map(len, goal.elements.values()))
        return changed


class _Socket(Netlink):
    """A socket for large batches: each is one message to the kernel."""

    def __init__(self, family: int) -> None:
        super().__init__(family)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER)


def _goal(wanted: Wanted, made: list[Rule]) -> _Table:
    listed = sorted(((rule.chain, rule.userdata) for rule in made), key=lambda one: one[0])
    networks, nodes = wanted.pods + wanted.cluster, wanted.nodes
    elements = {one: intervals(networks, version) for version, one in CLUSTER.items()}
    elements |= {one: single(nodes, version) for version, one in NODES.items()}
    return _Table(frozenset(CHAINS.items()), listed, elements)


def _all(goal: _Table, made: list[Rule]) -> list[Request]:
    """Return what replaces the whole table."""
    chains = [
        TABLE.add_chain(name, **(hook._asdict() if hook else {})) for name, hook in CHAINS.items()
    ]
    filled = [
        request for one, points in goal.elements.items() for request in one.add_elements(points)
    ]
    return [
        TABLE.add(),
        TABLE.delete(),
        TABLE.add(),
        *(one.add() for one in goal.elements),
        *filled,
        *chains,
        *(rule.request for rule in made),
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


def _read(netlink: Netlink) -> _Table:
    elements = {one: one.elements(netlink) for one in (*CLUSTER.values(), *NODES.values())}
    return _Table(_chains(netlink), _rules(netlink), elements)


def _chains(netlink: Netlink) -> frozenset[tuple[str, Hook | None]]:
    found = set()
    for payload in netlink.dump(TABLE.request("list chains", GETCHAIN, 0)):
        fields = dict(attributes(payload[GENERATION.size :]))
        if text_of(fields[nft.TABLE]) == TABLE.name:
            found.add((text_of(fields[CHAIN_NAME]), _hook(fields)))
    return frozenset(found)


def _hook(fields: Mapping[int, bytes]) -> Hook | None:
    if CHAIN_HOOK not in fields:
        return None
    hook = dict(attributes(fields[CHAIN_HOOK]))
    values = hook[HOOK_NUMBER], hook[HOOK_PRIORITY], fields[CHAIN_POLICY]
    numbers = (int.from_bytes(value, "big", signed=True) for value in values)
    return Hook(text_of(fields[CHAIN_TYPE]), *numbers)


def _rules(netlink: Netlink) -> list[tuple[str, bytes]]:
    request = TABLE.request("list rules", GETRULE, 0, text(nft.TABLE, TABLE.name))
    found = []
    for payload in netlink.dump(request):
        fields = dict(attributes(payload[GENERATION.size :]))
        if text_of(fields[nft.TABLE]) == TABLE.name:
            found.append((text_of(fields[NAME]), fields.get(USERDATA, b"")))
    return sorted(found, key=lambda one: one[0])
