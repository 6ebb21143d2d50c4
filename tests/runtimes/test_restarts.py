"""A runtime that ends while a pod lives, or in the middle of a pod's ADD, and starts again.

The networks are CRI-O's own.
"""

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests import conflists, lab
from tests.conflists import Conflist
from tests.runtimes import leftovers
from tests.runtimes.node import CNI_BIN, Node, Pod, rules_that_mention, traces
from tests.runtimes.runtime import Runtime
from tests.runtimes.traffic import ask

CRIO = {name: one for name, one in conflists.shipped().items() if one.json["name"] == "crio"}
ENDS = {"ended": signal.SIGTERM, "killed": signal.SIGKILL}
MOMENTS = ("namespace", "lease", "link", "result")  # what of a pod is there, see `traces`
RUNTIMES = ("namespace", "result")  # of these, what is the runtime's own


@pytest.fixture(params=CRIO.values(), ids=list(CRIO))
def conflist(request: pytest.FixtureRequest, node: Node) -> Conflist:
    """Return a conflist of CRI-O that is the node's network."""
    found: Conflist = request.param
    node.install(found.path)
    return found


@pytest.fixture
def untidy(node: Node) -> Iterator[None]:
    """What a killed runtime forgets, processes, cgroups and mounts, goes with the test."""
    before = leftovers.mount_points()
    yield
    leftovers.tidy(node.cgroup)
    for place in leftovers.mounted_since(before):
        lab.run(f"umount --lazy {place}")


def ours() -> set[str]:
    """Return what the project's programs have left on the node, but for the bridge."""
    return {one for one in traces() if not one.startswith(RUNTIMES) and one.split()[-1] != "cni0"}


@pytest.mark.parametrize("how", ENDS.values(), ids=list(ENDS))
def test_a_pod_outlives_its_runtime_and_is_removed_by_the_next(
    how: signal.Signals, conflist: Conflist, runtime: Runtime
) -> None:
    before = ours()
    pod = runtime.run_sandbox("a")
    with_pod = traces()

    runtime.stop(how)
    assert traces() == with_pod
    assert [ask(address) for address in pod.addresses] == conflist.gateways
    runtime.start()

    assert traces() == with_pod
    assert runtime.cri.addresses(pod.id) == pod.addresses
    assert ask(pod.address, netns=runtime.run_sandbox("b").netns) == conflist.pod_addresses(2)[0]
    runtime.remove_all()
    assert ours() == before
    assert rules_that_mention(pod.id, *pod.addresses, *conflist.pod_addresses(2)) == []


@pytest.mark.usefixtures("untidy")
@pytest.mark.parametrize("moment", MOMENTS)
def test_what_a_pod_has_whose_runtime_was_killed_in_its_midst_is_taken_by_removal_or_gc(
    moment: str, conflist: Conflist, runtime: Runtime
) -> None:
    first = runtime.run_sandbox("a")
    before, second = ours(), conflist.pod_addresses(2)

    kill_in_the_midst_of_a_pod(runtime, moment)
    runtime.start()
    for sandbox_id in set(runtime.cri.sandboxes()) - {first.id}:
        runtime.remove_sandbox(sandbox_id)
    collect_garbage(conflist, first)

    assert ours() == before
    assert rules_that_mention(*second) == []
    assert [ask(address) for address in first.addresses] == conflist.gateways
    assert runtime.run_sandbox("c").addresses != first.addresses


def kill_in_the_midst_of_a_pod(runtime: Runtime, moment: str) -> None:
    """Kill the runtime as soon as a pod has what `moment` says; what it has executed goes on."""
    before = traces()
    with ThreadPoolExecutor(1) as kubelet:
        call = kubelet.submit(runtime.cri.run_sandbox, "b", [])
        leftovers.wait_for(
            lambda: any(one.startswith(moment) for one in traces() - before), f"the pod's {moment}"
        )
        runtime.stop(signal.SIGKILL)
        assert call.exception()
    leftovers.wait_for(lambda: not programs(runtime), "the programs of the chain to end")


def programs(runtime: Runtime) -> list[str]:
    """List the programs of a chain that run on the node."""
    running = leftovers.processes(runtime.node.cgroup).values()
    return [command for command in running if command.startswith(str(CNI_BIN))]


def collect_garbage(conflist: Conflist, *pods: Pod) -> None:
    """Send GC to the programs of the chain: `pods` are all that there are."""
    valid = [{"containerID": pod.id, "ifname": "eth0"} for pod in pods]
    suite = lab.Suite(CNI_BIN, imported=False)
    for plugin in conflist.json["plugins"]:
        named = {"cniVersion": "1.1.0", "name": conflist.name, "cni.dev/valid-attachments": valid}
        suite.call(plugin["type"], "GC", plugin | named).ok()
