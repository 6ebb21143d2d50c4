"""A node that learns its IPv6 router from advertisements keeps it when pods come."""

import socket
import struct
from pathlib import Path

import pytest

from cni.kernel.netns import entered
from tests import lab, networks, pods

ADVERTISEMENT = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)  # RFC 4861, 4.2
V6 = "fd00:244:1::/64"


def accept_ra(ifname: str) -> Path:
    return Path(f"/proc/sys/net/ipv6/conf/{ifname}/accept_ra")


@pytest.fixture
def router(host: None) -> str:  # noqa: ARG001
    """Have a router beside this host, without duplicate detection, and return its namespace."""
    lab.add_netns("router")
    lab.run("ip link add uplink type veth peer name eth0 netns router")
    lab.run("sysctl -q net.ipv6.conf.uplink.accept_dad=0 net.ipv6.conf.uplink.accept_ra=1")
    lab.run("sysctl -q net.ipv6.conf.eth0.accept_dad=0", netns="router")
    lab.run("ip link set uplink up")
    lab.run("ip link set eth0 up", netns="router")
    for place in ("", "router"):
        assert lab.wait_until(lambda: "fe80:" in lab.run("ip -6 addr", netns=place))  # noqa: B023
    return "router"


def advertise(router: str) -> None:
    """Let the router say that it is one."""
    with (
        entered(lab.netns_path(router)),
        socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sender,
    ):
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        sender.sendto(ADVERTISEMENT, ("ff02::1", 0, 0, socket.if_nametoindex("eth0")))


def learnt() -> bool:
    return "proto ra" in lab.run("ip -6 route show default dev uplink")


def knows_after(router: str) -> bool:
    advertise(router)
    return lab.wait_until(learnt, 5)


@pytest.mark.parametrize("kind", ["ptp", "bridge"])
def test_the_router_stays_and_is_learnt_again(suite: lab.Suite, router: str, kind: str) -> None:
    assert knows_after(router)
    conf = networks.ptp(V6) if kind == "ptp" else networks.bridge(V6, isGateway=True)

    pods.add(suite, conf)

    assert Path("/proc/sys/net/ipv6/conf/all/forwarding").read_text() == "1\n"
    assert learnt()
    lab.run("ip -6 route delete default dev uplink")
    assert knows_after(router)


def test_an_interface_that_hears_no_routers_hears_none_after(suite: lab.Suite, router: str) -> None:
    accept_ra("uplink").write_text("0")
    lab.run("ip link add own type veth peer name own-peer")
    Path("/proc/sys/net/ipv6/conf/own/forwarding").write_text("1")

    pods.add(suite, networks.ptp(V6))

    advertise(router)
    assert not learnt()
    assert accept_ra("uplink").read_text() == "0\n"
    assert accept_ra("own").read_text() == "1\n"
    assert accept_ra("own-peer").read_text() == "2\n"
