"""What the steps of the keeper have in common: cloud, ledger, and what a refusal leads to."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from cni.errors import CniError
from ipam.aws_vpc.agent.intents import Freeing, Making
from ipam.aws_vpc.agent.ledger import Ledger, Trouble
from ipam.aws_vpc.agent.patience import ALL, Patience
from ipam.aws_vpc.agent.requests import holder
from ipam.aws_vpc.cloud import Card, Cloud, CloudError, Kind, Node, understood
from ipam.aws_vpc.limits import Limits
from ipam.aws_vpc.state import hold

log = logging.getLogger(__name__)
SETTLING = 60.0  # seconds for which what EC2 shows may be older than what it has answered
CAPPED = 600.0  # seconds that a limit lasts which EC2 has taught us


class Host(Protocol):
    """What makes the node's kernel fit its ENIs."""

    def ensure(self, cards: tuple[Card, ...], vpc_cidrs: tuple[str, ...]) -> frozenset[str]:
        """Set up what is missing: links, tables, rules; return the ENIs that pods can use.

        Raises OSError: none can.  It is called again then, and when some are not in order.
        """


@dataclass
class Desk:
    """`look_now`: the cloud is to be asked what there is.

    `node` and `limits` are None until the cloud has said them, `problem` says why it will not.
    `cap`: ENIs that can be had, and until when that holds, in monotonic seconds.
    """

    cloud: Cloud
    ledger: Ledger
    host: Host
    patience: Patience
    monotonic: Callable[[], float]
    node: Node | None = None
    limits: Limits | None = None
    problem: CniError | None = None
    look_now: bool = True
    cap: tuple[int, float] | None = None

    def now(self) -> float:
        """Return the wall clock's seconds."""
        return self.ledger.clock()

    @contextmanager
    def call(self, what: str, key: str = ALL) -> Iterator[None]:
        """Take note of a refusal of what happens in the block, and raise it again."""
        try:
            with understood():
                yield
        except CloudError as error:
            if self.ledger.trouble is None or self.ledger.trouble.text != str(error):
                log.warning("cannot %s: %s", what, error)
            self.ledger.trouble = Trouble(what, str(error), self.now())
            throttled = error.kind is Kind.THROTTLED
            self.patience.failed(ALL if throttled else key)
            if error.kind in (Kind.GONE, Kind.ENI_FULL, Kind.BUSY):
                self.look_now = True
            raise
        self.patience.succeeded(key)
        self.patience.eased(ALL)

    def refresh_subnets(self) -> None:
        """Ask how many addresses are free in the subnets."""
        with self.call("ask for the subnets", "subnets"):
            found = self.cloud.subnets()
        with self.ledger.lock:
            self.ledger.set_subnets(found)

    def hold(self, subnet: str, count: int, *, prefixes: bool) -> None:
        """Leave a subnet alone that had not as many; if it may have fewer, only count anew."""
        try:
            self.refresh_subnets()
        except CloudError:
            known = {}
        else:
            known = {one.name: one.free for one in self.ledger.book.state.subnets}
        free = known.get(subnet)
        with self.ledger.lock:
            if prefixes or count <= 1 or not free or free >= count:
                state = hold(self.ledger.book.state, subnet, self.now(), prefixes=prefixes)
                self.ledger.set_state(state)

    def makings(self) -> tuple[Making, ...]:
        """Return the ENIs that are on their way."""
        return tuple(one for one in self.ledger.book.intents if isinstance(one, Making))

    def cards(self) -> tuple[Card, ...]:
        """Return the ENIs that the host is set up for: ours, and others that pods are on still."""
        book = self.ledger.book
        leaving = {one.name for one in book.intents if isinstance(one, Freeing)}
        pods = {holder(book.state, one.address) for one in book.state.assignments}
        return tuple(
            book.cards[one.name]
            for one in book.state.enis
            if (one.managed or one in pods) and one.name not in leaving
        )

    def set_up(self, *more: Card) -> frozenset[str]:
        """Set up the host for all ENIs, and for `more`; return those that pods can use."""
        cards = (*self.cards(), *more)
        cidrs = self.node.vpc_cidrs if self.node else ()
        try:
            good = self.host.ensure(cards, cidrs)
        except OSError as error:
            self._tell(f"cannot set up the host for its ENIs: {error}")
            return frozenset()
        broken = frozenset(card.name for card in cards) - good
        if broken:
            self._tell(f"the host cannot use {', '.join(sorted(broken))}")
        with self.ledger.lock:
            self.ledger.broken = broken
            self.ledger.lock.notify_all()
        return good

    def _tell(self, text: str) -> None:
        if self.ledger.trouble is None or self.ledger.trouble.text != text:
            log.warning("%s", text)
        self.ledger.trouble = Trouble("set up the host", text, self.now())

    def learn_limit(self, enis: int) -> None:
        """Take note that EC2 allows only so many ENIs."""
        self.cap = enis, self.monotonic() + CAPPED
