"""Pods on a node of a real cluster: the kubelet's own calls to containerd, and nothing faked.

The cluster is that of tests/cluster, its network deploy/kind's.  One node is measured; containerd
finds its programs in /opt/cni/bin, which is a link: to ours or to the reference's.
"""

import os
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.chain import FailedError
from bench.hosts import OURS, REFERENCE
from bench.stats import Row, Summary
from tests import lab
from tests.cluster import components, deployment, netns
from tests.cluster.cluster import Cluster
from tests.cluster.machines import Node
from tests.runtimes.cri import Cri

AT_ONCE = 8
WARM_UP = 3  # rounds that do not count: they fill caches
SIDES = {"reference": str(REFERENCE), "warm": "ours"}  # where /opt/cni/bin leads
ONE, MANY, END = (
    "RunPodSandbox until the pod's address is known",
    f"the same for {AT_ONCE} pods at once, until the last",
    "StopPodSandbox",
)


@dataclass
class Bench:
    """A node that is measured, its runtime, and the process that forks its agent's workers."""

    node: Node
    cri: Cri
    zygote: int
    seconds: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    pods: int = 0

    def use(self, side: str) -> None:
        """Let the runtime find the programs of that side, from one moment to the next."""
        place = self.node.disk / "opt/cni"
        (place / "new").symlink_to(SIDES[side])
        (place / "new").rename(place / "bin")

    def round(self, side: str, *, counts: bool) -> None:
        """Take one sample of each kind on that side; the agent must have served ours."""
        self.use(side)
        before = lab.faults_of_children(self.zygote)
        samples = {**self._one(), **self._many()}
        if side == "warm" and lab.faults_of_children(self.zygote) == before:
            raise FailedError("the agent has served nothing: what was measured is not warm")
        for what, seconds in samples.items() if counts else ():
            self.seconds.setdefault((what, side), []).append(seconds)

    def _one(self) -> dict[str, float]:
        began = time.perf_counter()
        sandbox = self._run(self._name())
        running = time.perf_counter()
        self.cri.stop_sandbox(sandbox)
        ended = time.perf_counter()
        self.cri.remove_sandbox(sandbox)
        return {ONE: running - began, END: ended - running}

    def _many(self) -> dict[str, float]:
        names = [self._name() for _ in range(AT_ONCE)]
        with ThreadPoolExecutor(AT_ONCE) as kubelet:
            began = time.perf_counter()
            sandboxes = list(kubelet.map(self._run, names))
            running = time.perf_counter()
            for call in (self.cri.stop_sandbox, self.cri.remove_sandbox):
                list(kubelet.map(call, sandboxes))
        return {MANY: running - began}

    def _run(self, name: str) -> str:
        sandbox = self.cri.run_sandbox(name, [])
        if not self.cri.addresses(sandbox)[0]:
            raise FailedError(f"pod {name} has no address")
        return sandbox

    def _name(self) -> str:
        self.pods += 1
        return f"bench-{self.pods}"


@contextmanager
def _bench() -> Iterator[Bench]:
    """Run a cluster, and have one of its nodes for ourselves."""
    with TemporaryDirectory(prefix="pycni-bench-") as name:
        folder = Path(name)
        with netns.running(folder, Path(os.environ["KUBE_BIN_DIR"])) as provider:
            for archive in deployment.archives(OURS, folder):
                provider.load(archive)
            cluster = Cluster(provider, "kindnet")
            deployment.wait_registered(cluster, *cluster.nodes)
            deployment.apply(cluster)
            deployment.wait_ready(cluster, *cluster.nodes)
            node = provider.nodes[cluster.provider.workers[0]]
            node.stop("kubelet")  # it would end pods that it does not know
            (node.disk / "opt/cni/bin").rename(node.disk / "opt/cni/ours")
            yield Bench(node, Cri(node.path(components.RUNTIME), "bench"), _zygote(node))


def _zygote(node: Node) -> int:
    """Return the process that forks the agent's workers: the first child of who listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as caller:
        caller.connect(str(node.path("/run/pycni/warm.sock")))
        said = caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return lab.children(int.from_bytes(said[:4], sys.byteorder))[0]


def measure(runs: int) -> list[Row]:
    """Return the times of pods, in turn with the programs of each side."""
    with _bench() as bench:
        for number in range(-WARM_UP, runs):
            for side in SIDES:
                bench.round(side, counts=number >= 0)
    return [_row(bench, what) for what in (ONE, MANY, END)]


def _row(bench: Bench, what: str) -> Row:
    ours, reference = _summary(bench, what, "warm"), _summary(bench, what, "reference")
    return Row("m", f"{what} wall", "warm", "ms", ours, reference)


def _summary(bench: Bench, what: str, side: str) -> Summary:
    return Summary.of(seconds * 1000 for seconds in bench.seconds[what, side])
