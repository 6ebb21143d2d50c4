"""The other nodes: what is wanted for each of them, what the kernel has, what was mended last."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from cni.agent.settings import ROUTES, VXLAN
from cni.cluster import Cluster
from cni.cnictl.agent import Agent
from cni.cnictl.screen import Screen
from cni.config import Section
from cni.errors import CniError, Code
from cni.overlay.apply import Overlay
from cni.overlay.difference import Row

MISSING, DIFFERENT, TOO_MUCH = "is missing", "is different", "is too much"


@dataclass(frozen=True)
class Peer:
    """Another node; `way` is the route that is wanted to its pods, `wrong` what is not so."""

    name: str
    addresses: list[str]
    pod_cidrs: list[str]
    way: list[str]
    wrong: list[str]


@dataclass(frozen=True)
class Role:
    """What the agent said last of a role."""

    name: str
    error: str
    objects: int
    repairs: dict[str, int]
    last_repair: str


@dataclass(frozen=True)
class Peers:
    """All of it; `wrong` is what is not as it should be on this node, and leads to none."""

    node: str
    peers: list[Peer]
    wrong: list[str]
    roles: list[Role] = field(default_factory=list)
    alarms: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Tell whether all is as it should be."""
        return not self.wrong and not any(one.wrong for one in self.peers)

    def json(self) -> dict[str, Any]:
        """Return it for programs."""
        return asdict(self)


def look(agent: Agent) -> Peers:
    """Return what is wanted, and what there is; nothing is changed.  Raises CniError."""
    settings = agent.settings
    if not {ROUTES, VXLAN} & set(settings.roles):
        msg = "cannot tell of peers: the agent of this node has no role routes or vxlan"
        raise CniError(Code.INVALID_CONFIG, msg, "docs/operating.md tells how to give it one")
    cluster = agent.cluster()
    rows = Overlay(settings.overlay).difference(cluster)
    said = agent.state.section("roles") if agent.state else Section({})
    alarms = [text for name in said.values for text in said.section(name).strings("alarms")]
    return Peers(
        cluster.own.name,
        list(_peers(cluster, rows)),
        [_say(row) for row in rows if not row.node and row.wanted != row.found],
        [_role(name, said.section(name)) for name in said.values],
        list(dict.fromkeys([*alarms, *cluster.alarms])),
    )


def _peers(cluster: Cluster, rows: list[Row]) -> Iterator[Peer]:
    by_node: dict[str, list[Row]] = {}
    for row in rows:
        by_node.setdefault(row.node, []).append(row)
    for node in cluster.peers:
        own = by_node.get(node.name, [])
        way = [row.wanted.partition(" ")[2] for row in own if row.kind == "route" and row.wanted]
        wrong = [_say(row) for row in own if row.wanted != row.found]
        yield Peer(
            node.name,
            [str(one) for one in node.addresses],
            [str(one) for one in node.pod_cidrs],
            way,
            wrong if way else [f"no way leads to the pods of {node.name}", *wrong],
        )


def _say(row: Row) -> str:
    """Return what is wrong with an object, in one line."""
    if not row.found:
        return f"{row.kind} {row.wanted} {MISSING}"
    if not row.wanted:
        return f"{row.kind} {row.found} {TOO_MUCH}"
    return f"{row.kind} {row.found} {DIFFERENT}: it ought to be {row.wanted}"


def _role(name: str, said: Section) -> Role:
    repair = said.section("lastRepair")
    kinds = {kind: int(number) for kind, number in repair.section("kinds").values.items()}
    at = repair.get("at")
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at else ""
    repairs = {kind: int(number) for kind, number in said.section("repairs").values.items()}
    return Role(
        name,
        said.string("error"),
        said.integer("wanted"),
        repairs,
        f"{when} {_count(kinds)}".strip(),
    )


def _count(kinds: dict[str, int]) -> str:
    return ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))


def show(screen: Screen, found: Peers) -> None:
    """Print it."""
    if found.peers:
        columns = ("NODE", "ADDRESSES", "POD CIDRS", "WAY", "STATE")
        screen.table(
            columns,
            (
                (
                    one.name,
                    " ".join(one.addresses),
                    " ".join(one.pod_cidrs),
                    ", ".join(one.way),
                    f"{len(one.wrong)} wrong" if one.wrong else "ok",
                )
                for one in found.peers
            ),
        )
    else:
        screen.line(f"{found.node} has no peers")
    if found.roles:
        screen.line()
        columns = ("ROLE", "OBJECTS", "STATE", "REPAIRS", "LAST REPAIR")
        rows = (
            (one.name, str(one.objects), one.error or "ok", _count(one.repairs), one.last_repair)
            for one in found.roles
        )
        screen.table(columns, rows)
    wrong = found.wrong + [text for one in found.peers for text in one.wrong]
    for text in wrong + found.alarms:
        screen.line(text)
