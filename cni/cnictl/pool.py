"""The node's pool of VPC addresses, as the agent said it last: each ENI, and why so many."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from cni import document
from cni.agent.vpc import PATH
from cni.cnictl.screen import Screen
from cni.config import Section
from cni.errors import CniError, Code

COLUMNS = ("capacity", "total", "assigned", "cooling", "free")


@dataclass(frozen=True)
class Eni:
    """One ENI; numbers of addresses for pods."""

    name: str
    device: int
    subnet: str
    address: str
    state: str
    capacity: int
    total: int
    assigned: int
    cooling: int
    free: int


@dataclass(frozen=True)
class Pool:
    """All of it; `lack` says why the next pod would get no address, empty: it would get one."""

    node: str
    instance_type: str
    ready: bool
    reasons: list[str]
    enis: list[Eni]
    pending: list[str]
    why: list[str]
    waiting: int
    lack: str
    alarms: list[str]

    def json(self) -> dict[str, Any]:
        """Return it for programs."""
        return asdict(self)


def look(path: str = PATH) -> Pool:
    """Return what the agent said last.  Raises CniError."""
    try:
        said = Section(document.read(path, "state of the pool"), path)
    except CniError as error:
        hint = "does pycnid run on this node with the role vpc? docs/aws-vpc-agent.md"
        raise CniError(Code.IO_FAILURE, error.msg, hint) from error
    return Pool(
        node=said.string("node"),
        instance_type=said.string("instanceType"),
        ready=said.boolean("ready"),
        reasons=list(said.strings("reasons")),
        enis=[_eni(one) for one in said.sections("enis")],
        pending=[_pending(one) for one in said.sections("pending")],
        why=list(said.strings("why")),
        waiting=said.integer("waiting"),
        lack=said.string("lack"),
        alarms=list(said.strings("alarms")),
    )


def _eni(said: Section) -> Eni:
    texts = {key: said.string(key) for key in ("name", "subnet", "address", "state")}
    numbers = {key: said.integer(key) for key in ("device", *COLUMNS)}
    return Eni(**texts, **numbers)  # type: ignore[arg-type]  # by the names above


def _pending(said: Section) -> str:
    name = said.string("name") or "an ENI"
    blocks, subnet = said.integer("blocks"), said.string("subnet")
    return f"{name} in {subnet} with {blocks} blocks is {said.string('stage')}"


def show(screen: Screen, found: Pool) -> None:
    """Print it."""
    header = ("ENI", "DEVICE", "SUBNET", "ADDRESS", "STATE", *(one.upper() for one in COLUMNS))
    rows = [
        (one.name, str(one.device), one.subnet, one.address, one.state, *_numbers(one))
        for one in found.enis
    ]
    sums = [str(sum(getattr(one, key) for one in found.enis)) for key in COLUMNS]
    screen.table(header, [*rows, ("in all", "", "", "", "", *sums)])
    screen.line()
    for line in _lines(found):
        screen.line(line)


def _numbers(one: Eni) -> Iterator[str]:
    return (str(getattr(one, key)) for key in COLUMNS)


def _lines(found: Pool) -> Iterator[str]:
    kind = f", a {found.instance_type}" if found.instance_type else ""
    yield f"{found.node or 'this node'}{kind}: {'ready' if found.ready else 'not ready'}"
    yield from found.why
    yield from (f"pending: {one}" for one in found.pending)
    if found.waiting:
        yield f"pods that wait: {found.waiting}"
    if found.lack:
        yield f"the next pod would get no address: {found.lack}"
    yield from (one for one in (*found.reasons, *found.alarms) if one != found.lack)
