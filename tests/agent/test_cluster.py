"""Three nodes, each with the whole frozen agent: pods reach each other, and it stays so."""

import json
import os
import random
import signal
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests import lab, packets
from tests.agent import machines
from tests.agent.machines import CONFLIST, NODES_FILE, Machine
from tests.overlay import nodes
from tests.overlay.test_healing import BREAKS

# Seconds for what is promised within ten, of which nine may go by before a full pass begins
# (tests/agent/test_reconcile.py looks at that): the tenth is too little on a busy machine.
HEALED = 30.0
NOTICED = (  # what the kernel tells of; for the rest, the next full pass is waited for
    "device deleted",
    "device down",
    "device down and up",
    "MAC changed",
    "neighbours flushed",
    "FDB flushed",
    "route deleted",
    "network card down and up",
)
Cluster = list[Machine]


@pytest.fixture
def machines_of(host: None, frozen_bin: Path) -> Iterator[Cluster]:  # noqa: ARG001
    """Have three nodes without agents."""
    with machines.cluster(frozen_bin, *nodes.NAMES) as found:
        yield found


@pytest.fixture
def cluster(machines_of: Cluster) -> Cluster:
    """Have three nodes with agents that are ready, and a pod on each."""
    for machine in machines_of:
        machine.start()
    for machine in machines_of:
        machine.wait_ready()
        assert machine.add_pod() == nodes.pod_address(machine.name, 4)
    return machines_of


def heals(whole: object) -> bool:
    """Tell whether n1 is whole again."""
    return lab.wait_until(lambda: nodes.state("n1") == whole, HEALED)


def test_what_is_broken_is_whole_again(cluster: Cluster, subtests: pytest.Subtests) -> None:
    whole = nodes.state("n1")
    table = lab.run("nft -s list ruleset", netns="n1")
    assert all(nodes.reachable(a, b) for a in nodes.NAMES for b in nodes.NAMES if a != b)
    for fault in NOTICED:
        with subtests.test(fault):
            for command in BREAKS[fault][0]:
                lab.run(command, netns="n1")
            assert heals(whole)
            assert nodes.reachable("n1", "n2")
            assert nodes.reachable("n3", "n1")
    with subtests.test("what nobody tells of"):
        lab.run("nft flush ruleset", netns="n1")
        for fault in ("route changed", "an FDB entry changed", "a neighbour changed"):
            lab.run(BREAKS[fault][0][0], netns="n1")
        assert heals(whole)
        assert lab.wait_until(lambda: lab.run("nft -s list ruleset", netns="n1") == table, HEALED)
    with subtests.test("network card deleted, and another put in its place"):
        lab.run("ip link delete eth0", netns="n1")
        assert lab.wait_until(lambda: cluster[0].page("/readyz")[0] == 503, HEALED)
        assert "no interface has this node's address 172.18.0.2" in cluster[0].page("/readyz")[1]
        nodes.plug("n1")
        assert lab.wait_until(partial(nodes.reachable, "n1", "n2"), HEALED)
        assert lab.wait_until(cluster[0].is_ready, machines.WAIT)
    with subtests.test("each repair is told"):
        metrics = cluster[0].page("/metrics")[1]
        for kind in ("device", "address", "neighbour", "fdb", "route"):
            assert f'pycni_repairs_total{{role="vxlan",kind="{kind}"}}' in metrics
        assert 'pycni_repairs_total{role="masq",kind="rule"}' in metrics


def test_direct_routes_are_back_after_the_network_card_was_down(machines_of: Cluster) -> None:
    one = machines_of[0]
    one.start("--template", "", roles=("routes",))
    one.wait_ready()
    whole = nodes.state("n1")
    assert whole["route"] == ["unicast 10.244.2.0/24 via 172.18.0.3 dev eth0 scope global"]

    for command in ("ip link set eth0 down", "ip link set eth0 up"):
        lab.run(command, netns="n1")

    assert nodes.state("n1") != whole
    assert heals(whole)


