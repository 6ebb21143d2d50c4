"""The role masq by its packets: who is seen under which address, what is tracked, what is mended.

This host is the node: it has a pod, a link to another node with a pod, and one to the outside,
which knows no way back to pods.
"""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from cni.kernel.netns import entered
from tests import lab, networks, packets, pods
from tests.agent.masq import PROXY, apply, cluster
from tests.packets import reachable, seen_from

POD = {4: "10.244.1.2", 6: "fd00:244:1::2"}
NODE = {4: "172.18.0.2", 6: "fc00:18::2"}
OTHER = {4: "172.18.0.3", 6: "fc00:18::3"}
FAR_POD = {4: "10.244.2.9", 6: "fd00:244:2::9"}
OUTSIDE = {4: "203.0.113.9", 6: "2001:db8::9"}
HERE = {4: "203.0.113.1", 6: "2001:db8::1"}  # the node's, on the link to the outside
VERSIONS = pytest.mark.parametrize("version", [4, 6], ids=["IPv4", "IPv6"])
KINDS = pytest.mark.parametrize("kind", ["tcp", "udp"])
VXLAN = 8472
MARK = 0x4000
WIRES = """
link add nodes0 type veth peer name eth0 netns other
link add world0 type veth peer name eth0 netns outside
addr add 172.18.0.2/24 dev nodes0
addr add fc00:18::2/64 dev nodes0 nodad
addr add 203.0.113.1/24 dev world0
addr add 2001:db8::1/64 dev world0 nodad
link set nodes0 up
link set world0 up
"""
ROUTES = """
route add 10.244.2.0/24 via 172.18.0.3
route add fd00:244:2::/64 via fc00:18::3
"""
THERE = """
addr add 172.18.0.3/24 dev eth0
addr add fc00:18::3/64 dev eth0 nodad
addr add 10.244.2.9/32 dev lo
addr add fd00:244:2::9/128 dev lo nodad
link set eth0 up
route add 10.244.1.0/24 via 172.18.0.2
route add fd00:244:1::/64 via fc00:18::2
"""
WORLD = """
addr add 203.0.113.9/24 dev eth0
addr add 2001:db8::9/64 dev eth0 nodad
link set eth0 up
"""


@pytest.fixture
def wired(host: None, source_bin: Path) -> None:  # noqa: ARG001  # only for what it makes
    """Have the pod and its surroundings."""
    for name in ("other", "outside"):
        lab.add_netns(name)
    lab.run("ip link add spare type bridge")  # no pair with one number at both ends: IPv6 waits
    lab.run("ip -batch -", stdin=WIRES)
    lab.run("ip -batch -", stdin=THERE, netns="other")
    lab.run("ip -batch -", stdin=WORLD, netns="outside")
    lab.run("ip -batch -", stdin=ROUTES)
    suite = lab.Suite(source_bin, imported=True)
    pods.add(suite, networks.ptp("10.244.1.0/24", "fd00:244:1::/64"))
    # links that come up tell each other so once a second
    for name, address in (("other", OTHER[6]), ("outside", OUTSIDE[6])):
        assert lab.wait_until(partial(reachable, "", name, (address, 7)), 10)


@pytest.mark.usefixtures("wired")
@VERSIONS
@KINDS
def test_outside_a_pod_is_seen_as_its_node(version: int, kind: str) -> None:
    apply()

    assert seen_from("pod", "outside", (OUTSIDE[version], 80), kind=kind) == HERE[version]


@pytest.mark.usefixtures("wired")
@VERSIONS
@KINDS
def test_in_the_cluster_a_pod_keeps_its_address(version: int, kind: str) -> None:
    apply()

    for address in (OTHER, FAR_POD)[: 2 if kind == "tcp" else 1]:  # UDP answers from eth0
        seen = seen_from("pod", "other", (address[version], 80), kind=kind)
        assert seen == POD[version]
    if kind == "tcp":
        assert seen_from("pod", "", (NODE[version], 80)) == POD[version]


