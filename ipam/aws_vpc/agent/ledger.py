"""The pool as threads share it: one lock, and every change is on disk before anybody sees it."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cni.leases.reboot import Boot
from ipam.aws_vpc import pool
from ipam.aws_vpc.agent import record
from ipam.aws_vpc.agent.intents import Intent, releasing
from ipam.aws_vpc.agent.record import Book
from ipam.aws_vpc.settings import Settings
from ipam.aws_vpc.state import State, Subnet, Unassign

if TYPE_CHECKING:
    from ipaddress import IPv4Network

log = logging.getLogger(__name__)
NEVER = float("inf")


@dataclass(frozen=True)
class Trouble:
    """What the cloud said last that was no answer; `at`: in seconds of the wall clock."""

    call: str
    text: str
    at: float


class Ledger:
    """`with ledger.lock:` around what looks and then changes; the lock tells of every change.

    `waiting` counts ADDs that wait for an address.  `open`: the cloud has confirmed what the
    record says, so addresses can be given out.  `suspects` are blocks that the cloud no longer
    shows: nobody gets one, and who has one keeps it until that is certain; with when the
    metadata service said the same, NEVER: it has not.  `young` are those that were assigned just
    now, with when.  `broken` are ENIs that the host cannot use: nobody gets an address of one.
    """

    def __init__(
        self,
        settings: Settings,
        path: str = record.PATH,
        boot: Boot | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings, self.clock = settings, clock
        self.lock = threading.Condition(threading.RLock())
        self.waiting = 0
        self.open = False
        self.trouble: Trouble | None = None
        self.suspects: dict[tuple[str, IPv4Network], float] = {}
        self.young: dict[tuple[str, IPv4Network], float] = {}
        self.broken: frozenset[str] = frozenset()
        self._path, self._boot = path, boot or Boot.current()
        self.book = record.read(self._boot, settings.cooldown, clock(), path)
        self._woken = threading.Event()

    def state(self) -> State:
        """Return the pool with what may not be given out, and with those who wait."""
        state = self.book.state
        gone = tuple(
            Unassign(name, (block,), "the cloud does not show it") for name, block in self.suspects
        )
        broken = tuple(
            Unassign(eni.name, eni.blocks, "the host cannot use it")
            for eni in state.enis
            if eni.name in self.broken
        )
        leaving = (*releasing(self.book.intents), *gone, *broken)
        return replace(state, releasing=leaving, waiting=self.waiting)

    def commit(self, book: Book) -> None:
        """Have this from now on.  Raises OSError, and then nothing has changed."""
        if book == self.book:
            return
        record.write(book, self._boot, self._path)
        self.book = book
        self.lock.notify_all()

    def set_state(self, state: State) -> None:
        """Commit a state."""
        state = replace(state, releasing=(), waiting=0, subnets=self.book.state.subnets)
        self.commit(replace(self.book, state=state))

    def set_subnets(self, subnets: tuple[Subnet, ...]) -> None:
        """Take what the cloud says of subnets; it is not kept."""
        self.book = replace(self.book, state=replace(self.book.state, subnets=subnets))

    def set_intent(self, intent: Intent | None, key: str) -> None:
        """Commit an intent in place of the one with that key; None: it is done with."""
        self.commit(replace(self.book, intents=self.intents_with(intent, key)))

    def intents_with(self, intent: Intent | None, key: str) -> tuple[Intent, ...]:
        """Return the intents as they would be then."""
        others = tuple(one for one in self.book.intents if one.key != key)
        return (*others, intent) if intent else others

    def belong_to(self, node: str) -> None:
        """Be the pool of this node: what another one has is none of it.  Raises OSError."""
        if self.book.node not in ("", node):
            log.warning("the pool's record is of %s, from whose disk this one is", self.book.node)
            self.commit(Book(node=node))
        else:
            self.commit(replace(self.book, node=node))

    def tidy(self) -> None:
        """Forget what is over, and bound what a clock that jumped has made of it."""
        now = self.clock()
        self.set_state(pool.tidy(self.book.state, self.settings, now))

    def wake(self) -> None:
        """Let the keeper look now."""
        self._woken.set()

    def sleep(self, seconds: float) -> None:
        """Sleep until somebody wakes the keeper."""
        self._woken.wait(seconds)
        self._woken.clear()
