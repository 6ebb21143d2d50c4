"""What must be in a node's kernel so that its pods reach those of the other nodes.

Pure: no call here asks or changes the kernel.  For each pod CIDR of another node, by VXLAN
    route       10.244.2.0/24 via 10.244.2.0 dev pycni-vxlan onlink
    neighbour   10.244.2.0 lladdr 0e:…, which follows from the node's name
    fdb         0e:… dst 172.18.0.3, the node's address
and direct just the route
    10.244.2.0/24 via 172.18.0.3 dev eth0

The address of a device is the network address of the pod CIDR.  Nothing of this is published:
each node knows it from the name, the address and the pod CIDR of the other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import IPv6Address, ip_interface

from cni.cluster import Cluster, Node
from cni.config import IPAddress, IPInterface, IPNetwork
from cni.kernel import route
from cni.kernel.neighbour import Neighbour
from cni.kernel.route import Route
from cni.kernel.vxlan import HEADROOM, Tunnel
from cni.overlay.settings import AUTO, DIRECT, PROTOCOL, Settings

PRIORITY = {4: 0, 6: 1024}  # metrics that the kernel gives when none is said


@dataclass(frozen=True)
class Underlay:
    """The interface with the node's address of an IP version; `networks` are on its link."""

    index: int
    name: str
    mtu: int
    address: IPAddress
    networks: tuple[IPNetwork, ...]


@dataclass(frozen=True)
class Device:
    """A VXLAN device, with all the addresses that it has."""

    name: str
    mac: str
    mtu: int
    tunnel: Tunnel
    addresses: tuple[IPInterface, ...]


@dataclass(frozen=True)
class Entries:
    """Entries as they stand in the kernel, each under what there can be one of only."""

    neighbours: dict[tuple[int, IPAddress], Neighbour] = field(default_factory=dict)
    fdb: dict[tuple[int, str], Neighbour] = field(default_factory=dict)
    routes: dict[tuple[IPNetwork, int], Route] = field(default_factory=dict)

    def add_neighbours(self, some: Iterable[Neighbour]) -> None:
        """Add entries of the neighbour table."""
        self.neighbours.update(((one.ifindex, one.address), one) for one in some)

    def add_fdb(self, some: Iterable[Neighbour]) -> None:
        """Add entries of the forwarding database."""
        self.fdb.update(((one.ifindex, one.mac), one) for one in some)

    def add_routes(self, some: Iterable[Route]) -> None:
        """Add routes."""
        self.routes.update(((one.dst, one.priority), one) for one in some)

    def count(self) -> int:
        """Return how many there are."""
        return len(self.neighbours) + len(self.fdb) + len(self.routes)


@dataclass(frozen=True)
class Way:
    """What leads to one peer; `alarms` tell which of its pods cannot be reached, and why."""

    neighbours: tuple[Neighbour, ...]
    fdb: tuple[Neighbour, ...]
    routes: tuple[Route, ...]
    alarms: tuple[str, ...]


def vtep_mac(node: str) -> str:
    """Return the MAC of the VXLAN devices of that node: locally administered, unicast."""
    return f"0e:{sha256(node.encode()).digest()[:5].hex(':')}"


def _vtep(cidr: IPNetwork, mac: str) -> IPAddress:
    """Return the gateway to the pods of another node: an address of its VXLAN device.

    For IPv6 the link-local one, which follows from the MAC (RFC 4291, appendix A): the kernel
    refuses a global one as long as another route leads there, say the direct one.
    """
    if cidr.version == 4:
        return cidr.network_address
    one = bytes.fromhex(mac.replace(":", ""))
    return IPv6Address(
        b"\xfe\x80".ljust(8, b"\0") + bytes((one[0] ^ 2,)) + one[1:3] + b"\xff\xfe" + one[3:]
    )


def carrier(version: int, own: Node, peer: Node) -> int:
    """Return the IP version that carries pods' packets of `version` between two nodes.

    It is the same one where both nodes have such an address; 0 when they share no version.
    """
    for one in (version, 10 - version):
        if own.address(one) and peer.address(one):
            return one
    return 0


def pod_mtu(own: Node, settings: Settings, underlays: Mapping[int, Underlay]) -> int:
    """Return the MTU of the node's pods, in bytes: what every way to other nodes carries."""
    versions = {carrier(cidr.version, own, own) for cidr in own.pod_cidrs}
    return min(_mtu(settings, version, underlays[version]) for version in versions)


