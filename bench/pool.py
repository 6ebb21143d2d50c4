"""Case (l): the pools of a thousand nodes over a day, on one throttled EC2.  All is simulated."""

import random
from collections import Counter
from collections.abc import Callable  # noqa: TC003
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import product

from bench.day import DAY, Clock, Ec2, Event, Process, trace
from bench.original import Original
from bench.stats import Row, Summary
from bench.vpcnode import Node, Ours
from ipam.aws_vpc.imagined import Ec2 as Grants
from ipam.aws_vpc.limits import find, limits_of
from ipam.aws_vpc.settings import Settings

NODES, TYPE, SEED = 1_000, "m5.large", 1
POLL = 0.5  # seconds: how soon an ADD that waits sees a refill, at the latest
PER_POD = "per 1,000 pods"
RETRY = (10.0, 15.0)  # seconds until the kubelet tries again after an ADD was refused
SETTINGS = {
    "1 ENI spare": Settings(),
    "2 IPs spare, of 12": Settings(warm_ip=2, minimum_ip=12),
    "1 prefix spare": Settings(prefixes=True),
}


@dataclass
class Tally:
    """What a side's day came to."""

    starts: int = 0
    refused: int = 0  # ADDs
    never: int = 0  # pods that ended without an address
    waits: list[float] = field(default_factory=list)  # seconds, of pods that got one
    calls: Counter[str] = field(default_factory=Counter)
    throttled: int = 0
    idle: float = 0.0  # addresses of a node, on average

    def waited(self, seconds: float) -> int:
        """Return how many pods waited for longer than that, those that got none included."""
        return sum(wait > seconds for wait in self.waits) + self.never


class Day:
    """One side's day."""

    def __init__(
        self, settings: Settings, *, ours: bool, nodes: int, hours: float = DAY / 3600
    ) -> None:
        self.tally, self.clock = Tally(), Clock()
        self._ec2, self._chance = Ec2(self.clock, SEED), random.Random(SEED)  # noqa: S311
        self._settings, self._ours = settings, ours
        self._limits = limits_of(find(TYPE), settings)
        self._grants, self._end = Grants(), hours * 3600
        self.nodes: dict[int, Node] = {}
        self.alive: set[tuple[int, int]] = set()
        room = find(TYPE).max_pods() - 2  # what the scheduler places, with any settings
        boots, self._events = trace(nodes, room, SEED, hours)
        for number, boot in enumerate(boots):
            self.clock.start(self._boot(number), boot)

    def run(self) -> Tally:
        """Return what the day comes to."""
        self.clock.start(self._happen(self._events))
        self.clock.run(self._end)
        for node in self.nodes.values():
            node.account()
            self.tally.idle += node.idle / self._end / len(self.nodes)
        self.tally.calls, self.tally.throttled = self._ec2.calls, self._ec2.throttled
        return self.tally

    def _boot(self, number: int) -> Process:
        known = (self.clock, self._ec2, self._settings, self._limits)
        if self._ours:
            self.nodes[number] = Ours(*known, self._grants)
        else:
            self.nodes[number] = Original(*known, self._chance)
        yield from ()

    def _happen(self, events: list[Event]) -> Process:
        for event in events:
            if event.time > self.clock.now:
                yield event.time - self.clock.now
            if event.starts:
                self.alive.add((event.node, event.pod))
                self.tally.starts += 1
                self.clock.start(self._pod(self.nodes[event.node], event))
            else:
                self.alive.discard((event.node, event.pod))
                self.nodes[event.node].delete(event.pod)

    def _pod(self, node: Node, event: Event) -> Process:
        """Ask for an address until there is one, or the pod ends."""
        key, begin = (event.node, event.pod), self.clock.now
        while key in self.alive:
            deadline = self.clock.now + node.patience
            while not (done := node.add(event.pod)) and self.clock.now < deadline:
                yield POLL
                if key not in self.alive:
                    break
            if done:
                self.tally.waits.append(self.clock.now - begin)
                return
            self.tally.refused += 1
            yield self._chance.uniform(*RETRY)
        self.tally.never += 1


def measure(_runs: int) -> list[Row]:
    """Case (l)."""
    days = list(product(SETTINGS, (True, False)))
    with ProcessPoolExecutor() as processes:
        tallies = dict(zip(days, processes.map(_day, *zip(*days, strict=True)), strict=True))
    return [
        row for name in SETTINGS for row in compare(name, tallies[name, True], tallies[name, False])
    ]


def _day(name: str, ours: bool) -> Tally:  # noqa: FBT001  # it is mapped
    return Day(SETTINGS[name], ours=ours, nodes=NODES).run()


def compare(name: str, ours: Tally, theirs: Tally) -> list[Row]:
    """Return what is printed of two days with the same settings."""
    figures: dict[tuple[str, str], Callable[[Tally], float]] = {
        ("EC2 calls", PER_POD): lambda one: 1e3 * one.calls.total() / one.starts,
        ("of them throttled", PER_POD): lambda one: 1e3 * one.throttled / one.starts,
        ("idle addresses", "per node"): lambda one: one.idle,
        ("pods that waited over 1 s", PER_POD): lambda one: 1e3 * one.waited(1) / one.starts,
        ("refused ADDs", PER_POD): lambda one: 1e3 * one.refused / one.starts,
        ("longest wait", "s"): lambda one: max(one.waits),
    }
    return [
        Row("l", f"{name}: {what}", "warm", unit, _one(of(ours)), _one(of(theirs)))
        for (what, unit), of in figures.items()
    ]


def _one(value: float) -> Summary:
    return Summary(value, value, 1)
