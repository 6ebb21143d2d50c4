"""A cluster of three nodes: n1 and n2 on one subnet, n3 on another, a router between the two.

Nodes, their pods and the router are network namespaces; the router is called fabric.
"""

import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Any

from cni.cluster import Cluster, Node, cluster
from cni.kernel.netns import entered
from cni.overlay.apply import Overlay, Report
from cni.overlay.settings import PROTOCOL, Settings
from tests import lab, packets

NAMES = ("n1", "n2", "n3")
SUBNETS = {"n1": 18, "n2": 18, "n3": 19}
TIMEOUT_S = 2.0  # of a packet; only one that does not come takes as long


def address(name: str, version: int) -> str:
    """Return a node's address."""
    number = int(name[1:]) + 1
    return f"172.{SUBNETS[name]}.0.{number}" if version == 4 else f"fd00:{SUBNETS[name]}::{number}"


def pod_cidr(name: str, version: int) -> str:
    """Return a node's pod CIDR."""
    return f"10.244.{name[1:]}.0/24" if version == 4 else f"fd00:244:{name[1:]}::/64"


def pod_address(name: str, version: int) -> str:
    """Return the address of the pod on a node."""
    return str(ip_network(pod_cidr(name, version))[2])


def pod(name: str) -> str:
    """Return the name of the pod on a node."""
    return f"p{name[1:]}"


def member(name: str, underlay: Iterable[int] = (4, 6), pods: Iterable[int] = (4, 6)) -> Node:
    """Return the node as others know it, with these IP versions."""
    return Node(
        name,
        tuple(ip_address(address(name, version)) for version in underlay),
        tuple(ip_network(pod_cidr(name, version)) for version in pods),
    )


@dataclass
class Nodes:
    """The nodes, each with an overlay that the test drives."""

    settings: Settings = field(default_factory=Settings)
    members: dict[str, Node] = field(default_factory=dict)
    overlays: dict[str, Overlay] = field(default_factory=dict)

    def cluster(self, name: str) -> Cluster:
        """Return the cluster as the node `name` sees it."""
        return cluster(self.members.values(), name)

    def restart(self, name: str, settings: Settings | None = None) -> None:
        """Let a new process take over on the node, perhaps with other settings."""
        self.overlays[name] = Overlay(settings or self.settings)

    def reconcile(self, name: str, *, full: bool = True) -> Report:
        """Run one pass on a node."""
        if name not in self.overlays:
            self.restart(name)
        with entered(lab.netns_path(name)):
            return self.overlays[name].reconcile(self.cluster(name), full=full)

    def sync(self) -> dict[str, Report]:
        """Run one pass on every node."""
        return {name: self.reconcile(name) for name in self.members}


def make(
    settings: Settings | None = None,
    *,
    underlay: tuple[int, ...] = (4,),
    pods: tuple[int, ...] = (4,),
    mtu: int = 0,
) -> Nodes:
    """Make the machines and one pod on each, called p1 to p3, and bring up the overlay.

    `mtu` is that of the pods, in bytes; 0: what the overlay says.
    """
    machines()
    nodes = Nodes(settings or Settings(), {one: member(one, underlay, pods) for one in NAMES})
    for name, report in nodes.sync().items():
        _make_pod(name, mtu or report.mtu)
    return nodes


def machines() -> None:
    """Make the router, and the three nodes with nothing on them yet."""
    _make_fabric()
    for name in NAMES:
        _add_machine(name)
        plug(name)


def batch(netns: str, *lines: str) -> None:
    """Run several `ip` commands in a namespace."""
    lab.run("ip -batch -", netns=netns, stdin="\n".join(lines) + "\n")


def _add_machine(name: str) -> None:
    """Make a namespace that forwards; duplicate detection would take 2 s."""
    keys = ("ipv4.ip_forward", "ipv6.conf.all.forwarding")
    values = {**dict.fromkeys(keys, 1), "ipv6.conf.default.accept_dad": 0}
    lab.add_netns(name)
    lab.run(
        f"sysctl -q {' '.join(f'net.{key}={value}' for key, value in values.items())}", netns=name
    )


