"""aws-vpc gives a pod an address of the VPC, and takes back all of it by its name alone."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests import lab, networks, packets, snapshot
from tests.networks import Json
from tests.pods import add, addresses, elements, verb, veths
from tests.vpc.agent import SECONDARY, Agent, listening, place

pytestmark = pytest.mark.usefixtures("host")
CONF: Json = {
    "cniVersion": "1.1.0",
    "name": "vpc",
    "type": "aws-vpc",
    "ipam": {"type": "aws-vpc-ipam"},
}
FIRST, SECOND = "10.0.1.23", "10.0.1.24"  # of the secondary ENI


@pytest.fixture
def agent(host: None) -> Iterator[Agent]:  # noqa: ARG001
    """Have two addresses on the secondary ENI."""
    with listening(Agent([place(FIRST, SECONDARY), place(SECOND, SECONDARY)])) as double:
        yield double


def rules(family: str = "") -> list[str]:
    """Return the rules that are not the kernel's own."""
    lines = lab.run(f"ip {family} rule").splitlines()
    return [" ".join(line.split()) for line in lines if line.split(":")[0] not in KERNELS]


KERNELS = ("0", "32766", "32767")
BOTH = [
    f"512: from all to {FIRST} lookup main proto 112",
    f"1536: from {FIRST} lookup 2 proto 112",
]


def state() -> tuple[Any, ...]:
    """Return what an attachment leaves on the host."""
    return veths(), rules(), rules("-6"), lab.run("ip route"), elements()


def test_a_pod_gets_its_address_behind_the_host(suite: lab.Suite, agent: Agent) -> None:
    result = add(suite, CONF)

    assert [one["address"] for one in result["ips"]] == [f"{FIRST}/32"]
    assert addresses("pod") == {f"{FIRST}/32"}
    (host,) = veths()
    mac = lab.ip(f"link show {host}")[0]["address"]
    assert lab.run("ip route", netns="pod").split("\n")[:2] == [
        "default via 169.254.1.1 dev eth0 ",
        "169.254.1.1 dev eth0 scope link ",
    ]
    assert lab.run("ip neigh", netns="pod").strip() == (
        f"169.254.1.1 dev eth0 lladdr {mac} PERMANENT"
    )
    assert rules() == BOTH
    assert lab.run("ip route").strip() == f"{FIRST} dev {host} scope link"
    assert [one["mtu"] for one in result["interfaces"]] == [9001, 9001]
    assert agent.addresses() == {FIRST}


def test_the_result_names_both_ends(imported: lab.Suite, agent: Agent) -> None:
    del agent
    result = add(imported, CONF)

    host, container = result["interfaces"]
    assert host["name"] == veths()[0]
    assert container | {"mac": ""} == {
        "name": "eth0",
        "mac": "",
        "mtu": 9001,
        "sandbox": "/run/netns/pod",
    }
    assert result["ips"] == [{"address": f"{FIRST}/32", "gateway": "169.254.1.1", "interface": 1}]
    assert result["routes"] == [{"dst": "0.0.0.0/0"}]


def test_a_pod_on_the_primary_needs_no_rule_to_leave(suite: lab.Suite) -> None:
    with listening(Agent([place(FIRST)])):
        result = add(suite, CONF)

        assert rules() == BOTH[:1]
        verb(suite, "CHECK", CONF | {"prevResult": result}).ok()


def test_ipv6_pods_have_rules_of_their_own(suite: lab.Suite) -> None:
    # both ends of a pair with one number: the kernel takes up to a second until IPv6 is there
    lab.run("ip link add spare type bridge")
    with listening(Agent([place("", SECONDARY, ipv6=["fd00::23"])])):
        result = add(suite, CONF)

        assert [one["address"] for one in result["ips"]] == ["fd00::23/128"]
        assert rules() == []
        assert rules("-6") == [
            "512: from all to fd00::23 lookup main proto 112",
            "1536: from fd00::23 lookup 2 proto 112",
        ]
        assert "default via fe80::1 dev eth0" in lab.run("ip -6 route", netns="pod")
        assert "fe80::1 dev eth0 lladdr" in lab.run("ip -6 neigh show nud permanent", netns="pod")
        assert packets.reachable("", "pod", ("fd00::23", 80))
        verb(suite, "CHECK", CONF | {"prevResult": result}).ok()
        verb(suite, "DEL", CONF).ok()
        assert (rules("-6"), elements()) == ([], "")


