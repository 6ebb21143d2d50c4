"""Azure: the addresses that were put on the node's interface when the node was made.

They are read from the instance metadata service.  Nothing can be asked for, so no pod waits for
a cloud (learn.microsoft.com/azure/virtual-machines/instance-metadata-service).
"""

import os
from collections import Counter
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from cni.config import Section
from cni.errors import CniError
from ipam.aws_vpc.cloud import Card, CloudError, Kind, Node, Order, Seen
from ipam.aws_vpc.cloud.imds import AZURE, Metadata
from ipam.aws_vpc.limits import InstanceType
from ipam.aws_vpc.state import Subnet

ENDPOINT = "AZURE_METADATA_SERVICE_ENDPOINT"  # Azure's SDKs have no name for it


def metadata_of(environ: Mapping[str, str] = os.environ) -> Metadata:
    """Return the metadata service."""
    return Metadata(environ.get(ENDPOINT) or AZURE)


class Azure:
    """The first interface is the node's; of its addresses the first is the node's own."""

    fixed = True

    def __init__(self, metadata: Metadata) -> None:
        self._metadata = metadata
        self.tally: Counter[tuple[str, str]] = Counter()

    def node(self) -> Node:
        """Return limits that leave no room: what is there is all there will be."""
        card = self._card()
        many = len(card.blocks)
        kind = InstanceType("this Azure node", 1, many + 1, 0, 1, "")
        if not many:
            raise _nothing("the node's interface has no address but its own")
        return Node(card.name, kind, card.subnet, (card.subnet,))

    def vpc_cidrs(self) -> tuple[str, ...]:
        """Return the subnet: the service does not say more."""
        return (self._card().subnet,)

    def cards(self) -> tuple[Card, ...]:
        """Return the node's interface."""
        return (self._card(),)

    def _card(self) -> Card:
        try:
            said = Section({"interface": self._metadata.azure()})
            return _read(said.sections("interface"))
        except (CniError, ValueError) as error:
            raise _nothing(str(error)) from error

    def card(self, name: str) -> Card | None:
        """Return the node's interface, if it has this name."""
        found = self._card()
        return found if found.name == name else None

    def seen(self) -> tuple[Seen, ...]:
        """Return the same as `cards`: there is one source."""
        return tuple(Seen(one.name, frozenset(one.blocks)) for one in self.cards())

    def subnets(self) -> tuple[Subnet, ...]:
        """Return none: nothing is made."""
        return ()

    def create(self, order: Order) -> Card:
        """Refuse."""
        raise _fixed(f"make an interface in {order.subnet}")

    def attach(self, name: str, device: int) -> str:
        """Refuse."""
        raise _fixed(f"attach {name} as {device}")

    def bind(self, name: str, attachment: str) -> None:
        """Refuse."""
        raise _fixed(f"bind {name} by {attachment}")

    def detach(self, attachment: str) -> None:
        """Refuse."""
        raise _fixed(f"detach {attachment}")

    def delete(self, name: str) -> None:
        """Refuse."""
        raise _fixed(f"delete {name}")

    def assign(self, name: str, count: int, *, prefixes: bool) -> tuple[IPv4Network, ...]:
        """Refuse."""
        raise _fixed(f"put {count} {'prefixes' if prefixes else 'addresses'} on {name}")

    def unassign(self, name: str, blocks: tuple[IPv4Network, ...]) -> None:
        """Refuse."""
        raise _fixed(f"take {len(blocks)} addresses from {name}")

    def leaked(self) -> tuple[str, ...]:
        """Return none."""
        return ()


def _read(interfaces: list[Section]) -> Card:
    """Return the first interface.  Raises CniError, ValueError."""
    if not interfaces:
        message = "the node has no interface"
        raise ValueError(message)
    first = interfaces[0]
    ipv4 = first.section("ipv4")
    addresses = [IPv4Address(one.string("privateIpAddress")) for one in ipv4.sections("ipAddress")]
    subnets = ipv4.sections("subnet")
    if not addresses or not subnets:
        message = "the node's interface has no IPv4"
        raise ValueError(message)
    subnet = IPv4Network(f"{subnets[0].string('address')}/{subnets[0].string('prefix')}")
    mac = _mac(first.string("macAddress"))
    return Card(
        name=f"nic-{mac.replace(':', '')}",
        mac=mac,
        subnet=str(subnet),
        cidr=subnet,
        address=addresses[0],
        blocks=tuple(IPv4Network(one) for one in addresses[1:]),
        device=0,
        status="attached",
    )


def _mac(text: str) -> str:
    """Return a MAC as the kernel writes it, of 12 hex digits."""
    digits = text.casefold().replace(":", "").replace("-", "")
    return ":".join(digits[i : i + 2] for i in range(0, len(digits), 2))


def _fixed(what: Any) -> CloudError:
    return CloudError(Kind.REFUSED, "", f"cannot {what}: addresses of an Azure node are fixed")


def _nothing(cause: str) -> CloudError:
    return CloudError(Kind.UNCERTAIN, "", f"cannot read the node's addresses: {cause}")
