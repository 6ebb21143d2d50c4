"""What nodes and pods look like to who logs in, as they do in a kind cluster."""

import json
from ipaddress import ip_address, ip_network
from itertools import pairwise
from typing import Any

from tests.cluster.cluster import Cluster
from tests.cluster.pods import Pod


def ip(cluster: Cluster, node: str, arguments: str) -> Any:
    return json.loads(cluster.run(node, f"ip -json {arguments}"))


def way(text: str) -> str:
    """Return the first line of `ip route get`, in single spaces, without what comes after src."""
    words = text.splitlines()[0].split()
    return " ".join(words[: words.index("src") + 2])


def gateway(cluster: Cluster, node: str) -> str:
    return str(ip_network(cluster.node(node).pod_cidr)[1])


def test_a_node_has_no_network_before_its_agent_and_is_ready_after_it(cluster: Cluster) -> None:
    """That no node was Ready sooner than its agent, is looked at while they become so."""
    assert len(cluster.before) == 4
    for condition in cluster.before.values():
        assert condition["status"] == "False"
        assert "cni plugin not initialized" in condition["message"]


def test_pods_have_addresses_of_their_nodes_range(cluster: Cluster, web: list[Pod]) -> None:
    ranges = {pod.node: ip_network(cluster.node(pod.node).pod_cidr) for pod in web}

    assert len(set(ranges.values())) == len(web)
    for pod in web:
        assert ip_address(pod.address) in ranges[pod.node]


def test_every_veth_of_a_node_carries_the_gateways_address(
    cluster: Cluster, web: list[Pod]
) -> None:
    for pod in web:
        (route,) = ip(cluster, pod.node, f"route show {pod.address}")
        links = ip(cluster, pod.node, "address show type veth")
        found = {
            one["ifname"]: [info["local"] for info in one["addr_info"] if info["family"] == "inet"]
            for one in links
            if one["ifname"] != "eth0"
        }
        assert route["dev"] in found
        assert set(map(tuple, found.values())) == {(gateway(cluster, pod.node),)}


def test_a_pod_takes_its_gateway_to_everything(cluster: Cluster, web: list[Pod]) -> None:
    one, other, _ = web
    hop = gateway(cluster, one.node)

    def route(to: str) -> str:
        return way(cluster.inside(one, f"ip route get {to}"))

    assert route(hop) == f"{hop} dev eth0 src {one.address}"
    for address in (other.address, cluster.node(other.node).address, cluster.provider.outside):
        assert route(address) == f"{address} via {hop} dev eth0 src {one.address}"


def test_a_node_takes_the_veth_to_its_own_pod(cluster: Cluster, web: list[Pod]) -> None:
    for pod in web:
        (route,) = ip(cluster, pod.node, f"route show {pod.address}")
        found = way(cluster.run(pod.node, f"ip route get {pod.address}"))
        source = gateway(cluster, pod.node)

        assert found == f"{pod.address} dev {route['dev']} src {source}"


def test_a_node_takes_the_way_of_the_network_to_a_pod_of_another_node(
    cluster: Cluster, web: list[Pod]
) -> None:
    for here, there in pairwise(web):
        node, peer = cluster.node(here.node), cluster.node(there.node)
        found = way(cluster.run(here.node, f"ip route get {there.address}"))

        overlay = (str(ip_network(one.pod_cidr)[0]) for one in (peer, node))
        expected = {
            "kindnet": f"{there.address} via {peer.address} dev eth0 src {node.address}",
            "vxlan": "{} via {} dev pycni-vxlan src {}".format(there.address, *overlay),
        }
        assert found == expected[cluster.network]
