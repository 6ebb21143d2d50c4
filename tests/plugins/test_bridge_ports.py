"""How a bridge's ports behave, and what a pod has without IPAM."""

import socket
import time
from collections.abc import Callable
from contextlib import closing

import pytest

from cni.kernel import aside, link
from cni.kernel.netlink import ROUTE, Netlink
from cni.kernel.netns import entered
from tests import lab, networks, packets
from tests.plugins.test_bridge import bridges, gateway, ports
from tests.pods import add, addresses, elements, verb

pytestmark = pytest.mark.usefixtures("host")
L2 = networks.bridge()
ETHERTYPE = 0x88B5  # for experiments (IEEE 802)
NOBODY, EVERYBODY = "0a:00:00:00:00:77", "ff:ff:ff:ff:ff:ff"
TIMEOUT_S = 0.3  # a frame that comes, comes within a millisecond


def frame_arrives(sender: str, receiver: str, source: str, to: str = EVERYBODY) -> bool:
    """Tell whether a frame from MAC `source`, sent in one pod, is seen in another."""
    data = bytes.fromhex(f"{to}{source}".replace(":", "")) + ETHERTYPE.to_bytes(2) + b"x" * 50
    sockets = []
    for netns in (sender, receiver):
        with entered(lab.netns_path(netns)):
            one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
        one.bind(("eth0", ETHERTYPE))
        one.settimeout(TIMEOUT_S)
        sockets.append(one)
    with closing(sockets[0]) as mouth, closing(sockets[1]) as ear:
        mouth.send(data)
        try:
            return any(ear.recv(2000) == data for _ in range(10))
        except TimeoutError:
            return False


def mac(result: networks.Json) -> str:
    """Return the MAC of the container's end."""
    return str(result["interfaces"][2]["mac"])


