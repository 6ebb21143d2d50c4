"""What a pool needs of a cloud: a handful of calls, each done once, and refusals of a known kind.

`ec2.py` speaks to EC2, `azure.py` reads what Azure has put on the node's interface.  No call is
repeated in here: the caller knows what else there is to do, and when to try again.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Protocol

from ipam.aws_vpc.limits import InstanceType
from ipam.aws_vpc.state import Subnet


class Kind(Enum):
    """What a refusal means for who asked."""

    THROTTLED = "throttled"  # nothing was done; all calls of the node had better wait
    UNCERTAIN = "uncertain"  # no answer, or 5xx: it may have been done
    NO_ADDRESS = "no address"  # the subnet has nothing left
    NO_PREFIX = "no prefix"  # the subnet has no /28 left
    ENI_FULL = "ENI full"  # the ENI has all the addresses that it can have
    ENI_LIMIT = "ENI limit"  # the instance has all the ENIs that it can have
    GONE = "gone"  # there is no such thing, or not yet
    BUSY = "busy"  # it is in use
    DENIED = "denied"  # the node's role may not do it
    REFUSED = "refused"  # anything else that will not change by itself


class CloudError(Exception):
    """A refusal: the cloud's own `code` and text, and what `kind` it is of."""

    def __init__(self, kind: Kind, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}" if code else text)
        self.kind, self.code = kind, code


@contextmanager
def understood() -> Iterator[None]:
    """Make a CloudError of an answer that has not what it should have."""
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        text = f"cannot use the answer: {type(error).__name__}: {error}"
        raise CloudError(Kind.UNCERTAIN, "", text) from error


@dataclass(frozen=True)
class Card:
    """A network interface as the cloud describes it."""

    name: str  # eni-…
    mac: str
    subnet: str
    cidr: IPv4Network  # of the subnet
    address: IPv4Address  # its own
    blocks: tuple[IPv4Network, ...] = ()
    ipv6: tuple[IPv6Network, ...] = ()  # prefixes
    device: int = -1  # -1: it is attached to nothing
    status: str = ""  # attaching, attached, detaching; empty: it is attached to nothing
    attachment: str = ""  # what detaching it takes
    managed: bool = True  # ours to use: has IPv4, and is the primary or bears our tag


@dataclass(frozen=True)
class Node:
    """The instance that we run on."""

    name: str
    instance: InstanceType
    vpc: str
    vpc_cidrs: tuple[str, ...]


@dataclass(frozen=True)
class Order:
    """An ENI to be made; the same `token` makes it only once.  `at`: when it was asked for."""

    token: str
    at: float
    subnet: str
    count: int
    prefixes: bool


@dataclass(frozen=True)
class Seen:
    """An ENI and its blocks as the metadata service has them: it is local, and may be late."""

    name: str
    blocks: frozenset[IPv4Network]


class Cloud(Protocol):
    """All calls raise CloudError.  `fixed`: there is nothing to be asked for, only to be read.

    `tally` counts calls of the cloud's API, by name and by the kind of refusal, empty: none.
    """

    fixed: bool
    tally: Counter[tuple[str, str]]

    def node(self) -> Node:
        """Return what we run on.  Raises CniError for a type of unknown limits."""

    def vpc_cidrs(self) -> tuple[str, ...]:
        """Return the networks of the VPC: they may come and go."""

    def cards(self) -> tuple[Card, ...]:
        """Return all ENIs of this node; that is the truth."""

    def card(self, name: str) -> Card | None:
        """Return one ENI, attached or not; None when there is none of that name."""

    def seen(self) -> tuple[Seen, ...]:
        """Return what the metadata service says, which no API has to be called for."""

    def subnets(self) -> tuple[Subnet, ...]:
        """Return the subnets that ENIs can be made in."""

    def create(self, order: Order) -> Card:
        """Make an ENI."""

    def attach(self, name: str, device: int) -> str:
        """Attach an ENI; return its attachment."""

    def bind(self, name: str, attachment: str) -> None:
        """Let the ENI go with the node when that is terminated."""

    def detach(self, attachment: str) -> None:
        """Detach an ENI."""

    def delete(self, name: str) -> None:
        """Delete an ENI that is not attached."""

    def assign(self, name: str, count: int, *, prefixes: bool) -> tuple[IPv4Network, ...]:
        """Put so many blocks on an ENI; return these."""

    def unassign(self, name: str, blocks: tuple[IPv4Network, ...]) -> None:
        """Take blocks from an ENI."""

    def leaked(self) -> tuple[str, ...]:
        """Return ENIs that bear our tag, are attached to nothing, and are old enough."""
