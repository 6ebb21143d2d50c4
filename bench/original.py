"""The other side of the simulated day: the formulas of the Amazon VPC CNI (1.23).

Learnt by reading it: a pass every five seconds that grows on one ENI, or shrinks, and frees one
ENI; ENIs and addresses in random order; addresses that cool down counted as available; an ADD
that finds none is refused at once.
"""

import random

from bench.day import Clock, Ec2, Process
from bench.vpcnode import Node
from ipam.aws_vpc.limits import Limits
from ipam.aws_vpc.settings import Settings
from ipam.aws_vpc.state import PREFIX_SIZE


class Block:
    """An address or a prefix of the original's."""

    def __init__(self, size: int) -> None:
        self.size, self.pods = size, 0
        self.cooling: list[float] = []  # until when

    def cool(self, now: float) -> int:
        """Return how many addresses cool down."""
        self.cooling = [until for until in self.cooling if until > now]
        return len(self.cooling)


class Eni:
    """An ENI of the original's."""

    def __init__(self, blocks: list[Block], since: float) -> None:
        self.blocks, self.since = blocks, since

    @property
    def size(self) -> int:
        """Return how many addresses pods can have of it."""
        return sum(block.size for block in self.blocks)

    @property
    def pods(self) -> int:
        """Return how many pods it carries."""
        return sum(block.pods for block in self.blocks)


class Original(Node):
    """The original's pool, as far as its formulas and its order go."""

    tick, shrink_every, eni_age, awake = 5.0, 30.0, 60.0, 100.0  # seconds

    def __init__(
        self, clock: Clock, ec2: Ec2, settings: Settings, limits: Limits, chance: random.Random
    ) -> None:
        super().__init__(clock, ec2, settings, limits)
        self._chance = chance
        self._enis = [Eni([], clock.now)]
        self._where: dict[int, Block] = {}
        self._unit = PREFIX_SIZE if limits.prefixes else 1
        self._shrunk = float("-inf")
        self._busy_until, self._asleep = clock.now + self.awake, False
        self._phase = chance.uniform(0, self.tick)
        clock.start(self._run(), self._phase)

    def taken(self) -> tuple[int, int]:
        """See Node."""
        return len(self._enis) + self._total(), len(self._where)

    def _total(self) -> int:
        return sum(eni.size for eni in self._enis)

    def _changed(self) -> None:
        """Keep looking for a while; without changes nothing comes of it."""
        self._busy_until = self.clock.now + self.awake
        if self._asleep:
            self._asleep = False
            self.clock.start(self._run(), self.tick - (self.clock.now - self._phase) % self.tick)

    def add(self, pod: int) -> bool:
        """See Node: in random order, as the original's map of ENIs is."""
        self._changed()
        blocks = [block for eni in self._enis for block in eni.blocks]
        for block in self._chance.sample(blocks, len(blocks)):
            if block.size > block.pods and block.size > block.pods + block.cool(self.clock.now):
                self.account()
                block.pods += 1
                self._where[pod] = block
                return True
        return False

    def delete(self, pod: int) -> None:
        """See Node."""
        if pod in self._where:
            self.account()
            block = self._where.pop(pod)
            block.pods -= 1
            block.cooling.append(self.clock.now + self.settings.cooldown)
            self._changed()

    def _run(self) -> Process:
        while self.clock.now < self._busy_until:
            if self._low():
                yield from self._grow()
            elif self._over() and self.clock.now >= self._shrunk + self.shrink_every:
                yield from self._shrink()
            yield from self._free_eni()
            yield self.tick
        self._asleep = True

    # targets, in blocks

    def _prefixes(self) -> tuple[int, int]:
        blocks = [block for eni in self._enis for block in eni.blocks]
        return len(blocks), sum(not block.pods for block in blocks)

    def _short(self) -> int:
        total, used = self._total(), len(self._where)
        if not self.settings.by_address:
            return max(self.settings.warm_prefix - self._prefixes()[1], 0)
        warm, least = self.settings.warm_ip, self.settings.minimum_ip
        short = max(warm - (total - used), least - total, 0)
        return -(-short // self._unit)

    def _over(self) -> int:
        total, used = self._total(), len(self._where)
        warm, least = self.settings.warm_ip, self.settings.minimum_ip
        if self.settings.by_address and self.limits.prefixes:
            prefixes, unused = self._prefixes()
            needed = max(-(-(used + warm) // PREFIX_SIZE), -(-least // PREFIX_SIZE))
            return max(min(unused, prefixes - needed), 0)
        if self.settings.by_address:
            return max(min(total - used - warm, total - least), 0)
        if self.limits.prefixes:
            return max(self._prefixes()[1] - self.settings.warm_prefix, 0)
        return 0

    def _low(self) -> bool:
        total = self._total()
        if total >= self.limits.max_pods:
            return False
        if self.settings.by_address:
            return self._short() > 0
        available = total - len(self._where)
        if self.limits.prefixes:
            return available < PREFIX_SIZE * self.settings.warm_prefix
        warm = self.settings.warm_eni
        return available < self.limits.slots * warm or (not warm and not available)

    def _grow(self) -> Process:
        whole = not self.settings.by_address and not self.limits.prefixes
        wanted = self.limits.slots if whole else max(self._short(), 1)
        self._changed()
        for eni in self._chance.sample(self._enis, len(self._enis)):
            if free := self.limits.slots - len(eni.blocks):
                if (yield from self.ec2.call("AssignPrivateIpAddresses")):
                    self.account()
                    eni.blocks += [Block(self._unit) for _ in range(min(free, wanted))]
                return
        if len(self._enis) < self.limits.enis and (yield from self.ec2.attach()):
            self.account()
            blocks = [Block(self._unit) for _ in range(min(self.limits.slots, wanted))]
            self._enis.append(Eni(blocks, self.clock.now))

    def _shrink(self) -> Process:
        over, self._shrunk = self._over(), self.clock.now
        self._changed()
        for eni in self._chance.sample(self._enis, len(self._enis)):
            gone = [block for block in eni.blocks if not block.pods][:over]
            if gone:
                over -= len(gone)
                self.account()
                eni.blocks = [block for block in eni.blocks if block not in gone]
                yield from self.ec2.call("UnassignPrivateIpAddresses")

    def _free_eni(self) -> Process:
        if not self._looks_for_an_eni():
            return
        others = self._enis[1:]
        for eni in self._chance.sample(others, len(others)):
            now = self.clock.now
            cool = any(block.cool(now) for block in eni.blocks)
            if now >= eni.since + self.eni_age and not eni.pods and not cool:
                if self._needed(eni):
                    continue
                self.account()
                self._enis.remove(eni)
                self._changed()
                yield from self.ec2.detach()
                return

    def _looks_for_an_eni(self) -> bool:
        if self.settings.by_address:
            return True
        available = self._total() - len(self._where)
        warm = self.settings.warm_prefix if self.limits.prefixes else self.settings.warm_eni
        enough = available >= (warm + 1) * self.limits.slots * self._unit
        return enough or (self.limits.prefixes and any(not eni.pods for eni in self._enis[1:]))

    def _needed(self, eni: Eni) -> bool:
        """Tell whether the targets want the ENI, judged on the others."""
        total = self._total() - eni.size
        if self.settings.by_address:
            available = total - len(self._where)
            return available < self.settings.warm_ip or total < self.settings.minimum_ip
        if self.limits.prefixes:
            unused = self._prefixes()[1] - sum(not block.pods for block in eni.blocks)
            return unused < self.settings.warm_prefix
        return False