def mtu_alarms(settings: Settings, underlays: Mapping[int, Underlay]) -> list[str]:
    """Return where the MTU of the settings is more than the underlay carries."""
    return [
        f"cannot use mtu {settings.mtu}: {one.name} with its {one.mtu} carries {mtu}"
        for version, one in underlays.items()
        if settings.mtu > (mtu := _mtu(settings, version, one))
    ]


def _mtu(settings: Settings, version: int, underlay: Underlay) -> int:
    most = underlay.mtu - (0 if settings.mode == DIRECT else HEADROOM[version])
    return min(settings.mtu or most, most)


def carriers(cluster: Cluster) -> set[int]:
    """Return the IP versions that carry packets of this node's pods, also to nodes to come."""
    own = cluster.own
    kinds = {_versions(node): node for node in (own, *cluster.peers)}  # few: all are alike
    return {
        carrier(cidr.version, own, node)
        for node in kinds.values()
        for cidr in own.pod_cidrs
        if node.pod_cidr(cidr.version)
    } - {0}


def devices(own: Node, settings: Settings, underlays: Mapping[int, Underlay]) -> dict[int, Device]:
    """Return the device over each of `underlays`."""
    if settings.mode == DIRECT:
        return {}
    return {
        version: Device(
            name=settings.name(version),
            mac=vtep_mac(own.name),
            mtu=_mtu(settings, version, underlay),
            tunnel=Tunnel(settings.vni, settings.port, underlay.address, underlay.index),
            addresses=tuple(
                ip_interface(cidr.network_address)
                for cidr in own.pod_cidrs
                if carrier(cidr.version, own, own) == version
            ),
        )
        for version, underlay in underlays.items()
    }


def _versions(node: Node) -> tuple[tuple[int, ...], tuple[int, ...]]:
    addresses, cidrs = node.addresses, node.pod_cidrs
    return tuple(one.version for one in addresses), tuple(one.version for one in cidrs)


class Ways:
    """The ways to all peers; those of a node that has not changed are not made again."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._context: object = None
        self._ways: dict[str, tuple[Node, Way]] = {}

    def to_all(
        self, cluster: Cluster, underlays: Mapping[int, Underlay], links: Mapping[int, int]
    ) -> dict[str, Way]:
        """Return the way to each peer, by name; `links` are the indices of the devices."""
        context = (cluster.own, dict(underlays), dict(links))
        old = self._ways if context == self._context else {}
        self._context, self._ways = context, {}
        for node in cluster.peers:
            kept = old.get(node.name)
            if kept is None or kept[0] != node:
                kept = node, way(self._settings, cluster.own, node, underlays, links)
            self._ways[node.name] = kept
        return {name: kept[1] for name, kept in self._ways.items()}


def way(
    settings: Settings,
    own: Node,
    peer: Node,
    underlays: Mapping[int, Underlay],
    links: Mapping[int, int],
) -> Way:
    """Return what leads to the pods of `peer`, of those IP versions that our pods speak."""
    neighbours, fdb, routes, alarms = [], [], [], []
    mac = vtep_mac(peer.name)
    for cidr in peer.pod_cidrs:
        if own.pod_cidr(cidr.version) is None:
            continue
        version = carrier(cidr.version, own, peer)
        address = peer.address(version)
        if address is None:
            why = "this node has no address of an IP version that it has"
            alarms.append(f"cannot reach the pods of node {peer.name}: {why}")
        elif _is_direct(settings, cidr, address, underlays[version]):
            routes.append(_route(cidr, underlays[version].index, address))
        elif settings.mode == DIRECT:
            why = f"its address {address} is not on the link of {underlays[version].name}"
            alarms.append(f"cannot route to the pods of node {peer.name}: {why}")
        else:
            vtep, index = _vtep(cidr, mac), links[version]
            neighbours.append(Neighbour(index, vtep, mac))
            fdb.append(Neighbour(index, address, mac))
            routes.append(_route(cidr, index, vtep, onlink=True))
    return Way(tuple(neighbours), tuple(dict.fromkeys(fdb)), tuple(routes), tuple(alarms))


def _is_direct(settings: Settings, cidr: IPNetwork, address: IPAddress, underlay: Underlay) -> bool:
    if settings.mode not in (DIRECT, AUTO) or address.version != cidr.version:
        return False
    return any(address in network for network in underlay.networks)


def _route(dst: IPNetwork, index: int, gateway: IPAddress, *, onlink: bool = False) -> Route:
    """Return a route as the kernel tells it, so that the two can be compared."""
    return Route(
        dst,
        index,
        gateway,
        scope=route.UNIVERSE,
        priority=PRIORITY[dst.version],
        onlink=onlink,
        protocol=PROTOCOL,
    )
