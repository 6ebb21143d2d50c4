"""Case (k): following the nodes of a large cluster, from an API server of the tests'."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import urllib3

from bench.hosts import ROOT
from bench.stats import Row, Summary
from tests.agent.nodes.apiserver import NODES, ApiServer
from tests.agent.nodes.pki import Pki, make_pki

COUNT, BYTES = 5_000, 9_000  # nodes, and of each one in JSON
Follower = subprocess.Popen[str]


def measure(runs: int) -> list[Row]:
    """Case (k)."""
    with tempfile.TemporaryDirectory() as place:
        pki = make_pki(Path(place))
        with _serve(pki) as url, _follow(url, pki) as follower:
            bare, loaded, synced = (_told(follower) for _ in range(3))
            delays = Summary.of(1e3 * _change(url, pki, follower, run) for run in range(runs))
    return [
        _row("start of the client, CPU", "ms", 1e3 * (loaded["cpu"] - bare["cpu"])),
        _row("RSS, client loaded", "MB", loaded["rss"]),
        _row(f"{COUNT:,} nodes listed, wall", "s", synced["clock"] - loaded["clock"], 10),
        _row(f"{COUNT:,} nodes listed, CPU", "s", synced["cpu"] - loaded["cpu"]),
        _row(f"RSS, {COUNT:,} nodes known", "MB", synced["rss"], 90),
        _row("RSS at most", "MB", synced["peak"]),
        Row("k", "a node's change until told", "cold", "ms", delays, None, 200, delays.p90),
    ]


def _change(url: str, pki: Pki, follower: Follower, run: int) -> float:
    """Give a node another address; return the seconds until that is told."""
    time.sleep(0.2)  # the last one was told a moment ago
    patch = json.dumps({"status": {"addresses": _addresses(COUNT + run)}})
    headers = {"Authorization": "Bearer admin-token"}
    with urllib3.PoolManager(ca_certs=pki.path("ca.crt")) as pool:
        pool.request("GET", url)  # connect
        before = time.monotonic()
        pool.request("PATCH", f"{url}{NODES}/node-7/status", body=patch, headers=headers)
    after: float = _told(follower)["clock"]
    return after - before


@contextmanager
def _serve(pki: Pki) -> Iterator[str]:
    """Run the server in a process of its own; yield its URL."""
    reads, writes = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_server(pki, writes)
    port = int(os.read(reads, 100))
    os.close(reads)
    os.close(writes)
    try:
        yield f"https://127.0.0.1:{port}"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _be_server(pki: Pki, out: int) -> NoReturn:
    server = ApiServer(pki)
    for number in range(COUNT):
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
    return [{"type": "InternalIP", "address": f"172.18.{number // 256}.{number % 256}"}]


@contextmanager
def _follow(url: str, pki: Pki) -> Iterator[Follower]:
    words = [sys.executable, "-m", "bench.follower", url, pki.path("ca.crt")]
    with subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _told(follower: Follower) -> dict[str, float]:
    line: dict[str, float] = json.loads(next(iter(follower.stdout or ())))
    return line


def _row(what: str, unit: str, value: float, target: float | None = None) -> Row:
    return Row("k", what, "cold", unit, Summary(value, value, 1), None, target, value)
