"""Ours and the reference plugin on one directory: in turn, and at the same time."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cni import versions
from cni.errors import Code
from tests import lab
from tests.ipam.network import RANGE_V4, RANGE_V6, Network, addresses

WORKERS = 16
Call = Callable[..., lab.Reply]


def sides(network: Network, *, ours_first: bool) -> tuple[Call, Call]:
    return (network.call, network.reference) if ours_first else (network.reference, network.call)


BOTH_WAYS = pytest.mark.parametrize("ours_first", [True, False], ids=["ours first", "ours second"])


@BOTH_WAYS
def test_one_adds_the_other_checks_and_deletes(tmp_path: Path, *, ours_first: bool) -> None:
    network = Network(tmp_path, ranges=[RANGE_V4, RANGE_V6])
    adds, deletes = sides(network, ours_first=ours_first)

    result = adds("ADD").ok().json
    network = network.with_conf(prevResult=result)
    _, checks = sides(network, ours_first=ours_first)
    checks("CHECK").ok()
    deletes("DEL").ok()

    assert sorted(network.files()) == ["last_reserved_ip.0", "last_reserved_ip.1"]
    deletes("CHECK").failed(Code.CHECK_FAILED if not ours_first else 999)


@BOTH_WAYS
def test_one_sees_the_duplicate_of_the_other(network: Network, *, ours_first: bool) -> None:
    one, other = sides(network, ours_first=ours_first)
    one("ADD").ok()

    reply = other("ADD")

    said = "10.1.2.2 has been allocated to pod-1, duplicate allocation is not allowed"
    assert reply.exit == 1
    assert reply.json["msg"] == f"failed to allocate for range 0: {said}"


@BOTH_WAYS
def test_each_goes_on_where_the_other_stopped(tmp_path: Path, *, ours_first: bool) -> None:
    network = Network(tmp_path, ranges=[[{"subnet": "10.1.2.0/29"}]])
    one, other = sides(network, ours_first=ours_first)

    order = [addresses(call("ADD", f"pod-{i}")) for i, call in enumerate((one, other, one, other))]

    assert order == [[f"10.1.2.{i}"] for i in (2, 3, 4, 5)]


@pytest.mark.parametrize("version", versions.SUPPORTED[:-1])
def test_files_are_the_same_byte_for_byte(tmp_path: Path, version: str) -> None:
    ours = Network(tmp_path / "ours", version, ranges=[RANGE_V4, RANGE_V6])
    reference = Network(tmp_path / "reference", version, ranges=[RANGE_V4, RANGE_V6])

    for number in range(3):
        ours.call("ADD", f"pod-{number}").ok()
        reference.reference("ADD", f"pod-{number}").ok()
    ours.call("DEL", "pod-1").ok()
    reference.reference("DEL", "pod-1").ok()

    assert ours.files() == reference.files()


def at_once(jobs: list[Callable[[], lab.Reply]]) -> list[lab.Reply]:
    """Run the jobs in processes, 16 at a time; return what they said, in order."""
    workers = []
    for number in range(WORKERS):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            try:
                done = [job() for job in jobs[number::WORKERS]]
                said = [[one.exit, one.stdout, one.stderr] for one in done]
                os.write(writer, json.dumps(said).encode())
            finally:
                os._exit(0)
        os.close(writer)
        workers.append((child, reader))
    replies: list[Any] = [None] * len(jobs)
    for number, (child, reader) in enumerate(workers):
        with os.fdopen(reader, "rb") as pipe:
            said = json.loads(pipe.read())
        os.waitpid(child, 0)
        replies[number::WORKERS] = [lab.Reply(*one) for one in said]
    return replies


def job(call: Call, verb: str, container: str) -> Callable[[], lab.Reply]:
    return lambda: call(verb, container)


@pytest.mark.parametrize("share", ["ours", "mixed"])
def test_fifty_at_once_get_different_addresses_and_leave_nothing(
    tmp_path: Path, share: str
) -> None:
    network = Network(tmp_path, ranges=[[{"subnet": "10.1.2.0/26"}], RANGE_V6])
    pods = [f"pod-{number}" for number in range(50)]
    calls = [network.call, network.reference if share == "mixed" else network.call]

    added = at_once([job(calls[i % 2], "ADD", pod) for i, pod in enumerate(pods)])
    given = [addresses(reply) for reply in added]
    leases = network.leases()
    deleted = at_once([job(calls[i % 2 - 1], "DEL", pod) for i, pod in enumerate(pods)])

    assert Counter(one for pair in given for one in pair).most_common(1)[0][1] == 1
    assert leases == {
        one: f"{pod}\r\neth0".encode()
        for pod, pair in zip(pods, given, strict=True)
        for one in pair
    }
    assert [reply.exit for reply in deleted] == [0] * 50
    assert network.leases() == {}


def test_a_range_just_big_enough_serves_everybody_at_once(tmp_path: Path) -> None:
    network = Network(tmp_path, ranges=[[{"subnet": "10.1.2.0/28"}]])  # 13 addresses

    replies = at_once([job(network.call, "ADD", f"pod-{i}") for i in range(16)])

    assert sum(reply.exit == 0 for reply in replies) == 13
    assert {reply.json["code"] for reply in replies if reply.exit} == {Code.EXHAUSTED}
    assert len(network.leases()) == 13


def test_add_del_and_gc_at_once_harm_nobody(tmp_path: Path) -> None:
    network = Network(tmp_path)
    valid = [{"containerID": f"pod-{number}", "ifname": "eth0"} for number in range(40)]
    collect = network.with_conf(**{"cni.dev/valid-attachments": valid})
    calls = [network.reference if number % 3 else network.call for number in range(40)]

    jobs = [job(calls[number], "ADD", f"pod-{number}") for number in range(40)]
    replies = at_once(jobs + [job(collect.call, "GC", "") for _ in range(8)])

    assert {reply.exit for reply in replies} == {0}
    assert len(network.leases()) == 40
