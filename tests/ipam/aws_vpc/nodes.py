"""Pools of a node, written short: what its ENIs have, and how many of it are pods'."""

from dataclasses import replace
from typing import NamedTuple

from cni.attachment import Attachment
from ipam.aws_vpc import pool
from ipam.aws_vpc.imagined import SUBNET, Ec2, settle
from ipam.aws_vpc.limits import Limits, find, limits_of
from ipam.aws_vpc.settings import Settings
from ipam.aws_vpc.state import Assignment, State, Subnet

NOW = 1_000_000.0
OLD = NOW - 3600
T3_SMALL = "t3.small"  # 3 ENIs of 4 addresses


class Has(NamedTuple):
    """What an ENI has: addresses or prefixes, and how many of its addresses are pods'."""

    blocks: int = 0
    pods: int = 0


def pod(number: int) -> Attachment:
    return Attachment("vpc", f"pod-{number}", "eth0")


def limits(settings: Settings, name: str = T3_SMALL, max_pods: int | None = None) -> Limits:
    return limits_of(find(name), settings, max_pods)


def node(*has: Has, prefixes: bool = False, ec2: Ec2 | None = None) -> State:
    """Return a node with these ENIs, the primary first, all of them old."""
    ec2 = ec2 or Ec2()
    state = State(subnets=(Subnet(SUBNET),))
    for device, (blocks, pods) in enumerate(has):
        eni = ec2.eni(device, SUBNET, blocks, OLD, prefixes=prefixes)
        first = [address for block in eni.blocks for address in block][:pods]
        many = len(state.assignments)
        given = (Assignment(pod(many + n), address) for n, address in enumerate(first))
        state = replace(state, enis=(*state.enis, eni), assignments=(*state.assignments, *given))
    return state


def with_pods(
    ec2: Ec2, state: State, count: int, settings: Settings, bounds: Limits, now: float = NOW
) -> State:
    """Return the settled pool after `count` more pods came, one after the other."""
    state = settle(ec2, state, settings, bounds, now)
    for number in range(count):
        state, _ = pool.assign(state, pod(number), settings, bounds, now)
        state = settle(ec2, state, settings, bounds, now)
    return state


def shape(state: State) -> list[int]:
    """Return how many blocks each ENI has."""
    return [len(eni.blocks) for eni in state.enis]
