"""What is wanted, worked out without a kernel."""

from ipaddress import ip_address, ip_network

import pytest

from cni.cluster import Node, cluster
from cni.config import Section
from cni.errors import CniError
from cni.overlay import plan
from cni.overlay.plan import Underlay, Ways
from cni.overlay.settings import Settings, read_settings
from tests.overlay.nodes import member

UNDERLAYS = {
    4: Underlay(2, "eth0", 1500, ip_address("172.18.0.2"), (ip_network("172.18.0.0/24"),)),
    6: Underlay(2, "eth0", 1500, ip_address("fd00:18::2"), (ip_network("fd00:18::/64"),)),
}
LINKS = {4: 4, 6: 6}


def test_a_mac_follows_from_the_name_and_is_locally_administered() -> None:
    macs = {plan.vtep_mac(f"node-{number}") for number in range(1000)}

    assert len(macs) == 1000
    assert all(int(mac[:2], 16) & 3 == 2 for mac in macs)
    assert plan.vtep_mac("n2") == "0e:04:80:a9:3d:2e"  # of all nodes, whatever their version


@pytest.mark.parametrize("pods", [4, 6])
@pytest.mark.parametrize(
    ("own", "peer", "carried"),
    [
        ((4, 6), (4, 6), None),
        ((4,), (4, 6), 4),
        ((4, 6), (6,), 6),
        ((4,), (6,), 0),
    ],
)
def test_both_sides_choose_the_same_carrier(
    own: tuple[int, ...], peer: tuple[int, ...], carried: int | None, pods: int
) -> None:
    one, other = member("n1", own), member("n2", peer)

    assert plan.carrier(pods, one, other) == plan.carrier(pods, other, one)
    assert plan.carrier(pods, one, other) == (pods if carried is None else carried)


def test_a_node_that_shares_no_ip_version_is_told() -> None:
    way = plan.way(Settings(), member("n1", (4,)), member("n2", (6,), (4,)), UNDERLAYS, LINKS)

    assert (way.routes, way.neighbours, way.fdb) == ((), (), ())
    assert way.alarms[0].startswith("cannot reach the pods of node n2: ")


def test_pods_of_a_version_that_ours_do_not_speak_are_left_out() -> None:
    way = plan.way(Settings(), member("n1", pods=(4,)), member("n2"), UNDERLAYS, LINKS)

    assert [one.dst.version for one in way.routes] == [4]
    assert way.alarms == ()


def test_of_many_ways_only_that_of_the_changed_node_is_made_again() -> None:
    def node(number: int, address: str) -> Node:
        return Node(f"n{number}", (ip_address(address),), (ip_network(f"10.1.{number}.0/24"),))

    members = [member("n1"), *(node(number, f"172.20.0.{number}") for number in range(2, 200))]
    ways = Ways(Settings())
    before = ways.to_all(cluster(members, "n1"), UNDERLAYS, LINKS)
    members[100] = node(101, "172.21.0.1")
    after = ways.to_all(cluster(members, "n1"), UNDERLAYS, LINKS)

    assert [name for name in after if after[name] is not before[name]] == ["n101"]


def test_a_new_device_gets_all_ways_anew() -> None:
    ways, both = Ways(Settings()), cluster([member("n1"), member("n2")], "n1")
    ways.to_all(both, UNDERLAYS, LINKS)

    made = ways.to_all(both, UNDERLAYS, {4: 40, 6: 60})["n2"]

    assert {one.ifindex for one in (*made.neighbours, *made.fdb)} == {40, 60}


def test_the_mtu_is_that_of_the_narrowest_way() -> None:
    dual = member("n1")

    assert plan.pod_mtu(dual, Settings(), UNDERLAYS) == 1430
    assert plan.pod_mtu(member("n1", pods=(4,)), Settings(), UNDERLAYS) == 1450
    assert plan.pod_mtu(dual, Settings(mode="auto"), UNDERLAYS) == 1430
    assert plan.pod_mtu(dual, Settings(mode="direct"), UNDERLAYS) == 1500
    assert plan.pod_mtu(dual, Settings(mtu=1300), UNDERLAYS) == 1300


def test_settings_have_defaults_and_are_read_from_a_configuration() -> None:
    keys = {"mode": "auto", "vni": 7, "port": 4789, "device": "vx", "mtu": 1400}

    assert read_settings(Section({})) == Settings()
    assert read_settings(Section(keys)) == Settings("auto", 7, 4789, "vx", 1400)


@pytest.mark.parametrize(
    "keys",
    [
        {"mode": "ipip"},
        {"vni": 0},
        {"vni": 1 << 24},
        {"port": 0},
        {"port": 65536},
        {"port": "8472"},
        {"device": "a/b"},
        {"device": "fifteen-letters"},
        {"mtu": 68},
        {"mtu": 65536},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused_by_name(keys: dict[str, object]) -> None:
    with pytest.raises(CniError, match=r"device|interface|" + next(iter(keys))):
        read_settings(Section(keys))
