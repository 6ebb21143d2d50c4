"""What is seen on the wire between nodes, and what pods see of each other."""

import pytest

from cni.overlay.plan import vtep_mac
from cni.overlay.settings import Settings
from tests import lab, packets
from tests.overlay import nodes
from tests.overlay.capture import capture, unwrap

pytestmark = pytest.mark.usefixtures("host")
CARRIED = {  # underlay, pods
    "IPv4": (4, 4),
    "IPv6": (6, 6),
    "IPv4 over IPv6": (6, 4),
    "IPv6 over IPv4": (4, 6),
}
HEADERS = {4: 50, 6: 70}  # bytes that wrapping costs
STRICT = {"for all": (1, 0), "of the card": (0, 1), "both": (1, 1)}  # rp_filter: all, eth0
LENIENT = {  # and what eth0's is then
    "none": (0, 0, "0"),
    "loose card": (1, 2, "2"),
    "loose for all": (2, 0, "0"),
    "loose for all, strict card": (2, 1, "1"),
}


@pytest.mark.parametrize("versions", CARRIED.values(), ids=CARRIED)
@pytest.mark.parametrize("target", ["n2", "n3"], ids=["same subnet", "behind a router"])
def test_packets_travel_wrapped_between_node_addresses(
    versions: tuple[int, int], target: str
) -> None:
    underlay, pods = versions
    nodes.make(Settings(vni=77, port=4789), underlay=(underlay,), pods=(pods,))

    with capture("n1", "eth0") as wire:
        assert nodes.reachable("n1", target, pods)
        there, back = map(unwrap, wire.wait(2))

    names, macs = ("n1", target), (vtep_mac("n1"), vtep_mac(target))
    assert (there.macs, back.macs) == (macs, macs[::-1])
    for packet, (source, destination) in ((there, names), (back, names[::-1])):
        assert packet.outer.source == nodes.address(source, underlay)
        assert packet.outer.target == nodes.address(destination, underlay)
        assert packet.outer.ports[1] == 4789
        assert (packet.flags, packet.vni) == (8, 77)
        assert packet.inner.source == nodes.pod_address(source, pods)
        assert packet.inner.target == nodes.pod_address(destination, pods)
        assert packet.inner.ttl == 63
        assert packet.outer.length == packet.inner.length + HEADERS[underlay]


@pytest.mark.parametrize(("mode", "wrapped"), [("vxlan", {"n2", "n3"}), ("auto", {"n3"})])
def test_auto_wraps_only_what_must_pass_a_router(mode: str, wrapped: set[str]) -> None:
    nodes.make(Settings(mode=mode))

    for target in ("n2", "n3"):
        with capture("n1", "eth0") as wire:
            assert nodes.reachable("n1", target)
            outer = {packet.target for packet in wire.wait(2)}
        assert (nodes.address(target, 4) in outer) == (target in wrapped)
        assert (nodes.pod_address(target, 4) in outer) == (target not in wrapped)


@pytest.mark.parametrize("version", [4, 6])
def test_direct_needs_no_device(version: int) -> None:
    made = nodes.make(Settings(mode="direct"), underlay=(version,), pods=(version,))

    assert nodes.reachable("n1", "n2", version)
    assert set(nodes.state("n1")) == {"route", "-6 route"}
    (alarm,) = made.reconcile("n1").alarms
    assert alarm.startswith("cannot route to the pods of node n3: ")
    assert alarm.endswith(f"{nodes.address('n3', version)} is not on the link of eth0")


def test_dual_stack_has_a_device_for_each_version() -> None:
    nodes.make(underlay=(4, 6), pods=(4, 6))

    for version in (4, 6):
        with capture("n1", "eth0") as wire:
            assert nodes.reachable("n1", "n3", version)
            outer = {packet.source for packet in wire.wait(2)}
        assert outer == {nodes.address(name, version) for name in ("n1", "n3")}


@pytest.mark.parametrize("version", [4, 6])
def test_a_host_talks_to_remote_pods_by_the_address_of_its_device(version: int) -> None:
    nodes.make(underlay=(version,), pods=(version,))

    to = nodes.pod_address("n3", version), 9000
    assert packets.seen_from("n1", "p3", to) == nodes.pod_cidr("n1", version).split("/")[0]


@pytest.mark.parametrize(("mtu", "underlay"), [(1450, 4), (1430, 6)])
def test_the_largest_packet_fits_in_one_frame_and_the_next_does_not(
    mtu: int, underlay: int
) -> None:
    made = nodes.make(underlay=(underlay,))
    largest = mtu - 28  # bytes of data: IP and UDP headers off

    with capture("n1", "eth0") as wire:
        assert nodes.passes("n1", "n3", largest)
        assert not nodes.passes("n1", "n3", largest + 1)
        (packet,) = wire.wait(1)

    assert packet.length == 1500
    assert not packet.fragment
    assert made.reconcile("n1").mtu == mtu


