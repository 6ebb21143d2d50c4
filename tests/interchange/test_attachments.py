"""What one side has attached, the other side checks and deletes."""

import pytest

from tests import lab, networks, packets
from tests.interchange import state
from tests.interchange.conflists import (
    CHAINS,
    EVERYTHING,
    SUBNETS,
    add,
    add_pod,
    assert_traffic,
    bridge,
)
from tests.interchange.sides import Network, Side

BRIDGE = bridge(SUBNETS[4], ipMasq=True, hairpinMode=True)
LEGACY = pytest.param("legacy", CHAINS["dual stack with everything"], id="legacy iptables")
BARE = [CHAINS[name] for name in ("routed", "bridged", "bridged, without addresses")]
NFT = [pytest.param("nft", network, id=name) for name, network in CHAINS.items()]


@pytest.mark.parametrize(("theirs", "network"), [*NFT, LEGACY], indirect=["theirs"])
def test_what_they_have_attached_we_check_and_delete(
    ours: Side, theirs: Side, network: Network
) -> None:
    theirs.delete(network, "first", add(theirs, network, "first"))
    add_pod()
    left_by_them = state.look()
    result = theirs.add(network, "pod")

    assert ours.check(network, "pod", result) == []
    assert_traffic(network, result)
    assert ours.delete(network, "pod", result) == []
    assert state.look() == left_by_them


@pytest.mark.parametrize("network", CHAINS.values(), ids=CHAINS)
def test_what_we_have_attached_they_check_and_delete(
    ours: Side, theirs: Side, network: Network
) -> None:
    """They know iptables only: CHECK misses their chains, DEL must come twice, as runtimes do.

    And their CHECK cannot do without IPAM.
    """
    ours.delete(network, "first", add(ours, network, "first"))
    add_pod()
    before = state.look()
    result = ours.add(network, "pod")

    complaints = ("chain CNI-DN-", "no plugin name")
    assert all(
        any(map(msg.__contains__, complaints)) for msg in theirs.check(network, "pod", result)
    )
    assert_traffic(network, result)
    assert all("CNI-" in msg for msg in theirs.delete(network, "pod", result))
    assert theirs.delete(network, "pod", result) == []
    after = state.look()
    assert "/pod/" in str(after.pop("elements")) or network in BARE
    assert before == after | {"elements": ""}


@pytest.mark.parametrize("interface", [EVERYTHING.interface, BRIDGE], ids=["ptp", "bridge"])
@pytest.mark.parametrize("order", ["theirs, then ours", "ours, then theirs"])
def test_pods_of_both_sides_live_on_one_network(
    ours: Side, theirs: Side, interface: networks.Json, order: str
) -> None:
    """A node whose plugins were exchanged while its pods ran on."""
    before, after = (ours, theirs) if order.startswith("ours") else (theirs, ours)
    first, second = (
        Network(interface, (networks.mapping(port), networks.mapping(port, 53, "udp")))
        for port in (8080, 8081)
    )

    old, new = add(before, first, "old"), add(after, second, "new")

    assert_traffic(first, old, "old")
    assert_traffic(second, new, "new")
    assert packets.seen_from("old", "new", ("10.244.0.3", 80)) == "10.244.0.2"
    assert packets.seen_from("new", "old", ("10.244.0.2", 80)) == "10.244.0.3"
    after.delete(first, "old", old)
    assert_traffic(second, new, "new")


@pytest.mark.parametrize("direction", ["ours by theirs", "theirs by ours"])
def test_either_ptp_takes_the_other_host_local(ours: Side, theirs: Side, direction: str) -> None:
    ptp_of, path = {
        "ours by theirs": (theirs, ours.suite.bin_dir),
        "theirs by ours": (ours, theirs.suite.bin_dir),
    }[direction]
    network = CHAINS["routed"]
    add_pod()

    result = ptp_of.add(network, "pod", path=str(path))

    assert_traffic(network, result)
    assert state.leases() == {"10.244.0.2": "pod\r\neth0"}
    assert ptp_of.delete(network, "pod", result, path=str(path)) == []
    assert state.leases() == {}


@pytest.mark.parametrize("direction", ["ours by theirs", "theirs by ours"])
def test_loopback_of_either_side_is_taken_down_by_the_other(
    ours: Side, theirs: Side, direction: str
) -> None:
    adds, ends = (ours, theirs) if direction == "ours by theirs" else (theirs, ours)
    conf = {"cniVersion": "1.0.0", "name": "cni-loopback", "type": "loopback"}
    lab.run("ip netns add pod")

    conf["prevResult"] = adds.call("loopback", "ADD", conf, "pod", ifname="lo").ok().json

    ends.call("loopback", "CHECK", conf, "pod", ifname="lo").ok()
    ends.call("loopback", "DEL", conf, "pod", ifname="lo").ok()
    assert "UP" not in lab.ip("link show lo", netns="pod")[0]["flags"]
    for side in (adds, ends):
        reply = side.call("loopback", "CHECK", conf, "pod", ifname="lo")
        assert "down" in reply.json["msg"]
