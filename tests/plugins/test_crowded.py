"""Many at once: routes of a pod, pods that come and go while another is looked for."""

import os
import signal
import time
from collections.abc import Iterator
from ipaddress import ip_interface

import pytest

from cni.attachment import Attachment
from cni.kernel import bridge, firewall, link, nft, nftmap
from cni.kernel.netlink import ROUTE, Netlink, close_lingering
from cni.kernel.ruleset import MAPS
from tests import lab, networks
from tests.pods import add

pytestmark = pytest.mark.usefixtures("host")
PODS = 800  # more than the kernel lists in one go
OTHERS = 40
PAUSE = 0.01  # seconds, in which a list is whole: no node has more than so many pods come and go
MAP = MAPS[4]["masquerade"]


@pytest.fixture
def crowd(host: None) -> Iterator[None]:  # noqa: ARG001  # it stands on the test host
    """Give the host many pods, and others that come and go until the end of the test."""
    staying = Attachment("kindnet", "a" * 64, "eth0")
    firewall.masquerade(staying, [ip_interface(f"10.1.{n >> 8}.{n & 255}/8") for n in range(PODS)])
    child = os.fork()
    if child == 0:
        try:
            _come_and_go()
        finally:
            os._exit(0)
    yield
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    close_lingering()


def _come_and_go() -> None:
    keys = [ip_interface(f"10.2.0.{n}/8").packed for n in range(OTHERS)]
    with nft.socket() as netlink:
        while True:
            for key in keys:
                accept = nftmap.verdict(nft.ACCEPT)
                nft.commit(netlink, MAP.add_element(key, accept, "kindnet/other/eth0"))
            time.sleep(PAUSE)
            for key in keys:
                nft.commit(netlink, MAP.delete_element(key))
            time.sleep(PAUSE)


@pytest.mark.usefixtures("crowd")
def test_no_pod_is_overlooked_while_others_come_and_go() -> None:
    with nft.socket() as netlink:
        for _ in range(100):
            found = [one.comment for one in MAP.elements(netlink)]

            assert found.count(f"kindnet/{'a' * 64}/eth0") == PODS


def test_a_port_is_not_overlooked_while_others_leave_the_bridge() -> None:
    ports = [f"port{number}" for number in range(250)]
    lines = [f"link add {name} master cni0 type veth peer name x{name}\n" for name in ports]
    lab.run("ip -batch -", stdin="link add name cni0 type bridge\n" + "".join(lines))
    leaving = [f"link set {name} nomaster\nlink set {name} master cni0\n" for name in ports[:4]]
    with Netlink(ROUTE) as rtnl, lab.repeated("".join(leaving)):
        staying = [one.index for one in link.list_all(rtnl) if one.name in ports[4:]]

        assert all(bridge.port_messages(rtnl, index) for index in 6 * staying)


def test_a_pod_may_have_thousands_of_routes(suite: lab.Suite) -> None:
    """The answers to so many requests are more than a socket has room for."""
    conf = networks.ptp()
    wanted = [f"10.{number >> 8}.{number & 255}.0/24" for number in range(2000)]
    conf["ipam"]["routes"] = [{"dst": one} for one in wanted]

    add(suite, conf)

    present = {route["dst"] for route in lab.ip("route show", netns="pod")}
    assert set(wanted) <= present