def test_a_pod_with_too_large_an_mtu_is_told_and_nothing_is_fragmented() -> None:
    nodes.make(mtu=1500)

    with capture("n1", "eth0") as wire:
        assert not nodes.passes("n1", "n3", 1450 - 28 + 1, timeout=0.2)
        assert wire.packets() == []


def filters(of_all: int, own: int) -> None:
    """Set the reverse path filter of every node, and of its card; the kernel takes the larger."""
    for name in nodes.NAMES:
        keys = f"net.ipv4.conf.all.rp_filter={of_all} net.ipv4.conf.eth0.rp_filter={own}"
        lab.run(f"sysctl -qw {keys}", netns=name)


@pytest.mark.parametrize(("of_all", "own", "kept"), LENIENT.values(), ids=LENIENT)
def test_a_lenient_reverse_path_filter_is_left_alone(of_all: int, own: int, kept: str) -> None:
    made = nodes.make()
    filters(of_all, own)

    report = made.reconcile("n2")

    assert not report.repairs
    assert not report.alarms
    assert lab.run("sysctl -n net.ipv4.conf.eth0.rp_filter", netns="n2").strip() == kept
    assert packets.reachable("p1", "n2", (nodes.address("n2", 4), 80))


@pytest.mark.parametrize(("of_all", "own"), STRICT.values(), ids=STRICT)
def test_a_strict_reverse_path_filter_is_made_loose_for_the_card(of_all: int, own: int) -> None:
    """Strict (1) drops what comes from a pod to a node's address (RFC 3704)."""
    made = nodes.make()
    filters(of_all, own)
    before = packets.reachable("p1", "n2", (nodes.address("n2", 4), 80), timeout=0.2)

    report = made.reconcile("n2")

    assert not before
    assert report.repairs == {"sysctl": 1}
    assert not report.alarms
    assert lab.run("sysctl -n net.ipv4.conf.eth0.rp_filter", netns="n2").strip() == "2"
    assert packets.reachable("p1", "n2", (nodes.address("n2", 4), 80))
    assert not made.reconcile("n2").repairs


def test_a_strict_filter_that_may_not_be_set_spares_pods_and_is_told() -> None:
    made = nodes.make()
    filters(1, 0)
    lab.run("mount --bind -o ro /proc/sys /proc/sys")

    report = made.reconcile("n2")

    assert not report.repairs
    (alarm,) = report.alarms
    assert "cannot reach each other by eth0" in alarm
    assert "net.ipv4.conf.all.rp_filter is 1" in alarm
    assert not packets.reachable("p1", "n2", (nodes.address("n2", 4), 80), timeout=0.2)
    assert nodes.reachable("n1", "n2")
    assert nodes.reachable("n3", "n1")


def test_answers_of_nodes_pass_the_strict_filter_of_the_pods_node() -> None:
    """They come through the device, which has a loose filter of its own."""
    nodes.make()
    lab.run("sysctl -qw net.ipv4.conf.all.rp_filter=1", netns="n1")

    to = nodes.address("n2", 4), 80
    assert packets.seen_from("p1", "n2", to) == nodes.pod_address("n1", 4)


def test_a_device_that_was_made_strict_is_made_loose_again() -> None:
    """As udev does where sysctl.d says so, after it has heard of the new device."""
    made = nodes.make()
    lab.run("sysctl -qw net.ipv4.conf.pycni-vxlan.rp_filter=1", netns="n1")
    before = packets.reachable("p1", "n2", (nodes.address("n2", 4), 80), timeout=0.2)

    report = made.reconcile("n1")

    assert not before
    assert report.repairs == {"sysctl": 1}
    assert packets.reachable("p1", "n2", (nodes.address("n2", 4), 80))


def test_the_device_is_what_ip_makes_with_the_same_words() -> None:
    nodes.make()
    nodes.batch(
        "n1",
        "link add hand mtu 1450 type vxlan id 2 dstport 8472 local 172.18.0.2 dev eth0 nolearning",
        "link set hand up",
    )

    ours, hand = (lab.ip(f"link show {name}", netns="n1")[0] for name in ("pycni-vxlan", "hand"))

    other = {"ifindex", "ifname", "address", "linkinfo"}
    data = [one["linkinfo"]["info_data"] | {"id": 1} for one in (ours, hand)]
    assert data[0] == data[1]
    assert {key: ours[key] for key in ours if key not in other} == {
        key: hand[key] for key in hand if key not in other
    }
