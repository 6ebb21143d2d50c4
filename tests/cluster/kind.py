"""A cluster of kind (https://kind.sigs.k8s.io), whose nodes are containers of Docker.

It is made as deploy/kind/cluster.yaml says, and the machine that runs Docker is its outside.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import lab
from tests.conftest import ROOT

NAME = "pycni"  # deploy/kind knows the control plane by its name
CONFIG = ROOT / "deploy/kind/cluster.yaml"
KUBEADM = "kubeadm token create --print-join-command"
# a runtime that is still starting is not found by itself, and not an error yet
JOIN = "--cri-socket=unix:///run/containerd/containerd.sock --ignore-preflight-errors=all"
# what kubeadm leaves, and what the network has written to the disk
EMPTY = "rm -rf /etc/cni/net.d /etc/kubernetes /opt/cni/bin /var/lib/cni /var/lib/pycni"


class KindCluster:
    """The cluster, and how its nodes are reached; `kubeconfig` is a file."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig
        (network,) = json.loads(lab.run("docker network inspect kind"))
        ranges = network["IPAM"]["Config"]
        (self.outside,) = (one["Gateway"] for one in ranges if "." in one.get("Gateway", ""))

    @property
    def control_plane(self) -> str:
        """Return the name of the first node."""
        return f"{NAME}-control-plane"

    @property
    def workers(self) -> list[str]:
        """Return the names of the others."""
        names = lab.run(f"kind get nodes --name {NAME}").split()
        return sorted(set(names) - {self.control_plane})

    @property
    def kubectl(self) -> list[str]:
        """Return what stands before the arguments of kubectl."""
        program = shutil.which("kubectl")
        assert program, "kubectl is missing"
        return [program, f"--kubeconfig={self._kubeconfig}"]

    def words(self, place: str, *words: str) -> list[str]:
        """Return a command that runs `words` on a node, or on this machine."""
        return list(words) if place == "outside" else ["docker", "exec", place, *words]

    def load(self, archive: Path) -> None:
        """Give every node the image in `archive`."""
        lab.run(f"kind load image-archive --name {NAME} {archive}")

    def reboot(self, name: str) -> None:
        """Restart the container: its /run is a tmpfs, /var a volume, the rest its own layer."""
        lab.run(f"docker restart {name}")

    def replace(self, name: str) -> str:
        """Let the machine leave the cluster, forget all, and join again as if it were another."""
        kubectl = " ".join(self.kubectl)
        lab.run(f"{kubectl} delete node {name}")
        lab.run(f"docker exec {name} kubeadm reset --force")
        lab.run(f"docker exec {name} {EMPTY}")
        lab.run(f"docker restart {name}")
        join = lab.run(f"docker exec {self.control_plane} {KUBEADM}").strip()
        lab.run(f"docker exec {name} {join} {JOIN}")
        return name


@contextmanager
def running(folder: Path) -> Iterator[KindCluster]:
    """Run a cluster until the end of the block; nothing of it is left but `folder`."""
    kubeconfig = folder / "admin.conf"
    words = f"--name {NAME} --kubeconfig {kubeconfig}"
    image = f"--image {os.environ['NODE_IMAGE']}" if os.environ.get("NODE_IMAGE") else ""
    lab.run(f"kind create cluster {words} {image} --config {CONFIG} --wait 0s --retain")
    try:
        yield KindCluster(kubeconfig)
    finally:
        lab.run(f"kind delete cluster {words}")
