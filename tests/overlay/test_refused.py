"""What cannot be is told by name, and what works goes on working."""

import socket
from collections import Counter
from dataclasses import replace
from ipaddress import ip_address

import pytest

from cni.cluster import Node
from cni.errors import CniError, KernelError
from cni.kernel import route
from cni.kernel.netlink import ROUTE, Netlink
from cni.kernel.netns import entered
from cni.overlay import entries
from cni.overlay.entries import Change
from cni.overlay.settings import PROTOCOL, Settings
from tests import lab, snapshot
from tests.overlay import nodes

pytestmark = pytest.mark.usefixtures("host")
FOREIGN = {  # commands, what is told
    "its VNI": (
        "link add flannel.1 type vxlan id 1 dstport 8472 local 172.18.0.2 dev eth0",
        "cannot use VNI 1 on UDP port 8472: interface flannel.1 has it",
    ),
    "its port, with other options": (
        "link add flannel.1 up type vxlan id 7 dstport 8472 gbp local 172.18.0.2 dev eth0",
        "cannot use UDP port 8472 for VXLAN: flannel.1 has it",
    ),
    "its name": (
        "link add pycni-vxlan type veth peer name other",
        "cannot use interface pycni-vxlan: it is a veth, not a vxlan",
    ),
}


def fail(made: nodes.Nodes) -> str:
    """Run a pass on n1 that must fail; return what it says."""
    with pytest.raises((CniError, KernelError)) as caught:
        made.reconcile("n1")
    return str(caught.value)


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_device_is_named_and_stays(foreign: tuple[str, str]) -> None:
    command, text = foreign
    made = nodes.make()
    with entered(lab.netns_path("n1")):
        made.overlays["n1"].delete()
    nodes.batch("n1", command)

    with snapshot.unchanged():
        assert text in fail(made)

    lab.run(f"ip link del {command.split()[2]}", netns="n1")
    made.reconcile("n1", full=False)
    assert nodes.reachable("n1", "n2")


def test_a_route_of_ours_that_a_list_had_missed_is_nobody_elses() -> None:
    """The kernel's list of many routes misses some while others go."""
    made = nodes.make()
    with entered(lab.netns_path("n1")), Netlink(ROUTE) as rtnl:
        missed = [
            one for version in (4, 6) for one in route.list_all(rtnl, version, protocol=PROTOCOL)
        ]
        changes = [Change("route", one, route.add(one)) for one in missed]

        blocked = entries.apply(rtnl, iter(changes), Counter())

        assert len(missed) == len(blocked) > 0
        assert list(entries.blocked_alarms(rtnl, blocked)) == []
    assert not made.reconcile("n1").repairs


def test_a_port_that_a_program_has_is_told() -> None:
    made = nodes.make()
    with entered(lab.netns_path("n1")):
        made.overlays["n1"].delete()
        program = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with program:
        program.bind(("", 8472))

        with snapshot.unchanged():
            assert "cannot use UDP port 8472 for VXLAN: another program has it" in fail(made)


def test_settings_that_are_in_use_by_another_change_nothing_that_works() -> None:
    made = nodes.make()
    nodes.batch("n1", "link add vxlan.calico up type vxlan id 4096 dstport 4789 dev eth0")
    made.restart("n1", Settings(vni=4096, port=4789))

    assert "interface vxlan.calico" in fail(made)

    assert nodes.reachable("n1", "n2")


def test_without_an_interface_that_has_the_nodes_address_all_stays() -> None:
    made = nodes.make()
    made.members["n1"] = replace(made.members["n1"], addresses=(ip_address("172.18.0.99"),))

    with snapshot.unchanged():
        assert "no interface has this node's address 172.18.0.99" in fail(made)

    assert nodes.reachable("n1", "n2")


def test_a_foreign_route_in_the_way_stays_and_is_told_until_it_is_gone() -> None:
    made = nodes.make()
    lab.run("ip route replace 10.244.2.0/24 via 172.18.0.3", netns="n1")
    lab.run("ip route del 10.244.3.0/24", netns="n1")

    for full in (True, False, True):
        (alarm,) = made.reconcile("n1", full=full).alarms
        assert alarm.startswith("cannot add route 10.244.2.0/24 via 10.244.2.0: ")
        assert "protocol 3, via 172.18.0.3" in alarm
    assert nodes.reachable("n1", "n3")

    lab.run("ip route del 10.244.2.0/24", netns="n1")
    assert made.reconcile("n1", full=False).alarms == ()
    assert nodes.reachable("n1", "n2")


def test_what_the_kernel_refuses_for_one_peer_is_done_for_the_others() -> None:
    made = nodes.make(Settings(mode="direct"))
    made.members["n0"] = replace(
        nodes.member("n2"), name="n0", addresses=(ip_address("172.18.0.255"),)
    )
    del made.members["n2"]
    made.members["n4"] = Node("n4", (ip_address("172.18.0.3"),), nodes.member("n3").pod_cidrs)
    del made.members["n3"]

    assert "cannot replace route 10.244.2.0/24 via 172.18.0.255" in fail(made)

    assert "10.244.3.0/24 via 172.18.0.3" in lab.run("ip route", netns="n1")
