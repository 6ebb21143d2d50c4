"""One role of the agent that keeps a part of the kernel in order, and the record of its passes."""

import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from cni.cluster import Cluster
from cni.errors import CniError

log = logging.getLogger(__name__)


class Report(Protocol):
    """What a pass found: how many objects are wanted, what it changed by kind, and alarms."""

    @property
    def wanted(self) -> int: ...  # noqa: D102  # see above
    @property
    def repairs(self) -> Mapping[str, int]: ...  # noqa: D102
    @property
    def alarms(self) -> tuple[str, ...]: ...  # noqa: D102


class Role(Protocol):
    """What keeps a part of the kernel as the cluster asks for."""

    def reconcile(self, cluster: Cluster, *, full: bool) -> Report:
        """Compare with the kernel, which is read only if `full`, and change what differs.

        Raises CniError or OSError.
        """


@dataclass(frozen=True)
class Repair:
    """What somebody had broken: when it was mended, in seconds since 1970, and what, by kind."""

    at: float
    kinds: Mapping[str, int]


@dataclass
class Duty:
    """A role at work; `hears`: news of the kernel's links, routes and neighbours concern it.

    `error` is that of the last pass, `seconds` the time of all `passes`; `repairs` and
    `last_repair` leave out what a changed cluster asked for.
    """

    name: str
    role: Role
    hears: bool = False
    report: Report | None = None
    error: str = ""
    passes: int = 0
    failures: int = 0
    seconds: float = 0.0
    repairs: Counter[str] = field(default_factory=Counter)
    last_repair: Repair | None = None
    _settled: Cluster | None = None

    @property
    def good(self) -> bool:
        """Tell whether the last pass went well."""
        return self.report is not None and not self.error

    def run(self, cluster: Cluster, *, full: bool) -> float:
        """Do one pass; return how many seconds it took.  What fails is told once."""
        begin = time.monotonic()
        try:
            report = self.role.reconcile(cluster, full=full)
        except (CniError, OSError) as error:
            self._fail(str(error))
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            if text != self.error:
                log.exception("%s: a pass failed", self.name)
            self._fail(text)
        else:
            self._succeed(cluster, report)
        took = time.monotonic() - begin
        self.passes, self.seconds = self.passes + 1, self.seconds + took
        return took

    def _fail(self, text: str) -> None:
        self.failures += 1
        if text != self.error:
            log.error("%s: %s", self.name, text)
        self.error = text

    def _succeed(self, cluster: Cluster, report: Report) -> None:
        if self.error:
            log.info("%s: in order again", self.name)
        known = self.report.alarms if self.report else ()
        for alarm in report.alarms:
            if alarm not in known:
                log.warning("%s: %s", self.name, alarm)
        if report.repairs:
            broken = self._settled is cluster
            text = ", ".join(f"{number} {kind}" for kind, number in sorted(report.repairs.items()))
            log.info("%s: %s: %s", self.name, "repaired" if broken else "changed", text)
            if broken:
                self.repairs.update(report.repairs)
                self.last_repair = Repair(time.time(), report.repairs)
        self.report, self.error, self._settled = report, "", cluster