def test_a_port_that_its_bridge_loses_is_not_taken_for_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The bridge tells of it, while who deletes the interface has not yet begun."""
    lab.run("ip link add name cni0 type bridge")
    lab.run("ip link add port master cni0 type veth peer name other")
    start = aside.start

    def late(work: Callable[[], int]) -> int:
        time.sleep(0.2)
        return work()

    def after_the_bridge(work: Callable[[], int]) -> int:
        lab.run("ip link set port nomaster")
        return start(lambda: late(work))

    monkeypatch.setattr(aside, "start", after_the_bridge)

    assert link.delete("", "port")

    assert not lab.run("ip link show type veth")


# without IPAM


def test_without_ipam_a_pod_gets_a_link_and_nothing_else(suite: lab.Suite) -> None:
    result = add(suite, L2, "one")
    add(suite, L2, "two")

    assert [one["name"] for one in result["interfaces"]][0::2] == ["cni0", "eth0"]
    assert "ips" not in result
    assert (addresses("one"), addresses("")) == (set(), set())
    assert frame_arrives("one", "two", mac(result))
    for name in ("CHECK", "DEL", "DEL"):
        verb(suite, name, L2 | {"prevResult": result}, "one").ok()
    assert len(ports()) == 1


def test_a_link_without_addresses_cannot_be_told_in_the_first_versions(suite: lab.Suite) -> None:
    lab.add_netns("pod")

    reply = verb(suite, "ADD", L2 | {"cniVersion": "0.2.0"}).failed(1)

    assert "no valid IP addresses" in reply.json["msg"]
    assert bridges() == []


def test_a_container_interface_that_is_disabled_stays_down(suite: lab.Suite) -> None:
    conf = L2 | {"disableContainerInterface": True}

    conf["prevResult"] = add(suite, conf)

    assert "UP" not in lab.ip("link show eth0", netns="pod")[0]["flags"]
    verb(suite, "CHECK", conf).ok()


# the ports


def test_hairpin_lets_a_pod_hear_itself(suite: lab.Suite) -> None:
    for hairpin in (True, False):
        name = f"hairpin-{hairpin}".lower()
        conf = networks.bridge(hairpinMode=hairpin, bridge=f"br{hairpin}", name=name)
        add(suite, conf, name)

        assert [one["hairpin"] for one in ports(f"br{hairpin}").values()] == [hairpin]
        assert frame_arrives(name, name, NOBODY) == hairpin


def test_isolated_pods_reach_the_host_and_not_each_other(suite: lab.Suite) -> None:
    conf = gateway(portIsolation=True)
    for pod in ("one", "two"):
        add(suite, conf, pod)

    assert packets.seen_from("one", "", ("10.1.2.1", 80)) == "10.1.2.2"
    assert not frame_arrives("one", "two", NOBODY)


def test_isolated_pods_reach_those_that_are_not(suite: lab.Suite) -> None:
    add(suite, networks.bridge(portIsolation=True, name="apart"), "one")
    add(suite, L2, "two")

    assert frame_arrives("one", "two", NOBODY)
    assert frame_arrives("two", "one", NOBODY)


def test_a_pod_whose_mac_is_checked_sends_from_its_own_only(suite: lab.Suite) -> None:
    conf = networks.bridge(macspoofchk=True)
    first, second = (add(suite, conf, pod) for pod in ("one", "two"))
    add(suite, L2 | {"name": "unchecked"}, "three")

    assert frame_arrives("one", "two", mac(first))
    assert not frame_arrives("one", "two", NOBODY)
    assert not frame_arrives("one", "two", mac(second))
    assert frame_arrives("three", "two", NOBODY)


def test_a_mac_check_survives_neither_its_pod_nor_gets_lost_with_others(suite: lab.Suite) -> None:
    conf = networks.bridge(macspoofchk=True)
    for pod in ("one", "two"):
        add(suite, conf, pod)

    verb(suite, "DEL", conf, "one").ok()

    assert "kindnet/one/" not in elements()
    assert not frame_arrives("two", "two", NOBODY)
    add(suite, L2, "one")
    assert frame_arrives("one", "two", NOBODY)


def test_a_port_is_waited_for() -> None:
    """The kernel tells bridges of a link in its own time: in a microsecond, or in a second."""
    lab.run("ip link add one type veth peer name two")
    lab.run("ip link set one up")
    index = lab.ip("link show one")[0]["ifindex"]
    with Netlink(ROUTE) as rtnl:
        assert not link.wait_running(rtnl, index, 0.01)
        lab.run("ip link set two up")
        assert link.wait_running(rtnl, index, 5)
        assert lab.ip("link show one")[0]["operstate"] == "UP"
        lab.run("ip link del one")
        assert not link.wait_running(rtnl, index, 5)


def test_a_promiscuous_bridge_is_one(suite: lab.Suite) -> None:
    conf = gateway(promiscMode=True)

    conf["prevResult"] = add(suite, conf)

    assert "PROMISC" in lab.ip("link show cni0")[0]["flags"]
    verb(suite, "CHECK", conf).ok()
    lab.run("ip link set cni0 promisc off")
    assert "not promiscuous" in verb(suite, "CHECK", conf).failed(102).json["msg"]


# MACs


MACS = {
    "CNI_ARGS": ({}, "IgnoreUnknown=1;MAC=0a:00:00:00:00:01;K8S_POD_NAME=x", "01"),
    "args before CNI_ARGS": (
        {"args": {"cni": {"mac": "0A-00-00-00-00-02"}}},
        "MAC=0a:00:00:00:00:01",
        "02",
    ),
    "runtimeConfig before both": (
        {"args": {"cni": {"mac": "0a:00:00:00:00:02"}}, "runtimeConfig": {"Mac": "0a00.0000.0003"}},
        "MAC=0a:00:00:00:00:01",
        "03",
    ),
}


@pytest.mark.parametrize(("keys", "args", "last"), MACS.values(), ids=MACS)
def test_the_mac_of_the_container_can_be_asked_for(
    suite: lab.Suite, keys: networks.Json, args: str, last: str
) -> None:
    result = add(suite, L2 | keys | {"macspoofchk": True}, args=args)

    wanted = f"0a:00:00:00:00:{last}"
    assert mac(result) == lab.ip("link show eth0", netns="pod")[0]["address"] == wanted
    assert wanted in elements()


def test_the_mac_of_the_bridge_stays_when_ports_come(suite: lab.Suite) -> None:
    first = add(suite, gateway(), "one")
    lab.run("ip link add low address 02:00:00:00:00:01 type veth peer name other")
    lab.run("ip link set low master cni0")
    second = add(suite, gateway(), "two")

    assert first["interfaces"][0] == second["interfaces"][0]


def test_the_mac_of_a_bridge_made_by_hand_stays_when_it_becomes_a_gateway(
    suite: lab.Suite,
) -> None:
    lab.run("ip link add cni0 type bridge")
    result = add(suite, gateway())

    lab.run("ip link add low address 02:00:00:00:00:01 type veth peer name other")
    lab.run("ip link set low master cni0")

    assert lab.ip("link show cni0")[0]["address"] == result["interfaces"][0]["mac"]


def test_a_gateway_that_is_made_again_has_the_mac_that_pods_remember(suite: lab.Suite) -> None:
    macs = set()
    for _ in range(2):
        macs.add(add(suite, gateway())["interfaces"][0]["mac"])
        verb(suite, "DEL", gateway()).ok()
        lab.run("ip link del cni0")

    assert len(macs) == 1


# what others on the link hear


def test_neighbours_hear_of_a_new_pod_at_once(suite: lab.Suite) -> None:
    """By gratuitous ARP, once the port forwards: who had the address before is forgotten."""
    conf = gateway()
    add(suite, conf, "one")
    add(suite, conf, "old")
    assert packets.reachable("one", "old", ("10.1.2.3", 80))
    verb(suite, "DEL", conf, "old").ok()
    lab.run(f"rm {networks.DATA_DIR}/kindnet/last_reserved_ip.0")

    result = add(suite, conf, "new")

    assert result["ips"][0]["address"] == "10.1.2.3/24"
    assert neighbour("one", "10.1.2.3") == mac(result)
    assert packets.reachable("one", "new", ("10.1.2.3", 80))


def neighbour(netns: str, address: str) -> str:
    """Return the MAC that a namespace has for an address."""
    found = lab.ip("neigh show", netns=netns)
    return next((one.get("lladdr", "") for one in found if one["dst"] == address), "")


def test_duplicate_detection_can_be_had_and_finds_duplicates(imported: lab.Suite) -> None:
    conf = gateway("fd00:1:2::/64", enabledad=True)
    add(imported, conf, "one")
    shown = lab.run("ip -6 addr show dev eth0 scope global", netns="one")
    assert "nodad" not in shown
    assert "tentative" not in shown
    lab.add_netns("foreign")
    lab.run("ip link add foreign master cni0 up type veth peer name eth0 netns foreign")
    lab.run("ip link set eth0 up", netns="foreign")
    lab.run("ip addr add fd00:1:2::3/64 dev eth0 nodad", netns="foreign")
    lab.add_netns("two")

    reply = verb(imported, "ADD", conf, "two").failed(101)

    assert "fd00:1:2::3/64" in reply.json["msg"]
    assert len(ports()) == 2
