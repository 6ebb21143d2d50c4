"""Case (k): the whole agent in a large cluster, with an API server of the tests'."""

import json
import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import urllib3

from bench import footprint
from bench.chain import FailedError
from bench.hosts import OURS
from bench.stats import Row, Summary
from cni.kernel.netlink import ROUTE, Netlink
from tests import lab
from tests.agent.nodes.apiserver import NODES, ApiServer
from tests.agent.nodes.pki import Pki, kubeconfig, make_pki

COUNTS = {1_000: 2.0, 5_000: 10.0}  # peers, and seconds for all of them
BYTES = 9_000  # of a node in JSON
RSS_MAX, CHANGE_MAX, PASS_MAX = 90.0, 200.0, 1.0  # MB, ms, s
PASSES = 2  # that are waited for
ROLES = ("warm", "vxlan", "masq")
PAGES = "http://127.0.0.1:9473"
RTM_NEWNEIGH, RTNLGRP_NEIGH, AF_BRIDGE = 28, 3, 7


def measure(runs: int) -> list[Row]:
    """Case (k)."""
    return [row for count, target in COUNTS.items() for row in _measure(count, target, runs)]


def _measure(count: int, target: float, runs: int) -> Iterator[Row]:
    what = f"{count:,} peers:"
    with tempfile.TemporaryDirectory() as place, lab.fresh_host(), urllib3.PoolManager() as pool:
        _make_host()
        pki = make_pki(Path(place))
        with _serve(pki, count + 1) as url:
            options = _options(url, pki)
            begin = time.monotonic()
            with lab.agent(OURS, Path("/run/pycni/warm.sock"), *options) as agent:
                _wait_ready(pool)
                yield _row(f"{what} start until ready", "s", time.monotonic() - begin, target)
                pids = lab.children(agent.process.pid)
                yield _row(f"{what} a pass, CPU of all roles", "s", _pass(pool, pids), PASS_MAX)
                delays = Summary.of(1e3 * _change(url, pki, run) for run in range(runs))
                change = f"{what} a node's change until it is in the kernel"
                yield Row("k", change, "warm", "ms", delays, None, CHANGE_MAX, delays.p90)
                memory = footprint.memory_of(agent)
                yield _row(f"{what} RSS", "MB", memory["process of the roles"], RSS_MAX)
                yield _row(f"{what} PSS of all processes", "MB", memory["PSS"], RSS_MAX)


def _make_host() -> None:
    """Make this node, node-0."""
    lab.run("ip link set lo up")
    lab.run("ip link add eth0 up type veth peer name wire")
    lab.run("ip link set wire up")
    lab.run(f"ip address add {_address(0)}/12 dev eth0")


def _options(url: str, pki: Pki) -> list[str]:
    """Return the options of the agent."""
    Path("/run/kubeconfig").write_text(kubeconfig(pki, url))
    roles = [word for role in ROLES for word in ("--role", role)]
    return [*roles, "--kubeconfig", "/run/kubeconfig", "--node-name", "node-0"]


def _wait_ready(pool: urllib3.PoolManager) -> None:
    def is_ready() -> bool:
        try:
            return pool.request("GET", f"{PAGES}/readyz", retries=False).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    if not lab.wait_until(is_ready, 60):
        raise FailedError("the agent does not get ready")


def _pass(pool: urllib3.PoolManager, pids: list[int]) -> float:
    """Return the CPU that the agent takes from one full pass to the next, without a change."""
    first = _passes(pool)
    lab.wait_until(lambda: _passes(pool) > first, 30)
    first, before = _passes(pool), sum(map(_cpu, pids))
    if not lab.wait_until(lambda: _passes(pool) >= first + PASSES, 60):
        raise FailedError("the agent does no passes")
    return (sum(map(_cpu, pids)) - before) / PASSES


def _passes(pool: urllib3.PoolManager) -> float:
    """Return how many passes the last of the roles has done."""
    time.sleep(0.2)  # so that asking costs little
    text = pool.request("GET", f"{PAGES}/metrics").data.decode()
    return float(re.findall(r'reconcile_seconds_count\{role="masq"\} (\S+)', text)[0])


def _cpu(pid: int) -> float:
    """Return the seconds of processor time that a process has taken (man 5 proc)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def _change(url: str, pki: Pki, run: int) -> float:
    """Give a node another address; return the seconds until the kernel sends to that."""
    time.sleep(0.3)  # the agent lets a tenth of a second pass between two changes
    patch = json.dumps({"status": {"addresses": _addresses(100_000 + run)}})
    headers = {"Authorization": "Bearer admin-token"}
    with Netlink(ROUTE) as kernel, urllib3.PoolManager(ca_certs=pki.path("ca.crt")) as pool:
        kernel.join(RTNLGRP_NEIGH)
        pool.request("GET", url)  # connect
        begin = time.monotonic()
        pool.request("PATCH", f"{url}{NODES}/node-7/status", body=patch, headers=headers)
        while not any(map(_is_fdb, kernel.news())):
            pass
    return time.monotonic() - begin


def _is_fdb(news: tuple[int, bytes]) -> bool:
    kind, payload = news
    return kind == RTM_NEWNEIGH and payload[0] == AF_BRIDGE


@contextmanager
def _serve(pki: Pki, count: int) -> Iterator[str]:
    """Run a server of `count` nodes in a process of its own; yield its URL."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_server(pki, count, writes)
    port = int(os.read(reads, 100))
    os.close(reads)
    os.close(writes)
    try:
        yield f"https://127.0.0.1:{port}"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _be_server(pki: Pki, count: int, out: int) -> NoReturn:
    server = ApiServer(pki)
    for number in range(count):
        server.store.put(f"node-{number}", _node(number))
    os.write(out, str(server.port).encode())
    while True:
        signal.pause()


def _node(number: int) -> Any:
    """Return a Node as large as real ones are: most of it is images and managed fields."""
    cidr = f"10.{100 + number // 256}.{number % 256}.0/24"
    images: list[Any] = []
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"node-{number}", "creationTimestamp": "2024-01-01T00:00:00Z"},
        "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
        "status": {
            "addresses": _addresses(number),
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "images": images,
        },
    }
    while len(json.dumps(node)) < BYTES:
        name = f"registry.example.com/some/image-{len(images)}"
        images.append({"names": [f"{name}@sha256:{'0' * 64}", f"{name}:v1"], "sizeBytes": 10**8})
    return node


def _addresses(number: int) -> list[dict[str, str]]:
    return [{"type": "InternalIP", "address": _address(number)}]


def _address(number: int) -> str:
    return f"172.{16 + number // 65536}.{number // 256 % 256}.{number % 256}"


def _row(what: str, unit: str, value: float, target: float) -> Row:
    return Row("k", what, "warm", unit, Summary(value, value, 1), None, target, value)
