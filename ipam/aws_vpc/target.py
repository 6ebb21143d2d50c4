"""How many addresses the pool should have: the arithmetic of the settings.

Every setting comes down to two numbers: so many to spare, and so many at least.  An address that
is cooling is neither free nor taken, so it does not count as spare.
"""

from dataclasses import dataclass

from ipam.aws_vpc.limits import Limits
from ipam.aws_vpc.settings import Settings
from ipam.aws_vpc.state import PREFIX_SIZE
from ipam.aws_vpc.usage import Totals


@dataclass(frozen=True)
class Target:
    """What to have, in addresses, and how to come and go there."""

    spare: int  # available beside those that pods have
    floor: int  # in all
    prefixes: bool  # blocks are prefixes
    whole_enis: bool  # filled at once, and given back as a whole
    unused: int  # prefixes to keep that no pod uses
    max_pods: int
    why: str  # the settings, in words

    def short(self, totals: Totals) -> int:
        """Return how many addresses are missing; none beyond what `max_pods` pods can use."""
        missing = max(self.spare - totals.available, self.floor - totals.total)
        return max(min(missing, self.max_pods - totals.usable), 0)


def target_of(settings: Settings, limits: Limits) -> Target:
    """Return what the settings ask for on such a node."""
    unit = PREFIX_SIZE if limits.prefixes else 1
    if settings.by_address:
        spare, floor, whole, unused = settings.warm_ip, settings.minimum_ip, False, 0
        said = {"WARM_IP_TARGET": spare, "MINIMUM_IP_TARGET": floor}
        why = ", ".join(f"{name}={value}" for name, value in said.items() if value)
    elif limits.prefixes:
        spare, floor, whole, unused = settings.warm_prefix * unit, 0, False, settings.warm_prefix
        why = f"WARM_PREFIX_TARGET={settings.warm_prefix} ({spare} addresses)"
    else:
        spare, floor, whole, unused = settings.warm_eni * limits.slots, 0, True, 0
        why = f"WARM_ENI_TARGET={settings.warm_eni} ({spare} addresses)"
    if not settings.by_address and not spare:
        spare = 1  # only an empty pool is too small, and the next pod empties this one
        why = f"{why}; one is always kept"
    return Target(spare, floor, limits.prefixes, whole, unused, limits.max_pods, why)
