"""What pods leave on a node while they last: leases, links, routes, rules of the firewall."""

import json
import re

from tests.cluster import pods
from tests.cluster.cluster import PATIENCE, Cluster
from tests.runtimes.leftovers import wait_for

LEASES = "/run/cni-ipam-state /var/lib/cni/networks"


def leases(cluster: Cluster, node: str) -> set[str]:
    """Return the addresses that host-local has given away on the node."""
    found = cluster.run(node, f"find {LEASES} -type f -not -path '*/.*'", check=False).split()
    names = {path.rpartition("/")[2] for path in found}
    return {name for name in names if re.fullmatch(r"[\d.]+", name)}


def living(cluster: Cluster, node: str) -> set[str]:
    """Return the addresses of all pods that run on the node, but for those that have its own."""
    found = cluster.get("pods --all-namespaces")
    here = [one for one in found if one["spec"].get("nodeName") == node]
    apart = [pods.read(one) for one in here if not one["spec"].get("hostNetwork")]
    return {pod.address for pod in apart if pod}


def veths(cluster: Cluster, node: str) -> set[str]:
    """Return the pairs' ends on the node; its own card may be one too."""
    links = json.loads(cluster.run(node, "ip -json link show type veth"))
    return {one["ifname"] for one in links} - {"eth0"}


def rules(cluster: Cluster, node: str) -> set[str]:
    """Return what the firewall tables of the network say of pods: keys and values of maps."""
    text = cluster.run(node, "nft list table inet pycni", check=False)
    elements = re.findall(r"elements = \{(.*?)\}", text, re.DOTALL)
    return {one.strip() for body in elements for one in body.split(",")}


def on(cluster: Cluster, node: str) -> dict[str, set[str]]:
    """Return all of it."""
    return {"leases": leases(cluster, node), "veths": veths(cluster, node)} | {
        "rules": rules(cluster, node)
    }


def settled(cluster: Cluster, expected: dict[str, dict[str, set[str]]]) -> None:
    """Wait until nodes have these traces and no other; fail with what differs."""
    now: dict[str, dict[str, set[str]]] = {}

    def same() -> bool:
        now.update({node: on(cluster, node) for node in expected})
        return now == expected

    try:
        wait_for(same, "the traces of pods to go", PATIENCE)
    except AssertionError:
        assert now == expected