def _make_fabric() -> None:
    _add_machine("fabric")
    batch(
        "fabric",
        *(
            line
            for subnet in sorted(set(SUBNETS.values()))
            for line in (
                f"link add br{subnet} up type bridge mcast_snooping 0",
                f"addr add 172.{subnet}.0.1/24 dev br{subnet}",
                f"addr add fd00:{subnet}::1/64 dev br{subnet} nodad",
            )
        ),
    )


def plug(name: str) -> None:
    """Connect a node's network card to the fabric."""
    batch(
        "fabric",
        f"link add {name} up master br{SUBNETS[name]} type veth peer name eth0 netns {name}",
    )
    batch(name, "link set eth0 up")
    set_addresses(name, address(name, 4), address(name, 6))


def set_addresses(name: str, *addresses: str) -> None:
    """Give a node these addresses and no other; its default routes lead to the router."""
    subnet = SUBNETS[name]
    batch(
        name,
        "addr flush dev eth0 scope global",
        *(f"addr add {one}/{64 if ':' in one else 24} dev eth0 nodad" for one in addresses),
        f"route replace default via 172.{subnet}.0.1",
        f"route replace ::/0 via fd00:{subnet}::1",
    )


def _make_pod(name: str, mtu: int) -> None:
    inside = pod(name)
    _add_machine(inside)
    inner = [pod_address(name, 4), pod_address(name, 6)]
    batch(
        name,
        f"link add {inside} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {inside}",
        f"addr add 169.254.1.1/32 dev {inside}",
        f"addr add fe80::1/64 dev {inside} nodad",
        f"link set {inside} up",
        *(f"route add {one} dev {inside}" for one in inner),
    )
    batch(
        inside,
        *(f"addr add {one} dev eth0 nodad" for one in inner),
        "link set eth0 up",
        "route add default via 169.254.1.1 dev eth0 onlink",
        "route add ::/0 via fe80::1 dev eth0",
    )


def reachable(source: str, target: str, version: int = 4, port: int = 9000) -> bool:
    """Tell whether the pod on one node can talk to that on another, unchanged on the way."""
    to = pod_address(target, version), port
    try:
        seen = packets.seen_from(pod(source), pod(target), to, kind="udp", timeout=TIMEOUT_S)
    except packets.UnreachableError:
        return False
    assert seen == pod_address(source, version)
    return True


def passes(source: str, target: str, size: int, timeout: float = TIMEOUT_S) -> bool:
    """Tell whether an IPv4 datagram with `size` bytes of data comes through in one piece."""
    with entered(lab.netns_path(pod(target))):
        ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with entered(lab.netns_path(pod(source))):
        mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with ear, mouth:
        ear.settimeout(timeout)
        ear.bind(("", 9001))
        mouth.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
        try:
            mouth.sendto(bytes(size), (pod_address(target, 4), 9001))
            return len(ear.recv(1 << 16)) == size
        except OSError:
            return False


def state(name: str) -> dict[str, Any]:
    """Return all that the overlay has on a node, as iproute2 shows it."""
    found: dict[str, Any] = {}
    for command in ("route", "-6 route"):
        text = lab.run(f"ip -d {command} show proto {PROTOCOL}", netns=name)
        found[command] = sorted(" ".join(line.split()) for line in text.splitlines())
    for link in lab.ip("addr show type vxlan", netns=name):
        device, data = link["ifname"], link["linkinfo"]["info_data"]
        addresses = [one["local"] for one in link["addr_info"] if one["scope"] == "global"]
        values = {
            key: data.get(key) for key in ("id", "port", "local", "local6", "link", "learning")
        }
        found[device] = values | {
            "mac": link["address"],
            "mtu": link["mtu"],
            "up": "UP" in link["flags"],
            "addresses": addresses,
            "fdb": sorted(lab.run(f"bridge fdb show dev {device}", netns=name).splitlines()),
            "neighbours": _neighbours(name, device),
        }
    return found


def _neighbours(name: str, device: str) -> list[str]:
    text = lab.run(f"ip neigh show dev {device} nud permanent", netns=name)
    return sorted(" ".join(line.split()) for line in text.splitlines())
