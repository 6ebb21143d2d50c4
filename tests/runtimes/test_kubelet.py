"""Pods of containerd, and of CRI-O where there is one, run by the calls that a kubelet makes.

CRI-O leads host ports by itself: what the project's do is promised under containerd.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import lab
from tests.conflists import kindnet
from tests.runtimes.containerd import Containerd
from tests.runtimes.cri import CriError, HostPort
from tests.runtimes.leftovers import wait_for
from tests.runtimes.node import (
    GATEWAY,
    MTU,
    NODE,
    NODE_6,
    OUTSIDE,
    POD_CIDR,
    POD_CIDR_6,
    Node,
    rules_that_mention,
    traces,
)
from tests.runtimes.runtime import Runtime
from tests.runtimes.traffic import ask, ask_udp, ping, udp_echo

WEB = HostPort(18080, 80)
DNS = HostPort(15353, 53, "UDP")


@pytest.fixture
def dual_stack(node: Node) -> None:
    """The node has pod CIDRs of both families."""
    node.configure(kindnet([POD_CIDR, POD_CIDR_6], MTU))


@pytest.fixture
def one_address(node: Node) -> None:
    """The node has a range with a gateway and a single address for pods."""
    node.configure(kindnet(["10.244.1.0/30"], MTU))


def test_a_kubelet_is_told_the_address_that_the_kindnet_conflist_gave(
    runtime: Runtime,
) -> None:
    pod = runtime.run_sandbox("a")

    assert runtime.cri.addresses(pod.id) == pod.addresses == ("10.244.1.2",)
    ping(GATEWAY, netns=pod.netns)
    (route,) = lab.ip("route show default", netns=pod.netns)
    assert (route["gateway"], route["dev"]) == (GATEWAY, "eth0")


def test_lo_is_up_in_a_pod(runtime: Runtime) -> None:
    """It is a network of containerd's, attached at the same time as the pod's other."""
    pod = runtime.run_sandbox("a")

    (loopback,) = lab.ip("link show lo", netns=pod.netns)
    assert "UP" in loopback["flags"]
    assert ask("127.0.0.1", netns=pod.netns) == "127.0.0.1"


@pytest.mark.usefixtures("dual_stack")
def test_a_dual_stack_pod_is_reached_at_an_address_of_each_family(
    runtime: Runtime,
) -> None:
    pod = runtime.run_sandbox("a", [WEB])

    assert runtime.cri.addresses(pod.id) == ("10.244.1.2", "fd00:10:244:1::2")
    for address in (*pod.addresses, NODE, NODE_6):
        port = 80 if address in pod.addresses else WEB.host
        ask(address, port, netns="outside")


def test_a_host_port_of_a_kubelet_pod_answers_the_outside_and_sees_who_asked(
    runtime: Runtime,
) -> None:
    runtime.run_sandbox("a", [WEB])

    assert ask(NODE, WEB.host, netns="outside") == OUTSIDE


def test_a_udp_host_port_of_a_kubelet_pod_answers_the_outside_and_sees_who_asked(
    runtime: Runtime,
) -> None:
    pod = runtime.run_sandbox("a", [WEB, DNS])

    with udp_echo(pod.netns, DNS.container):
        assert ask_udp(NODE, DNS.host, netns="outside") == OUTSIDE


def test_a_host_port_of_a_kubelet_pod_answers_the_node_another_pod_and_the_pod_itself(
    containerd: Containerd,
) -> None:
    pod = containerd.run_sandbox("a", [WEB])
    other = containerd.run_sandbox("b")

    ask(NODE, WEB.host)
    ask("127.0.0.1", WEB.host)
    ask(NODE, WEB.host, netns=other.netns)
    ask(NODE, WEB.host, netns=pod.netns)


@pytest.mark.usefixtures("dual_stack")
def test_a_removed_kubelet_pod_leaves_nothing_though_its_removal_is_repeated(
    runtime: Runtime,
) -> None:
    before = traces()
    pod = runtime.run_sandbox("a", [WEB, DNS])
    assert rules_that_mention(pod.address)

    runtime.cri.stop_sandbox(pod.id)
    assert traces() == before
    runtime.cri.stop_sandbox(pod.id)
    runtime.remove_sandbox(pod.id)

    assert traces() == before
    assert rules_that_mention(*pod.addresses, pod.id, WEB.host, DNS.host) == []


def test_a_host_port_is_free_for_the_next_pod_once_its_pod_is_removed(
    runtime: Runtime,
) -> None:
    first = runtime.run_sandbox("a", [WEB])
    runtime.remove_sandbox(first.id)

    second = runtime.run_sandbox("b", [WEB])

    assert second.address != first.address
    assert ask(NODE, WEB.host, netns="outside") == OUTSIDE


def test_pods_that_come_and_go_at_the_same_time_never_share_an_address(
    runtime: Runtime,
) -> None:
    before = traces()
    with ThreadPoolExecutor(6) as kubelet:
        pods = list(kubelet.map(runtime.run_sandbox, "abcdef"))
        answers = [ask(pod.address, netns="outside") for pod in pods]
        list(kubelet.map(runtime.remove_sandbox, [pod.id for pod in pods]))

    assert len({pod.address for pod in pods}) == len(pods)
    assert set(answers) == {OUTSIDE}
    assert traces() == before


def test_a_node_is_ready_for_pods_as_long_as_it_has_a_conflist(
    node: Node, runtime: Runtime
) -> None:
    assert runtime.cri.network_is_ready()

    node.unconfigure()
    wait_for(lambda: not runtime.cri.network_is_ready(), "the runtime to miss the conflist")
    node.configure(kindnet([POD_CIDR], MTU))
    wait_for(runtime.cri.network_is_ready, "the runtime to find the conflist")

    pod = runtime.run_sandbox("a")
    assert ask(pod.address, netns="outside") == OUTSIDE


@pytest.mark.usefixtures("one_address")
def test_a_pod_that_finds_no_free_address_is_refused_with_the_range_and_leaves_nothing(
    runtime: Runtime,
) -> None:
    runtime.run_sandbox("a")
    before = traces()

    with pytest.raises(CriError, match=r"10\.244\.1\."):
        runtime.run_sandbox("b", [WEB])

    assert traces() == before
    assert rules_that_mention(WEB.host) == []
