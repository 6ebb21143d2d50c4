"""An EC2 that grants whatever is asked, at once: for sums made beforehand, and for tests."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

from ipam.aws_vpc.limits import Limits
from ipam.aws_vpc.plan import QUIET, plan
from ipam.aws_vpc.settings import Settings
from ipam.aws_vpc.shrink import ENI_AGE
from ipam.aws_vpc.state import (
    PREFIX_LEN,
    PREFIX_SIZE,
    Action,
    Assign,
    CreateEni,
    Eni,
    State,
    Subnet,
    Unassign,
    add_blocks,
    add_eni,
    begin,
    remove_blocks,
    remove_eni,
)

SUBNET = "subnet-1"


class Ec2:
    """It never gives an address twice."""

    def __init__(self, first: str = "10.0.0.4") -> None:
        self._next = int(IPv4Address(first))
        self._enis = 0

    def node(self, now: float = 0.0) -> State:
        """Return the pool of a node that has just started: its primary ENI, with nothing on it."""
        return State(enis=(self.eni(0, SUBNET, 0, now, prefixes=False),), subnets=(Subnet(SUBNET),))

    def eni(self, device: int, subnet: str, count: int, now: float, *, prefixes: bool) -> Eni:
        """Return an ENI with `count` blocks."""
        self._enis += 1
        own = IPv4Address(self._take(1))
        blocks = self.blocks(count, prefixes=prefixes)
        return Eni(f"eni-{self._enis}", device, subnet, own, blocks, now)

    def blocks(self, count: int, *, prefixes: bool) -> tuple[IPv4Network, ...]:
        """Return blocks that nobody has."""
        size, length = (PREFIX_SIZE, PREFIX_LEN) if prefixes else (1, 32)
        return tuple(IPv4Network((self._take(size), length)) for _ in range(count))

    def _take(self, size: int) -> int:
        """Return the first of `size` addresses, aligned as EC2 does it with prefixes."""
        first = -(-self._next // size) * size
        self._next = first + size
        return first

    def do(self, state: State, action: Action, now: float) -> State:
        """Return the state after the action."""
        if isinstance(action, Assign):
            blocks = self.blocks(action.count, prefixes=action.prefixes)
            return add_blocks(state, action.eni, blocks, now)
        if isinstance(action, CreateEni):
            used = {eni.device for eni in state.enis}
            device = next(number for number in range(len(used) + 1) if number not in used)
            count, prefixes = action.count, action.prefixes
            return add_eni(state, self.eni(device, action.subnet, count, now, prefixes=prefixes))
        state = begin(state, action)
        if isinstance(action, Unassign):
            return remove_blocks(state, action.eni, action.blocks, now)
        return remove_eni(state, action.eni, now)


def settle(ec2: Ec2, state: State, settings: Settings, limits: Limits, now: float) -> State:
    """Return the state that the pool comes to, with nothing happening for as long as it takes.

    Addresses that cool down go on doing so: only ENIs and the last change grow old.
    """
    while actions := plan(_aged(state, now), settings, limits, now).actions:
        for action in actions:
            state = ec2.do(state, action, now)
    return _aged(state, now)


def _aged(state: State, now: float) -> State:
    enis = tuple(replace(eni, since=now - ENI_AGE) for eni in state.enis)
    return replace(state, enis=enis, changed=now - QUIET)