def test_pods_and_the_host_talk_in_both_families(suite: lab.Suite) -> None:
    lab.run("ip link add card up type bridge")
    for address in ("10.0.1.10/24", "fd00::10/64 nodad"):
        lab.run(f"ip addr add {address} dev card")
    with listening(Agent([place(FIRST, ipv6=["fd00::23"]), place(SECOND, ipv6=["fd00::24"])])):
        add(suite, CONF, "a")
        add(suite, CONF, "b")

        for pod, to in (("a", SECOND), ("a", "fd00::24"), ("", SECOND), ("", "fd00::24")):
            assert packets.reachable(pod, "b", (to, 80)), f"{pod} → {to}"


@pytest.mark.parametrize(("key", "said", "wanted"), [(0, 9001, 9001), (1400, 9001, 1400)])
def test_the_mtu_is_that_of_the_configuration_or_the_agents(
    imported: lab.Suite, key: int, said: int, wanted: int
) -> None:
    with listening(Agent([place(FIRST, mtu=said)])):
        result = add(imported, CONF | {"mtu": key})

    assert [one["mtu"] for one in result["interfaces"]] == [wanted, wanted]
    assert lab.ip("link show eth0", netns="pod")[0]["mtu"] == wanted


def test_what_the_last_pod_left_for_an_address_goes(imported: lab.Suite, agent: Agent) -> None:
    """Rules of a third table, and a route elsewhere, would send its packets there."""
    del agent
    lab.run("ip link add other up type bridge")
    for command in (
        f"ip rule add from {FIRST} lookup 3 priority 1536",
        f"ip rule add from {FIRST} lookup 2 priority 1536",
        f"ip rule add to {FIRST} lookup main priority 512",
        f"ip route add {FIRST} dev other metric 5",
    ):
        lab.run(command)

    result = add(imported, CONF)

    assert rules() == BOTH
    assert lab.run(f"ip route show {FIRST}").strip() == f"{FIRST} dev {veths()[0]} scope link"
    verb(imported, "CHECK", CONF | {"prevResult": result}).ok()


def test_rules_of_other_addresses_and_priorities_stay(imported: lab.Suite, agent: Agent) -> None:
    del agent
    others = [
        "512: from all to 10.0.1.99 lookup main",
        f"700: from {FIRST} lookup 9",
        "1536: from 10.0.1.99 lookup 3",
    ]
    for line in others:
        priority, rule = line.split(": ")
        lab.run(f"ip rule add {rule.replace('from all ', '')} priority {priority}")

    add(imported, CONF)
    assert set(others) < set(rules())
    verb(imported, "DEL", CONF).ok()

    assert rules() == others


def test_an_address_that_the_host_has_is_refused(imported: lab.Suite, agent: Agent) -> None:
    lab.run("ip link add card up type bridge")
    lab.run(f"ip addr add {FIRST}/24 dev card")
    lab.add_netns("pod")

    with snapshot.unchanged():
        reply = verb(imported, "ADD", CONF).failed(101)

    assert "card" in reply.json["msg"]
    assert agent.addresses() == set()


def test_a_lost_pods_address_is_taken_over(imported: lab.Suite, agent: Agent) -> None:
    """The agent has taken it back, but no DEL has come; and then it comes."""
    add(imported, CONF, "lost")
    agent.held.clear()
    agent.free.insert(0, place(FIRST, SECONDARY))

    result = add(imported, CONF, "new")
    assert len(veths()) == 1
    verb(imported, "DEL", CONF, "lost").ok()

    assert rules() == BOTH
    verb(imported, "CHECK", CONF | {"prevResult": result}, "new").ok()


def test_a_second_add_is_refused_and_harms_nothing(suite: lab.Suite, agent: Agent) -> None:
    conf = CONF | {"prevResult": add(suite, CONF)}

    with snapshot.unchanged():
        verb(suite, "ADD", CONF).failed(101)
        verb(suite, "CHECK", conf).ok()

    assert agent.addresses() == {FIRST}


def test_addresses_that_the_agent_did_not_give_are_refused(imported: lab.Suite) -> None:
    conf = CONF | {"ipam": networks.ipam()}
    lab.add_netns("pod")
    with listening(Agent([place(FIRST)])) as double:
        double.held["vpc", "pod", "eth0"] = place(FIRST)

        verb(imported, "ADD", conf).failed(7)

    assert veths() == []
    assert "10.244" not in lab.run(f"ls {networks.DATA_DIR}/vpc")


# DEL and GC


def test_del_leaves_nothing(suite: lab.Suite, agent: Agent) -> None:
    before = state()
    add(suite, CONF)

    verb(suite, "DEL", CONF).ok()
    assert (state(), agent.addresses()) == (before, set())

    verb(suite, "DEL", CONF).ok()


