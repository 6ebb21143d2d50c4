"""The nodes of a cluster as one of them sees them: itself, its peers, and who cannot be one."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from cni import document
from cni.config import IPAddress, IPNetwork, Section
from cni.errors import CniError, Code, invalid_config
from cni.names import IDENTIFIER

_Key = tuple[int, int, int]  # of a network: IP version, prefix length, the bits of that prefix
_Versioned = TypeVar("_Versioned", IPAddress, IPNetwork)


@dataclass(frozen=True, slots=True)
class Node:
    """What others must know of a node: at most one address and one pod CIDR of each IP version."""

    name: str
    addresses: tuple[IPAddress, ...]
    pod_cidrs: tuple[IPNetwork, ...]

    def address(self, version: int) -> IPAddress | None:
        """Return the address of that IP version (4 or 6) by which other nodes reach this one."""
        return next((one for one in self.addresses if one.version == version), None)

    def pod_cidr(self, version: int) -> IPNetwork | None:
        """Return the network of that IP version (4 or 6) that the node's pods live in."""
        return next((one for one in self.pod_cidrs if one.version == version), None)


@dataclass(frozen=True, slots=True)
class Cluster:
    """One node's view: `peers` sorted by name; `alarms`, one text a node that cannot be a peer."""

    own: Node
    peers: tuple[Node, ...]
    alarms: tuple[str, ...]


def is_node_address(address: IPAddress) -> bool:
    """Tell whether other machines can send to it."""
    return not (
        address.is_unspecified
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
    )


def one_a_version(values: Iterable[_Versioned]) -> tuple[_Versioned, ...]:
    """Return the first of each IP version, in the order given."""
    firsts: dict[int, _Versioned] = {}
    for value in values:
        firsts.setdefault(value.version, value)
    return tuple(firsts.values())


def read_node(section: Section) -> Node:
    """Return the node that an entry of a nodes file, or of a conflist's peers, describes.

    Its keys are name, addresses and podCIDRs.  A node that has no address or pod CIDR yet is one
    too; values of the wrong kind are refused (code 7).
    """
    name = section.string("name")
    if not IDENTIFIER.fullmatch(name):
        raise section.refuse("name", "the name of a node")
    addresses, networks = section.addresses("addresses"), section.networks("podCIDRs")
    if not all(map(is_node_address, addresses)):
        raise section.refuse("addresses", "addresses that other nodes can reach")
    for key, values in (("addresses", addresses), ("podCIDRs", networks)):
        if len({value.version for value in values}) < len(values):
            raise section.refuse(key, "at most one of each IP version")
    return Node(name, addresses, networks)


def read_nodes(path: str, what: str = "nodes file") -> tuple[Node, ...]:
    """Return the nodes of a file, JSON or YAML: a list of nodes, or an object with the key nodes.

    Raises CniError, which names the file and the entry.
    """
    value = document.read(path, what)
    if isinstance(value, list):
        value = {"nodes": value}
    try:
        if not isinstance(value, dict) or not isinstance(Section(value).get("nodes"), list):
            raise invalid_config("it holds no list of nodes", "write a list, or the key nodes")
        nodes = tuple(map(read_node, Section(value).sections("nodes")))
        _refuse_twice(nodes)
    except CniError as error:
        raise CniError(
            error.code, f"cannot use {what} {path}: {error.msg}", error.details
        ) from error
    return nodes


def _refuse_twice(nodes: Iterable[Node]) -> None:
    names = set[str]()
    for node in nodes:
        if node.name in names:
            raise invalid_config(f"node {node.name} occurs twice")
        names.add(node.name)


def describe(node: Node) -> dict[str, str | list[str]]:
    """Return the node as an entry of a nodes file."""
    addresses, networks = map(str, node.addresses), map(str, node.pod_cidrs)
    return {"name": node.name, "addresses": list(addresses), "podCIDRs": list(networks)}


