"""Pods of containerd, run by `ctr run --cni`."""

from tests import lab
from tests.runtimes.containerd import Containerd
from tests.runtimes.node import (
    GATEWAY,
    MTU,
    NODE,
    OUTSIDE,
    recorded_result,
    rules_that_mention,
    traces,
)
from tests.runtimes.traffic import ask, ping


def test_a_containerd_pod_gets_its_address_from_the_kindnet_conflist_and_pings_its_gateway(
    containerd: Containerd,
) -> None:
    pod = containerd.run("a")

    assert pod.addresses == ("10.244.1.2",)
    containerd.execute("a", f"/bin/busybox ping -c 1 -W 5 {GATEWAY}")
    (link,) = lab.ip("link show eth0", netns=pod.netns)
    assert link["mtu"] == MTU
    (loopback,) = lab.ip("link show lo", netns=pod.netns)
    assert "UP" in loopback["flags"]


def test_the_result_that_containerd_records_names_both_ends_of_the_pods_link(
    containerd: Containerd,
) -> None:
    pod = containerd.run("a")

    result = recorded_result(pod.id)
    host_end, pod_end = result["interfaces"]
    assert result["cniVersion"] == "0.3.1"
    assert [ip["interface"] for ip in result["ips"]] == [1]
    assert lab.ip(f"link show {host_end['name']}")[0]["address"] == host_end["mac"]
    assert lab.ip("link show eth0", netns=pod.netns)[0]["address"] == pod_end["mac"]


def test_containerd_pods_the_node_and_the_outside_reach_each_other_by_their_own_addresses(
    containerd: Containerd,
) -> None:
    first, second = containerd.run("a"), containerd.run("b")

    assert ask(second.address, netns=first.netns) == first.address
    assert ask(first.address, netns=second.netns) == second.address
    assert ask(first.address) == GATEWAY
    assert ask(first.address, netns="outside") == OUTSIDE
    ping(NODE, netns=first.netns)
    ping(OUTSIDE, netns=first.netns)


def test_a_containerd_pod_that_has_ended_leaves_nothing(containerd: Containerd) -> None:
    before = traces()
    pod = containerd.run("a")
    assert traces() != before

    said = containerd.end("a")

    assert "error" not in said
    assert traces() == before
    assert rules_that_mention(pod.address, pod.id) == []


def test_a_containerd_pod_that_has_ended_leaves_its_neighbour_alone(
    containerd: Containerd,
) -> None:
    first = containerd.run("a")
    with_one = traces()
    containerd.run("b")

    containerd.end("b")

    assert traces() == with_one
    assert ask(first.address, netns="outside") == OUTSIDE
