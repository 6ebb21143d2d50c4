"""A runtime that ends while a pod lives, or in the middle of a pod's ADD, and starts again.

The networks are CRI-O's own.
"""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import conflists, lab
from tests.conflists import Conflist
from tests.runtimes import leftovers
from tests.runtimes.node import CNI_BIN, Node, Pod, rules_that_mention, traces
from tests.runtimes.runtime import Runtime
from tests.runtimes.traffic import ask

CRIO = {name: one for name, one in conflists.shipped().items() if one.json["name"] == "crio"}
ENDS = {"ended": signal.SIGTERM, "killed": signal.SIGKILL}
MOMENTS = {  # the program that is held in the midst of ADD, and where
    "before its ADD": ("bridge", "before"),
    "with its lease": ("host-local", "after"),
    "with all but the answer": ("bridge", "after"),
}
HELD = """#!/bin/sh
hold() {{
    [ "$CNI_COMMAND" = ADD ] && [ -p "$1" ] || return
    echo >/run/held
    cat "$1"
}}
hold /run/before
answer=$({program})
status=$?
hold /run/after
printf %s "$answer"
exit $status
"""
RUNTIMES = ("namespace", "result")  # of these, what is the runtime's own

pytestmark = pytest.mark.parametrize("conflist", CRIO.values(), ids=list(CRIO), indirect=True)


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
@pytest.mark.parametrize(("name", "where"), MOMENTS.values(), ids=list(MOMENTS))
def test_what_a_pod_has_whose_runtime_was_killed_in_its_midst_is_taken_by_removal_or_gc(
    name: str, where: str, conflist: Conflist, runtime: Runtime, frozen_bin: Path
) -> None:
    first = runtime.run_sandbox("a")
    before, second = ours(), conflist.pod_addresses(2)
    make_holdable(frozen_bin / name)

    kill_in_the_midst_of_a_pod(runtime, Path("/run", where))
    runtime.start()
    for sandbox_id in set(runtime.cri.sandboxes()) - {first.id}:
        runtime.remove_sandbox(sandbox_id)
    collect_garbage(conflist, first)

    assert ours() == before
    assert rules_that_mention(*second) == []
    assert [ask(address) for address in first.addresses] == conflist.gateways
    assert runtime.run_sandbox("c").addresses != first.addresses


def make_holdable(program: Path) -> None:
    """Let `program` on the node wait at a FIFO, when there is one, in its ADD."""
    script = Path("/run/holdable")
    script.write_text(HELD.format(program=program))
    script.chmod(0o755)
    lab.mount(str(script), str(CNI_BIN / program.name), flags=lab.MS_BIND)


def kill_in_the_midst_of_a_pod(runtime: Runtime, gate: Path) -> None:
    """Kill the runtime when its program waits at `gate`; the program goes on then."""
    os.mkfifo(gate)
    with ThreadPoolExecutor(1) as kubelet:
        call = kubelet.submit(runtime.cri.run_sandbox, "b", [])
        leftovers.wait_for(Path("/run/held").exists, "the program to be held")
        runtime.stop(signal.SIGKILL)
        assert call.exception()
    gate.write_text("")
    gate.unlink()
    leftovers.wait_for(lambda: not programs(runtime), "the programs of the chain to end")


def programs(runtime: Runtime) -> list[str]:
    """List the programs of a chain that run on the node."""
    running = leftovers.processes(runtime.node.cgroup).values()
    return [command for command in running if f"{CNI_BIN}/" in command]


def collect_garbage(conflist: Conflist, *pods: Pod) -> None:
    """Send GC to the programs of the chain: `pods` are all that there are."""
    valid = [{"containerID": pod.id, "ifname": "eth0"} for pod in pods]
    suite = lab.Suite(CNI_BIN, imported=False)
    for plugin in conflist.json["plugins"]:
        named = {"cniVersion": "1.1.0", "name": conflist.name, "cni.dev/valid-attachments": valid}
        suite.call(plugin["type"], "GC", plugin | named).ok()