@pytest.mark.parametrize("away", [False, True], ids=["agent there", "agent away"])
def test_del_needs_neither_namespace_nor_agent(imported: lab.Suite, away: bool) -> None:  # noqa: FBT001  # pytest's
    """The veth went with the namespace, and only the firewall knows whose the rules are."""
    double = Agent([place(FIRST, SECONDARY), place(SECOND, SECONDARY)])
    with listening(double):
        add(imported, CONF, "other")
        before = state()
        add(imported, CONF)
        lab.run("ip netns del pod")
        assert lab.wait_until(lambda: len(veths()) == 1)
        if not away:
            verb(imported, "DEL", CONF).ok()
    if away:
        verb(imported, "DEL", CONF).ok()

    assert state() == before
    assert double.addresses() == {FIRST}


def test_del_finds_the_rules_of_a_pod_whose_firewall_was_emptied(
    imported: lab.Suite, agent: Agent
) -> None:
    add(imported, CONF)
    lab.run("nft flush ruleset")

    verb(imported, "DEL", CONF).ok()

    assert rules() == []
    assert agent.addresses() == set()


@pytest.mark.parametrize("away", [False, True], ids=["agent there", "agent away"])
def test_gc_keeps_the_valid_and_removes_the_others(imported: lab.Suite, away: bool) -> None:  # noqa: FBT001  # pytest's
    double = Agent([place(FIRST, SECONDARY), place(SECOND, SECONDARY)])
    conf = networks.gc(CONF, ("one", "eth0"))
    with listening(double):
        result = add(imported, CONF, "one")
        before = state()
        add(imported, CONF, "two")
        if not away:
            imported.call("aws-vpc", "GC", conf).ok()
    if away:
        imported.call("aws-vpc", "GC", conf).ok()

    assert state() == before
    assert double.addresses() == {FIRST}
    with listening(double):
        verb(imported, "CHECK", CONF | {"prevResult": result}, "one").ok()


def test_gc_without_a_list_touches_nothing(imported: lab.Suite, agent: Agent) -> None:
    add(imported, CONF)

    with snapshot.unchanged():
        imported.call("aws-vpc", "GC", CONF).ok()

    assert agent.addresses() == {FIRST}


# CHECK and STATUS

BROKEN = {  # what is done, where, and what CHECK says of it
    "the veth is down": ("ip link set {veth} down", "", "down"),
    "the veth has another MAC": ("ip link set {veth} address 0a:00:00:00:00:01", "", "MAC"),
    "the pod's address": (f"ip addr del {FIRST}/32 dev eth0", "pod", FIRST),
    "the neighbour is gone": ("ip neigh del 169.254.1.1 dev eth0", "pod", "neighbour"),
    "the neighbour has another MAC": (
        "ip neigh replace 169.254.1.1 lladdr 0a:00:00:00:00:01 dev eth0 nud permanent",
        "pod",
        "neighbour",
    ),
    "the default route": ("ip route del default", "pod", "0.0.0.0/0"),
    "the host's route": (f"ip route del {FIRST}", "", FIRST),
    "the rule to the pod": (f"ip rule del to {FIRST} priority 512", "", "512"),
    "the rule from the pod": (f"ip rule del from {FIRST} priority 1536", "", "1536"),
    "another rule from the pod": (
        f"ip rule add from {FIRST} lookup 3 priority 1536",
        "",
        "lookup 3 is too much",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_check_sees(imported: lab.Suite, agent: Agent, fault: str) -> None:
    del agent
    conf = CONF | {"prevResult": add(imported, CONF)}
    verb(imported, "CHECK", conf).ok()
    command, where, words = BROKEN[fault]

    lab.run(command.format(veth=veths()[0]), netns=where)

    assert words in verb(imported, "CHECK", conf).failed(102).json["msg"]


def test_check_sees_that_the_agent_knows_nothing_of_the_pod(
    imported: lab.Suite, agent: Agent
) -> None:
    conf = CONF | {"prevResult": add(imported, CONF)}
    agent.held.clear()

    verb(imported, "CHECK", conf).failed(102)


def test_status_says_what_the_agent_says(suite: lab.Suite) -> None:
    reply = suite.call("aws-vpc", "STATUS", CONF).failed(50)
    assert "/run/pycni/vpc.sock" in reply.json["details"]

    with listening(Agent([])) as double:
        suite.call("aws-vpc", "STATUS", CONF).ok()
        double.refusal = {"code": 50, "msg": "no address is free", "details": "subnet-1 is full"}

        reply = suite.call("aws-vpc", "STATUS", CONF).failed(50)

    assert json.loads(reply.stdout)["details"] == "subnet-1 is full"


def test_without_the_agent_add_says_so_and_leaves_nothing(suite: lab.Suite) -> None:
    lab.add_netns("pod")

    with snapshot.unchanged():
        reply = verb(suite, "ADD", CONF).failed(11)

    assert "node agent" in reply.json["msg"]
