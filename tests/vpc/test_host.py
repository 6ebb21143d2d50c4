"""What the agent makes of a node: whole after one pass, whatever somebody has broken."""

import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Interface
from pathlib import Path

import pytest

from cni.errors import CniError, Code
from cni.kernel.netns import entered
from cni.vpc.plan import Eni
from tests import lab, snapshot
from tests.vpc import nodes
from tests.vpc.agent import listening
from tests.vpc.nodes import PODS, Nodes

pytestmark = pytest.mark.usefixtures("host")
BREAKS = {  # on n1: what somebody does, and what is told of its repair
    "the firewall emptied": ("nft flush ruleset", "rule"),
    "a rule of the firewall deleted": ("nft flush chain inet pycni-vpc leaving", "rule"),
    "a network of the VPC forgotten": (
        "nft delete element inet pycni-vpc inside4 { 10.0.0.0/16 }",
        "element",
    ),
    "the rule for marks deleted": ("ip rule del priority 1024", "rule"),
    "the rule of an ENI deleted": ("ip rule del priority 32765", "rule"),
    "a rule for marks of our own too much": (
        "ip rule add fwmark 0x40/0x40 lookup main priority 1024 protocol 112",
        "rule",
    ),
    "a default route deleted": ("ip route del default table 2", "route"),
    "a table emptied": ("ip route flush table 2", "route"),
    "another default route in the table": (
        "ip route replace default via 10.0.1.1 dev eth1 table 2 proto static metric 5",
        "route",
    ),
    "the subnet routed by the secondary": (
        "ip route prepend 10.0.1.0/24 dev eth1 proto kernel",
        "route",
    ),
    "an address of a pod on the secondary": ("ip addr add 10.0.1.21/24 dev eth1", "address"),
    "the secondary's address deleted": ("ip addr del 10.0.1.20/24 dev eth1", "address"),
    "another address in place of the secondary's": (
        "sh -c 'ip addr flush dev eth1; ip addr add 10.0.1.99/24 dev eth1'",
        "address",
    ),
    "the secondary taken down": ("ip link set eth1 down", "link"),
    "the secondary's MTU changed": ("ip link set eth1 mtu 1500", "link"),
    "the primary's MTU changed": ("ip link set eth0 mtu 1500", "link"),
    "rp_filter made strict": ("sysctl -q net.ipv4.conf.eth0.rp_filter=1", "sysctl"),
}


@pytest.fixture
def vpc(host: None) -> Nodes:  # noqa: ARG001
    """Have both nodes, without pods."""
    return nodes.make()


def state(name: str = "n1") -> snapshot.Snapshot:
    """Return all that a pass can change on a node."""
    found = snapshot.take()
    rp_filter = lab.run("sysctl -n net.ipv4.conf.eth0.rp_filter", netns=name)
    own = {key: value for key, value in found.items() if key.startswith(f"netns {name}:")}
    return own | {"rp_filter": rp_filter}


def test_a_second_pass_changes_nothing(vpc: Nodes) -> None:
    before = state()

    report = vpc.pass_on("n1")

    assert (report.repairs, report.alarms) == ({}, ())
    assert report.enis == {"eni-10", "eni-11"}
    assert state() == before


@pytest.mark.parametrize("fault", BREAKS)
def test_what_is_broken_is_whole_again_after_one_pass(vpc: Nodes, fault: str) -> None:
    command, kind = BREAKS[fault]
    whole = state()
    lab.run(command, netns="n1")
    assert state() != whole

    report = vpc.pass_on("n1")

    assert state() == whole
    assert kind in report.repairs
    assert vpc.pass_on("n1").repairs == {}


def test_what_is_not_ours_stays(vpc: Nodes) -> None:
    for command in (
        "ip rule add from 192.0.2.1 lookup 77 priority 1024",
        "ip rule add to 192.0.2.2 lookup main priority 512",
        "ip route add 192.0.2.0/24 dev eth1",
        "ip route add default via 10.0.1.1 dev eth0 table 77",
        "ip addr add 10.0.1.55/24 dev eth0",
        "nft add table inet other",
    ):
        lab.run(command, netns="n1")
    before = state()

    assert vpc.pass_on("n1").repairs == {}

    assert state() == before


def test_an_eni_that_goes_leaves_nothing(vpc: Nodes) -> None:
    """Whether the interface is gone already, or is yet to go."""
    both = vpc.hosts["n1"]
    vpc.hosts["n1"] = replace(both, secondary=())

    vpc.pass_on("n1")
    assert "lookup 2" not in lab.run("ip rule", netns="n1")
    assert lab.run("ip route show table 2", netns="n1", check=False) == ""

    vpc.hosts["n1"] = both
    vpc.pass_on("n1")
    vpc.fabric.sync([port for port in vpc.fabric.ports.values() if port.name != "eni-11"])
    vpc.hosts["n1"] = replace(both, secondary=())
    vpc.pass_on("n1")
    assert "lookup 2" not in lab.run("ip rule", netns="n1")


