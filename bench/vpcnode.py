"""A node of the simulated day: what both sides have, and ours, which is the code of the pool."""

from collections.abc import Generator
from dataclasses import replace

from bench.day import Clock, Ec2, Process
from cni.attachment import Attachment
from cni.errors import CniError
from ipam.aws_vpc import pool
from ipam.aws_vpc.imagined import Ec2 as Grants
from ipam.aws_vpc.limits import Limits
from ipam.aws_vpc.plan import plan
from ipam.aws_vpc.settings import Settings
from ipam.aws_vpc.state import Action, Assign, CreateEni, State, begin

LOOK = 5.0  # seconds after a change until the pool is looked at, unless a pod waits
PAUSE = 5.0  # seconds after EC2 has refused for good


class Node:
    """What both sides have: addresses that a subnet has lost, and pods that use some of them."""

    patience = 0.0  # seconds that an ADD waits for an address

    def __init__(self, clock: Clock, ec2: Ec2, settings: Settings, limits: Limits) -> None:
        self.clock, self.ec2, self.settings, self.limits = clock, ec2, settings, limits
        self.idle = 0.0  # address seconds that no pod had
        self._since = clock.now

    def account(self) -> None:
        """Count what was idle since the last time; to be called before each change."""
        taken, pods = self.taken()
        self.idle += (taken - pods) * (self.clock.now - self._since)
        self._since = self.clock.now

    def taken(self) -> tuple[int, int]:
        """Return how many addresses the subnet has lost, and how many of them pods have."""
        raise NotImplementedError

    def add(self, pod: int) -> bool:
        """Give the pod an address, if there is one."""
        raise NotImplementedError

    def delete(self, pod: int) -> None:
        """Take it back; a pod without one is fine."""
        raise NotImplementedError


class Ours(Node):
    """Our pool; a pod that finds none waits for the refill that it has woken."""

    patience = 10.0

    def __init__(
        self, clock: Clock, ec2: Ec2, settings: Settings, limits: Limits, grants: Grants
    ) -> None:
        super().__init__(clock, ec2, settings, limits)
        self._grants = grants
        self._state: State = grants.node()
        self._count = (1, 0)
        self._due: float | None = None
        self._running = False
        self._waiting: set[int] = set()
        self._wake(0.0)

    def taken(self) -> tuple[int, int]:
        """See Node."""
        return self._count

    def _become(self, state: State) -> None:
        self.account()
        self._state = state
        blocks = (block for eni in state.enis for block in eni.blocks)
        held = len(state.enis) + sum(1 << 32 - block.prefixlen for block in blocks)
        self._count = (held, len(state.assignments))

    def add(self, pod: int) -> bool:
        """See Node."""
        now = self.clock.now
        self._state = pool.tidy(self._state, self.settings, now)
        owner = Attachment("", str(pod), "")
        try:
            state, _ = pool.assign(self._state, owner, self.settings, self.limits, now)
        except CniError:
            self._waiting.add(pod)
            self._wake(0.0)
            return False
        self._waiting.discard(pod)
        self._become(state)
        self._wake(LOOK)
        return True

    def delete(self, pod: int) -> None:
        """See Node."""
        self._waiting.discard(pod)
        owner = Attachment("", str(pod), "")
        self._become(pool.release(self._state, owner, self.settings, self.clock.now))
        self._wake(LOOK)

    def _wake(self, after: float) -> None:
        due = self.clock.now + after
        if not self._running and (self._due is None or due < self._due):
            self._due = due
            self.clock.start(self._work(due), after)

    def _work(self, due: float) -> Process:
        if self._running or self._due != due:
            return  # it was woken earlier
        self._due, self._running = None, True
        while True:
            now = self.clock.now
            self._state = pool.tidy(self._state, self.settings, now)
            asking = replace(self._state, waiting=len(self._waiting))
            planned = plan(asking, self.settings, self.limits, now)
            if not planned.actions:
                break
            yield from self._do(planned.actions[0])
        self._running = False
        if planned.again is not None:
            self._wake(planned.again - now)

    def _do(self, action: Action) -> Process:
        if isinstance(action, Assign):
            done = yield from self.ec2.call("AssignPrivateIpAddresses")
        elif isinstance(action, CreateEni):
            done = yield from self.ec2.attach()
        else:
            self._state = begin(self._state, action)
            done = yield from self._give_back(action)
        if done:
            self._become(self._grants.do(self._state, action, self.clock.now))
        else:
            self._state = replace(self._state, releasing=())
            yield PAUSE

    def _give_back(self, action: Action) -> Generator[float, None, bool]:
        if hasattr(action, "blocks"):
            return (yield from self.ec2.call("UnassignPrivateIpAddresses"))
        return (yield from self.ec2.detach())
