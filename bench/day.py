"""A day of a cluster: pods that come and go by a seeded trace, and an EC2 that throttles.

Time is imagined, and so is every call.  A process is a generator that yields how many seconds
to wait; all processes of all nodes share one clock and one EC2, as one account's nodes do.
"""

import heapq
import itertools
import random
from collections import Counter
from collections.abc import Generator, Iterable
from dataclasses import dataclass

Process = Generator[float, None, None]
DAY = 86400.0

# EC2: the bucket is the example of its guide ("Request throttling for the Amazon EC2 API");
# what the actions on ENIs have is not published
BUCKET, REFILL = 100.0, 20.0  # calls, calls a second: for each action of the account
LATENCY = 0.3  # seconds of a call
ATTACH = 8.0  # seconds until an attached ENI can be used, beside its calls
DETACH = 2.0  # seconds between detaching and deleting
RETRIES = 10  # of a throttled call, by the SDK
BACKOFF, BACKOFF_MAX = 0.5, 20.0  # seconds, doubling, drawn from 0 to that

# pods: services that a deployment replaces, and short jobs
SERVICES, DEPLOYMENTS, JOBS = (6, 14), 2, 8  # of a node and day; jobs come in groups
JOB_GROUP, JOB_SECONDS = (1, 4), 300.0
FLEET_START = 60.0  # seconds in which all nodes start
SERVICES_START = (10.0, 60.0)  # seconds after their node


@dataclass(frozen=True)
class Event:
    """A pod that starts or stops; `pod` is a number of the node's own."""

    time: float
    node: int
    pod: int
    starts: bool


def trace(nodes: int, room: int, seed: int, hours: float) -> tuple[list[float], list[Event]]:
    """Return when each node starts, and what happens on them; each has room for `room` pods."""
    chance = random.Random(seed)  # noqa: S311  # the same day for both sides
    end = hours * 3600
    deployed = sorted(chance.uniform(0.1, 0.9) * end for _ in range(DEPLOYMENTS))
    boots = [chance.uniform(0, FLEET_START) for _ in range(nodes)]
    events: list[Event] = []
    for node, boot in enumerate(boots):
        lives = sorted(_lives(chance, boot, deployed, end))
        events += _placed(lives, node, room)
    return boots, sorted(events, key=lambda one: (one.time, one.node, one.starts, one.pod))


def _lives(
    chance: random.Random, boot: float, deployed: Iterable[float], end: float
) -> list[tuple[float, float]]:
    """Return when pods of one node begin and end."""
    lives = []
    for _ in range(chance.randint(*SERVICES)):
        begin = boot + chance.uniform(*SERVICES_START)
        for deployment in deployed:
            replaced = deployment + chance.uniform(0, 600)
            lives.append((begin, replaced))
            begin = replaced
        lives.append((begin, end))
    for _ in range(round(JOBS * end / DAY)):
        at = chance.uniform(boot + SERVICES_START[1], end)
        group = range(chance.randint(*JOB_GROUP))
        lives += [(at, min(at + chance.expovariate(1 / JOB_SECONDS), end)) for _ in group]
    return lives


def _placed(lives: list[tuple[float, float]], node: int, room: int) -> Iterable[Event]:
    """Yield the events of the pods that the scheduler finds room for."""
    running: list[float] = []
    for pod, (begin, end) in enumerate(lives):
        while running and running[0] <= begin:
            heapq.heappop(running)
        if len(running) < room:
            heapq.heappush(running, end)
            yield Event(begin, node, pod, starts=True)
            yield Event(end, node, pod, starts=False)


class Clock:
    """Runs processes in the order of time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._order = itertools.count()
        self._queue: list[tuple[float, int, Process]] = []

    def start(self, process: Process, after: float = 0.0) -> None:
        """Let `process` begin after so many seconds."""
        heapq.heappush(self._queue, (self.now + after, next(self._order), process))

    def run(self, until: float) -> None:
        """Let everything happen that does before `until`."""
        while self._queue and self._queue[0][0] < until:
            self.now, _, process = heapq.heappop(self._queue)
            for wait in process:
                self.start(process, wait)
                break
        self.now = until


class Ec2:
    """Token buckets for each action; counts what is asked, the refused calls too."""

    def __init__(self, clock: Clock, seed: int) -> None:
        self._clock = clock
        self._chance = random.Random(seed)  # noqa: S311
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, when counted
        self.calls: Counter[str] = Counter()
        self.throttled = 0

    def call(self, action: str) -> Generator[float, None, bool]:
        """Call EC2 as the SDK does: again when throttled; return whether it was done at last."""
        for attempt in range(RETRIES + 1):
            self.calls[action] += 1
            yield LATENCY
            if self._take(action):
                return True
            self.throttled += 1
            yield self._chance.uniform(0, min(BACKOFF * 2**attempt, BACKOFF_MAX))
        return False

    def _take(self, action: str) -> bool:
        tokens, since = self._buckets.get(action, (BUCKET, 0.0))
        tokens = min(tokens + (self._clock.now - since) * REFILL, BUCKET)
        granted = tokens >= 1
        self._buckets[action] = (tokens - granted, self._clock.now)
        return granted

    def attach(self) -> Generator[float, None, bool]:
        """Make an ENI and wait until it can be used: four calls."""
        for action in ("CreateNetworkInterface", "DescribeInstances", "AttachNetworkInterface"):
            if not (yield from self.call(action)):
                return False
        yield from self.call("ModifyNetworkInterfaceAttribute")
        yield ATTACH
        return True

    def detach(self) -> Generator[float, None, bool]:
        """Take an ENI away: three calls."""
        yield from self.call("DescribeNetworkInterfaces")
        if not (yield from self.call("DetachNetworkInterface")):
            return False
        yield DETACH
        return (yield from self.call("DeleteNetworkInterface"))
