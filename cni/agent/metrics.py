"""Figures of the agent, in the text format of Prometheus.

By hand: it is a line a figure, and the client library loads TLS and an HTTP server, 14 MB
(prometheus.io/docs/instrumenting/exposition_formats).
"""

import time
from collections.abc import Iterable, Iterator

from cni.agent.duty import Duty
from cni.agent.nodes import Source
from cni.agent.readiness import Readiness
from cni.agent.reconcile import Loop

PREFIX = "pycni_"
Sample = tuple[str, float]  # what follows the name of the figure, and its value


def text(loop: Loop, readiness: Readiness, source: Source) -> str:
    """Return all figures."""
    health = source.health()
    lag = time.monotonic() - health.last_contact
    lines = [
        *figure("ready", "Whether this node can serve pods.", [("", readiness.ready)]),
        *figure("peers", "Other nodes that are reached.", [("", _peers(loop))]),
        *figure("source_synced", "Whether all nodes are known.", [("", health.synced)]),
        *figure("source_lag_seconds", "Time since the source of nodes has answered.", [("", lag)]),
        *_roles(loop.duties),
    ]
    return "\n".join(lines) + "\n"


def _peers(loop: Loop) -> int:
    return len(loop.cluster.peers) if loop.cluster else 0


def _roles(duties: Iterable[Duty]) -> Iterator[str]:
    each = [(f'{{role="{duty.name}"}}', duty, duty.report) for duty in duties]
    good = [(label, duty.good) for label, duty, _ in each]
    yield from figure("role_good", "Whether the last pass of a role went well.", good)
    wanted = [(label, report.wanted) for label, _, report in each if report]
    yield from figure("objects", "What a role keeps in the kernel.", wanted)
    alarms = [(label, len(report.alarms)) for label, _, report in each if report]
    yield from figure("alarms", "What a role has to complain of.", alarms)
    failures = [(label, duty.failures) for label, duty, _ in each]
    yield from figure("failures_total", "Passes that failed.", failures, "counter")
    times = [(f"_sum{label}", duty.seconds) for label, duty, _ in each]
    times += [(f"_count{label}", duty.passes) for label, duty, _ in each]
    yield from figure("reconcile_seconds", "Time of the passes of a role.", times, "summary")
    repairs = [
        (f'{{role="{duty.name}",kind="{kind}"}}', number)
        for _, duty, _ in each
        for kind, number in sorted(duty.repairs.items())
    ]
    yield from figure("repairs_total", "What was broken and is mended.", repairs, "counter")


def figure(name: str, about: str, samples: Iterable[Sample], kind: str = "gauge") -> Iterator[str]:
    """Yield the lines of one figure."""
    yield f"# HELP {PREFIX}{name} {about}"
    yield f"# TYPE {PREFIX}{name} {kind}"
    for rest, value in samples:
        yield f"{PREFIX}{name}{rest} {float(value):g}"
