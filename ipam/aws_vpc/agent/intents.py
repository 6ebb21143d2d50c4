"""What was begun with the cloud, and how far it has come: written down before the next call.

A kill between two steps loses nothing: each step can be done again, and what it may have done
already is found by the ENI's name, or by the token that it is made with.
"""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from ipam.aws_vpc.state import Eni, FreeEni, Unassign


class Stage(StrEnum):
    """How far an intent has come; what follows the last one is: it is no more."""

    PLANNED = "planned"  # making: EC2 is asked for an ENI, or will be
    CREATED = "created"  # it has a name
    ATTACHED = "attached"  # it is attached, or being so
    BOUND = "bound"  # it goes with the node: when it is there, the host is set up, and that is all
    DETACHING = "detaching"  # freeing
    DELETING = "deleting"
    RETURNING = "returning"  # blocks
    RETURNED = "returned"  # EC2 has them back, and may show them for a while


@dataclass(frozen=True)
class Making:
    """An ENI on its way to this node; `at`: since when, in seconds of the wall clock."""

    token: str
    at: float
    subnet: str
    count: int
    prefixes: bool
    stage: Stage = Stage.PLANNED
    name: str = ""  # eni-…
    device: int = -1
    attachment: str = ""
    blocks: tuple[IPv4Network, ...] = ()

    @property
    def key(self) -> str:
        """Return what tells intents apart."""
        return self.token

    @property
    def eni(self) -> Eni:
        """Return what the pool will have, for its plan."""
        address = IPv4Address(0)
        return Eni(self.name or self.token, self.device, self.subnet, address, self.blocks, self.at)


@dataclass(frozen=True)
class Freeing:
    """An ENI on its way out."""

    name: str
    stage: Stage = Stage.DETACHING
    why: str = ""

    @property
    def key(self) -> str:
        """Return what tells intents apart."""
        return self.name


@dataclass(frozen=True)
class Returning:
    """Blocks that are given back; `at`: when EC2 took them, 0: not yet."""

    name: str
    blocks: tuple[IPv4Network, ...]
    stage: Stage = Stage.RETURNING
    why: str = ""
    at: float = 0.0

    @property
    def key(self) -> str:
        """Return what tells intents apart."""
        return f"{self.name} {self.blocks[0]}"


Intent = Making | Freeing | Returning


def releasing(intents: tuple[Intent, ...]) -> tuple[Unassign | FreeEni, ...]:
    """Return what no pod may get an address of any more."""
    found: list[Unassign | FreeEni] = []
    for one in intents:
        if isinstance(one, Freeing):
            found.append(FreeEni(one.name, one.why))
        elif isinstance(one, Returning) and one.stage is Stage.RETURNING:
            found.append(Unassign(one.name, one.blocks, one.why))
    return tuple(found)
