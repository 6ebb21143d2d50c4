"""Pods of podman 4 with its CNI back end."""

from tests import lab
from tests.runtimes import image
from tests.runtimes.node import (
    GATEWAY,
    NODE,
    OUTSIDE,
    leases,
    recorded_result,
    rules_that_mention,
    traces,
)
from tests.runtimes.podman import Podman
from tests.runtimes.traffic import ask, ask_udp, ping, udp_echo

WEB, DNS = "--publish=18080:80", "--publish=15353:53/udp"
WEB_PORT, DNS_PORT = 18080, 15353


def test_podman_reports_the_address_and_the_gateway_of_the_kindnet_conflist(
    podman: Podman,
) -> None:
    pod = podman.run("a")

    network = podman.inspect("a")["NetworkSettings"]["Networks"]["kindnet"]
    assert (network["IPAddress"], network["Gateway"]) == ("10.244.1.2", GATEWAY)
    assert network["MacAddress"] == recorded_result(pod.id)["interfaces"][1]["mac"]
    (loopback,) = lab.ip("link show lo", netns=pod.netns)
    assert "UP" in loopback["flags"]


def test_two_podman_pods_talk_to_each_other_and_to_the_outside(podman: Podman) -> None:
    first, second = podman.run("a"), podman.run("b")

    assert ask(second.address, netns=first.netns) == first.address
    assert ask(first.address, netns=second.netns) == second.address
    assert ask(first.address) == GATEWAY
    ping(OUTSIDE, netns=first.netns)


def test_a_port_that_podman_publishes_answers_outside_node_and_pods(podman: Podman) -> None:
    pod, other = podman.run("a", WEB), podman.run("b")

    assert ask(NODE, WEB_PORT, netns="outside") == OUTSIDE
    ask(NODE, WEB_PORT)
    ask("127.0.0.1", WEB_PORT)
    ask(NODE, WEB_PORT, netns=other.netns)
    ask(NODE, WEB_PORT, netns=pod.netns)


def test_a_udp_port_that_podman_publishes_answers_the_outside(podman: Podman) -> None:
    pod = podman.run("a", DNS)

    with udp_echo(pod.netns, 53):
        assert ask_udp(NODE, DNS_PORT, netns="outside") == OUTSIDE


def test_a_removed_podman_container_leaves_nothing(podman: Podman) -> None:
    before = traces()
    pod = podman.run("a", WEB, DNS)
    assert rules_that_mention(pod.address)

    podman.remove("a")

    assert traces() == before
    assert rules_that_mention(pod.address, pod.id, WEB_PORT, DNS_PORT) == []


def test_a_podman_container_that_ends_by_itself_leaves_nothing(podman: Podman) -> None:
    before = traces()

    podman("run", "--rm", *podman.always, WEB, image.NAME, "/bin/busybox", "true")

    assert traces() == before
    assert rules_that_mention(WEB_PORT) == []


def test_a_restarted_podman_container_has_its_port_again_and_no_second_lease(
    podman: Podman,
) -> None:
    first = podman.run("a", WEB)
    before, rules = traces(), len(rules_that_mention(first.address))

    podman("restart", "--time=0", "a")

    again = podman.pod("a")
    assert again.id == first.id
    assert ask(NODE, WEB_PORT, netns="outside") == OUTSIDE
    assert leases() == {again.address}
    assert len(traces()) == len(before)
    assert len(rules_that_mention(first.address, again.address)) == rules
