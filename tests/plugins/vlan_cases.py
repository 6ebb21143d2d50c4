"""VLANs on a bridge, on a kernel that has them: run by `test_bridge_vlan`."""

import json
from collections.abc import Callable

import pytest

from cni.kernel import link
from cni.kernel.netlink import ROUTE, Netlink
from tests import faults, lab, networks, packets
from tests.plugins.test_bridge import bridges, gateway, ports
from tests.plugins.test_bridge_ports import NOBODY, frame_arrives
from tests.plugins.test_faults import meet
from tests.pods import add, addresses, verb

pytestmark = pytest.mark.usefixtures("host")
Vlans = dict[int, set[str]]
GATEWAY = gateway(vlan=100, vlanTrunk=[{"id": 7}])


def vlans(veth: str) -> Vlans:
    """Return the VLANs of a port: their IDs, with "PVID" and "Egress Untagged"."""
    found: Vlans = {}
    for port in json.loads(lab.run(f"bridge -json vlan show dev {veth}")):
        for one in port["vlans"]:
            for vid in range(one["vlan"], one.get("vlanEnd", one["vlan"]) + 1):
                found[vid] = set(one.get("flags", ()))
    return found


UNTAGGED = {"PVID", "Egress Untagged"}
KEYS: dict[str, tuple[networks.Json, Vlans]] = {
    "access": ({"vlan": 100}, {100: UNTAGGED}),
    "access, and the default stays": (
        {"vlan": 100, "preserveDefaultVlan": True},
        {1: {"Egress Untagged"}, 100: UNTAGGED},
    ),
    "trunk": (
        {"vlanTrunk": [{"minID": 100, "maxID": 102}, {"id": 7, "minID": 9, "maxID": 9}]},
        {1: UNTAGGED, 7: set(), 9: set(), 100: set(), 101: set(), 102: set()},
    ),
    "both": (
        {"vlan": 100, "vlanTrunk": [{"minID": 100, "maxID": 101}]},
        {100: UNTAGGED, 101: set()},
    ),
}


def test_a_port_carries_what_the_keys_say(imported: lab.Suite, subtests: pytest.Subtests) -> None:
    for number, (name, (keys, wanted)) in enumerate(KEYS.items()):
        bridge, pod = f"br{number}", f"pod{number}"
        conf = networks.bridge(bridge=bridge, **keys)
        with subtests.test(name):
            conf["prevResult"] = add(imported, conf, pod)

            assert [vlans(veth) for veth in ports(bridge)] == [wanted]
            verb(imported, "CHECK", conf, pod).ok()


def test_check_sees_vlans_that_were_changed(imported: lab.Suite) -> None:
    conf = networks.bridge(vlan=100, vlanTrunk=[{"id": 7}])
    conf["prevResult"] = add(imported, conf)
    (veth,) = ports()

    for command, words in (
        (f"bridge vlan add dev {veth} vid 8", "carries VLANs [8] too"),
        (f"bridge vlan add dev {veth} vid 100 untagged", "VLAN 100 is missing"),
        (f"bridge vlan del dev {veth} vid 7", "VLAN 7 is missing"),
        ("ip link set cni0 type bridge vlan_filtering 0", "cni0 does not filter VLANs"),
    ):
        lab.run(command)
        assert words in verb(imported, "CHECK", conf).failed(102).json["msg"]


def test_pods_reach_those_of_their_own_vlan_only(imported: lab.Suite) -> None:
    """The bridge was there before it had to look at VLANs."""
    add(imported, networks.bridge(name="plain"), "plain")
    for pod, vlan in (("one", 100), ("two", 100), ("three", 200)):
        add(imported, networks.bridge(vlan=vlan, name=f"net{vlan}"), pod)

    assert frame_arrives("one", "two", NOBODY)
    assert not frame_arrives("one", "three", NOBODY)
    assert not frame_arrives("one", "plain", NOBODY)


def test_gateways_of_a_vlan_are_in_it(imported: lab.Suite) -> None:
    """As the reference has them: `cni0.100`, a pair whose other end is a port of that VLAN."""
    conf = gateway(vlan=100)
    result = add(imported, conf, "one")
    add(imported, conf, "two")

    assert [one["name"] for one in result["interfaces"]][::3] == ["cni0", "cni0.100"]
    assert (addresses("", "cni0.100"), addresses("", "cni0")) == ({"10.1.2.1/24"}, set())
    assert packets.seen_from("one", "", ("10.1.2.1", 80)) == "10.1.2.2"
    assert packets.seen_from("one", "two", ("10.1.2.3", 80)) == "10.1.2.2"
    conf["prevResult"] = result
    verb(imported, "CHECK", conf, "one").ok()
    lab.run("ip addr del 10.1.2.1/24 dev cni0.100")
    assert "cni0.100" in verb(imported, "CHECK", conf, "one").failed(102).json["msg"]
    add(imported, conf, "three")
    lab.run("ip link set cni0.100 address 0a:00:00:00:00:01")
    assert "has MAC" in verb(imported, "CHECK", conf, "one").failed(102).json["msg"]


