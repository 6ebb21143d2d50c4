"""A cluster whose nodes are namespaces of this machine; nothing of it is seen from outside."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

from tests import lab
from tests.cluster import components, machines
from tests.cluster.cluster import PATIENCE
from tests.cluster.components import CONFIG, RUNTIME_SERVICE
from tests.cluster.machines import Node, Switch
from tests.runtimes.leftovers import wait_for

ROUTER, OUTSIDE = "172.18.0.1/16", "172.18.0.100"
CONTROL_PLANE = "pycni-control-plane"  # names as kind gives them


class NetnsCluster:
    """One control plane and some workers, each with its own containerd, kubelet and kube-proxy."""

    outside, control_plane = OUTSIDE, CONTROL_PLANE

    def __init__(self, folder: Path, kube_bin: Path, workers: int) -> None:
        """Write what the machines have in common; their disks will be in `folder` too."""
        self._folder, self._kube_bin = folder, kube_bin
        self._cgroup = f"pycni-test-{uuid4().hex[:8]}"
        self._numbers = iter(range(2, 100))
        self._archives: list[Path] = []
        self._stack = ExitStack()
        self.addresses: dict[str, str] = {}
        self.nodes: dict[str, Node] = {}
        every = ["pycni-worker", *(f"pycni-worker{number}" for number in range(2, 9))]
        names, self._spare = [CONTROL_PLANE, *every[:workers]], every[workers:]
        for name in names:
            self.addresses[name] = f"172.18.0.{next(self._numbers)}"
        self._api = self.addresses[CONTROL_PLANE]
        components.write_keys(folder, CONTROL_PLANE, self._api)
        components.write_users(folder, *names, *self._spare)
        access = components.kubeconfig(self._api, "admin", f"{folder}/server.crt")
        (folder / "admin.conf").write_text(access)

    @property
    def workers(self) -> list[str]:
        """Return the nodes that run the tests' pods."""
        return [name for name in self.nodes if name != CONTROL_PLANE]

    @property
    def kubectl(self) -> list[str]:
        """Return what stands before the arguments of kubectl."""
        control = self.nodes[CONTROL_PLANE].pid
        words = ["nsenter", f"--target={control}", "--net", f"{self._kube_bin}/kubectl"]
        return [*words, f"--kubeconfig={self._folder}/admin.conf"]

    def words(self, place: str, *words: str) -> list[str]:
        """Return a command that runs `words` on a node, or on the machine `outside`."""
        if place == "outside":
            return ["nsenter", f"--target={self._outside.pid}", "--net", *words]
        return self.nodes[place].words(*words)

    def start(self) -> None:
        """Start all machines, and once the API answers what makes them nodes."""
        self._switch = Switch(ROUTER)
        self._stack.callback(self._switch.end)
        self._outside = machines.outside()
        self._stack.callback(self._outside.end)
        self._switch.plug("outside", self._outside, OUTSIDE)
        self._stack.callback(machines.remove_cgroups, self._cgroup)
        for name in self.addresses:
            self._boot(name)
        wait_for(self._answers, "the server of the API", PATIENCE)
        for name in self.addresses:
            self._join(name)

    def load(self, archive: Path) -> None:
        """Give every node the image in `archive`, those to come too."""
        self._archives.append(archive)
        for node in self.nodes.values():
            _import(node, archive)

    def reboot(self, name: str) -> None:
        """Pull the plug of a node and start it again: what is on its disk is kept."""
        self._unplug(name)
        self._boot(name)
        self._join(name)

    def replace(self, name: str) -> str:
        """Remove a worker with its disk, start one that is new; return its name."""
        self._unplug(name)
        lab.run(" ".join([*self.kubectl, "delete", "node", name]))
        del self.nodes[name], self.addresses[name]
        shutil.rmtree(self._folder / name)
        new = self._spare.pop(0)
        self.addresses[new] = f"172.18.0.{next(self._numbers)}"
        self._boot(new)
        self._join(new)
        for archive in self._archives:
            _import(self.nodes[new], archive)
        return new

    def _boot(self, name: str) -> None:
        """Start a node with its runtime."""
        node = Node(self._folder / name, self._cgroup, self._kube_bin)
        self.nodes[name] = node
        self._switch.plug(name, node, self.addresses[name])
        settings = node.disk / CONFIG[1:]
        for file in ("server.key", "server.crt", "tokens.csv"):
            shutil.copy(self._folder / file, settings)
        (node.disk / "etc/hosts").write_text(f"127.0.0.1 localhost\n{self._api} {CONTROL_PLANE}\n")
        components.write(settings, name, self._api)
        node.serve("containerd", *RUNTIME_SERVICE)
        if name == CONTROL_PLANE:
            for service, words in components.control_plane(self._api).items():
                node.serve(service, *words)

    def _join(self, name: str) -> None:
        """Start what makes a machine a node of the cluster."""
        taints = [components.NO_PODS] if name == CONTROL_PLANE else []
        for service, words in components.node(name, self.addresses[name], *taints).items():
            self.nodes[name].serve(service, *words)

    def _unplug(self, name: str) -> None:
        self.nodes[name].end()
        self._switch.unplug(name)
        machines.remove_cgroups(f"{self._cgroup}/{name}")

    def _answers(self) -> bool:
        words = " ".join([*self.kubectl, "get", "--raw", "/readyz"])
        return lab.run(words, check=False) == "ok"

    def end(self) -> None:
        """End all machines; what is left is their disks."""
        with self._stack as stack:
            for node in self.nodes.values():
                stack.callback(node.end)


def _import(node: Node, archive: Path) -> None:
    """Load an image, once the runtime is there."""
    version = " ".join(node.words("ctr", "version"))
    wait_for(lambda: "Server:" in lab.run(version, check=False), "containerd to listen", PATIENCE)
    shutil.copy(archive, node.disk / "var/tmp/image.tar")
    words = node.words("ctr", "--namespace", "k8s.io", "images", "import", "/var/tmp/image.tar")
    lab.run(" ".join(words))


@contextmanager
def running(folder: Path, kube_bin: Path, workers: int = 3) -> Iterator[NetnsCluster]:
    """Run a cluster until the end of the block; then nothing of it is left but `folder`.

    A service that has ended by itself fails the test: nobody starts it again.
    """
    cluster = NetnsCluster(folder, kube_bin, workers)
    try:
        cluster.start()
        yield cluster
        fallen = {name: node.fallen() for name, node in cluster.nodes.items()}
        assert not any(fallen.values()), fallen
    finally:
        cluster.end()
