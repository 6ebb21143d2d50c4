"""A SIGKILL at any line of ADD, DEL or GC loses no address and gives none out twice."""

import os
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from cni.leases.index import Owner
from tests.ipam.network import Network, in_child

pytestmark = pytest.mark.usefixtures("host")
WATCHED = ("cni/leases/store.py", "cni/leases/index.py")  # whatever touches the disk is there
# five addresses of IPv4 and three of IPv6
RANGES = [[{"subnet": "10.1.2.0/29"}], [{"subnet": "fd00::/126", "gateway": "fd00::9"}]]
PODS = ("pod-1", "pod-2", "pod-3")


def killed_at(line: int, work: Callable[[], object]) -> bool:
    """Run `work` in a child that dies at its `line`th line; tell whether it did."""
    passed = 0

    def trace(frame: FrameType, event: str, _arg: object) -> Any:
        nonlocal passed
        if not frame.f_code.co_filename.endswith(WATCHED):
            return None
        if event == "line":
            passed += 1
            if passed == line:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    def traced() -> None:
        sys.settrace(trace)
        work()

    status = in_child(traced)
    assert status in (0, signal.SIGKILL)
    return status != 0


def killed_everywhere(
    prepare: Callable[[Network], Network], work: Callable[[Network], object], *torn: str
) -> int:
    """Kill `work` at its first line, its second … and look at what it leaves.

    Return how many different states of the disk it left.
    """
    seen = []
    for line in count(1):
        directory = Path("/run/leases")
        shutil.rmtree(directory, ignore_errors=True)
        network = prepare(Network(directory, ranges=RANGES))
        killed = killed_at(line, partial(work, network))
        state = {str(path): path.is_file() and path.read_bytes() for path in directory.rglob("*")}
        if state not in seen:
            seen.append(state)
            assert_sound(network, *torn)
        if not killed:
            break
    return len(seen)


def assert_sound(network: Network, *torn: str) -> None:
    """Every lease is whole, DEL releases everything, and every address can be had again."""
    for name, text in network.leases().items():
        assert Owner.decode(text) is not None or name in torn, (name, text)
    bystander = network.add("bystander")
    for pod in (*PODS, "reference", "bystander"):
        network.call("DEL", pod).ok()
    assert set(network.leases()) <= set(torn) - set(bystander)
    assert network.entries() == []
    given = [network.add(f"new-{number}")[0] for number in range(3)]
    given += [network.changed(ranges=RANGES[:1]).add(f"more-{number}")[0] for number in range(2)]
    assert sorted(given) == [f"10.1.2.{number}" for number in range(2, 7)]


def add(network: Network) -> None:
    network.call("ADD").ok()


def test_killed_in_the_first_add() -> None:
    assert killed_everywhere(lambda network: network, add) > 10


def test_killed_in_an_add_among_leases_of_others() -> None:
    def prepare(network: Network) -> Network:
        network.add("pod-2")
        network.put("10.1.2.3", b"reference\r\neth0")
        network.put("10.1.2.4", b"")
        return network

    assert killed_everywhere(prepare, add, "10.1.2.4") > 10


def test_killed_in_del() -> None:
    def prepare(network: Network) -> Network:
        network.add("pod-1")
        network.add("pod-2")
        network.put("10.1.2.6", b"pod-1\r\neth0")
        return network

    assert killed_everywhere(prepare, lambda network: network.call("DEL").ok()) > 5


def test_killed_in_gc() -> None:
    def prepare(network: Network) -> Network:
        network.add("pod-1")
        network.add("pod-2")
        return network.with_conf(**{"cni.dev/valid-attachments": []})

    assert killed_everywhere(prepare, lambda network: network.call("GC").ok()) > 5


def test_killed_while_an_earlier_boot_is_cleaned_up() -> None:
    def prepare(network: Network) -> Network:
        for number, pod in enumerate(PODS, 2):
            network.put(f"10.1.2.{number}", f"{pod}\r\neth0".encode())
            os.utime(network.path / f"10.1.2.{number}", (10**9, 10**9))
        return network

    assert killed_everywhere(prepare, add) > 10
