"""What to give back to EC2: nothing that a pod has or just had, nothing that is needed."""

from collections.abc import Iterator

from ipam.aws_vpc.limits import Limits
from ipam.aws_vpc.state import FreeEni, Unassign, is_prefix
from ipam.aws_vpc.target import Target
from ipam.aws_vpc.usage import BlockUse, EniUse, Totals

ENI_AGE = 60.0  # seconds that an ENI is kept at least


def free_enis(
    uses: list[EniUse], totals: Totals, target: Target, limits: Limits, over: int, now: float
) -> tuple[list[FreeEni], Totals]:
    """Return the ENIs to free, and the sums without them; `over` are more than is allowed.

    The smallest goes first, so that most of them can.  The primary never goes.
    """
    actions: list[FreeEni] = []
    idle = [use for use in uses if use.idle and not use.eni.primary]
    for use in sorted(idle, key=lambda one: (len(one.blocks), -one.eni.device)):
        left = totals.without(use.blocks)
        if over <= len(actions) and not _suffices(left, totals, target):
            continue
        if now < use.eni.since + ENI_AGE:
            continue
        why = f"no pod is on it, and {max(left.available, 0)} are spare without it"
        if len(actions) < over:
            why = f"no pod is on it, and there are more ENIs than allowed ({limits.why})"
        actions.append(FreeEni(use.eni.name, why))
        totals = left
    return actions, totals


def unassign(uses: list[EniUse], totals: Totals, target: Target) -> list[Unassign]:
    """Return the blocks to give back, of the emptiest ENI first."""
    actions: list[Unassign] = []
    for use in reversed(uses):
        gone = []
        for one in _candidates(use, target):
            left = totals.without([one])
            if _suffices(left, totals, target):
                gone.append(one.block)
                totals = left
        if gone:
            why = f"no pod uses them, and {totals.available} are spare without them"
            actions.append(Unassign(use.eni.name, tuple(gone), why))
    return actions


def _suffices(left: Totals, before: Totals, target: Target) -> bool:
    """Tell whether `left` is enough: nothing of it would have to be asked for again."""
    return not target.short(left) and left.unused >= min(before.unused, target.unused)


def _candidates(use: EniUse, target: Target) -> Iterator[BlockUse]:
    """Yield idle blocks: those of the kind that is no longer wanted, then the highest first.

    Where ENIs are filled as a whole, single blocks are kept.
    """
    idle = sorted(
        (one for one in use.blocks if one.idle), key=lambda one: -int(one.block.network_address)
    )
    other = [one for one in idle if is_prefix(one.block) != target.prefixes]
    yield from other
    if not target.whole_enis:
        yield from (one for one in idle if is_prefix(one.block) == target.prefixes)
