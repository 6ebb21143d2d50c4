"""Pods of two nodes on the network of a VPC, which takes only what is assigned to the sender."""

from collections.abc import Iterator
from ipaddress import ip_network
from itertools import permutations
from typing import Any

import pytest

from cni.kernel.netns import entered
from tests import lab, packets
from tests.vpc import nodes
from tests.vpc.agent import listening
from tests.vpc.fabric import OUTSIDE, OUTSIDE_ADDRESS
from tests.vpc.nodes import PODS, Nodes

pytestmark = pytest.mark.usefixtures("host")
ADDRESS = {pod: address for pod, (_, address) in PODS.items()}
NODE = {"n1": "10.0.1.10", "n2": "10.0.2.10"}  # each node's own
OF_ENI = "10.0.1.20"  # the own address of n1's secondary
Policy = dict[str, Any]
EITHER_WAY = pytest.mark.parametrize(
    "policy", [{}, {"external_snat": True}], ids=["SNAT by the node", "SNAT elsewhere"]
)
NODE_PORT, SERVICE = 30080, "172.20.0.10"


@pytest.fixture
def vpc(host: None, imported: lab.Suite) -> Iterator[Nodes]:  # noqa: ARG001
    """Have both nodes, and a pod on each ENI; SNAT is on."""
    made = nodes.make()
    with listening(nodes.agent()):
        for pod in PODS:
            nodes.add(imported, pod)
        yield made


def seen(client: str, server: str, address: str, port: int = 80) -> str:
    """Return whom `server` sees when `client` talks to `address`, which leads to its port 80."""
    return packets.seen_from(client, server, (address, port), listen=80)


def heard(client: str, server: str, address: str, port: int = 80) -> bool:
    return packets.reachable(client, server, (address, port), listen=80, timeout=0.5)


def serve(pod: str) -> None:
    """Let the pod stand behind a NodePort and a ClusterIP of n1, as kube-proxy does it."""
    rules = nodes.KUBE_PROXY.format(port=NODE_PORT, service=SERVICE, pod=ADDRESS[pod])
    lab.run("nft -f -", netns="n1", stdin=rules)


def test_pods_talk_with_their_own_addresses_whatever_their_eni(suite: lab.Suite) -> None:
    made = nodes.make()
    with listening(nodes.agent()):
        for pod in PODS:
            nodes.add(suite, pod)

        for client, server in permutations(PODS, 2):
            assert seen(client, server, ADDRESS[server]) == ADDRESS[client], f"{client} → {server}"
    assert made.fabric.dropped() == 0


def test_nodes_and_pods_talk(vpc: Nodes) -> None:
    for node, address in NODE.items():
        for pod, own in ADDRESS.items():
            home = PODS[pod][0]
            assert seen(pod, node, address) == own, f"{pod} → {node}"
            if home != node:
                assert seen(node, pod, own) == address, f"{node} → {pod}"
            else:
                assert heard(node, pod, own), f"{node} → {pod}"
    assert vpc.fabric.dropped() == 0


@pytest.mark.parametrize("pod", PODS)
def test_outside_sees_the_nodes_address(vpc: Nodes, pod: str) -> None:
    assert seen(pod, OUTSIDE, OUTSIDE_ADDRESS) == NODE[PODS[pod][0]]
    assert vpc.fabric.dropped() == 0


@pytest.mark.parametrize("random", ["prng", "hashrandom", "none"])
def test_the_source_port_is_chosen_as_the_setting_says(vpc: Nodes, random: str) -> None:
    words = {"prng": "fully-random", "hashrandom": " random", "none": "snat ip to 10.0.1.10 comm"}

    vpc.ensure(random=random)

    assert words[random] in lab.run("nft list table inet pycni-vpc", netns="n1")
    assert seen("a1", OUTSIDE, OUTSIDE_ADDRESS) == NODE["n1"]


@pytest.mark.parametrize(
    "policy",
    [{"external_snat": True}, {"excluded": (ip_network("198.51.100.0/24"),)}],
    ids=["SNAT is done elsewhere", "the network is excluded"],
)
@pytest.mark.parametrize("pod", ["a0", "a1"])
def test_outside_sees_the_pods_own_address(vpc: Nodes, policy: Policy, pod: str) -> None:
    vpc.ensure(**policy)

    assert seen(pod, OUTSIDE, OUTSIDE_ADDRESS) == ADDRESS[pod]
    assert vpc.fabric.dropped() == 0


