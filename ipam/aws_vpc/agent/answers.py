"""What programs ask: who gets which address.  The protocol is told in cni/vpc/client.py.

No answer but that to an ADD on an empty pool waits for the cloud.
"""

import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from cni.attachment import Attachment
from cni.config import Section
from cni.errors import CniError, Code
from cni.kernel.route import MAIN
from cni.vpc import released
from ipam.aws_vpc import pool
from ipam.aws_vpc.agent.desk import Desk
from ipam.aws_vpc.agent.intents import Making
from ipam.aws_vpc.agent.requests import given_address, holder, owner_of

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)
WAIT = 8.0  # seconds that an ADD waits for an address; runtimes wait for minutes
Json = dict[str, Any]


@dataclass
class Waits:
    """What ADDs had to wait: `seconds` in all, for `number` of them; refusals by code."""

    number: int = 0
    seconds: float = 0.0
    refused: Counter[int] = field(default_factory=Counter)


@dataclass(eq=False)
class _Wait:
    """An ADD that waits; `ended`: its attachment was deleted meanwhile, so nobody is there."""

    owner: Attachment
    ended: bool = False


class Answers:
    """Answers requests, from any thread.  `mtu` in bytes; `wait` is for tests."""

    def __init__(self, desk: Desk, mtu: int, wait: float = WAIT) -> None:
        self.waits = Waits()
        self._desk, self._ledger, self._mtu, self._wait = desk, desk.ledger, mtu, wait
        self._waiting: list[_Wait] = []
        self._fresh: set[Attachment] = set()  # given by the last ADD of each
        self._verbs: dict[str, Callable[[Section], Json]] = {
            "ADD": self._add,
            "CHECK": self._check,
            "DEL": self._delete,
            "GC": self._gc,
            "STATUS": self._status,
        }

    def answer(self, request: Section) -> Json:
        """Return the answer to one request.  Raises CniError, OSError."""
        verb = request.string("verb")
        if verb not in self._verbs:
            raise request.refuse("verb", f"one of {', '.join(self._verbs)}")
        with self._ledger.lock:
            self.take_released()
            return self._verbs[verb](request)

    def take_back(self, request: Section) -> None:
        """Release what an ADD has just been given that is gone: a DEL may have come before it."""
        if request.string("verb") != "ADD":
            return
        with self._ledger.lock:
            if owner_of(request) in self._fresh:
                self._release(owner_of(request))

    def take_released(self) -> None:
        """Do what programs left while nobody listened.

        All under the lock: what is read here may not be worked on after a later ADD.
        """
        with self._ledger.lock:
            for one in released.pending():
                if one.attachment is None:
                    self._keep(one.network, one.valid)
                else:
                    self._release(one.attachment)
                one.done()

    def _add(self, request: Section) -> Json:
        """Give an address; the lock is held, but not while we wait."""
        end = time.monotonic() + self._wait
        try:
            return self._give(request)
        except CniError as error:
            if error.code != Code.TRY_AGAIN:
                self.waits.refused[error.code] += 1
                raise
        one = _Wait(owner_of(request))
        self._waiting.append(one)
        self._ledger.waiting += 1
        self._ledger.wake()
        try:
            return self._wait_for(one, request, end)
        except CniError as error:
            self.waits.refused[error.code] += 1
            raise
        finally:
            self._waiting.remove(one)
            self._ledger.waiting -= 1
            self.waits.number += 1
            self.waits.seconds += time.monotonic() - end + self._wait

    def _wait_for(self, one: _Wait, request: Section, end: float) -> Json:
        while True:
            left = end - time.monotonic()
            self._ledger.lock.wait(max(min(left, self._next_cool()), 0.0))
            if one.ended:
                msg = f"container {one.owner.container_id} was deleted while it waited"
                raise CniError(Code.TRY_AGAIN, msg)
            try:
                return self._give(request)
            except CniError as error:
                if error.code != Code.TRY_AGAIN or time.monotonic() >= end:
                    raise

    def _give(self, request: Section) -> Json:
        """Assign an address, on disk before anybody hears of it."""
        owner, desk, now = owner_of(request), self._desk, self._ledger.clock()
        state = self._ledger.state()
        address = pool.find(state, owner)
        if address is not None:
            self._fresh.discard(owner)
            return self._place(owner, address)
        if desk.limits is None or not self._ledger.open:
            raise self._starting()
        wanted = request.address("address")
        if wanted is not None:
            state = given_address(state, owner, IPv4Address(str(wanted)), now)
        else:
            try:
                state, _ = pool.assign(state, owner, self._ledger.settings, desk.limits, now)
            except CniError as error:
                raise self._explained(error) from error
        self._ledger.set_state(state)
        self._ledger.wake()
        self._fresh.add(owner)
        given = pool.find(state, owner)
        return self._place(owner, given) if given else {}

    def _next_cool(self) -> float:
        """Return the seconds until an address can be given out again."""
        now = self._ledger.clock()
        ends = [one.until - now for one in self._ledger.book.state.cooling if one.until > now]
        return min(ends, default=self._wait) + 0.001

    def _starting(self) -> CniError:
        if self._desk.problem:
            return self._desk.problem
        return self._explained(CniError(Code.TRY_AGAIN, "cannot give an address: the pool starts"))

    def _explained(self, error: CniError) -> CniError:
        """Return the refusal with what is under way, and what the cloud said last."""
        said = [error.details] if error.details else []
        making = [one for one in self._ledger.book.intents if isinstance(one, Making)]
        if making:
            blocks = sum(one.count for one in making)
            said.append(f"{len(making)} ENIs with {blocks} blocks are pending")
        trouble = self._ledger.trouble
        if trouble:
            age = max(self._ledger.clock() - trouble.at, 0)
            said.append(f"cannot {trouble.call}, {age:.0f} s ago: {trouble.text}")
        # what EC2 allows is tried again in a while
        code = Code.TRY_AGAIN if self._desk.cap else error.code
        return CniError(code, error.msg, "; ".join(said))

    def _place(self, owner: Attachment, address: IPv4Address) -> Json:
        """Return what a program must know of a pod's address."""
        eni = holder(self._ledger.book.state, address)
        if eni is None:
            msg = f"the cloud has taken address {address} from this node"
            hint = f"DEL and ADD container {owner.container_id}"
            raise CniError(Code.CHECK_FAILED, msg, hint)
        card = self._ledger.book.cards[eni.name]
        return {
            "address": str(address),
            "gateway": str(card.cidr[1]),
            "subnet": str(card.cidr),
            "eni": {
                "id": eni.name,
                "mac": card.mac,
                "device": eni.device,
                "address": str(eni.address),
            },
            "table": MAIN if eni.primary else eni.device + 1,
            "ipv6": self._ipv6(address),
            "vpcCIDRs": list(self._desk.node.vpc_cidrs) if self._desk.node else [],
            "mtu": self._mtu,
        }

    def _ipv6(self, address: IPv4Address) -> list[str]:
        """Return the IPv6 address that goes with an IPv4 address, if the primary has a prefix.

        It ends in the other's bits: unique while that one is, and nothing has to be kept.
        """
        enis, cards = self._ledger.book.state.enis, self._ledger.book.cards
        prefixes = [one for eni in enis if eni.primary for one in cards[eni.name].ipv6]
        return [str(prefixes[0][int(address)])] if prefixes else []

    def _check(self, request: Section) -> Json:
        owner = owner_of(request)
        address = pool.find(self._ledger.book.state, owner)
        if address is None:
            msg = f"container {owner.container_id} has no address for {owner.ifname}"
            raise CniError(Code.CHECK_FAILED, msg, "DEL and ADD it")
        return self._place(owner, address)

    def _delete(self, request: Section) -> Json:
        self._release(owner_of(request))
        return {}

    def _release(self, owner: Attachment) -> None:
        ledger = self._ledger
        self._fresh.discard(owner)
        for one in self._waiting:
            one.ended |= one.owner == owner
        ledger.lock.notify_all()
        state = pool.release(ledger.book.state, owner, ledger.settings, ledger.clock())
        ledger.set_state(state)
        ledger.wake()

    def _gc(self, request: Section) -> Json:
        if request.get("valid") is None:
            raise request.refuse("valid", "a list of attachments")
        pairs = [
            (one.string("containerID"), one.string("ifname")) for one in request.sections("valid")
        ]
        self._keep(request.string("network"), frozenset(pairs))
        return {}

    def _keep(self, network: str, valid: frozenset[tuple[str, str]]) -> None:
        """Release what of a network is not valid."""
        for one in self._ledger.book.state.assignments:
            owner = one.owner
            if owner.network == network and (owner.container_id, owner.ifname) not in valid:
                self._release(owner)

    def _status(self, _request: Section) -> Json:
        """Refuse when the next ADD would be refused."""
        reason = self.lack()
        if reason:
            raise CniError(Code.UNAVAILABLE, "cannot give pods an address of the VPC", reason)
        return {}

    def lack(self) -> str:
        """Return why the next pod would not get an address; empty: it would."""
        desk, now = self._desk, self._ledger.clock()
        with self._ledger.lock:
            if desk.limits is None or not self._ledger.open:
                return str(self._starting())
            state = self._ledger.state()
            if pool.next_address(state, desk.limits, now):
                return ""
            return str(
                self._explained(pool.refusal(state, self._ledger.settings, desk.limits, now))
            )
