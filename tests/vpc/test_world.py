"""The whole of it: the node agent, its cloud, and a network that takes only what that says."""

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path

import pytest

from tests import packets
from tests.vpc import world
from tests.vpc.fabric import OUTSIDE, OUTSIDE_ADDRESS
from tests.vpc.world import World

PODS = {"a": "n1", "b": "n1", "c": "n1", "d": "n1", "e": "n2", "f": "n2", "g": "n2", "h": "n2"}


@pytest.fixture
def cloud(host: None, source_bin: Path) -> Iterator[World]:  # noqa: ARG001
    """Have two nodes whose agents serve."""
    with world.running(source_bin) as found:
        for node in found.machines:
            found.start_agent(node)
        yield found


def test_pods_of_two_nodes_talk_from_every_eni(cloud: World) -> None:
    """Three have room on the primary ENI; the fourth needs the agent to attach another."""
    addresses = {pod: cloud.add(pod, node) for pod, node in PODS.items()}

    devices = {pod: cloud.device(address) for pod, address in addresses.items()}
    assert {0, 1} == set(devices.values()) == {devices[pod] for pod in "abcd"}
    for client, server in permutations(addresses, 2):
        seen = packets.seen_from(client, server, (addresses[server], 80))
        assert seen == addresses[client], f"{client} → {server}"
    for pod, node in PODS.items():
        own = cloud.fabric.own(node)
        assert packets.seen_from(pod, OUTSIDE, (OUTSIDE_ADDRESS, 80)) == own
        assert packets.seen_from(OUTSIDE, pod, (addresses[pod], 80)) == OUTSIDE_ADDRESS
        cloud.call("check", pod, node).ok()
    assert cloud.fabric.dropped() == 0
