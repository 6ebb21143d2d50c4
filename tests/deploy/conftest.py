"""A node with containerd and a kubelet's hands, which gets the DaemonSet's pod; and its API."""

import json
import os
import shutil
import signal
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pytest
import yaml

from tests import lab
from tests.agent.nodes.apiserver import ApiServer
from tests.agent.nodes.pki import Pki, make_pki
from tests.deploy import image, manifests
from tests.deploy.kubelet import Kubelet
from tests.deploy.manifests import DEPLOY, Object
from tests.runtimes import image as pods
from tests.runtimes.containerd import Containerd
from tests.runtimes.node import CNI_BIN, NET_D, NODE, OUTSIDE, POD_CIDR, Node, runtime_node
from tests.test_install import other_build

OTHER = "localhost/pycni:other"
OTHER_POD_CIDR = "10.244.2.0/24"
IMAGE = "localhost/pycni:dev"


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def images(frozen_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Return archives: what pods run, our image, and that of another build."""
    place = tmp_path_factory.mktemp("images")
    other = other_build(frozen_bin, place / "bin", "c" * 12)
    return (
        pods.build(place / "pods.tar"),
        image.build(frozen_bin, _folder(place / "own"), IMAGE),
        image.build(other, _folder(place / "other"), OTHER),
    )


def _folder(place: Path) -> Path:
    place.mkdir()
    return place


@pytest.fixture
def api(host: None, pki: Pki) -> Iterator[int]:  # noqa: ARG001  # on the node's loopback
    """Return the port of the API, which knows this node and the machine beside it.

    A process of its own: threads would hold this one in the node's mount namespace.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        server = ApiServer(pki)
        server.store.put("node1", _node("node1", NODE, POD_CIDR))
        server.store.put("node2", _node("node2", OUTSIDE, OTHER_POD_CIDR))
        os.write(writer, str(server.port).encode())
        _resolve()
    os.close(writer)
    port = os.read(reader, 10)
    os.close(reader)
    yield int(port)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _resolve() -> NoReturn:
    """Be a name server to which every name is 127.0.0.1 (RFC 1035), and no IPv6 address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 53))
        while True:
            query, client = server.recvfrom(512)
            end = query.index(b"\0", 12) + 5  # of the question: name, type, class
            found = query[end - 4 : end - 2] == b"\0\1"
            head = query[:2] + b"\x81\x80" + struct.pack("!4H", 1, found, 0, 0)
            answer = b"\xc0\x0c" + struct.pack("!2HIH", 1, 1, 1, 4) + b"\x7f\0\0\1"
            server.sendto(head + query[12:end] + answer * found, client)


def _node(name: str, address: str, cidr: str) -> Any:
    return {
        "metadata": {"name": name, "uid": name, "creationTimestamp": "2024-01-01T00:00:00Z"},
        "spec": {"podCIDR": cidr, "podCIDRs": [cidr]},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }


@dataclass
class Deployed:
    """The node, its runtime, and the pod of the DaemonSet that it is given."""

    node: Node
    runtime: Containerd
    kubelet: Kubelet
    spec: Object

    def page(self, path: str) -> str:
        """Return the status of a page of the agent's, as a probe sees it."""
        return lab.run(
            f"curl -s -o /dev/null -w %{{http_code}} http://127.0.0.1:9473{path}", check=False
        )

    def is_ready(self) -> bool:
        return self.page("/readyz") == "200"

    def capabilities(self, containers: str) -> list[str]:
        """Return the list of what the first of them is allowed, to be changed."""
        found: list[str] = self.spec[containers][0]["securityContext"]["capabilities"]["add"]
        return found

    def start(self, name: str = IMAGE) -> None:
        """Run the pod with this image, until it is ready."""
        for container in (*self.spec["initContainers"], *self.spec["containers"]):
            container["image"] = name
        self.kubelet.start(self.spec)
        assert lab.wait_until(self.is_ready, 60), self.kubelet.log("pycnid")


@pytest.fixture(params=["routes", "vxlan"])
def network(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def deployed(
    api: int,
    pki: Pki,
    images: tuple[Path, Path, Path],
    frozen_bin: Path,
    reference_bin: Path,
    tmp_path: Path,
    network: str,
) -> Iterator[Deployed]:
    """Return a node with the reference plugins and no network, to which nothing is deployed yet."""
    objects = manifests.render(DEPLOY / "kubernetes" / network)
    settings = yaml.safe_load(manifests.config_map(objects, "pycni")["agent.yaml"])
    settings["nodes"] = {"apiServer": f"https://api.test:{api}"}
    files = {
        **manifests.config_map(objects, "pycni-templates"),
        "agent.yaml": json.dumps(settings),
    }
    token = tmp_path / "token"
    token.mkdir()
    (token / "token").write_text("agent-token")
    shutil.copyfile(pki.path("ca.crt"), token / "ca.crt")
    with runtime_node(frozen_bin, reference_bin) as node:
        lab.mount("tmpfs", str(CNI_BIN), "tmpfs")
        for name in ("loopback", "ptp"):
            shutil.copy(reference_bin / name, CNI_BIN / name)
        for conflist in NET_D.iterdir():
            conflist.unlink()
        try:
            runtime = Containerd(node, images[0])
            with runtime.running():
                for archive in images[1:]:
                    runtime.load(archive)
                environ = {"PATH": "/opt/pycni/bin"}
                kubelet = Kubelet(runtime, files, token, environ)
                try:
                    yield Deployed(node, runtime, kubelet, manifests.pod(objects))
                finally:
                    kubelet.stop()
        finally:
            lab.run(f"umount {CNI_BIN}")
