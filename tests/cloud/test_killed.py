"""The agent is killed at every call of the cloud, and at every change of its record."""

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ipam.aws_vpc.agent import record
from ipam.aws_vpc.agent.record import Book
from tests.cloud.node import Node, running

CALLS = (
    "DescribeInstanceTypes",
    "DescribeNetworkInterfaces",
    "DescribeSubnets",
    "AssignPrivateIpAddresses",
    "CreateNetworkInterface",
    "AttachNetworkInterface",
    "ModifyNetworkInterfaceAttribute",
    "DetachNetworkInterface",
    "DeleteNetworkInterface",
    "UnassignPrivateIpAddresses",
)
PODS = 4


def live(node: Node, told: int) -> None:
    """Let pods come, then go; write a byte for each pod whose program has got its answer."""
    node.settle()
    node.add_all(PODS)
    os.write(told, b"+" * PODS)
    node.settle()
    for number in range(1, PODS):
        node.delete(f"pod-{number}")
    os.write(told, b"-" * (PODS - 1))
    node.pass_time(1500)
    node.settle()


def run_killed(node: Node, prepare: Callable[[], object]) -> tuple[bool, bytes]:
    """Run an agent in a process of its own; tell whether it was killed, and what it told."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            prepare()
            node.connect()
            node.restart()
            live(node, writer)
            os._exit(0)
        finally:
            os._exit(1)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL), f"the agent ended with {code}"
    with open(reader, "rb") as told:
        return code != 0, told.read()


def assert_recovers(node: Node, told: bytes) -> None:
    """Fail unless a new agent makes all of it whole again, and no pod has lost its address."""
    node.clock.sleep(1500)
    node.restart()
    before = node.pods
    node.settle()
    node.keeper.sweep_now()
    node.settle()

    assert node.pods == before
    assert len(before) >= told.count(b"+") - told.count(b"-") - (PODS - 1) * (b"-" not in told)
    assert b"+" not in told or "pod-0" in before
    node.assert_whole()
    node.add_all(2, first=10)
    node.settle()
    node.assert_whole()


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("call", CALLS)
def test_a_kill_at_a_call_leaks_nothing(small: Node, call: str, moment: str) -> None:
    children: list[int] = []

    def kill(name: str) -> None:
        if name == call and children:
            os.kill(children.pop(), signal.SIGKILL)

    reader, writer = os.pipe()
    setattr(small.cloud.faults, moment, kill)

    def prepare() -> None:
        os.write(writer, os.getpid().to_bytes(4, "big"))
        os.read(again, 1)

    again, ready = os.pipe()

    def learn() -> None:
        children.append(int.from_bytes(os.read(reader, 4), "big"))
        os.write(ready, b"!")

    learner = threading.Thread(target=learn)
    learner.start()
    killed, told = run_killed(small, prepare)
    learner.join()
    for file in (reader, writer, again, ready):
        os.close(file)

    assert killed, f"{call} was never called"
    assert_recovers(small, told)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_at_a_change_of_the_record_loses_nothing(tmp_path: Path, moment: str) -> None:
    changes = 0
    killed = True
    while killed:
        place = tmp_path / str(changes)
        place.mkdir()
        with running(place, kind="t3.small", WARM_IP_TARGET="1") as node:
            number = changes
            killed, told = run_killed(node, lambda: _die_at(number, moment))  # noqa: B023
            if killed:
                assert_recovers(node, told)
            changes += 1

    assert changes > 15


def _die_at(number: int, moment: str) -> None:
    """Let this process be killed at that change of the record."""
    write, left = record.write, [number]

    def dying(book: Book, *place: object) -> None:
        left[0] -= 1
        if left[0] < 0 and moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        write(book, *place)  # type: ignore[arg-type]
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    record.write = dying  # type: ignore[assignment]
