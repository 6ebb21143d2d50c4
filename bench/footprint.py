"""Cases (g) and (h): the memory of the idle agent, and the size of what is installed."""

import itertools
import json
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bench.chain import FailedError, Pod, environment, execute
from bench.hosts import OURS, ROOT
from bench.stats import Row, Summary
from cni.agent.warm import SPARE
from tests import lab

INVOCATIONS, AT_ONCE = 10_000, 4
ROLES = ("supervisor", "zygote", "process of the roles", "one spare worker", "other one")
SDK = "aws"  # the folder that has it
MB = 1e6
IPAM = {"type": "host-local", "dataDir": "/run/leases", "subnet": "10.1.0.0/16"}
CONF = json.dumps({"cniVersion": "1.0.0", "name": "bench", "ipam": IPAM}).encode()


def memory(_runs: int) -> list[Row]:
    """Case (g)."""
    with lab.fresh_host(), _agent() as agent:
        netns = lab.add_netns("pod")
        _serve(8, netns)  # all roles have begun
        before, faults = memory_of(agent), lab.faults_of_children(agent.zygote)
        _serve(INVOCATIONS, netns)
        after = memory_of(agent)
        # each worker writes to a hundred pages and more
        if lab.faults_of_children(agent.zygote) - faults < INVOCATIONS * 100:
            raise FailedError("the agent has not served all invocations")
    growth = 100 * (after["PSS"] / before["PSS"] - 1)
    rows = [_row("g", f"{what} of all processes", "MB", before[what]) for what in ("RSS", "PSS")]
    rows[1] = _row("g", "PSS of all processes", "MB", before["PSS"], 45)
    rows += [_row("g", f"RSS of the {what}", "MB", before[what]) for what in ROLES]
    rows += [_row("g", f"PSS of all, {INVOCATIONS:,} invocations later", "MB", after["PSS"])]
    return [*rows, _row("g", f"growth by {INVOCATIONS:,} invocations", "%", growth, 10)]


@contextmanager
def _agent() -> Iterator[lab.Agent]:
    """Run an agent with the roles warm and routes: this node and another."""
    lab.run("ip link set lo up")
    lab.run("ip link add eth0 type veth peer name wire")
    for command in ("addr add 10.0.0.1/24 dev eth0", "link set eth0 up", "link set wire up"):
        lab.run(f"ip {command}")
    nodes = [
        {"name": f"n{one}", "addresses": [f"10.0.0.{one}"], "podCIDRs": [f"10.244.{one}.0/24"]}
        for one in (1, 2)
    ]
    Path("/run/nodes.json").write_text(json.dumps(nodes))
    options = ["--role", "warm", "--role", "routes", "--nodes-file", "/run/nodes.json"]
    with lab.agent(OURS, Path("/run/pycni/warm.sock"), *options, "--node-name", "n1") as agent:
        route = "ip route show 10.244.2.0/24"
        if not lab.wait_until(lambda: lab.run(route) != "", 30):
            raise FailedError("the role routes has laid no route")
        yield agent


def memory_of(agent: lab.Agent) -> dict[str, float]:
    """Return MB: RSS and PSS of all processes, RSS of each."""
    lab.wait_until(lambda: len(lab.children(agent.zygote)) == SPARE)
    time.sleep(0.5)  # the last workers end
    found = {"RSS": 0.0, "PSS": 0.0}
    others = [one for one in lab.children(agent.process.pid) if one != agent.zygote]
    pids = [agent.process.pid, agent.zygote, *others, *lab.children(agent.zygote)]
    for name, pid in zip(ROLES, pids, strict=True):
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
    files = {
        path.stat().st_ino: (SDK in path.parts, path.lstat().st_size)
        for path in OURS.rglob("*")
        if path.is_file()
    }
    sdk = sum(size for is_sdk, size in files.values() if is_sdk)
    (archive,) = (ROOT / "dist").glob("*.tar.gz")
    return [
        _row("h", "dist/bin, unpacked", "MB", sum(size for _, size in files.values()) / MB, 30),
        _row("h", "of it the AWS SDK, which may be left out", "MB", sdk / MB),
        _row("h", "the release, tar.gz", "MB", archive.stat().st_size / MB, 12),
    ]


def _row(case: str, what: str, unit: str, value: float, target: float | None = None) -> Row:
    return Row(case, what, "warm", unit, Summary(value, value, 1), None, target, value)
