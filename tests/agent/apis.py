"""A Kubernetes API for whole nodes: a machine of its own beside them, which can lose its cable."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cni.kernel.netns import entered
from tests import lab
from tests.agent.nodes.apiserver import ApiServer
from tests.agent.nodes.cluster import Hand, hand
from tests.agent.nodes.kube import KUBE_BIN_DIR, KubeApiServer
from tests.agent.nodes.pki import Pki, kubeconfig, make_pki
from tests.overlay import nodes

NAME, ADDRESS = "api", "172.18.0.200"
Start = Callable[[Pki, Path], int]  # returns the port


def _start_own(pki: Pki, _: Path) -> int:
    return ApiServer(pki, ADDRESS).port


def _start_kube(pki: Pki, place: Path) -> int:
    server = KubeApiServer(pki, place, ADDRESS)
    server.start()
    return server.port


SERVERS = {"own": _start_own, **({"kube": _start_kube} if KUBE_BIN_DIR else {})}


@dataclass(frozen=True)
class Api:
    """An API that runs; `kubeconfig` is the way to it."""

    kubeconfig: Path
    _hand: Hand

    def add(self, name: str, address: str = "", pod_cidr: str = "") -> None:
        """Add a node, by default as tests.overlay.nodes has it."""
        address, pod_cidr = address or nodes.address(name, 4), pod_cidr or nodes.pod_cidr(name, 4)
        with entered(lab.netns_path(NAME)):
            self._hand.add(name, address, pod_cidr)

    def delete(self, name: str) -> None:
        with entered(lab.netns_path(NAME)):
            self._hand.delete(name)

    def unplug(self) -> None:
        """Cut the cable; nobody is told."""
        lab.run(f"ip link set {NAME} down", netns="fabric")

    def plug(self) -> None:
        lab.run(f"ip link set {NAME} up", netns="fabric")


@contextmanager
def serve(start: Start, place: Path, *names: str) -> Iterator[Api]:
    """Run an API that knows these nodes, beside the machines of tests.overlay.nodes."""
    pki, way = make_pki(place), place / "config"
    lab.add_netns(NAME)
    cable = f"link add {NAME} up master br18 type veth peer name eth0 netns {NAME}"
    nodes.batch("fabric", cable)
    nodes.batch(NAME, f"addr add {ADDRESS}/24 dev eth0", "link set eth0 up")
    nodes.batch(NAME, "route add default via 172.18.0.1")
    with _process(start, pki, place) as port:
        url = f"https://{ADDRESS}:{port}"
        way.write_text(kubeconfig(pki, url))
        with hand(pki, url) as one:
            api = Api(way, one)
            for name in names:
                api.add(name)
            yield api


@contextmanager
def _process(start: Start, pki: Pki, place: Path) -> Iterator[int]:
    """Run the server in a process of its own, since it has threads; yield its port."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with entered(lab.netns_path(NAME)):
                os.write(writer, str(start(pki, place)).encode())
            signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    try:
        yield int(os.read(reader, 10))
    finally:
        os.close(reader)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
