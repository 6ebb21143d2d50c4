"""A node that a container runtime can run on: a host of the tests with a neighbour."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests import lab
from tests.conflists import kindnet
from tests.runtimes import leftovers

POD_CIDR, POD_CIDR_6 = "10.244.1.0/24", "fd00:10:244:1::/64"
GATEWAY = "10.244.1.1"
NODE, NODE_6 = "172.18.0.2", "fc00:f853::2"
OUTSIDE, OUTSIDE_6 = "172.18.0.1", "fc00:f853::1"
CNI_BIN = Path("/opt/cni/bin")
NET_D = Path("/etc/cni/net.d")
MTU = 1400  # bytes; not what a link has by default
LEASES = (Path("/run/cni-ipam-state"), Path("/var/lib/cni/networks"))  # a folder a network
RESULTS = Path("/var/lib/cni/results")  # where libcni keeps what ADD returned


@dataclass(frozen=True)
class Pod:
    """A pod that runs: `id` is its CNI container ID, `netns` a path, `addresses` without length."""

    id: str
    netns: str
    addresses: tuple[str, ...]

    @property
    def address(self) -> str:
        return self.addresses[0]


@dataclass(frozen=True)
class Node:
    """The node of one test; `cgroup` is the name of the parent of all its cgroups."""

    cgroup: str

    def configure(self, conflist: dict[str, Any]) -> None:
        """Make `conflist` the node's network, as the agent of the network would."""
        (NET_D / "10-kindnet.conflist").write_text(json.dumps(conflist))

    def unconfigure(self) -> None:
        """Leave the node without a network."""
        for conflist in NET_D.iterdir():
            conflist.unlink()

    def install(self, conflist: Path) -> None:
        """Make the file the node's only network, to the letter and under its own name."""
        self.unconfigure()
        shutil.copyfile(conflist, NET_D / conflist.name)

    def pod(self, container_id: str) -> Pod:
        """Return the pod of `container_id` as the result of its ADD describes it."""
        result = recorded_result(container_id)
        sandboxes = [place["sandbox"] for place in result["interfaces"] if place.get("sandbox")]
        addresses = tuple(ip["address"].partition("/")[0] for ip in result["ips"])
        return Pod(container_id, sandboxes[0], addresses)


def is_recorded(container_id: str) -> bool:
    """Tell whether libcni has kept the result of ADD; at first the file is empty."""
    return any(path.stat().st_size for path in RESULTS.glob(f"*-{container_id}-eth0"))


def recorded_result(container_id: str) -> Any:
    """Return the result of ADD that libcni has kept for DEL."""
    (path,) = RESULTS.glob(f"*-{container_id}-eth0")
    return json.loads(path.read_text())["result"]


def traces() -> set[str]:
    """Return what attachments leave on a node while they last, one item a line."""
    return {
        *(f"link {link['ifname']}" for link in lab.ip("link show")),
        *(f"route {route['dst']} dev {route.get('dev')}" for route in _routes()),
        *(f"lease {address}" for address in leases()),
        *(f"result {name}" for name in _names(RESULTS)),
        *(f"namespace {name}" for name in _names(Path("/run/netns"))),
    }


def leases() -> set[str]:
    """Return the addresses that host-local holds for pods: files named by an address."""
    networks = [folder for place in LEASES if place.exists() for folder in place.iterdir()]
    names = {name for folder in networks for name in _names(folder)}
    return {name for name in names if re.fullmatch(r"[0-9a-f]*[.:][0-9a-f.:]+", name)}


def _routes() -> list[Any]:
    """List the routes of all tables but anycast, by which an IPv6 router hears its networks."""
    both = [*lab.ip("route show table all"), *lab.ip("-6 route show table all")]
    return [route for route in both if route.get("type") != "anycast"]


def _names(folder: Path) -> list[str]:
    """List the names in `folder`, which may not be there yet."""
    return [entry.name for entry in folder.iterdir()] if folder.exists() else []


def rules_that_mention(*words: object) -> list[str]:
    """List the lines of the node's rule set, sets and maps, that have any of the words in them."""
    pattern = "|".join(rf"(?<![\w.]){re.escape(str(word))}(?![\w.])" for word in words)
    text = lab.run("nft --stateless list ruleset")
    return [line.strip() for line in text.splitlines() if re.search(pattern, line)]


@contextmanager
def runtime_node(*cni_bins: Path) -> Iterator[Node]:
    """Make this host a node with the programs of `cni_bins`; in the end nothing may be left.

    Of two programs of one name the node has that of the first folder.
    """
    _private_places(cni_bins)
    _outside()
    node = Node(f"pycni-test-{uuid4().hex[:8]}")
    node.configure(kindnet([POD_CIDR], MTU))
    before = leftovers.look(node.cgroup)
    with leftovers.reaper():
        try:
            yield node
            leftovers.wait_for(
                lambda: leftovers.processes(node.cgroup) == before.processes,
                "the runtime's processes to end",
            )
            lab.wait_until(lambda: not leftovers.mounted_since(before.mounts))
            mounts = leftovers.mounted_since(before.mounts)
            cgroups = leftovers.cgroups(node.cgroup)
        finally:
            leftovers.tidy(node.cgroup)
    assert mounts == []
    # no cgroup of a container: the parent is ours, podman and CRI-O keep some for their monitors
    assert {folder.name for folder in cgroups if "conmon" not in folder.name} <= {node.cgroup}
    assert not leftovers.cgroups(node.cgroup)


def _private_places(cni_bins: tuple[Path, ...]) -> None:
    """Put the programs and an empty net.d where `ctr` has them by default; /dev/shm is podman's."""
    lab.mount("tmpfs", "/dev/shm", "tmpfs")
    for place in ("/etc", "/opt"):
        layers = Path(f"/run/layers{place}")
        for layer in ("upper", "work"):
            (layers / layer).mkdir(parents=True)
        _overlay(place, place, f"upperdir={layers}/upper", f"workdir={layers}/work")
    for folder in (NET_D, CNI_BIN):
        folder.mkdir(parents=True, exist_ok=True)
    lab.mount("tmpfs", str(NET_D), "tmpfs")
    _overlay(str(CNI_BIN), ":".join(map(str, cni_bins)))


def _overlay(target: str, lower: str, *options: str) -> None:
    lab.run(f"mount -t overlay -o {','.join([f'lowerdir={lower}', *options])} overlay {target}")


def _outside() -> None:
    """Make a machine beside the node, with routes to its pods, as another node has them."""
    lab.add_netns("outside")
    lab.run("ip link add uplink type veth peer name eth0 netns outside")
    for netns, link, address, address_6 in (
        ("", "uplink", NODE, NODE_6),
        ("outside", "eth0", OUTSIDE, OUTSIDE_6),
    ):
        # no link-local address: it would become a route of the node at some moment of the test
        lab.run(f"ip link set {link} addrgenmode none", netns=netns)
        lab.run(f"ip address add {address}/16 dev {link}", netns=netns)
        lab.run(f"ip address add {address_6}/64 dev {link} nodad", netns=netns)
        lab.run(f"ip link set {link} up", netns=netns)
    lab.run(f"ip route add {POD_CIDR} via {NODE}", netns="outside")
    lab.run(f"ip route add {POD_CIDR_6} via {NODE_6}", netns="outside")
