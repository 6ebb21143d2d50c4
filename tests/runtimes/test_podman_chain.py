"""podman's own chains: bridge, portmap, firewall, tuning; the last two are the reference's."""

import json
import shutil
from pathlib import Path

import pytest

from tests import lab, packets
from tests.conflists import PODMAN, Conflist
from tests.runtimes.node import NET_D, NODE, OUTSIDE, Node, leases, rules_that_mention, traces
from tests.runtimes.podman import Podman
from tests.runtimes.traffic import ask

pytestmark = pytest.mark.parametrize("podman", ["podman"], indirect=True, ids=["default network"])
WEB, WEB_PORT = "--publish=18080:80", 18080


@pytest.fixture(scope="session")
def default(tmp_path_factory: pytest.TempPathFactory) -> Conflist:
    """Return what Debian's package has put in net.d, where a node cannot see it."""
    assert PODMAN.path.exists(), "install Debian's podman"
    return Conflist(Path(shutil.copy(PODMAN.path, tmp_path_factory.mktemp("podman"))))


@pytest.fixture(autouse=True)
def chain(default: Conflist, node: Node) -> Conflist:
    """Return podman's default conflist, which is the node's network."""
    assert default.types == ["bridge", "portmap", "firewall", "tuning"]
    node.install(default.path)
    return default


def test_pods_on_podmans_own_conflist_reach_what_it_promises(
    chain: Conflist, podman: Podman
) -> None:
    first, second = podman.run("a", WEB), podman.run("b")

    told = podman.inspect("a")["NetworkSettings"]["Networks"]["podman"]
    assert (told["IPAddress"], told["Gateway"]) == ("10.88.0.2", "10.88.0.1")
    assert (told["IPAddress"],) == chain.pod_addresses(1)
    assert ask(second.address, netns=first.netns) == first.address
    assert ask(first.address) == "10.88.0.1"
    assert packets.seen_from(first.netns, "outside", (OUTSIDE, 80)) == NODE
    assert ask(NODE, WEB_PORT, netns="outside") == OUTSIDE
    for netns in ("", first.netns, second.netns):
        ask(NODE, WEB_PORT, netns=netns)


def test_removed_containers_leave_nothing_but_the_bridge(podman: Podman) -> None:
    before = traces()
    pods = [podman.run("a", WEB), podman.run("b")]
    for pod in pods:
        assert rules_that_mention(pod.address)

    podman.remove()

    words = [word for pod in pods for word in (pod.id, pod.address)]
    assert rules_that_mention(WEB_PORT, *words) == []
    assert {one for one in traces() - before if one.split()[-1] != "cni-podman0"} == set()


def test_a_restarted_container_has_its_port_again(podman: Podman) -> None:
    podman.run("a", WEB)

    podman("restart", "--time=0", "a")

    again = podman.pod("a")
    assert ask(NODE, WEB_PORT, netns="outside") == OUTSIDE
    assert leases() == {again.address}


def test_a_network_that_podman_creates_gives_the_address_and_mac_asked_for(
    podman: Podman,
) -> None:
    podman("network", "create", "--subnet=10.90.0.0/24", "web")
    asked = ("--ip=10.90.0.9", "--mac-address=02:00:00:00:00:99")

    pod = podman.run("a", "--network=web", *asked)

    assert json.loads((NET_D / "web.conflist").read_text())["plugins"][0]["type"] == "bridge"
    assert pod.addresses == ("10.90.0.9",)
    (link,) = lab.ip("link show eth0", netns=pod.netns)
    assert link["address"] == "02:00:00:00:00:99"
    assert ask(pod.address) == "10.90.0.1"


def test_a_container_on_two_networks_is_reached_on_both(podman: Podman) -> None:
    podman("network", "create", "--subnet=10.90.0.0/24", "web")
    one = podman.run("a", "--network=podman", "--network=web")
    two = podman.run("b", "--network=web")

    assert ask("10.88.0.2") == "10.88.0.1"
    assert ask("10.90.0.2", netns=two.netns) == two.address
    podman.remove()
    assert leases() == set()
    assert one.netns


def test_networks_that_podman_isolates_do_not_reach_each_other(podman: Podman) -> None:
    for name, subnet in (("red", "10.90.0.0/24"), ("blue", "10.91.0.0/24")):
        podman("network", "create", f"--subnet={subnet}", "--opt=isolate=true", name)
    red, blue = podman.run("a", "--network=red"), podman.run("b", "--network=blue")
    beside = podman.run("c", "--network=red")

    assert not packets.reachable(red.netns, blue.netns, (blue.address, 8000))
    assert packets.seen_from(red.netns, beside.netns, (beside.address, 8000)) == red.address
