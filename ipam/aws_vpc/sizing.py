"""How many addresses a node and its subnet take: what the pool does, summed up beforehand.

Nothing is estimated: the pool's own plan is carried out in an EC2 that grants everything.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil

from cni.attachment import Attachment
from cni.errors import CniError
from ipam.aws_vpc import pool
from ipam.aws_vpc.imagined import Ec2, settle
from ipam.aws_vpc.limits import Limits
from ipam.aws_vpc.settings import Settings
from ipam.aws_vpc.state import PREFIX_SIZE, State, is_prefix, size

RESERVED = 5  # of every subnet, by the cloud: the first four and the last
ENDS = 2  # /28s that reserved addresses lie in: the first and the last


@dataclass(frozen=True)
class Taken:
    """The addresses of a subnet that a node takes."""

    enis: int  # each has an address of its own
    singles: int
    prefixes: int

    @property
    def addresses(self) -> int:
        """Return how many there are in all."""
        return self.enis + self.singles + self.prefixes * PREFIX_SIZE

    def needs(self, nodes: int) -> int:
        """Return how many addresses a subnet must have for so many nodes.

        A prefix is sixteen addresses in line, from a multiple of sixteen on; other addresses
        are in /28s of their own, as a CIDR reservation of the subnet sees to.
        """
        others = nodes * (self.enis + self.singles) + RESERVED
        if not self.prefixes:
            return others
        blocks = max(ceil(others / PREFIX_SIZE), ENDS)
        return (blocks + nodes * self.prefixes) * PREFIX_SIZE


@dataclass(frozen=True)
class NodeSize:
    """What a node takes with no pod, with all of them, and when all are replaced at once."""

    pods: int
    rest: Taken
    full: Taken
    replaced: Taken

    @property
    def worst(self) -> Taken:
        """Return the most that it takes."""
        return max(self.full, self.replaced, key=lambda one: one.addresses)


def node_size(settings: Settings, limits: Limits) -> NodeSize:
    """Return what a node takes; `pods` are those that can have an address."""
    ec2, now = Ec2(), 0.0
    unit = PREFIX_SIZE if limits.prefixes else 1
    pods = min(limits.enis * limits.slots * unit, limits.max_pods)
    rest = settle(ec2, ec2.node(), settings, limits, now)
    full = _start(ec2, rest, pods, 0, settings, limits)
    gone = full
    for number in range(pods):
        gone = pool.release(gone, _pod(number), settings, now)
    replaced = _start(ec2, gone, pods, pods, settings, limits)
    return NodeSize(pods, taken(rest), taken(full), taken(replaced))


def _start(
    ec2: Ec2, state: State, pods: int, first: int, settings: Settings, limits: Limits
) -> State:
    """Return the settled pool when `pods` pods have asked for an address."""
    started = before = 0
    while started < pods:
        state = settle(ec2, replace(state, waiting=pods - started), settings, limits, 0.0)
        with suppress(CniError):
            for number in range(started, pods):
                state, _ = pool.assign(state, _pod(first + number), settings, limits, 0.0)
                started += 1
        if started == before:
            break  # the others wait until an address has cooled down
        before = started
    return settle(ec2, replace(state, waiting=0), settings, limits, 0.0)


def _pod(number: int) -> Attachment:
    return Attachment("", f"{number}", "")


def taken(state: State) -> Taken:
    """Return what the node takes now."""
    blocks = [block for eni in state.enis for block in eni.blocks]
    prefixes = sum(map(is_prefix, blocks))
    return Taken(len(state.enis), sum(map(size, blocks)) - prefixes * PREFIX_SIZE, prefixes)
