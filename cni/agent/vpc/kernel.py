"""The node's kernel as the role vpc keeps it: `cni.vpc.host` with what the cloud says."""

import errno
import logging
import time
from collections import Counter
from ipaddress import IPv4Interface, ip_network

from cni.errors import CniError
from cni.vpc import host
from cni.vpc.plan import Eni, VpcHost
from cni.vpc.policy import Policy
from ipam.aws_vpc.cloud import Card

log = logging.getLogger(__name__)
REST = 1.0  # seconds from one pass to the next, when nothing asks for it


class Kernel:
    """Makes it fit the ENIs, and mends what others break.  `repairs` counts what was mended."""

    def __init__(self, policy: Policy) -> None:
        self.repairs: Counter[str] = Counter()
        self._policy = policy
        self._host: VpcHost | None = None
        self._next, self._trouble = 0.0, ""

    def ensure(self, cards: tuple[Card, ...], vpc_cidrs: tuple[str, ...]) -> frozenset[str]:
        """Set up what is missing; return the ENIs that pods can use.  Raises OSError: none can."""
        wanted = _host(cards, vpc_cidrs, self._policy)
        changed, self._host = wanted != self._host, wanted
        return self._pass(wanted, broken=not changed)

    def mend(self) -> None:
        """Do the same again, unless it has just been done; what fails is told once."""
        if self._host is None or time.monotonic() < self._next:
            return
        try:
            self._pass(self._host, broken=True)
        except OSError as error:
            self._tell(str(error))

    def _pass(self, wanted: VpcHost, *, broken: bool) -> frozenset[str]:
        try:
            report = host.ensure(wanted)
        except CniError as error:
            raise OSError(errno.ENODEV, str(error)) from error
        finally:
            self._next = time.monotonic() + REST
        if report.repairs:
            text = ", ".join(f"{number} {kind}" for kind, number in sorted(report.repairs.items()))
            log.info("host: %s: %s", "repaired" if broken else "changed", text)
            self.repairs.update(report.repairs if broken else {})
        self._tell("; ".join(report.alarms))
        return report.enis

    def _tell(self, trouble: str) -> None:
        if trouble and trouble != self._trouble:
            log.error("cannot set up the host: %s", trouble)
        self._trouble = trouble


def _host(cards: tuple[Card, ...], vpc_cidrs: tuple[str, ...], policy: Policy) -> VpcHost:
    by_name = {card.name: card for card in cards}
    enis = sorted(map(_eni, by_name.values()), key=lambda eni: eni.device)
    if not enis or enis[0].device:
        raise OSError(errno.ENODEV, "the cloud does not show the primary ENI")
    return VpcHost(enis[0], tuple(enis[1:]), tuple(map(ip_network, vpc_cidrs)), policy)


def _eni(card: Card) -> Eni:
    address = IPv4Interface((card.address, card.cidr.prefixlen))
    return Eni(card.name, card.mac.casefold(), card.device, address)