def test_an_eni_without_its_interface_is_told_and_the_others_work(vpc: Nodes) -> None:
    late = Eni("eni-12", "02:00:00:00:01:02", 2, IPv4Interface("10.0.1.30/24"))
    one = vpc.hosts["n1"]
    vpc.hosts["n1"] = replace(one, secondary=(late, *one.secondary))
    lab.run("ip route flush table 2", netns="n1")

    report = vpc.pass_on("n1")

    assert report.enis == {"eni-10", "eni-11"}
    assert "02:00:00:00:01:02" in report.alarms[0]
    assert "default via 10.0.1.1" in lab.run("ip route show table 2", netns="n1")


def test_an_interface_that_is_stacked_on_the_primary_is_not_taken_for_it(vpc: Nodes) -> None:
    mac = nodes.PORTS["eni-10"].mac
    lab.run(f"ip link add link eth0 name a0 address {mac} type macvlan mode bridge", netns="n1")

    assert vpc.pass_on("n1").repairs == {}
    assert 'oifname "eth0"' in lab.run("nft list table inet pycni-vpc", netns="n1")


def test_without_the_primary_nothing_is_done(vpc: Nodes) -> None:
    one = vpc.hosts["n1"]
    wrong = replace(one.primary, mac="02:00:00:00:09:09")
    vpc.hosts["n1"] = replace(one, primary=wrong)
    before = state()

    with pytest.raises(CniError, match="02:00:00:00:09:09") as refused:
        vpc.pass_on("n1")

    assert refused.value.code == Code.UNAVAILABLE
    assert state() == before


@pytest.fixture
def pods(vpc: Nodes, imported: lab.Suite) -> Iterator[Nodes]:
    """Have a pod on each ENI."""
    with listening(nodes.agent()):
        for pod in PODS:
            nodes.add(imported, pod)
        yield vpc


def test_rules_of_pods_that_are_gone_go_and_others_stay(pods: Nodes) -> None:
    rules = lab.run("ip rule", netns="n1")
    lab.run("ip rule add to 10.0.1.77 lookup main priority 512 protocol 112", netns="n1")
    lab.run("ip rule add from 10.0.1.77 lookup 2 priority 1536 protocol 112", netns="n1")

    assert pods.pass_on("n1").repairs == {"rule": 2}

    assert lab.run("ip rule", netns="n1") == rules


def test_rules_that_pods_have_lost_come_back(pods: Nodes, imported: lab.Suite) -> None:
    """As systemd-networkd takes them when it starts again."""
    rules = lab.run("ip rule", netns="n1")
    for priority in (512, 512, 1536):
        lab.run(f"ip rule del priority {priority}", netns="n1")
    assert lab.run("ip rule", netns="n1") != rules

    assert pods.pass_on("n1").repairs == {"rule": 3}

    assert sorted(lab.run("ip rule", netns="n1")) == sorted(rules)
    assert pods.pass_on("n1").repairs == {}
    nodes.call(imported, "DEL", "a1").ok()
    assert pods.pass_on("n1").repairs == {}


def test_a_pod_that_has_no_rules_for_a_moment_is_left_alone(
    pods: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its DEL has taken them, and its veth is next."""
    lab.run("ip rule del to 10.0.1.11 priority 512", netns="n1")
    monkeypatch.setattr(time, "sleep", lambda _: lab.run("ip route del 10.0.1.11", netns="n1"))

    assert pods.pass_on("n1").repairs == {}

    assert "10.0.1.11" not in lab.run("ip rule", netns="n1")


def test_a_pod_that_comes_while_others_are_looked_at_again_keeps_its_rules(
    pods: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that an earlier pod has left for its address are its own now."""
    rules = lab.run("ip rule", netns="n1")
    lab.run("ip rule del to 10.0.1.11 priority 512", netns="n1")
    lab.run("ip rule add to 10.0.1.77 lookup main priority 512 protocol 112", netns="n1")
    come = "ip route add 10.0.1.77 dev eth0"
    monkeypatch.setattr(time, "sleep", lambda _: lab.run(come, netns="n1"))

    assert pods.pass_on("n1").repairs == {"rule": 1}

    found = lab.run("ip rule", netns="n1")
    assert "10.0.1.77" in found
    assert found.count("\n") == rules.count("\n") + 1


def test_cleanup_takes_it_from_the_node(pods: Nodes, source_bin: Path) -> None:
    """And the interfaces stay as they are, since the cloud has put them there."""
    del pods
    interfaces = lab.ip("-br addr", netns="n1")
    command = f"{source_bin}/cnictl cleanup --yes"
    with entered(lab.netns_path("n1")):
        said = lab.run(command)
        again = lab.run(command)

    assert "5 rules and 2 routes of the VPC's routing policy" in said
    assert "inet pycni-vpc" in said
    assert again == "nothing of ours is here\n"
    assert lab.run("ip rule", netns="n1").count("\n") == 3
    assert lab.run("ip route show table all proto 112", netns="n1") == ""
    left = [one for one in interfaces if not one["ifname"].startswith("veth")]
    assert lab.ip("-br addr", netns="n1") == left
