"""What to ask of EC2 for more addresses: on the ENIs that are there, then on new ones."""

from ipam.aws_vpc.limits import Limits
from ipam.aws_vpc.state import PREFIX_SIZE, Assign, CreateEni, State
from ipam.aws_vpc.target import Target
from ipam.aws_vpc.usage import EniUse, Totals


class Growth:
    """Requests as they add up, `obstacles` to them in words; `held`: a subnet had no room."""

    def __init__(
        self, state: State, limits: Limits, target: Target, totals: Totals, now: float
    ) -> None:
        self._state, self._limits, self._target, self._now = state, limits, target, now
        self._missing = 0  # addresses
        self._useful = target.max_pods - totals.usable  # addresses that pods could use
        self._urgent = max(-totals.available, 0)  # addresses that pods wait for
        self._free = {one.name: one.free for one in state.subnets}
        self.obstacles: list[str] = []
        self.held = False

    def on(self, uses: list[EniUse], short: int) -> list[Assign | CreateEni]:
        """Return requests for `short` addresses: the fullest ENI first, then new ones."""
        self._missing = short
        actions: list[Assign | CreateEni] = []
        for use in uses:
            slots = self._limits.slots - len(use.eni.blocks)
            if self._missing > 0 and slots > 0:
                why = f"{self._missing} short, and {use.eni.name} has {slots} slots empty"
                count, prefixes = self._take(use.eni.subnet, slots)
                if count:
                    actions.append(Assign(use.eni.name, count, prefixes, why))
        enis = len(self._state.enis)
        while self._missing > 0 and enis < self._limits.enis and (one := self._new(enis)):
            actions.append(one)
            enis += 1
        if self._missing > 0 and not self.held:
            self._tell(f"all slots of all ENIs are taken ({self._limits.why} ENIs)")
        return actions

    def _new(self, number: int) -> CreateEni | None:
        why = f"{self._missing} short, and {number} of {self._limits.enis} ENIs are there"
        subnet = self._best_subnet()
        if subnet is None:
            self._hold("no subnet has free addresses for another ENI")
            return None
        if (free := self._free[subnet]) is not None:
            self._free[subnet] = free - 1  # its own address
        count, prefixes = self._take(subnet, self._limits.slots)
        return CreateEni(subnet, count, prefixes, why) if count else None

    def _take(self, subnet: str, slots: int) -> tuple[int, bool]:
        """Return how many blocks to ask for in a subnet, and whether they are prefixes."""
        if self._is_held(subnet, prefixes=False):
            self._hold(f"{subnet} had no free address, and is left alone for now")
            return 0, False
        prefixes, wanted = self._limits.prefixes, self._missing
        if self._target.whole_enis:
            wanted = slots
        elif prefixes and self._is_held(subnet, prefixes=True):
            self._hold(f"{subnet} has no free /28: single addresses, for pods that wait only")
            prefixes, wanted = False, min(self._missing, self._urgent)
        unit = PREFIX_SIZE if prefixes else 1
        count = min(slots, -(-min(wanted, self._useful) // unit))
        if (free := self._free.get(subnet)) is not None:
            if count > free // unit:
                self._hold(f"{subnet} has {free} free addresses")
                count = free // unit
            self._free[subnet] = free - count * unit
        self._missing -= count * unit
        self._useful -= count * unit
        self._urgent -= count * unit
        return count, prefixes

    def _is_held(self, subnet: str, *, prefixes: bool) -> bool:
        """Tell whether such blocks cannot be had there, as far as is known."""
        free = self._free.get(subnet)
        least = PREFIX_SIZE if prefixes else 1
        known_empty = free is not None and free < least
        return known_empty or self._state.held(subnet, self._now, prefixes=prefixes)

    def _best_subnet(self) -> str | None:
        """Return where to make an ENI: where prefixes can be had, and where most is free."""
        ranked = [
            (self._limits.prefixes and self._is_held(name, prefixes=True), -(free or 0), name)
            for name, free in self._free.items()
            if not self._is_held(name, prefixes=False) and free != 1  # 1 is for the ENI itself
        ]
        return min(ranked)[2] if ranked else None

    def _hold(self, obstacle: str) -> None:
        self.held = True
        self._tell(obstacle)

    def _tell(self, obstacle: str) -> None:
        if obstacle not in self.obstacles:
            self.obstacles.append(obstacle)
