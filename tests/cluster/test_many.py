"""Many pods at once, and nothing of them when they are gone."""

from ipaddress import ip_address, ip_network

from tests.cluster import pods, traces
from tests.cluster.cluster import PATIENCE, Cluster
from tests.runtimes.leftovers import wait_for

EACH = 30  # pods a node
FIRST_PORT = 20000


def test_thirty_pods_at_once_on_each_node_come_and_go_without_a_trace(cluster: Cluster) -> None:
    nodes = cluster.provider.workers
    wait_for(lambda: not cluster.get("pods"), "pods of other tests to go", PATIENCE)
    before = {node: traces.on(cluster, node) for node in nodes}
    wanted = [
        pods.web(f"many-{node}-{number}", node, "many", hostPort=FIRST_PORT + number)
        for node in nodes
        for number in range(EACH)
    ]

    found = cluster.run_pods(*wanted)
    during = {node: traces.on(cluster, node) for node in nodes}
    cluster.delete(*wanted)

    assert len({pod.address for pod in found}) == len(wanted)
    for node in nodes:
        here = {pod.address for pod in found if pod.node == node}
        assert all(ip_address(one) in ip_network(cluster.node(node).pod_cidr) for one in here)
        assert during[node]["leases"] - before[node]["leases"] == here
        assert len(during[node]["veths"] - before[node]["veths"]) == EACH
        assert len(during[node]["rules"] - before[node]["rules"]) >= EACH
    traces.settled(cluster, before)
