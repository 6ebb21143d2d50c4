"""What ADD and DEL cost does not grow with the number of leases, up to a full /16."""

import json
import sys
from collections import Counter
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from cni.errors import Code
from tests.ipam.network import Network, in_child

pytestmark = pytest.mark.usefixtures("host")
FULL = 65_533  # what a /16 can give out
MANY = 60_000
FIRST = int(ip_address("10.1.0.2"))
DISK_EVENTS = ("open", "os.", "fcntl.")
READS_A_DIRECTORY = ("os.listdir", "os.scandir")


def filled(directory: str, leases: int) -> Network:
    """Return a /16 in which the reference has made so many leases, and we have seen them."""
    network = Network(Path("/run") / directory, ranges=[[{"subnet": "10.1.0.0/16"}]])
    for number in range(leases):
        network.put(str(ip_address(FIRST + number)), f"pod-{number}\r\neth0".encode())
    if leases:
        network.put("last_reserved_ip.0", str(ip_address(FIRST + leases - 1)).encode())
    network.add("first")
    return network


def events_of(work: Callable[[], object]) -> list[tuple[str, str]]:
    """Return what `work` asks of the file system: (event, path), as Python's audit hooks see it."""
    events: list[tuple[str, str]] = []

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(DISK_EVENTS):
            events.append((event, str(arguments[0])))

    def audited() -> None:
        sys.addaudithook(hook)
        work()
        seen = list(events)
        Path("/run/events").write_text(json.dumps(seen))

    assert in_child(audited) == 0
    return [(event, path) for event, path in json.loads(Path("/run/events").read_text())]


def test_add_and_del_do_the_same_with_60000_leases_as_with_none() -> None:
    few, many = filled("few", 0), filled("many", MANY)
    cost: dict[str, list[Counter[str]]] = {}
    for verb in ("ADD", "DEL"):
        for network in (few, many):
            events = events_of(lambda: network.call(verb, "new").ok())  # noqa: B023 - run at once
            cost.setdefault(verb, []).append(Counter(event for event, _ in events))
            read = [path for event, path in events if event in READS_A_DIRECTORY]
            assert str(network.path) not in read

    for with_few, with_many in cost.values():
        assert with_many <= with_few  # a bucket of the index less to make
    assert len(many.leases()) == MANY + 1


def test_the_directory_is_read_once_after_another_program_changed_it() -> None:
    network = filled("leases", 2_000)
    network.reference("ADD", "foreign").ok()

    first = events_of(lambda: network.call("ADD", "pod-a").ok())
    second = events_of(lambda: network.call("ADD", "pod-b").ok())

    assert [path for event, path in first if event == "os.scandir"] == [str(network.path)]
    # only the one lease that the other program made is read
    assert len(first) - len(second) < 10
    assert [path for event, path in second if event == "os.scandir"] == []


def test_an_exhausted_range_is_not_probed_address_by_address() -> None:
    network = filled("leases", FULL - 1)

    events = events_of(lambda: network.call("ADD", "new").failed(Code.EXHAUSTED))

    assert len(events) < 100


def test_the_last_free_address_of_many_is_found_by_reading_the_directory_once() -> None:
    network = filled("leases", 2_000)
    network.put("last_reserved_ip.0", str(ip_address(FIRST)).encode())

    events = events_of(lambda: network.call("ADD", "new").ok())

    assert Counter(event for event, _ in events)["os.listdir"] <= 4
    assert len(events) < 60
    assert (network.path / "10.1.7.211").exists()
