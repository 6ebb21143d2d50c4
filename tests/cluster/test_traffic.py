"""Packets between pods, services, nodes and the outside."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import pytest

from tests.cluster import pods
from tests.cluster.cluster import Cluster
from tests.cluster.pods import Pod
from tests.cluster.traffic import (
    asked_by,
    client_seen,
    server_found,
    server_outside,
    servers_found,
)

HOST_PORT, NODE_PORT, LONE_PORT = 8888, 30080, 30081
AFFINITY = {"sessionAffinity": "ClientIP"}


@dataclass(frozen=True)
class Services:
    """Three pods called web, a fourth called lone with a host port, and the services before them.

    All but `lone`, the pod, are cluster addresses; `own` and the port LONE_PORT are its services.
    """

    web: str
    sticky: str
    own: str
    lone: Pod


@pytest.fixture(scope="module")
def services(cluster: Cluster, web: list[Pod]) -> Iterator[Services]:
    """Return the services; NODE_PORT and LONE_PORT are ports of every node."""
    node = web[0].node
    port = {"type": "NodePort", "ports": [{"port": 80, "nodePort": NODE_PORT}]}
    lone_port = {"type": "NodePort", "ports": [{"port": 80, "nodePort": LONE_PORT}]}
    wanted = [
        pods.service("web", web[0].app, **port),
        pods.service("sticky", web[0].app, **AFFINITY),
        pods.service("lone", "lone", **lone_port),
    ]
    lone = pods.web("lone", node, hostPort=HOST_PORT)
    cluster.apply(*wanted)
    (pod,) = cluster.run_pods(lone)
    web_address, sticky, own = (
        str(cluster.get(f"service {one}")["spec"]["clusterIP"]) for one in ("web", "sticky", "lone")
    )
    yield Services(web_address, sticky, own, pod)
    cluster.delete(*wanted, lone, wait=False)


def names(web: list[Pod]) -> set[str]:
    return {pod.name for pod in web}


def addresses(cluster: Cluster) -> dict[str, str]:
    """Return the address of every node."""
    return {name: cluster.node(name).address for name in cluster.nodes}


def test_a_pod_sees_the_own_address_of_a_pod_of_another_node(
    cluster: Cluster, web: list[Pod]
) -> None:
    for client, server in permutations(web, 2):
        assert client_seen(cluster, client, server.address) == client.address


def test_a_node_reaches_the_pods_of_every_node(cluster: Cluster, web: list[Pod]) -> None:
    for node in cluster.nodes:
        for pod in web:
            assert server_found(cluster, node, pod.address) == pod.name


def test_a_cluster_address_spreads_over_pods_of_three_nodes(
    cluster: Cluster, services: Services, web: list[Pod]
) -> None:
    assert servers_found(cluster, web[0], services.web) == names(web)
    assert servers_found(cluster, web[1].node, services.web) == names(web)


def test_session_affinity_keeps_a_client_with_one_pod(
    cluster: Cluster, services: Services, web: list[Pod]
) -> None:
    for client in web:
        assert len(servers_found(cluster, client, services.sticky)) == 1


@pytest.mark.usefixtures("services")
def test_a_node_port_of_every_node_spreads_an_outside_host_over_all_pods(
    cluster: Cluster, web: list[Pod]
) -> None:
    for address in addresses(cluster).values():
        assert servers_found(cluster, "outside", f"{address}:{NODE_PORT}") == names(web)


def test_a_node_port_leads_to_a_pod_of_one_node_through_every_other(
    cluster: Cluster, services: Services
) -> None:
    for address in addresses(cluster).values():
        assert server_found(cluster, "outside", f"{address}:{LONE_PORT}") == services.lone.name


def test_a_node_port_of_every_node_answers_a_pod(
    cluster: Cluster, services: Services, web: list[Pod]
) -> None:
    for address in addresses(cluster).values():
        assert server_found(cluster, web[1], f"{address}:{LONE_PORT}") == services.lone.name


def test_a_host_port_is_open_on_the_pods_node_alone_and_shows_the_client(
    cluster: Cluster, services: Services
) -> None:
    at = addresses(cluster)
    own = at.pop(services.lone.node)

    assert client_seen(cluster, "outside", f"{own}:{HOST_PORT}") == cluster.provider.outside
    for address in at.values():
        assert asked_by(cluster, "outside", f"{address}:{HOST_PORT}/cgi-bin/who") == []


def test_a_host_port_answers_its_node_other_nodes_and_pods(
    cluster: Cluster, services: Services, web: list[Pod]
) -> None:
    node = services.lone.node
    address = addresses(cluster)[node]

    clients: list[Pod | str] = [node, cluster.provider.control_plane, services.lone, *web]
    for client in clients:
        assert server_found(cluster, client, f"{address}:{HOST_PORT}") == services.lone.name
    assert server_found(cluster, node, f"127.0.0.1:{HOST_PORT}") == services.lone.name


def test_a_pod_reaches_itself_by_its_service(cluster: Cluster, services: Services) -> None:
    assert servers_found(cluster, services.lone, services.own) == {services.lone.name}


def test_the_outside_sees_a_pods_node(cluster: Cluster, web: list[Pod]) -> None:
    with server_outside(cluster) as outside:
        for pod in web:
            seen = cluster.inside(pod, f"timeout 5 busybox nc {outside}")
            assert seen == cluster.node(pod.node).address


def test_a_pod_reaches_the_api_by_its_service(cluster: Cluster, web: list[Pod]) -> None:
    address = cluster.get("service kubernetes")["spec"]["clusterIP"]

    for pod in web:
        cluster.inside(pod, f"timeout 5 busybox nc -w 3 {address} 443 -e /bin/busybox true")
