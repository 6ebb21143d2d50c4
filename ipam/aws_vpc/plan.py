"""What to ask of EC2 so that the pool becomes what the settings want: in one step, with reasons.

Growing goes the whole way at once, on as many ENIs as it takes.  Shrinking is patient: only what
has not been needed for a while goes, whole ENIs first, and nothing that would be asked for again
at once.  So the plan for the state that a plan leads to is empty.
"""

from dataclasses import dataclass

from ipam.aws_vpc.grow import Growth
from ipam.aws_vpc.limits import Limits
from ipam.aws_vpc.settings import Settings
from ipam.aws_vpc.shrink import ENI_AGE, free_enis, unassign
from ipam.aws_vpc.state import Action, Assign, CreateEni, FreeEni, State
from ipam.aws_vpc.target import Target, target_of
from ipam.aws_vpc.usage import EniUse, Totals, look, sum_up

# seconds after addresses last came or went before any are given back; with half of it, nodes that
# spare single addresses call EC2 15 % more often for 1 % fewer idle ones (bench/pool.py)
QUIET = 600.0


@dataclass(frozen=True)
class Plan:
    """What to do; `why` says how the target came about, then what stands in the way."""

    actions: tuple[Action, ...]
    why: tuple[str, ...]
    totals: Totals
    short: int  # addresses that are missing
    held: bool  # for some of them a subnet has no room now
    again: float | None  # when time alone may change the answer

    @property
    def grows(self) -> bool:
        """Tell whether it asks for addresses."""
        return any(isinstance(action, Assign | CreateEni) for action in self.actions)


def plan(state: State, settings: Settings, limits: Limits, now: float) -> Plan:
    """Return what to ask of EC2.  `state` is a tidy one (pool.tidy)."""
    target, uses = target_of(settings, limits), look(state, now)
    totals = sum_up(uses, state.waiting)
    short = target.short(totals)
    growth = Growth(state, limits, target, totals, now)
    actions = [*growth.on(uses, short), *_shrunk(state, uses, totals, target, limits, now)]
    notes = [limits.note] if limits.note else []
    return Plan(
        actions=tuple(actions),
        why=(_sentence(target, totals, short), *notes, *growth.obstacles),
        totals=totals,
        short=short,
        held=growth.held,
        again=_again(state, uses, now),
    )


def _shrunk(
    state: State, uses: list[EniUse], totals: Totals, target: Target, limits: Limits, now: float
) -> list[Action]:
    leaving = sum(isinstance(one, FreeEni) for one in state.releasing)
    over = len(state.enis) - leaving - limits.enis
    patient = target.short(totals) or state.waiting or now < state.changed + QUIET
    if patient and over <= 0:
        return []
    freed, totals = free_enis(uses, totals, target, limits, max(over, 0), now)
    actions: list[Action] = [*freed]
    if not patient:
        gone = {action.eni for action in freed}
        actions += unassign([use for use in uses if use.eni.name not in gone], totals, target)
    return actions


def _sentence(target: Target, totals: Totals, short: int) -> str:
    said = f"{target.why}: {max(totals.available, 0)} of {target.spare} spare"
    said += f", {totals.total} in all"
    if target.floor:
        said += f" of at least {target.floor}"
    if totals.cooling:
        said += f", {totals.cooling} cool down and do not count as spare"
    if totals.waiting:
        said += f", pods that wait: {totals.waiting}"
    if short:
        return f"{said}: {short} short"
    if totals.usable >= target.max_pods:
        return f"{said}: enough for the {target.max_pods} pods that the node may run"
    return f"{said}: enough"


def _again(state: State, uses: list[EniUse], now: float) -> float | None:
    """Return the first moment at which something that only waits for time is over."""
    times = [one.until for one in state.cooling]
    times += [one.until for one in state.holds]
    times.append(state.changed + QUIET)
    times += [use.eni.since + ENI_AGE for use in uses if not use.eni.primary and use.idle]
    return min((time for time in times if time > now), default=None)
