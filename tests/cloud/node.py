"""A node's pool as the agent runs it, in this process: with a clock of its own, turn by turn."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import botocore.session

from cni.config import Section
from cni.errors import CniError
from cni.leases.reboot import Boot
from cni.vpc import released
from ipam.aws_vpc import settings
from ipam.aws_vpc.agent.answers import Answers
from ipam.aws_vpc.agent.desk import Desk
from ipam.aws_vpc.agent.intents import Returning
from ipam.aws_vpc.agent.keeper import Keeper
from ipam.aws_vpc.agent.ledger import Ledger
from ipam.aws_vpc.agent.patience import Patience
from ipam.aws_vpc.cloud import Card
from ipam.aws_vpc.cloud.ec2 import WAIT, Ec2
from ipam.aws_vpc.cloud.imds import Metadata
from ipam.aws_vpc.cloud.tags import INSTANCE, Tagging
from tests.cloud.cloud import REGION, Cloud

Json = dict[str, Any]
BOOT = Boot("this", time.time_ns(), "/nowhere")


class Clock:
    """Time that passes when a test says so, and by itself."""

    def __init__(self) -> None:
        self.jumped = 0.0  # of the wall clock alone
        self._passed = 0.0

    def wall(self) -> float:
        """Return seconds since 1970."""
        return time.time() + self._passed + self.jumped

    def monotonic(self) -> float:
        """Return seconds."""
        return time.monotonic() + self._passed

    def sleep(self, seconds: float) -> None:
        """Let time pass, at once."""
        self._passed += seconds


@dataclass
class Host:
    """The node's kernel: what it was set up for; `error` to come, and ENIs that do not work."""

    cards: tuple[Card, ...] = ()
    vpc_cidrs: tuple[str, ...] = ()
    calls: int = 0
    error: OSError | None = None
    broken: frozenset[str] = frozenset()

    def ensure(self, cards: tuple[Card, ...], vpc_cidrs: tuple[str, ...]) -> frozenset[str]:
        """Take note."""
        assert vpc_cidrs
        self.calls += 1
        if self.error:
            raise self.error
        self.cards, self.vpc_cidrs = cards, vpc_cidrs
        return frozenset(card.name for card in cards) - self.broken


@cache
def _session() -> Any:
    return botocore.session.get_session()


def client(url: str) -> Any:
    """Return the SDK's client for a cloud at this URL."""
    return _session().create_client(
        "ec2",
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id="AKIAEXAMPLE0EXAMPLE0",
        aws_secret_access_key="secret",
        config=WAIT,
    )