@EITHER_WAY
def test_an_outside_client_reaches_a_pod_by_its_address(vpc: Nodes, policy: Policy) -> None:
    """As a load balancer does that has pods for targets."""
    vpc.ensure(**policy)

    for pod, address in ADDRESS.items():
        assert seen(OUTSIDE, pod, address) == OUTSIDE_ADDRESS, pod
    assert vpc.fabric.dropped() == 0


@EITHER_WAY
@pytest.mark.parametrize("pod", ["a0", "a1"])
def test_a_node_port_answers_by_the_primary(vpc: Nodes, pod: str, policy: Policy) -> None:
    vpc.ensure(**policy)
    serve(pod)

    assert seen(OUTSIDE, pod, NODE["n1"], NODE_PORT) == OUTSIDE_ADDRESS
    assert seen("n2", pod, NODE["n1"], NODE_PORT) == NODE["n2"]
    assert vpc.fabric.dropped() == 0


def test_without_node_ports_their_answers_leave_by_the_wrong_interface(vpc: Nodes) -> None:
    vpc.ensure(external_snat=True, node_ports=False)
    serve("a1")

    assert not heard(OUTSIDE, "a1", NODE["n1"], NODE_PORT)
    assert vpc.fabric.dropped() > 0


def test_a_service_sees_the_pod_that_asks_it(vpc: Nodes) -> None:
    """Its address is in no VPC, but the pod behind it is."""
    serve("b1")

    for pod in ("a0", "a1"):
        assert seen(pod, "b1", SERVICE) == ADDRESS[pod]
    assert vpc.fabric.dropped() == 0


def test_a_program_of_the_node_can_use_the_address_of_a_secondary_eni(vpc: Nodes) -> None:
    del vpc

    answer = lab.run(f"busybox ping -c1 -W2 -I {OF_ENI} {ADDRESS['b0']}", netns="n1")

    assert "1 packets received" in answer


def test_jumbo_frames_pass_whole(vpc: Nodes) -> None:
    del vpc
    size = 9001 - 28  # headers of IPv4 and ICMP

    answer = lab.run(f"busybox ping -c1 -W2 -s {size} {ADDRESS['b1']}", netns="a1")

    assert "1 packets received" in answer


# what the fabric would not take


def test_without_its_rule_a_pod_on_a_secondary_eni_is_cut_off(vpc: Nodes) -> None:
    lab.run(f"ip rule del from {ADDRESS['a1']} priority 1536", netns="n1")

    assert not heard("a1", "b0", ADDRESS["b0"])
    assert vpc.fabric.dropped() > 0


def test_an_address_that_is_not_assigned_is_nobodys(vpc: Nodes) -> None:
    vpc.fabric.unassign("eni-11", ADDRESS["a1"])

    assert not heard("a1", "b0", ADDRESS["b0"])
    assert vpc.fabric.dropped() > 0
    assert not heard("b0", "a1", ADDRESS["a1"])


def test_without_the_rule_for_marks_a_pod_does_not_leave_as_the_node(vpc: Nodes) -> None:
    lab.run("ip rule del fwmark 0x80/0x80 priority 1024", netns="n1")

    assert seen("a0", OUTSIDE, OUTSIDE_ADDRESS) == NODE["n1"]
    assert seen("a1", OUTSIDE, OUTSIDE_ADDRESS) == ADDRESS["a1"]
    assert vpc.fabric.dropped() == 0


def test_the_primary_takes_what_left_by_a_secondary_eni(vpc: Nodes) -> None:
    """Its rp_filter is loose, whatever the host's default."""
    lab.run("sysctl -q net.ipv4.conf.all.rp_filter=1", netns="n1")

    assert seen("a1", "b1", ADDRESS["b1"]) == ADDRESS["a1"]
    assert seen(OUTSIDE, "a1", ADDRESS["a1"]) == OUTSIDE_ADDRESS
    with entered(lab.netns_path("n1")):
        assert lab.run("sysctl -n net.ipv4.conf.eth0.rp_filter").strip() == "2"
    assert vpc.fabric.dropped() == 0