def test_networks_in_their_vlans_may_have_different_gateways(imported: lab.Suite) -> None:
    for number, pod in enumerate(("one", "two")):
        conf = gateway(f"10.{number}.0.0/24", vlan=100 + number, name=f"net{number}")
        add(imported, conf, pod)

    assert packets.seen_from("two", "", ("10.1.0.1", 80)) == "10.1.0.2"


def test_a_trunk_may_have_any_number_of_vlans(imported: lab.Suite) -> None:
    """Every second one, and all."""
    odd = [{"id": vid} for vid in range(1, 4095, 2)]
    for number, trunk in enumerate((odd, [{"minID": 1, "maxID": 4094}])):
        conf = networks.bridge(bridge=f"br{number}", vlanTrunk=trunk)
        conf["prevResult"] = add(imported, conf, f"pod{number}")

        verb(imported, "CHECK", conf, f"pod{number}").ok()
        assert [len(vlans(veth)) for veth in ports(f"br{number}")] == [(2047, 4094)[number]]


def stopped(suite: lab.Suite, count: int, action: Callable[[], object]) -> lab.Reply:
    """Run ADD of GATEWAY up to the `count`-th line that has to do with VLANs."""
    given = {"netns": lab.netns_path("pod"), "containerid": "pod"}
    text = json.dumps(GATEWAY).encode()
    return faults.call_stopped(suite, "bridge", text, count, ("cni/vlan.py",), action, **given)


def links() -> list[str]:
    """Return the names of all interfaces of the host."""
    with Netlink(ROUTE) as host:  # a command takes long here
        return [one.name for one in link.list_all(host)]


def test_an_add_that_fails_at_some_line_leaves_nothing_of_its_vlan(imported: lab.Suite) -> None:
    """On a bridge that stays, since there are pods of another VLAN; at every second line."""
    add(imported, gateway("10.9.0.0/24", name="other", vlan=200), "other")
    lab.add_netns("pod")
    before = links()
    lines = 0

    for count in range(1, faults.LIMIT, 2):
        lines = count
        if stopped(imported, count, faults.fail).exit == 0:
            break
        assert links() == before, f"after {count} lines"

    assert lines > 30


def test_an_add_that_is_killed_at_some_line_of_a_vlan_is_mended_by_the_next(
    imported: lab.Suite,
) -> None:
    """DEL takes the pod's pair away; the bridge and its gateways stay, and may be half made."""
    lab.add_netns("pod")
    finished = False

    for count in range(1, faults.LIMIT, 15):
        finished = stopped(imported, count, faults.kill).exit == 0
        if finished:
            break
        verb(imported, "DEL", GATEWAY).ok()
        checked = GATEWAY | {"prevResult": add(imported, GATEWAY, "next")}
        verb(imported, "CHECK", checked, "next").ok()
        verb(imported, "DEL", GATEWAY, "next").ok()
        lab.run("ip link del cni0")
        lab.run("ip link del cni0.100")

    assert finished


def test_two_adds_make_the_gateways_of_a_vlan_wherever_they_meet(imported: lab.Suite) -> None:
    before = "ip link show cni0.100 >/dev/null 2>&1 && ip link del cni0.100 || :"

    assert meet(imported, GATEWAY, "cni/vlan.py", before=before, step=15) > 30


def test_pods_that_lost_their_bridge_get_their_vlans_again(imported: lab.Suite) -> None:
    conf = networks.bridge(vlan=100)
    add(imported, conf, "one")
    lab.run("ip link del cni0")

    add(imported, conf, "two")

    assert {frozenset(vlans(veth)) for veth in ports()} == {frozenset({100})}
    assert frame_arrives("one", "two", NOBODY)


BREAKS = {
    "the bridge is removed": "ip link del cni0",
    "its port is taken out": "ip link set {port} nomaster",
    "its port is down": "ip link set {port} down",
    "its port is in another VLAN": "bridge vlan del dev {port} vid 100",
}


def test_gateways_of_a_vlan_that_were_cut_off_are_repaired_by_the_next_add(
    imported: lab.Suite, subtests: pytest.Subtests
) -> None:
    """So too when the ADD that makes them is killed halfway; CHECK tells of the time between."""
    conf = gateway(vlan=100)
    result = add(imported, conf, "one")
    conf["prevResult"] = result
    (port,) = ports().keys() - {result["interfaces"][1]["name"]}

    for number, (name, command) in enumerate(BREAKS.items()):
        with subtests.test(name):
            lab.run(command.format(port=port))
            verb(imported, "CHECK", conf, "one").failed(102)

            add(imported, conf, f"pod{number}")

            verb(imported, "CHECK", conf, "one").ok()
            assert packets.reachable("one", "", ("10.1.2.1", 80))


def test_an_interface_in_the_place_of_a_vlans_gateways_is_refused_by_name(
    imported: lab.Suite,
) -> None:
    lab.run("ip link add cni0.100 type bridge")
    lab.add_netns("pod")

    reply = verb(imported, "ADD", gateway(vlan=100)).failed(7)

    assert '"cni0.100" already exists' in reply.json["msg"]
    assert bridges() == ["cni0.100"]