def test_a_second_ip_version_comes_to_a_running_cluster(machines_of: Cluster) -> None:
    """In both, pods are seen as themselves in the cluster, and as their node outside."""
    for machine in machines_of:
        machine.start()
    for machine in machines_of:
        machine.wait_ready()
    machines.write_nodes(*nodes.NAMES, versions=(4, 6))
    for machine in machines_of:
        conflist = machine.path(CONFLIST)
        assert lab.wait_until(lambda: "fd00:" in conflist.read_text(), HEALED)  # noqa: B023
        machine.add_pod()

    for version, router in ((4, "172.18.0.1"), (6, "fd00:18::1")):
        pod, node = nodes.pod_address("n1", version), nodes.address("n1", version)
        far = nodes.pod_address("n3", version), 80
        device = nodes.pod_cidr("n1", version).partition("/")[0]
        seen_from = partial(packets.seen_from, timeout=HEALED)
        assert seen_from("p1", "p3", far) == pod
        assert seen_from("p1", "n2", (nodes.address("n2", version), 80)) == pod
        assert seen_from("p1", "fabric", (router, 80)) == node
        assert seen_from("n1", "p3", far) == device


def test_no_packet_is_lost_when_agents_die_and_come_back(cluster: Cluster) -> None:
    chance = random.Random(1)
    whole = [nodes.state(name) for name in nodes.NAMES]
    with machines.stream("n1", "n3") as there, machines.stream("n3", "n1") as back:
        for machine in cluster:
            machine.stop(signal.SIGKILL)
        lab.wait_until(lambda: False, 0.5)
        for machine in cluster:
            machine.start()
        for _ in range(8):  # wherever its start has got to
            lab.wait_until(lambda: False, chance.uniform(0.05, 0.4))
            if len(family := cluster[0].children()) > 1:  # not who reads the settings
                for pid in family:
                    with suppress(ProcessLookupError):  # the first took it along
                        os.kill(pid, signal.SIGKILL)
        for machine in cluster:
            machine.wait_ready()
            machine.stop()
    for sent, lost in (there, back):
        assert sent > 200
        assert lost == 0
    assert [nodes.state(name) for name in nodes.NAMES] == whole


def test_the_conflist_comes_last(machines_of: Cluster) -> None:
    """A runtime takes it for a node that can serve pods."""
    one = machines_of[0]
    conflist = one.path(CONFLIST)
    machines.write_nodes("n2", "n3")
    lab.run("ip link add foreign type vxlan id 1 dstport 8472 local 172.18.0.2", netns="n1")
    one.start()
    assert lab.wait_until(lambda: "cannot find node n1" in one.page("/readyz")[1], machines.WAIT)
    assert one.page("/healthz") == (200, "ok\n")
    machines.write_nodes("n1", "n2", "n3")
    assert lab.wait_until(lambda: "foreign" in one.page("/readyz")[1], machines.WAIT)
    assert not conflist.exists()

    lab.run("ip link delete foreign", netns="n1")

    assert lab.wait_until(conflist.exists, HEALED)
    assert len(nodes.state("n1")["route"]) == 2
    assert "masquerade" in lab.run("nft list table inet pycni-node", netns="n1")
    assert lab.wait_until(one.is_ready, machines.WAIT)
    plugin = json.loads(conflist.read_text())["plugins"][0]
    assert plugin["ipam"]["ranges"] == [[{"subnet": "10.244.1.0/24"}]]
    assert plugin["mtu"] == 1450


def test_it_follows_the_nodes_file_and_survives_errors_in_it(cluster: Cluster) -> None:
    one = cluster[0]
    NODES_FILE.write_text("[{")
    assert lab.wait_until(lambda: "cannot decode nodes file" in one.log.read_text(), HEALED)
    assert nodes.reachable("n1", "n3")
    assert one.is_ready()

    machines.write_nodes("n1", "n3")

    assert lab.wait_until(lambda: len(nodes.state("n1")["route"]) == 1, HEALED)
    assert nodes.reachable("n1", "n3")
    lab.run("ip link set eth0 mtu 1400", netns="n1")
    conflist = one.path(CONFLIST)
    assert lab.wait_until(lambda: '"mtu": 1350' in conflist.read_text(), HEALED)
