"""The whole of it: the node agent, its cloud, and a network that takes only what that says."""

import signal
from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from tests import lab, packets, pods
from tests.agent.machines import WAIT
from tests.vpc import world
from tests.vpc.fabric import OUTSIDE, OUTSIDE_ADDRESS, Port
from tests.vpc.nodes import KUBE_PROXY
from tests.vpc.world import World

PODS = {"a": "n1", "b": "n1", "c": "n1", "d": "n1", "e": "n2", "f": "n2", "g": "n2", "h": "n2"}
BREAKS = (  # on a node
    "nft flush ruleset",
    "ip rule del priority 1024",
    "ip rule del priority 32765",
    "ip route flush table 2",
    "ip addr add 10.0.1.99/24 dev eth1",
    "ip link set eth1 down",
    "sysctl -q net.ipv4.conf.eth0.rp_filter=1",
)


@pytest.fixture
def cloud(host: None, source_bin: Path) -> Iterator[World]:  # noqa: ARG001
    """Have two nodes whose agents serve."""
    with world.running(source_bin) as found:
        for node in found.machines:
            found.start_agent(node)
        yield found


@pytest.fixture
def small(host: None, source_bin: Path) -> Iterator[World]:  # noqa: ARG001
    """Have an agent on n1, an instance with one address for pods on each of its two ENIs.

    Pod a is on the primary, b on the secondary.  n2 is just another machine of the VPC.
    """
    with world.running(source_bin, "t3.micro") as found:
        found.start_agent("n1")
        assert [found.device(found.add(pod, "n1")) for pod in "ab"] == [0, 1]
        yield found


def address(pod: str) -> str:
    """Return a pod's address."""
    (one,) = pods.addresses(pod)
    return one.removesuffix("/32")


def heard(client: str, server: str, to: str, port: int = 80) -> bool:
    return packets.reachable(client, server, (to, port), listen=80, timeout=0.5)


def test_pods_of_two_nodes_talk_from_every_eni(cloud: World) -> None:
    """Three have room on the primary ENI; the fourth needs the agent to attach another.

    Which one of several serves first is not said: another is made for those that come then.
    """
    addresses = {pod: cloud.add(pod, node) for pod, node in PODS.items()}

    devices = {pod: cloud.device(address) for pod, address in addresses.items()}
    assert {pod for pod, device in devices.items() if device == 0} == set("abcefg")
    for client, server in permutations(addresses, 2):
        seen = packets.seen_from(client, server, (addresses[server], 80))
        assert seen == addresses[client], f"{client} → {server}"
    for pod, node in PODS.items():
        own = cloud.fabric.own(node)
        assert packets.seen_from(pod, OUTSIDE, (OUTSIDE_ADDRESS, 80)) == own
        assert packets.seen_from(OUTSIDE, pod, (addresses[pod], 80)) == OUTSIDE_ADDRESS
        cloud.call("check", pod, node).ok()
    assert cloud.fabric.dropped() == 0


def test_a_node_port_answers_by_the_primary(small: World) -> None:
    own = small.fabric.own("n1")
    for pod in "ab":
        rule = KUBE_PROXY.format(port=30080, service="172.20.0.10", pod=address(pod))
        lab.run("nft -f -", netns="n1", stdin=rule)

        for client in (OUTSIDE, "n2"):
            assert heard(client, pod, own, 30080), f"{client} → {pod}"
        lab.run("nft delete table ip kube-proxy", netns="n1")
    assert small.fabric.dropped() == 0


def test_an_address_that_the_cloud_takes_away_is_of_no_use(small: World) -> None:
    peer = small.fabric.own("n2")
    assert heard("b", "n2", peer)

    small.cloud.take_away(small.cloud.holder(address("b")), address("b"))

    assert lab.wait_until(lambda: not heard("b", "n2", peer) and small.fabric.dropped() > 0)
    assert heard("a", "n2", peer)


def test_what_others_break_is_mended_by_the_agent(small: World) -> None:
    whole = state()
    for command in BREAKS:
        lab.run(command, netns="n1")
    assert state() != whole

    assert lab.wait_until(lambda: state() == whole, WAIT)

    for pod in "ab":
        assert packets.seen_from(pod, OUTSIDE, (OUTSIDE_ADDRESS, 80)) == small.fabric.own("n1")


def state() -> list[str]:
    """Return what the agent keeps on n1."""
    commands = (
        "ip rule",
        "ip route show table 2",
        "ip -br addr show dev eth1 scope global",
        "nft --stateless list table inet pycni-vpc",
        "sysctl net.ipv4.conf.eth0.rp_filter",
    )
    return [lab.run(command, netns="n1", check=False) for command in commands]


def test_pods_live_on_without_their_agent_and_it_finds_what_happened(small: World) -> None:
    was, machine = address("b"), small.machines["n1"]
    machine.stop(signal.SIGKILL)

    assert heard("b", "n2", small.fabric.own("n2"))
    assert "node agent" in small.status("n1").stderr
    small.call("del", "a", "n1").ok()
    small.start_agent("n1", IP_COOLDOWN_PERIOD="0")

    assert heard("b", "n2", small.fabric.own("n2"))
    small.call("check", "b", "n1").ok()
    assert small.add("c", "n1") != was
    assert heard("c", "n2", small.fabric.own("n2"))
    assert small.fabric.dropped() == 0


def test_azures_addresses_are_those_of_its_network_card(host: None, source_bin: Path) -> None:
    """They are there before the agent, which asks nobody for more."""
    del host
    with world.running(source_bin) as found:
        found.give("n1", 2)
        port = found.port("n1")
        found.cloud.azure = [azure(port)]
        found.start_agent("n1", "azure", AWS_VPC_K8S_CNI_EXCLUDE_SNAT_CIDRS="10.0.0.0/16")

        given = [found.add(pod, "n1", "azure") for pod in "ab"]

        own, peer = port.addresses[0], found.fabric.own("n2")
        assert sorted(given) == list(port.addresses[1:])
        assert packets.seen_from("a", "b", (given[1], 80)) == given[0]
        assert packets.seen_from("n2", "a", (given[0], 80)) == peer
        assert packets.seen_from("a", "n2", (peer, 80)) == given[0]
        assert packets.seen_from("a", OUTSIDE, (OUTSIDE_ADDRESS, 80)) == own
        assert packets.seen_from(OUTSIDE, "b", (given[1], 80)) == OUTSIDE_ADDRESS
        assert "lookup 2" not in lab.run("ip rule", netns="n1")
        for pod in "ab":
            found.call("check", pod, "n1", "azure").ok()
            found.call("del", pod, "n1", "azure").ok()
        assert found.fabric.dropped() == 0


def azure(port: Port) -> dict[str, Any]:
    """Return what Azure's metadata say of a network card."""
    addresses = [{"privateIpAddress": one, "publicIpAddress": ""} for one in port.addresses]
    subnet = {"address": "10.0.1.0", "prefix": "24"}
    mac = port.mac.replace(":", "").upper()
    return {"macAddress": mac, "ipv4": {"ipAddress": addresses, "subnet": [subnet]}}
