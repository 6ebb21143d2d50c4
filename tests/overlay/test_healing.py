"""What others break is whole again after one pass, and a pass over what is whole does nothing."""

import pytest

from cni.errors import CniError
from cni.overlay.settings import Settings
from tests import lab
from tests.overlay import nodes

pytestmark = pytest.mark.usefixtures("host")
VERSIONS = {"IPv4": (4,), "IPv6": (6,), "dual stack": (4, 6)}
N2 = "0e:04:80:a9:3d:2e"  # the MAC of n2's device
BREAKS = {  # commands on n1, whether the pods are then cut off, kinds of repairs
    "device deleted": (
        ["ip link del pycni-vxlan"],
        {"device", "address", "neighbour", "fdb", "route"},
    ),
    "device down": (["ip link set pycni-vxlan down"], {"device", "neighbour", "route"}),
    "device down and up": (
        ["ip link set pycni-vxlan down", "ip link set pycni-vxlan up"],
        {"neighbour", "route"},
    ),
    "MAC changed": (
        ["ip link set pycni-vxlan address 0a:00:00:00:00:01"],
        {"device", "neighbour"},
    ),
    "MTU changed": (["ip link set pycni-vxlan mtu 1280"], {"device"}),
    "local address changed": (["ip link set pycni-vxlan type vxlan local 172.18.0.1"], {"device"}),
    "learning": (["ip link set pycni-vxlan type vxlan learning"], {"device"}),
    "another VNI": (
        [
            "ip link del pycni-vxlan",
            "ip link add pycni-vxlan type vxlan id 9 dstport 8472 local 172.18.0.2 dev eth0",
        ],
        {"device", "address", "neighbour", "fdb", "route"},
    ),
    "another port": (
        [
            "ip link del pycni-vxlan",
            "ip link add pycni-vxlan up type vxlan id 1 dstport 4789 local 172.18.0.2 dev eth0",
        ],
        {"device", "address", "neighbour", "fdb", "route"},
    ),
    "address deleted": (
        ["ip addr flush dev pycni-vxlan scope global"],
        {"address", "neighbour", "route"},
    ),
    "address added": (["ip addr add 10.244.9.0/32 dev pycni-vxlan"], {"address"}),
    "neighbours flushed": (["ip neigh flush dev pycni-vxlan nud permanent"], {"neighbour"}),
    "a neighbour changed": (
        ["ip neigh replace 10.244.2.0 lladdr 0a:00:00:00:00:02 dev pycni-vxlan nud permanent"],
        {"neighbour"},
    ),
    "a neighbour no longer permanent": (
        [f"ip neigh replace 10.244.2.0 lladdr {N2} dev pycni-vxlan nud reachable"],
        {"neighbour"},
    ),
    "FDB flushed": (["bridge fdb flush dev pycni-vxlan self"], {"fdb"}),
    "an FDB entry changed": (
        [f"bridge fdb replace {N2} dst 172.18.0.77 dev pycni-vxlan self permanent"],
        {"fdb"},
    ),
    "route deleted": (["ip route del 10.244.2.0/24"], {"route"}),
    "route changed": (
        ["ip route replace 10.244.2.0/24 via 172.18.0.1 proto 111"],
        {"route"},
    ),
    "network card down and up": (
        [
            "ip link set eth0 down",
            "ip link set eth0 up",
            "ip route add default via 172.18.0.1",
        ],
        set(),
    ),
}


@pytest.mark.parametrize("broken", BREAKS.values(), ids=BREAKS)
def test_healed_by_one_pass(broken: tuple[list[str], set[str]]) -> None:
    commands, kinds = broken
    made = nodes.make()
    before = nodes.state("n1")
    for command in commands:
        lab.run(command, netns="n1")

    report = made.reconcile("n1")

    assert set(report.repairs) == kinds
    assert nodes.state("n1") == before
    assert nodes.reachable("n1", "n2")
    assert nodes.reachable("n3", "n1")
    assert made.reconcile("n1").repairs == {}


@pytest.mark.parametrize("versions", VERSIONS.values(), ids=VERSIONS)
@pytest.mark.parametrize("mode", ["vxlan", "auto", "direct"])
def test_a_pass_over_what_is_whole_changes_nothing(mode: str, versions: tuple[int, ...]) -> None:
    made = nodes.make(Settings(mode=mode), underlay=versions, pods=versions)
    before = nodes.state("n1")

    for _ in range(2):
        assert made.reconcile("n1").repairs == {}
        assert made.reconcile("n1", full=False).repairs == {}
        made.restart("n1")

    assert nodes.state("n1") == before


@pytest.mark.parametrize("mode", ["vxlan", "auto", "direct"])
def test_healed_after_the_network_card_is_gone_and_back(mode: str) -> None:
    """Its deletion takes the VXLAN device along; a card that was down has lost direct routes."""
    made = nodes.make(Settings(mode=mode))
    before = nodes.state("n1")
    lab.run("ip link del n1", netns="fabric")

    with pytest.raises(CniError, match="no interface has this node's address"):
        made.reconcile("n1")
    nodes.plug("n1")
    made.reconcile("n1")

    assert nodes.state("n1") == before
    assert nodes.reachable("n1", "n2")


def test_direct_routes_are_back_after_the_network_card_was_down() -> None:
    made = nodes.make(Settings(mode="direct"))
    lab.run("ip link set eth0 down", netns="n1")
    lab.run("ip link set eth0 up", netns="n1")
    assert nodes.state("n1")["route"] == []

    assert made.reconcile("n1").repairs == {"route": 1}

    assert nodes.reachable("n1", "n2")


def test_ipv6_is_healed_too() -> None:
    made = nodes.make(underlay=(6,), pods=(6,))
    before = nodes.state("n1")

    for command in (
        "ip link del pycni-vxlan6",
        "ip link set pycni-vxlan6 down",
        "ip -6 route flush proto 111",
        "ip -6 neigh flush dev pycni-vxlan6 nud permanent",
    ):
        lab.run(command, netns="n1")
        made.reconcile("n1")
        assert nodes.state("n1") == before, command

    assert nodes.reachable("n1", "n3", 6)


@pytest.mark.parametrize(
    "name", ["device deleted", "device down", "MAC changed", "address deleted"]
)
def test_a_quick_pass_heals_what_a_device_has_lost(name: str) -> None:
    """A device that is not as it should be has lost entries too."""
    made = nodes.make()
    before = nodes.state("n1")
    lab.run(BREAKS[name][0][0], netns="n1")

    made.reconcile("n1", full=False)

    assert nodes.state("n1") == before


def test_the_device_follows_the_mtu_of_the_network_card() -> None:
    made = nodes.make()

    for mtu in (1400, 9000, 1500):
        nodes.batch("fabric", f"link set n1 mtu {mtu}")
        nodes.batch("n1", f"link set eth0 mtu {mtu}")
        report = made.reconcile("n1")
        assert report.repairs == {"device": 1}
        assert report.mtu == nodes.state("n1")["pycni-vxlan"]["mtu"] == mtu - 50


def test_an_mtu_that_does_not_fit_is_told_and_the_largest_taken() -> None:
    made = nodes.make(Settings(mtu=1460))

    report = made.reconcile("n1")

    assert report.alarms == ("cannot use mtu 1460: eth0 with its 1500 carries 1450",)
    assert nodes.state("n1")["pycni-vxlan"]["mtu"] == 1450
