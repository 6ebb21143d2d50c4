"""A pod on a node whose pool is empty: how long until EC2 has given it an address."""

import tempfile
import time
from pathlib import Path

from bench.stats import Row, Summary
from tests.cloud.node import Node, running

ROUND_TRIP = 0.2  # seconds that each call of the emulated EC2 takes
ALLOWED = 1000 * (ROUND_TRIP + 1.0)  # milliseconds: one round trip, and a second


def measure(runs: int) -> list[Row]:
    """Case (v)."""
    with (
        tempfile.TemporaryDirectory() as place,
        # a minimum alone keeps nothing to spare: each pod beyond it waits for its own address
        running(Path(place), kind="m5.24xlarge", MINIMUM_IP_TARGET="1") as node,
    ):
        node.settle()
        node.patient(10.0)
        node.add_all(1)
        node.cloud.delays.call = ROUND_TRIP
        with node.at_work():
            warm, empty = zip(*(_one(node, run) for run in range(min(runs, 40))), strict=True)
    return [
        _row("ADD, an address is free", Summary.of(warm)),
        _row("ADD, the pool is empty", Summary.of(empty), ALLOWED),
    ]


def _one(node: Node, run: int) -> tuple[float, float]:
    """Return milliseconds of an ADD that finds an address, and of one that does not."""
    empty = _add(node, f"pod-{run}")
    node.delete(f"pod-{run}")
    node.clock.sleep(node.ledger.settings.cooldown + 1)
    warm = _add(node, f"warm-{run}")  # gets the address that has cooled down
    return warm, empty


def _add(node: Node, pod: str) -> float:
    begin = time.perf_counter()
    answer = node.add(pod)
    took = time.perf_counter() - begin
    if "address" not in answer:
        raise RuntimeError(str(answer))
    return 1000 * took


def _row(what: str, summary: Summary, target: float | None = None) -> Row:
    return Row("v", what, "warm", "ms", summary, None, target, summary.p90)
