"""Cases (g) and (h): the memory of the idle agent, and the size of what is installed."""

import itertools
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.chain import FailedError, Pod, environment, execute
from bench.hosts import OURS, ROOT
from bench.stats import Row, Summary
from tests import lab

INVOCATIONS, AT_ONCE = 10_000, 4
MB = 1e6
IPAM = {"type": "host-local", "dataDir": "/run/leases", "subnet": "10.1.0.0/16"}
CONF = json.dumps({"cniVersion": "1.0.0", "name": "bench", "ipam": IPAM}).encode()


def memory(_runs: int) -> list[Row]:
    """Case (g)."""
    with lab.fresh_host(), lab.agent(OURS, Path("/run/pycni/warm.sock")) as agent:
        lab.run("ip link set lo up")
        netns = lab.add_netns("pod")
        _serve(8, netns)  # all roles have begun
        before, faults = _memory(agent), lab.faults_of_children(agent.zygote)
        _serve(INVOCATIONS, netns)
        after = _memory(agent)
        # each worker writes to a hundred pages and more
        if lab.faults_of_children(agent.zygote) - faults < INVOCATIONS * 100:
            raise FailedError("the agent has not served all invocations")
    growth = 100 * (after["RSS"] / before["RSS"] - 1)
    rows = [
        _row("g", "RSS of all processes", "MB", before["RSS"], 45),
        _row("g", "PSS of all processes", "MB", before["PSS"]),
    ]
    rows += [
        _row("g", f"RSS of the {what}", "MB", before[what]) for what in ("supervisor", "zygote")
    ]
    rows += [_row("g", f"RSS of all, {INVOCATIONS:,} invocations later", "MB", after["RSS"])]
    return [*rows, _row("g", f"growth by {INVOCATIONS:,} invocations", "%", growth, 10)]


def _memory(agent: lab.Agent) -> dict[str, float]:
    """Return MB: RSS and PSS of all processes, RSS of each."""
    time.sleep(0.5)  # the last workers end
    found = {"RSS": 0.0, "PSS": 0.0}
    for name, pid in (("supervisor", agent.process.pid), ("zygote", agent.zygote)):
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        sizes = {key: int(size) * 1024 / MB for key, size in re.findall(r"(\w+): +(\d+) kB", text)}
        found[name] = sizes["Rss"]
        found["RSS"] += sizes["Rss"]
        found["PSS"] += sizes["Pss"]
    return found


def _serve(count: int, netns: str) -> None:
    """Let the agent serve `count` ADDs and DELs of host-local."""
    names = itertools.count()
    local = threading.local()

    def add_and_delete(_: int) -> None:
        local.pod = getattr(local, "pod", None) or Pod(f"pod-{next(names)}", netns)
        for verb in ("ADD", "DEL"):
            execute(str(OURS), "host-local", environment(verb, str(OURS), local.pod), CONF)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(add_and_delete, range(count // 2)))
    lab.wait_until(lambda: len(list(Path("/proc/self/task").iterdir())) == 1)


def sizes(_runs: int) -> list[Row]:
    """Case (h)."""
    files = {path.stat().st_ino: path.lstat().st_size for path in OURS.rglob("*") if path.is_file()}
    (archive,) = (ROOT / "dist").glob("*.tar.gz")
    return [
        _row("h", "dist/bin, unpacked", "MB", sum(files.values()) / MB, 30),
        _row("h", "the release, tar.gz", "MB", archive.stat().st_size / MB, 12),
    ]


def _row(case: str, what: str, unit: str, value: float, target: float | None = None) -> Row:
    return Row(case, what, "warm", unit, Summary(value, value, 1), None, target, value)