@pytest.mark.usefixtures("wired")
@VERSIONS
def test_what_is_excluded_sees_the_pod_itself(version: int) -> None:
    for back in ("10.244.1.0/24 via 203.0.113.1", "fd00:244:1::/64 via 2001:db8::1"):
        lab.run(f"ip route add {back}", netns="outside")
    apply(masquerade={"exclude": ["203.0.113.0/24", "2001:db8::/32"]})

    assert seen_from("pod", "outside", (OUTSIDE[version], 80)) == POD[version]


@pytest.mark.usefixtures("wired")
def test_a_new_node_is_no_stranger() -> None:
    one = apply()
    lab.run("ip addr add 172.18.0.4/24 dev eth0", netns="other")
    assert seen_from("pod", "other", ("172.18.0.4", 80)) == NODE[4]

    assert one.reconcile(cluster(2, 3), full=False).repairs

    assert seen_from("pod", "other", ("172.18.0.4", 81)) == POD[4]


@pytest.mark.usefixtures("wired")
@VERSIONS
def test_only_pods_of_this_node_are_masqueraded(version: int) -> None:
    length = {4: 32, 6: 128}[version]
    second = {4: "192.0.2.7", 6: "2001:db8:7::7"}[version]
    lab.run(f"ip addr add {second}/{length} dev lo")
    lab.run(f"ip route add {second}/{length} via {HERE[version]}", netns="outside")
    apply()

    with bound_to(second, OUTSIDE[version]) as seen:
        assert seen == second


