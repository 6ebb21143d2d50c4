"""What was measured, and how it stands to the reference."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Cost(NamedTuple):
    """Seconds: by the clock, and of processor time of all processes that had a part."""

    wall: float
    cpu: float

    def plus(self, other: "Cost") -> "Cost":
        """Return the cost of one after the other."""
        return Cost(self.wall + other.wall, self.cpu + other.cpu)


@dataclass(frozen=True)
class Summary:
    """What many samples come to; `p90`: nine of ten are not worse."""

    median: float
    p90: float
    samples: int

    @classmethod
    def of(cls, values: Iterable[float], *, more_is_better: bool = False) -> "Summary":
        """Sum `values` up."""
        ordered = sorted(values, reverse=more_is_better)
        place = min(len(ordered) - 1, int(len(ordered) * 0.9))
        return cls(statistics.median(ordered), ordered[place], len(ordered))


@dataclass(frozen=True)
class Row:
    """One line of the report.

    `judged` is what `target` is about: the ratio where there is one, else our own figure.
    """

    case: str
    what: str
    side: str
    unit: str
    ours: Summary
    reference: Summary | None = None
    target: float | None = None
    judged: float | None = None

    @property
    def ratio(self) -> float | None:
        """Return ours to the reference's, by their medians."""
        if self.reference is None or not self.reference.median:
            return None
        return self.ours.median / self.reference.median

    @property
    def met(self) -> bool | None:
        """Tell whether the target is met; None: there is none."""
        if self.target is None:
            return None
        judged = self.judged if self.judged is not None else self.ratio
        return judged is not None and judged <= self.target


def compare(
    case: str,
    side: str,
    costs: dict[str, dict[str, list[Cost]]],
    targets: dict[str, float] | None = None,
    *,
    cpu_targets: bool = False,
) -> list[Row]:
    """Return rows for wall and CPU of each operation: `costs` by side, then by operation."""
    rows = []
    targets = targets or {}
    for what, ours in costs[side].items():
        for measure in ("wall", "cpu"):
            judged = measure == "wall" or cpu_targets
            rows.append(
                Row(
                    case,
                    f"{what} {measure}",
                    side,
                    "ms",
                    _milliseconds(ours, measure),
                    _milliseconds(costs["reference"][what], measure),
                    targets.get(what) if judged else None,
                )
            )
    return rows


def _milliseconds(costs: list[Cost], measure: str) -> Summary:
    return Summary.of(getattr(cost, measure) * 1000 for cost in costs)