@dataclass
class Node:
    """One node; `restart` gives it a new agent that knows what is on disk."""

    cloud: Cloud
    instance: str
    url: str
    path: str
    variables: Mapping[str, str]
    clock: Clock = field(default_factory=Clock)
    host: Host = field(default_factory=Host)
    boot: Boot = BOOT
    tagging: Tagging = field(default_factory=Tagging)
    wait: float = 0.01  # seconds that ADD waits

    def __post_init__(self) -> None:
        self.cloud.clock = self.clock.monotonic
        self.connect()
        self.restart()

    def connect(self) -> None:
        """Have connections of its own to the cloud."""
        self._client = client(self.url)

    def edit(self, call: str, change: Callable[[Json], object]) -> None:
        """Let all answers to a call be changed before the agent has them."""
        name = f"after-call.ec2.{call}"
        self._client.meta.events.register(name, lambda parsed, **_: change(parsed) and None)

    def patient(self, seconds: float) -> None:
        """Let ADDs wait for so long."""
        self.wait = seconds
        self.restart()
        self.settle()

    def restart(self) -> None:
        """Have a new agent."""
        metadata = Metadata(f"{self.url}/{self.instance}")
        self.ec2 = Ec2(metadata, self.tagging, self._client)
        wanted = settings.read(self.variables)
        self.ledger = Ledger(wanted, self.path, self.boot, self.clock.wall)
        patience = Patience(self.clock.monotonic)
        self.desk = Desk(self.ec2, self.ledger, self.host, patience, self.clock.monotonic)
        self.answers = Answers(self.desk, 9001, self.wait)
        self.keeper = Keeper(self.desk)

    # -- as time goes by --------------------------------------------------------------------

    def settle(self, turns: int = 200) -> None:
        """Take turns, and let pauses pass, until the pool wants nothing more."""
        for _ in range(turns):
            pause = self.keeper.turn()
            if pause and self.is_settled:
                return
            self.clock.sleep(pause)
        raise AssertionError(f"no end after {turns} turns: {self.describe()}")

    @property
    def is_settled(self) -> bool:
        """Tell whether nothing is under way, planned or doubtful."""
        under_way = [one for one in self.intents if not isinstance(one, Returning)]
        planned = self.keeper.planned
        acts = bool(planned and planned.actions)
        doubts = bool(self.ledger.suspects) or not self.desk.patience.ready()
        return not (under_way or acts or doubts) and self.ledger.open

    def pass_time(self, seconds: float) -> None:
        """Let the agent run for so long."""
        end = self.clock.monotonic() + seconds
        while (left := end - self.clock.monotonic()) > 0:
            self.clock.sleep(min(self.keeper.turn(), left))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Let the agent run in a thread of its own, in real time, as long as the block runs."""
        stop = threading.Event()
        thread = threading.Thread(target=self.keeper.run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            self.ledger.wake()
            thread.join()

    @property
    def intents(self) -> tuple[Any, ...]:
        """Return what was begun."""
        return self.ledger.book.intents

    def describe(self) -> str:
        """Return how it is, for a test that failed."""
        return f"{self.ledger.book}\n{self.ledger.trouble}\n{self.keeper.planned}"

    # -- as programs ask --------------------------------------------------------------------

    def ask(self, verb: str, **given: Any) -> dict[str, Any]:
        """Return the answer; a refusal as one."""
        try:
            return self.answers.answer(Section({"verb": verb, "network": "vpc", **given}))
        except CniError as error:
            return {"code": int(error.code), "msg": error.msg, "details": error.details}

    def add(self, pod: str, **given: Any) -> dict[str, Any]:
        """Ask for an address."""
        return self.ask("ADD", containerID=pod, ifname="eth0", **given)

    def delete(self, pod: str) -> None:
        """Give one back."""
        assert self.ask("DEL", containerID=pod, ifname="eth0") == {}

    def add_all(self, pods: int, first: int = 0) -> list[str]:
        """Let so many pods start, one after the other; return their addresses."""
        addresses = []
        for number in range(first, first + pods):
            answer = self.add(f"pod-{number}")
            for _ in range(200):
                if answer.get("code") != 11:
                    break
                self.settle()
                self.clock.sleep(10)  # a subnet may be left alone
                answer = self.add(f"pod-{number}")
            addresses.append(answer["address"])
        return addresses

    # -- what must hold ---------------------------------------------------------------------

    @property
    def blocks(self) -> dict[str, set[IPv4Network]]:
        """Return what the pool has of each ENI."""
        return {eni.name: set(eni.blocks) for eni in self.ledger.book.state.enis}

    @property
    def pods(self) -> dict[str, str]:
        """Return the address of each pod."""
        return {
            one.owner.container_id: str(one.address) for one in self.ledger.book.state.assignments
        }

    def assert_whole(self) -> None:
        """Fail unless cloud and node agree, every pod's address is here, and nothing has leaked."""
        assert self.blocks == self.cloud.blocks(self.instance), self.describe()
        attached = set(self.blocks)
        enis = {name: one for name, one in self.cloud.enis().items() if _is_ours(one)}
        assert set(enis) == attached, "an ENI has leaked"
        for eni in enis.values():
            assert eni.delete_on_termination, f"{eni.id} would outlive the node"
        addresses = list(self.pods.values())
        assert len(addresses) == len(set(addresses)), "two pods have one address"
        for address in addresses:
            assert self.cloud.holder(address) in attached
        assert {card.name for card in self.host.cards} == attached
        assert not self.intents or all(isinstance(one, Returning) for one in self.intents)


def _is_ours(eni: Any) -> bool:
    """Tell whether a node made the ENI, or was started with it."""
    tagged = {tag.get("Key") or tag.get("key") for tag in eni.get_tags()}
    return (eni.device_index == 0 and bool(eni.attachment_id)) or INSTANCE in tagged


@contextmanager
def _released(place: Path) -> Iterator[None]:
    """Let programs leave word where no other test does."""
    before, released.DIRECTORY = released.DIRECTORY, str(place / "released")
    try:
        yield
    finally:
        released.DIRECTORY = before


@contextmanager
def running(
    place: Path,
    *,
    kind: str = "m5.large",
    cidr: str = "10.0.1.0/24",
    **variables: str,
) -> Iterator[Node]:
    """Have a cloud and one node in it, whose agent has not begun."""
    cloud = Cloud()
    try:
        instance = cloud.instance(cloud.subnet(cidr), kind)
        with _released(place):
            yield Node(cloud, instance, cloud.listen(), str(place / "pool.json"), variables)
    finally:
        cloud.close()