def cluster(nodes: Iterable[Node], own_name: str) -> Cluster:
    """Return the cluster as the node `own_name` sees it.

    Of two nodes that overlap, the one that comes first in `nodes` is the peer; the own node wins
    over all.  Raises CniError, code 11, while the own node is not there or not complete.
    """
    nodes = list(nodes)
    own = _own(nodes, own_name)
    taken = _Taken(nodes)
    taken.add(own)
    peers, alarms = [], []
    for node in nodes:
        if node is own:
            continue
        reason = _unusable(node, own) or taken.overlap(node)
        if reason:
            alarms.append(f"cannot use node {node.name} as a peer: {reason}")
        else:
            taken.add(node)
            peers.append(node)
    return Cluster(own, tuple(sorted(peers, key=lambda node: node.name)), tuple(sorted(alarms)))


def _own(nodes: Iterable[Node], name: str) -> Node:
    own = next((node for node in nodes if node.name == name), None)
    if own is None:
        msg = f"cannot find node {name}: it is not among the nodes of the cluster"
        raise CniError(Code.TRY_AGAIN, msg, "is this its name there?")
    lacks = _lacks(own)
    if lacks:
        raise CniError(Code.TRY_AGAIN, f"cannot serve pods on node {name}: {lacks} yet")
    return own


def _lacks(node: Node) -> str:
    if not node.addresses:
        return "it has no address"
    return "" if node.pod_cidrs else "it has no pod CIDR"


def _unusable(node: Node, own: Node) -> str:
    """Return why `node` can be no peer of `own`, whatever other peers there are; "" if it can."""
    for address in node.addresses:
        if address in own.addresses:
            return f"its address {address} is this node's own"
    for network in node.pod_cidrs:
        for address in node.addresses:
            if address in network:
                return _holds(network, address)
    return _lacks(node)


def _holds(network: IPNetwork, address: IPAddress) -> str:
    return f"its pod CIDR {network} holds the address {address} of a node"


class _Taken:
    """The names, pod CIDRs and addresses in use: finds an overlap in a time that does not grow.

    Two networks overlap when one lies in the other.  So each network in use is kept under its own
    key, and under those of the networks around it, of every prefix length that occurs; and each
    address under the latter.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._lengths = {
            (network.version, network.prefixlen) for node in nodes for network in node.pod_cidrs
        }
        self._names = set[str]()
        self._networks: dict[_Key, Node] = {}
        self._around: dict[_Key, Node] = {}
        self._addresses: dict[_Key, IPAddress] = {}

    def add(self, node: Node) -> None:
        self._names.add(node.name)
        for network in node.pod_cidrs:
            self._networks[_key(network.network_address, network.prefixlen)] = node
            for key in self._keys(network.network_address, network.prefixlen):
                self._around[key] = node
        for address in node.addresses:
            for key in self._keys(address):
                self._addresses.setdefault(key, address)

    def overlap(self, node: Node) -> str:
        """Return what this node has that another has; empty when nothing."""
        if node.name in self._names:
            return "another one has its name"
        for network in node.pod_cidrs:
            own = _key(network.network_address, network.prefixlen)
            other = self._around.get(own)
            for key in self._keys(network.network_address, network.prefixlen):
                other = other or self._networks.get(key)
            if other:
                return f"its pod CIDR {network} overlaps that of node {other.name}"
            if address := self._addresses.get(own):
                return _holds(network, address)
        return self._surrounding(node)

    def _surrounding(self, node: Node) -> str:
        """Return which pod CIDR in use holds an address of this node; empty when none."""
        for address in node.addresses:
            for key in self._keys(address):
                if other := self._networks.get(key):
                    return f"its address {address} lies in a pod CIDR of node {other.name}"
        return ""

    def _keys(self, first: IPAddress, most: int = 128) -> list[_Key]:
        """Return the keys of the networks around `first`, of at most that prefix length."""
        return [
            _key(first, length)
            for version, length in self._lengths
            if version == first.version and length <= most
        ]


def _key(first: IPAddress, length: int) -> _Key:
    return first.version, length, int(first) >> (first.max_prefixlen - length)
