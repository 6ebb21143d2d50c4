"""Who gets which address: pure, every call returns a new State.

An address that a pod gave back cools down before another pod gets it: what still holds the old
pod's address (a load balancer, kube-proxy, a client) has that long to learn.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from cni.attachment import Attachment
from cni.errors import CniError, Code
from ipam.aws_vpc.limits import Limits
from ipam.aws_vpc.plan import plan
from ipam.aws_vpc.settings import Settings
from ipam.aws_vpc.state import HOLD, Assignment, Cooldown, State, is_prefix
from ipam.aws_vpc.usage import BlockUse, EniUse, Totals, first_free, look, sum_up


@dataclass(frozen=True)
class Choice:
    """An address for a pod, the ENI that it is on, and why this one."""

    address: IPv4Address
    eni: str
    why: str


def tidy(state: State, settings: Settings, now: float) -> State:
    """Return the state without what is over; call it first, and keep what it returns.

    When the clock was put back, cooldowns and holds last no longer than if they began now.
    """
    cooling = tuple(
        Cooldown(one.address, min(one.until, now + settings.cooldown))
        for one in state.cooling
        if one.until > now
    )
    holds = tuple(
        replace(one, until=min(one.until, now + HOLD)) for one in state.holds if one.until > now
    )
    enis = tuple(replace(one, since=now) if one.since > now else one for one in state.enis)
    return replace(state, cooling=cooling, holds=holds, enis=enis, changed=min(state.changed, now))


def next_address(state: State, limits: Limits, now: float) -> Choice | None:
    """Return what the next pod gets: of the fullest ENI and block the lowest free address."""
    for use, block in _in_order(look(state, now), limits):
        address = first_free(block, state, now)
        if address is not None:
            eni = use.eni
            kind = "the primary" if eni.primary else "the fullest with room"
            many = sum(one.size for one in use.blocks)
            why = f"{eni.name} is {kind}: {use.pods} of {many} addresses are pods'"
            return Choice(address, eni.name, why)
    return None


def _in_order(uses: list[EniUse], limits: Limits) -> Iterator[tuple[EniUse, BlockUse]]:
    """Yield blocks as they are filled; those of the other kind come last, so that they can go."""
    for use in uses:
        yield from (
            (use, block)
            for block in sorted(
                use.blocks,
                key=lambda one: (
                    is_prefix(one.block) != limits.prefixes,
                    -one.pods,
                    one.block.network_address,
                ),
            )
        )


def find(state: State, owner: Attachment) -> IPv4Address | None:
    """Return the address of a pod."""
    return next((one.address for one in state.assignments if one.owner == owner), None)


def assign(
    state: State, owner: Attachment, settings: Settings, limits: Limits, now: float
) -> tuple[State, Choice]:
    """Give a pod an address; one that has one keeps it.

    Raises CniError: code 11 when an address will come by itself, 100 when a pod must go first.
    """
    if (address := find(state, owner)) is not None:
        on = (eni.name for eni in state.enis if any(address in block for block in eni.blocks))
        return state, Choice(address, next(on, ""), "it has this address already")
    choice = next_address(state, limits, now)
    if choice is None:
        raise refusal(state, settings, limits, now)
    taken = (*state.assignments, Assignment(owner, choice.address))
    return replace(state, assignments=taken), choice


def release(state: State, owner: Attachment, settings: Settings, now: float) -> State:
    """Take a pod's address back, to cool down; a pod that has none is fine."""
    address = find(state, owner)
    if address is None:
        return state
    kept = tuple(one for one in state.assignments if one.owner != owner)
    cooling = state.cooling
    # an address that was taken from its ENI meanwhile is no longer ours to give
    ours = any(address in block for eni in state.enis for block in eni.blocks)
    if settings.cooldown and ours:
        cooling = (*cooling, Cooldown(address, now + settings.cooldown))
    return replace(state, assignments=kept, cooling=cooling)


def refusal(state: State, settings: Settings, limits: Limits, now: float) -> CniError:
    """Return why there is no address now, in numbers, and what is being done about it."""
    asked = plan(replace(state, waiting=max(state.waiting, 1)), settings, limits, now)
    totals = sum_up(look(state, now), state.waiting)
    passing = asked.grows or asked.held or totals.cooling or state.releasing
    msg = f"cannot give the pod an address of the VPC: {_numbers(totals, state, now)}"
    details = "more are asked for" if asked.grows else "; ".join(asked.why[1:]) or asked.why[0]
    return CniError(Code.TRY_AGAIN if passing else Code.EXHAUSTED, msg, details)


def _numbers(totals: Totals, state: State, now: float) -> str:
    said = f"the node has {totals.total}, {totals.assigned} are pods'"
    if totals.cooling:
        first = min(one.until for one in state.cooling if one.until > now) - now
        said += f", {totals.cooling} cool down (the first for {first:.0f} s more)"
    return said