@contextmanager
def bound_to(source: str, target: str) -> Iterator[str]:
    """Send a datagram from the node, from its address `source`; yield who the target sees."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with entered(lab.netns_path("outside")):
        ear = socket.socket(family, socket.SOCK_DGRAM)
    with ear, socket.socket(family, socket.SOCK_DGRAM) as mouth:
        ear.settimeout(packets.TIMEOUT_S)
        ear.bind(("", 99))
        mouth.bind((source, 0))
        mouth.sendto(b"hi", (target, 99))
        yield ear.recvfrom(10)[1][0]


@pytest.mark.usefixtures("wired")
@pytest.mark.parametrize("first", ["kube-proxy", "we"])
def test_what_kube_proxy_masquerades_is_left_to_it(first: str) -> None:
    """kube-proxy marks packets with bit 14 and translates those, in a chain of its own."""
    lab.run("ip addr add 203.0.113.77/24 dev world0")
    if first == "we":
        apply()
    lab.run("nft -f -", stdin=PROXY)
    if first == "kube-proxy":
        apply()

    assert seen_from("pod", "outside", (OUTSIDE[4], 80)) == "203.0.113.77"
    assert seen_from("pod", "outside", (OUTSIDE[4], 81)) in (HERE[4], "203.0.113.77")


@pytest.mark.usefixtures("wired")
def test_multicast_keeps_its_address() -> None:
    lab.run("ip addr add 10.244.1.0/32 dev lo")  # of the overlay's device, so of the pods' network
    apply()
    group = "224.0.0.251"
    with entered(lab.netns_path("outside")):
        ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with ear, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
        ear.settimeout(packets.TIMEOUT_S)
        ear.bind(("", 5353))
        membership = socket.inet_aton(group) + socket.inet_aton(OUTSIDE[4])
        ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        mouth.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(HERE[4]))
        mouth.bind(("10.244.1.0", 0))
        for target, seen in ((group, "10.244.1.0"), (OUTSIDE[4], HERE[4])):
            mouth.sendto(b"hi", (target, 5353))
            assert ear.recvfrom(10)[1][0] == seen


@pytest.mark.usefixtures("wired")
@VERSIONS
def test_the_node_enters_the_overlay_with_the_address_of_its_device(version: int) -> None:
    """From another one of its own the answer would come back outside the overlay."""
    lab.run("ip link set nodes0 down")
    lab.run("ip link set nodes0 name pycni-vxlan")
    lab.run("ip -batch -", stdin="link set pycni-vxlan up\naddr flush dev pycni-vxlan scope global")
    for there, here in (("10.244.2.9", "10.244.1.0/32"), ("fd00:244:2::9", "fd00:244:1::/128")):
        lab.run(f"ip addr add {here} dev pycni-vxlan {'nodad' if ':' in here else ''}")
        lab.run(f"ip route replace {there} dev pycni-vxlan")
        lab.run(f"ip route add {here} dev eth0", netns="other")
    lab.run("ip addr add fd00:244:2::9/128 dev eth0 nodad", netns="other")
    apply()

    with entered(lab.netns_path("other")):
        ear = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    with ear:
        ear.settimeout(packets.TIMEOUT_S)
        ear.bind(("::", 99))
        family = socket.AF_INET6 if version == 6 else socket.AF_INET
        for source in (HERE[version], {4: "10.244.1.0", 6: "fd00:244:1::"}[version]):
            with socket.socket(family, socket.SOCK_DGRAM) as mouth:
                mouth.bind((source, 0))
                mouth.sendto(b"hi", (FAR_POD[version], 99))
            seen = ip_address(ear.recvfrom(10)[1][0])
            seen = getattr(seen, "ipv4_mapped", None) or seen
            assert str(seen) == {4: "10.244.1.0", 6: "fd00:244:1::"}[version]


# the overlay's UDP


def dropped(client: str, to: tuple[str, int]) -> bool:
    """Tell whether a datagram gets no answer from the node; it is not waited for as long."""
    return not reachable(client, "", to, kind="udp", timeout=0.3)


def tracked(port: int) -> int:
    """Return how many flows to that UDP port the node keeps in mind."""
    return lab.run(f"conntrack -L -p udp --dport {port}", check=False).count("udp")


@pytest.mark.usefixtures("wired")
@VERSIONS
def test_the_overlays_own_packets_are_not_tracked(version: int) -> None:
    apply()
    options: dict[str, Any] = {"kind": "udp"}

    assert reachable("other", "", (NODE[version], VXLAN), **options)
    assert reachable("", "other", (OTHER[version], VXLAN), **options)
    assert tracked(VXLAN) == 0
    assert reachable("other", "", (NODE[version], VXLAN + 1), **options)
    assert tracked(VXLAN + 1) == 1


@pytest.mark.usefixtures("wired")
@VERSIONS
def test_only_nodes_may_send_into_the_overlay(version: int) -> None:
    one = apply()
    options: dict[str, Any] = {"kind": "udp"}

    assert reachable("other", "", (NODE[version], VXLAN), **options)
    assert dropped("outside", (HERE[version], VXLAN))
    assert reachable("outside", "", (HERE[version], VXLAN + 1), **options)
    one.reconcile(cluster(), full=False)
    assert dropped("other", (NODE[version], VXLAN))


@pytest.mark.usefixtures("wired")
def test_a_pod_may_talk_to_that_port_of_others_but_not_of_its_node() -> None:
    apply()

    assert seen_from("pod", "outside", (OUTSIDE[4], VXLAN), kind="udp") == HERE[4]
    assert dropped("pod", (NODE[4], VXLAN))


@pytest.mark.usefixtures("wired")
@pytest.mark.parametrize("said", [{"roles": ["routes", "masq"]}, {"overlay": {"mode": "direct"}}])
def test_without_an_overlay_the_port_is_as_any_other(said: Any) -> None:
    apply(**said)

    assert reachable("outside", "", (HERE[4], VXLAN), kind="udp")
    assert tracked(VXLAN) == 1


@pytest.mark.usefixtures("wired")
def test_a_connection_goes_on_while_the_rules_change() -> None:
    apply()
    with entered(lab.netns_path("outside")):
        ear = socket.socket()
    with entered(lab.netns_path("pod")):
        mouth = socket.socket()
    with closing(ear), closing(mouth):
        for one in (ear, mouth):
            one.settimeout(packets.TIMEOUT_S)
        ear.bind(("", 80))
        ear.listen()
        mouth.connect((OUTSIDE[4], 80))
        far, peer = ear.accept()
        with far:
            far.settimeout(packets.TIMEOUT_S)
            for said in ({"masquerade": {"fullyRandom": False}}, {"overlay": {"port": 4789}}):
                apply(**said)
                mouth.sendall(b"on")
                assert far.recv(10) == b"on"
        assert peer[0] == HERE[4]
