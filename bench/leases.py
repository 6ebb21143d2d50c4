"""Case (e): host-local alone, in a directory that holds many leases already."""

import hashlib
import json
import os
from functools import partial
from ipaddress import ip_address
from pathlib import Path

from bench.chain import Pod, environment, execute
from bench.hosts import Side, interleave, on_each, sides
from bench.stats import Cost, Row, Summary, compare
from tests import lab

COUNTS = (0, 1_000, 60_000)
FIRST = int(ip_address("10.1.0.2"))
ROUNDS = {0: 1.0, 1_000: 1.0, 60_000: 0.35}  # of the runs: the reference takes long with many


def measure(runs: int) -> list[Row]:
    """Case (e)."""
    with sides("reference", "warm") as every:
        on_each(every, lambda _: lab.add_netns("pod"))
        return [row for count in COUNTS for row in _measure(every, count, runs)]


def _measure(every: list[Side], count: int, runs: int) -> list[Row]:
    conf = _conf(count)
    on_each(every, lambda _: _fill(count))
    # what the reference has written is indexed by the first call, once
    first = on_each(every, lambda side: _once(side, conf))
    rounds = max(3, int(runs * ROUNDS[count]))
    costs = interleave(every, rounds, lambda side: _once(side, conf))
    named = {
        side: {f"{what}, {count:,} leases": some for what, some in costs[side].items()}
        for side in costs
    }
    if count < max(COUNTS):
        return compare("e", "warm", named)
    rows = compare("e", "warm", named, dict.fromkeys(named["warm"], 0.1))
    return [*rows, _adoption(count, first["warm"]["ADD"], first["reference"]["ADD"])]


def _adoption(count: int, ours: Cost, reference: Cost) -> Row:
    what = f"first ADD of all, {count:,} leases wall"
    summary, theirs = (Summary.of([cost.wall * 1000]) for cost in (ours, reference))
    return Row("e", what, "warm", "ms", summary, theirs)


def _data_dir(count: int) -> str:
    return f"/run/leases-{count}"


def _conf(count: int) -> bytes:
    ipam = {"type": "host-local", "dataDir": _data_dir(count), "subnet": "10.1.0.0/16"}
    return json.dumps({"cniVersion": "1.0.0", "name": "bench", "ipam": ipam}).encode()


def _fill(count: int) -> None:
    """Write leases as the reference does: a file named after the address, with its owner."""
    directory = Path(_data_dir(count), "bench")
    directory.mkdir(parents=True)
    for number in range(count):
        owner = hashlib.sha256(str(number).encode()).hexdigest()
        file = os.open(directory / str(ip_address(FIRST + number)), os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(file, f"{owner}\r\neth0".encode())
        os.close(file)
    if count:
        (directory / "last_reserved_ip.0").write_text(str(ip_address(FIRST + count - 1)))


def _once(side: Side, conf: bytes) -> dict[str, Cost]:
    pod = Pod("pod", "/run/netns/pod")

    def call(verb: str) -> Cost:
        variables = environment(verb, side.bin_dir, pod)
        return execute(side.bin_dir, "host-local", variables, conf)[1]

    return {verb: side.measure(partial(call, verb)) for verb in ("ADD", "DEL")}
