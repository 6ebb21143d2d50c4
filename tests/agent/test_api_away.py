"""Nodes whose Kubernetes API goes away go on with what they have, and then catch up."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import lab
from tests.agent import apis, machines
from tests.agent.apis import Api
from tests.agent.machines import Machine
from tests.overlay import nodes
from tests.overlay.test_change import traces

MINUTE, HALF = 60.0, 30.0
CAUGHT_UP = 75.0  # seconds: the pause after many failures, and a connection that times out
NEW = "172.18.0.77"  # address of the machine that takes the place of n2


@pytest.fixture(params=apis.SERVERS)
def api(
    request: pytest.FixtureRequest,
    cluster: list[Machine],  # noqa: ARG001  # they are there first
    tmp_path: Path,
) -> Iterator[Api]:
    with apis.serve(apis.SERVERS[request.param], tmp_path, *nodes.NAMES) as found:
        yield found


@pytest.fixture
def cluster(host: None, frozen_bin: Path) -> Iterator[list[Machine]]:  # noqa: ARG001
    """Have nodes n1 and n3 without agents."""
    with machines.cluster(frozen_bin, "n1", "n3") as found:
        yield found


def start(machine: Machine, api: Api) -> None:
    machine.start("--kubeconfig", str(api.kubeconfig), "--nodes-file", "")


def pause(seconds: float) -> None:
    lab.wait_until(lambda: False, seconds)


def test_a_minute_without_the_api_and_half_of_it_without_agents_loses_no_packet(
    cluster: list[Machine], api: Api
) -> None:
    """Meanwhile n2 is replaced: another name and address, the same pod CIDR."""
    for machine in cluster:
        start(machine, api)
    for machine in cluster:
        machine.wait_ready()
        machine.add_pod()
        assert lab.wait_until(machine.path("/var/lib/pycni/nodes.json").exists)
    whole = nodes.state("n1")
    with machines.stream("n1", "n3") as there, machines.stream("n3", "n1") as back:
        api.unplug()
        for machine in cluster:
            machine.stop(signal.SIGKILL)
        pause(HALF)
        for machine in cluster:
            start(machine, api)
        for machine in cluster:
            machine.wait_ready()  # by the nodes that it has kept on disk
        api.delete("n2")
        api.add("n9", NEW, nodes.pod_cidr("n2", 4))
        pause(MINUTE - HALF)
        assert nodes.state("n1") == whole
        assert "cannot list nodes" in cluster[0].log.read_text()
        lag = re.search(
            r"^pycni_source_lag_seconds (.+)$", cluster[0].page("/metrics")[1], re.MULTILINE
        )

        api.plug()

        assert lab.wait_until(lambda: traces("n1", NEW) == [NEW], CAUGHT_UP)
    assert traces("n1", nodes.address("n2", 4)) == []
    assert lag
    assert float(lag[1]) > HALF - 1
    for sent, lost in (there, back):
        assert sent > 1000
        assert lost == 0


def test_an_agent_that_finds_no_api_does_with_the_nodes_that_it_has_kept(
    cluster: list[Machine], api: Api
) -> None:
    one = cluster[0]
    start(one, api)
    one.wait_ready()
    whole = nodes.state("n1")
    assert lab.wait_until(one.path("/var/lib/pycni/nodes.json").exists)
    one.stop(signal.SIGKILL)
    lab.run("ip route flush proto 111", netns="n1")
    api.unplug()

    start(one, api)

    assert lab.wait_until(lambda: nodes.state("n1") == whole, machines.WAIT)
    one.wait_ready()
