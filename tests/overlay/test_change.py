"""Nodes come, go and change; modes and settings change while packets flow."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from cni.cluster import Node
from cni.kernel.netlink import ROUTE, Netlink
from cni.kernel.netns import entered
from cni.overlay.plan import vtep_mac
from cni.overlay.settings import Settings
from tests import lab, snapshot
from tests.overlay import nodes

pytestmark = pytest.mark.usefixtures("host")
SO_RCVBUFFORCE = 33
VERSIONS = {"IPv4": 4, "IPv6": 6}


def traces(name: str, *words: str) -> list[str]:
    """Return those of `words` that are to be seen in what a node has in its kernel."""
    text = str(nodes.state(name))
    return [word for word in words if word in text]


class Stream:
    """Numbered datagrams from one pod to another, one a millisecond."""

    def __init__(self, source: str, target: str, version: int) -> None:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        self._to = nodes.pod_address(target, version), 9100
        ends = []
        for name in (source, target):
            with entered(lab.netns_path(nodes.pod(name))):
                ends.append(socket.socket(family, socket.SOCK_DGRAM))
        self._mouth, self._ear = ends
        self._ear.bind(("", 9100))
        self._ear.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        self._ear.settimeout(0)
        self._end, self._ended = threading.Event(), threading.Event()
        self.sent = 0

    def send(self) -> None:
        """Send until the end."""
        while not self._end.wait(0.001):
            self._mouth.sendto(b"%d" % self.sent, self._to)
            self.sent += 1
        self._ended.set()

    def lost(self) -> int:
        """Return how many did not come."""
        self._end.set()
        self._ended.wait()  # it may have been about to send one more
        got: set[bytes] = set()
        lab.wait_until(lambda: self._heard(got) == self.sent, 1)
        return self.sent - len(got)

    def _heard(self, got: set[bytes]) -> int:
        try:
            while True:
                got.add(self._ear.recv(100))
        except BlockingIOError:
            return len(got)

    def close(self) -> None:
        self._mouth.close()
        self._ear.close()


@contextmanager
def stream(source: str, target: str, version: int = 4) -> Iterator[Stream]:
    """Send a stream of packets within the block."""
    made = Stream(source, target, version)
    thread = threading.Thread(target=made.send)
    thread.start()
    try:
        assert lab.wait_until(lambda: made.sent > 0)
        yield made
    finally:
        made._end.set()
        thread.join()
        made.close()


@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
def test_no_packet_is_lost_while_the_mode_changes_by_way_of_auto(version: int) -> None:
    made = nodes.make(underlay=(version,), pods=(version,))

    with stream("n1", "n2", version) as there, stream("n2", "n1", version) as back:
        for mode in ("auto", "direct", "auto", "vxlan"):
            for name in ("n1", "n2"):
                before = there.sent
                made.restart(name, Settings(mode=mode))
                made.reconcile(name)
                assert lab.wait_until(lambda sent=before + 5: there.sent > sent)  # type: ignore[misc]
        assert (there.lost(), back.lost()) == (0, 0)


@pytest.mark.parametrize("mode", ["vxlan", "auto", "direct"])
def test_no_packet_is_lost_while_the_agent_starts_again(mode: str) -> None:
    made = nodes.make(Settings(mode=mode))

    with stream("n1", "n2") as there:
        for _ in range(5):
            made.restart("n1")
            made.reconcile("n1")
        assert there.lost() == 0


@pytest.mark.parametrize("full", [True, False], ids=["full pass", "quick pass"])
@pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)
def test_a_node_that_takes_over_a_pod_cidr_gets_its_packets(version: int, *, full: bool) -> None:
    """A machine is replaced: other name, other address, the same pod CIDR."""
    made = nodes.make(underlay=(version,), pods=(version,))
    new = "172.18.0.77" if version == 4 else "fd00:18::77"
    old = nodes.address("n2", version)
    lab.run("ip link del pycni-vxlan" + ("6" if version == 6 else ""), netns="n2")
    nodes.set_addresses("n2", new, nodes.address("n2", 10 - version))

    cidrs = made.members.pop("n2").pod_cidrs
    made.members["n9"] = Node("n9", (ip_address(new),), cidrs)
    for name in ("n1", "n3"):
        made.reconcile(name, full=full)
    with entered(lab.netns_path("n2")):
        made.overlays["n2"].reconcile(made.cluster("n9"), full=True)

    assert nodes.reachable("n1", "n2", version)
    assert nodes.reachable("n2", "n3", version)
    assert traces("n1", vtep_mac("n2"), f"{old} ", vtep_mac("n9"), new) == [vtep_mac("n9"), new]


@pytest.mark.parametrize("full", [True, False], ids=["full pass", "quick pass"])
def test_a_peer_that_moves_to_another_address_is_followed(*, full: bool) -> None:
    made = nodes.make()
    nodes.set_addresses("n2", "172.18.0.33", nodes.address("n2", 6))
    made.members["n2"] = replace(made.members["n2"], addresses=(ip_address("172.18.0.33"),))

    reports = [made.reconcile(name, full=full) for name in ("n1", "n2")]

    # on n2 its own device is mended in place, and all its entries stay
    assert [report.repairs for report in reports] == [{"fdb": 1}, {"device": 1}]
    assert nodes.reachable("n1", "n2")


def test_pod_cidrs_that_nodes_exchange_are_followed() -> None:
    made = nodes.make()
    first, second = made.members["n2"], made.members["n3"]
    made.members["n2"] = replace(first, pod_cidrs=second.pod_cidrs)
    made.members["n3"] = replace(second, pod_cidrs=first.pod_cidrs)

    made.reconcile("n1", full=False)

    state = nodes.state("n1")["pycni-vxlan"]
    assert f"10.244.3.0 lladdr {vtep_mac('n2')} PERMANENT" in state["neighbours"]
    assert f"10.244.2.0 lladdr {vtep_mac('n3')} PERMANENT" in state["neighbours"]
    assert made.reconcile("n1").repairs == {}


@pytest.mark.parametrize("mode", ["vxlan", "auto", "direct"])
def test_a_peer_that_left_while_nobody_looked_leaves_no_trace(mode: str) -> None:
    made = nodes.make(Settings(mode=mode), underlay=(4, 6), pods=(4, 6))
    del made.members["n2"]
    made.restart("n1")

    made.reconcile("n1")

    words = [vtep_mac("n2"), *(nodes.address("n2", version) for version in (4, 6))]
    cidrs = [nodes.pod_cidr("n2", version) for version in (4, 6)]
    assert traces("n1", *words, *cidrs) == []


def test_a_route_is_there_only_while_it_leads_somewhere() -> None:
    """Without a neighbour behind it, the kernel would ask all other nodes for a MAC."""
    made = nodes.make()
    n2 = made.members.pop("n2")
    kinds = {24: "route", 25: "no route", 28: "entry", 29: "no entry"}  # RTM_*
    with entered(lab.netns_path("n1")), Netlink(ROUTE) as netlink:
        for group in (3, 7):  # RTNLGRP_NEIGH, RTNLGRP_IPV4_ROUTE
            netlink.join(group)

        made.reconcile("n1", full=False)
        made.members["n2"] = n2
        made.reconcile("n1", full=False)

        heard: list[str] = []
        while "route" not in heard:
            heard += [kinds[kind] for kind, _ in netlink.news()]
    assert heard[0] == "no route"
    assert heard[-4:] == ["no entry", "entry", "entry", "route"]


def test_a_device_from_a_trial_that_was_killed_goes() -> None:
    made = nodes.make()
    nodes.batch("n1", "link add pycni-trial type vxlan id 9 dstport 8472 dev eth0")

    assert made.reconcile("n1").repairs == {"device": 1}

    assert [one["ifname"] for one in lab.ip("link show type vxlan", netns="n1")] == ["pycni-vxlan"]


def test_the_own_pod_cidr_can_change() -> None:
    made = nodes.make()
    made.members["n1"] = replace(made.members["n1"], pod_cidrs=(ip_network("10.244.8.0/24"),))

    made.reconcile("n1")

    assert nodes.state("n1")["pycni-vxlan"]["addresses"] == ["10.244.8.0"]
    assert made.reconcile("n1").repairs == {}


def test_a_version_that_is_given_up_leaves_no_trace() -> None:
    made = nodes.make(underlay=(4, 6), pods=(4, 6))
    made.members = {name: nodes.member(name, (4,), (4,)) for name in nodes.NAMES}

    made.reconcile("n1", full=False)

    assert set(nodes.state("n1")) == {"route", "-6 route", "pycni-vxlan"}
    assert nodes.state("n1")["-6 route"] == []


def test_an_address_that_carries_nothing_may_be_missing() -> None:
    """A node of two IP versions in a cluster whose pods have one."""
    made = nodes.make(underlay=(4, 6))
    lab.run(f"ip addr del {nodes.address('n1', 6)}/64 dev eth0", netns="n1")

    assert made.reconcile("n1").repairs == {}
    assert [one["ifname"] for one in lab.ip("link show type vxlan", netns="n1")] == ["pycni-vxlan"]


@pytest.mark.parametrize("settings", [Settings(vni=2), Settings(port=4789)], ids=["VNI", "port"])
def test_vni_and_port_can_change(settings: Settings) -> None:
    made = nodes.make()

    for name in nodes.NAMES:
        made.restart(name, settings)
    made.sync()

    assert nodes.reachable("n1", "n3")
    assert len(lab.ip("link show type vxlan", netns="n1")) == 1


def test_what_is_not_ours_stays() -> None:
    made = nodes.make(Settings(mode="auto"))
    foreign = (
        "link add flannel.1 address 0a:00:00:00:00:09 type vxlan id 9 dstport 4789 dev eth0",
        "link set flannel.1 up",
        "addr add 10.99.0.0/32 dev flannel.1",
        "neigh add 10.99.1.0 lladdr 0a:00:00:00:00:01 dev flannel.1 nud permanent",
        "neigh add 172.18.0.99 lladdr 0a:00:00:00:00:02 dev eth0 nud permanent",
        "route add 10.99.1.0/24 via 10.99.1.0 dev flannel.1 onlink",
        "route add 10.244.9.0/24 via 172.18.0.99 proto static",
        "route add 10.244.2.0/24 via 172.18.0.99 metric 50",
        "route add 10.244.2.0/24 via 172.18.0.99 table 100 proto 111",
    )
    nodes.batch("n1", *foreign)
    lab.run(
        "bridge fdb append 0a:00:00:00:00:01 dst 172.18.0.99 dev flannel.1 self permanent",
        netns="n1",
    )

    def foreign_entries() -> list[str]:
        """Return what stays, also when all of ours goes."""
        text = lab.run("ip -d addr show dev flannel.1", netns="n1")
        for command in (
            "bridge fdb show dev flannel.1",
            "ip neigh show nud permanent",
            "ip route show table 100",
            "ip route show",
        ):
            text += lab.run(command, netns="n1")
        return [line for line in text.splitlines() if "pycni" not in line]

    with snapshot.unchanged():
        made.reconcile("n1")
    before = foreign_entries()
    with entered(lab.netns_path("n1")):
        made.overlays["n1"].delete()

    direct = "10.244.2.0/24 via 172.18.0.3 dev eth0 proto 111 "
    assert [line for line in before if line not in foreign_entries()] == [direct]


def test_delete_leaves_nothing_and_can_be_repeated() -> None:
    made = nodes.make(Settings(mode="auto"), underlay=(4, 6), pods=(4, 6))

    for _ in range(2):
        with entered(lab.netns_path("n1")):
            made.overlays["n1"].delete()
        assert nodes.state("n1") == {"route": [], "-6 route": []}

    made.reconcile("n1", full=False)
    assert nodes.reachable("n1", "n3")
