"""How the blocks of a pool are used, and in which order they are filled.

Pods are packed: first the primary ENI, which stays anyway, then the one with the most pods, and
within it the block with the most.  So the others run empty and can be given back.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from ipam.aws_vpc.state import Eni, FreeEni, State, is_prefix, size


class BlockUse(NamedTuple):
    """A block and how many of its addresses are taken."""

    block: IPv4Network
    size: int
    pods: int
    cooling: int

    @property
    def idle(self) -> bool:
        """Tell whether nobody has or just had an address of it."""
        return not (self.pods or self.cooling)

    @property
    def free(self) -> int:
        """Return how many addresses can be given out."""
        return self.size - self.pods - self.cooling


@dataclass(frozen=True)
class EniUse:
    """An ENI that carries pods; its blocks without those that are being given back."""

    eni: Eni
    blocks: tuple[BlockUse, ...]

    @cached_property
    def pods(self) -> int:
        """Return how many pods it carries."""
        return sum(one.pods for one in self.blocks)

    @cached_property
    def idle(self) -> bool:
        """Tell whether no pod has or just had an address of it."""
        return all(one.idle for one in self.blocks)


@dataclass(frozen=True)
class Totals:
    """Sums over the pool, in addresses; `unused` is in prefixes that nobody has or just had."""

    total: int
    assigned: int
    cooling: int
    waiting: int
    unused: int

    @property
    def available(self) -> int:
        """Return what can be given out when all that wait have theirs; negative: some do not."""
        return self.total - self.assigned - self.cooling - self.waiting

    @property
    def usable(self) -> int:
        """Return the addresses that are not cooling: what pods can have now."""
        return self.total - self.cooling

    def without(self, blocks: Iterable[BlockUse]) -> "Totals":
        """Return the sums when these blocks, which are idle, are given back."""
        gone = list(blocks)
        unused = self.unused - sum(is_prefix(one.block) for one in gone)
        total = self.total - sum(one.size for one in gone)
        return Totals(total, self.assigned, self.cooling, self.waiting, unused)


def look(state: State, now: float) -> list[EniUse]:
    """Return how the ENIs are used, the fullest first; not those of others or on their way out."""
    pods = {int(one.address) for one in state.assignments}
    cooling = {int(one.address) for one in state.cooling if one.until > now} - pods
    leaving = {one.eni for one in state.releasing if isinstance(one, FreeEni)}
    going = {
        (one.eni, block)
        for one in state.releasing
        if not isinstance(one, FreeEni)
        for block in one.blocks
    }
    uses = [
        EniUse(
            eni,
            tuple(
                _block_use(block, pods, cooling)
                for block in eni.blocks
                if not going or (eni.name, block) not in going
            ),
        )
        for eni in state.enis
        if eni.managed and eni.name not in leaving
    ]
    return sorted(uses, key=lambda use: (not use.eni.primary, -use.pods, use.eni.device))


def _block_use(block: IPv4Network, pods: set[int], cooling: set[int]) -> BlockUse:
    first, many = int(block.network_address), size(block)
    if many == 1:
        return BlockUse(block, 1, first in pods, first in cooling)
    numbers = range(first, first + many)
    return BlockUse(
        block, many, len(pods.intersection(numbers)), len(cooling.intersection(numbers))
    )


def sum_up(uses: Iterable[EniUse], waiting: int) -> Totals:
    """Return the sums over `uses`."""
    total = assigned = cooling = unused = 0
    for use in uses:
        for one in use.blocks:
            total += one.size
            assigned += one.pods
            cooling += one.cooling
            unused += one.size > 1 and one.idle
    return Totals(total, assigned, cooling, waiting, unused)


def first_free(one: BlockUse, state: State, now: float) -> IPv4Address | None:
    """Return the lowest address of a block that can be given out."""
    if not one.free:
        return None
    if one.size == 1:
        return one.block.network_address
    taken = {assignment.address for assignment in state.assignments}
    taken |= {cooldown.address for cooldown in state.cooling if cooldown.until > now}
    return next(address for address in one.block if address not in taken)
