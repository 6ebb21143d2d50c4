"""loopback brings lo up, and touches nothing else."""

import pytest

from tests import lab

CONF = {"cniVersion": "1.0.0", "name": "cni-loopback", "type": "loopback"}
pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture
def pod() -> str:
    """Return the path of a namespace whose lo is down."""
    lab.run("ip netns add pod")
    return lab.netns_path("pod")


def is_up(netns: str) -> bool:
    """Tell whether lo is up."""
    return "UP" in lab.ip("link show lo", netns=netns)[0]["flags"]


def test_add_brings_lo_up_and_del_takes_it_down(suite: lab.Suite, pod: str) -> None:
    result = suite.call("loopback", "ADD", CONF, netns=pod, ifname="lo").ok().json

    assert is_up(pod)
    assert result["interfaces"] == [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": pod}]
    assert [ip["address"] for ip in result["ips"]] == ["127.0.0.1/8", "::1/128"]
    assert [ip["interface"] for ip in result["ips"]] == [0, 0]
    suite.call("loopback", "CHECK", CONF, netns=pod, ifname="lo").ok()
    suite.call("loopback", "DEL", CONF, netns=pod, ifname="lo").ok()
    assert not is_up(pod)


def test_the_interface_is_lo_whatever_the_runtime_calls_it(suite: lab.Suite, pod: str) -> None:
    result = suite.call("loopback", "ADD", CONF, netns=pod, ifname="eth0").ok().json

    assert result["interfaces"][0]["name"] == "lo"
    assert is_up(pod)


def test_a_chained_add_passes_the_previous_result_on(suite: lab.Suite, pod: str) -> None:
    previous = {"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.3/24"}]}

    reply = suite.call("loopback", "ADD", CONF | {"prevResult": previous}, netns=pod)

    assert reply.ok().json == previous
    assert is_up(pod)


def test_check_fails_when_lo_is_down(suite: lab.Suite, pod: str) -> None:
    reply = suite.call("loopback", "CHECK", CONF, netns=pod, ifname="lo").failed(102)

    assert "loopback interface is down" in reply.json["msg"]


def test_a_foreign_address_on_lo_is_an_error(suite: lab.Suite, pod: str) -> None:
    lab.run("ip addr add 10.9.9.9/32 dev lo", netns=pod)

    reply = suite.call("loopback", "ADD", CONF, netns=pod, ifname="lo").failed(102)

    assert '"10.9.9.9/32"' in reply.json["msg"]


def test_del_never_takes_the_hosts_lo_down(suite: lab.Suite) -> None:
    suite.call("loopback", "DEL", CONF, netns="/proc/self/ns/net", ifname="lo").failed(8)

    assert is_up("")


def test_del_of_a_container_that_is_gone_succeeds(suite: lab.Suite) -> None:
    suite.call("loopback", "DEL", CONF, ifname="lo").ok()
    suite.call("loopback", "DEL", CONF, netns="/run/netns/gone", ifname="lo").ok()


def test_gc_and_status_succeed(suite: lab.Suite) -> None:
    conf = CONF | {"cniVersion": "1.1.0"}

    assert suite.call("loopback", "STATUS", conf).ok().stdout == ""
    assert suite.call("loopback", "GC", conf | {"cni.dev/valid-attachments": []}).ok().stdout == ""
