"""A cluster for the role masq, and the role with settings as in a file."""

from ipaddress import ip_address, ip_network
from typing import Any

from cni.agent import settings
from cni.agent.masq import Masquerade
from cni.cluster import Cluster, Node
from cni.config import Section

PROXY = """
table ip proxy {
    chain services {
        type nat hook prerouting priority dstnat
        tcp dport 80 meta mark set meta mark | 0x4000
    }
    chain sources {
        type nat hook postrouting priority srcnat
        meta mark & 0x4000 != 0 snat to 203.0.113.77
    }
}
"""


def node(number: int) -> Node:
    """Return a node of the cluster; 1 is this one."""
    return Node(
        f"node-{number}",
        (ip_address(f"172.18.0.{number + 1}"), ip_address(f"fc00:18::{number + 1}")),
        (ip_network(f"10.244.{number}.0/24"), ip_network(f"fd00:244:{number}::/64")),
    )


def cluster(*peers: int) -> Cluster:
    """Return what node 1 sees."""
    return Cluster(node(1), tuple(map(node, peers)), ())


def role(**said: Any) -> Masquerade:
    """Return the role, with settings as in a file."""
    return Masquerade(settings.read(Section({"roles": ["vxlan", "masq"]} | said)))


def apply(**said: Any) -> Masquerade:
    """Let the role do its first pass, with node 2 as a peer."""
    one = role(**said)
    assert one.reconcile(cluster(2), full=True).repairs
    return one
