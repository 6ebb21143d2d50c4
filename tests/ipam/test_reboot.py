"""Leases of an earlier boot whose containers are gone are free again."""

import json
import os
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from cni.leases.reboot import CLOCK_MARGIN, Boot
from tests.ipam.network import HERE, Network, owner

BEGAN = 2_000_000_000 * 10**9  # some day in 2033
LONG_AGO = BEGAN - 10**15


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Return the directory in which a runtime remembers its attachments."""
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


@pytest.fixture
def boot(results: Path) -> Boot:
    """Return a boot that nobody has seen yet."""
    return Boot("second", BEGAN, str(results))


def lease(network: Network, name: str, text: bytes, made: int) -> None:
    """Put a lease made at `made` (nanoseconds since 1970)."""
    network.put(name, text)
    os.utime(network.path / name, ns=(made, made))


def remember(results: Path, file: str, **fields: Any) -> None:
    """Write an entry of libcni's cache."""
    (results / file).write_text(json.dumps({"kind": "cniCacheV1"} | fields))


def look(network: Network, boot: Boot) -> list[str]:
    """Do the least under the lock; return the leases that are left."""
    with network.store(boot=boot).locked():
        pass
    return list(network.leases())


def test_leases_of_an_earlier_boot_are_released(network: Network, boot: Boot) -> None:
    lease(network, "10.1.2.2", b"gone\r\neth0", LONG_AGO)
    lease(network, "10.1.2.3", b"gone-too", LONG_AGO)

    assert look(network, boot) == []


def test_leases_of_this_boot_are_kept_whoever_made_them(network: Network, boot: Boot) -> None:
    lease(network, "10.1.2.2", b"ours\r\neth0", BEGAN + 1)
    lease(network, "10.1.2.3", b"near\r\neth0", BEGAN - CLOCK_MARGIN + 1)

    assert look(network, boot) == ["10.1.2.2", "10.1.2.3"]


@pytest.mark.parametrize(
    ("text", "file", "fields"),
    [
        (b"pod-1\r\neth0", "mynet-pod-1-eth0", {"netns": HERE}),
        (
            b"pod-1\r\neth0",
            "mynet-pod-1-eth0",
            {"result": {"interfaces": [{"name": "veth1"}, {"name": "eth0", "sandbox": HERE}]}},
        ),
        (b"pod-1", "mynet-pod-1-eth7", {"netns": HERE}),
    ],
    ids=["in libcni's cache", "in the cache of an older libcni", "oldest format, any interface"],
)
def test_leases_of_living_containers_are_kept(
    network: Network, boot: Boot, results: Path, text: bytes, file: str, fields: Any
) -> None:
    lease(network, "10.1.2.2", text, LONG_AGO)
    remember(results, file, **fields)

    assert look(network, boot) == ["10.1.2.2"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("mynet-pod-1-eth0", '{"netns": "/run/netns/gone"}'),
        ("mynet-pod-1-eth0", '{"netns": ""}'),
        ("mynet-pod-1-eth0", '{"netns": 5}'),
        ("mynet-pod-1-eth0", "not JSON"),
        ("mynet-pod-1-eth1", f'{{"netns": "{HERE}"}}'),
        ("other-pod-1-eth0", f'{{"netns": "{HERE}"}}'),
    ],
    ids=["gone", "empty", "a number", "no JSON", "another interface", "another network"],
)
def test_what_proves_no_life_keeps_no_lease(
    network: Network, boot: Boot, results: Path, file: str, content: str
) -> None:
    lease(network, "10.1.2.2", b"pod-1\r\neth0", LONG_AGO)
    (results / file).write_text(content)

    assert look(network, boot) == []


def test_a_lease_cannot_point_outside_the_cache(
    network: Network, boot: Boot, results: Path
) -> None:
    lease(network, "10.1.2.2", b"x/../../alive\r\neth0", LONG_AGO)
    (results / "mynet-x").mkdir()
    remember(results.parent, "alive-eth0", netns=HERE)

    assert look(network, boot) == []


def test_it_is_done_once_in_a_boot(network: Network, boot: Boot) -> None:
    look(network, boot)
    lease(network, "10.1.2.2", b"restored-from-a-backup\r\neth0", LONG_AGO)

    assert look(network, boot) == ["10.1.2.2"]
    assert look(network, Boot("third", BEGAN, boot.results)) == []


def test_our_leases_go_with_their_entries(network: Network, boot: Boot) -> None:
    first = Boot("first", LONG_AGO, boot.results)
    with network.store(boot=first).locked():
        assert network.store(boot=first).take(ip_address("10.1.2.2"), owner("pod-1"))
    os.utime(network.path / "10.1.2.2", ns=(LONG_AGO, LONG_AGO))

    assert look(network, boot) == []
    assert network.entries() == []
    marks = sorted(path.name for path in (network.data_dir / ".pycni" / "mynet").iterdir())
    assert marks == ["boot-second"]


def test_other_files_survive_a_reboot(network: Network, boot: Boot) -> None:
    for name in ("README", "last_reserved_ip.0", "lock"):
        lease(network, name, b"pod-1\r\neth0", LONG_AGO)

    look(network, boot)
    assert sorted(path.name for path in network.path.iterdir()) == [
        "README",
        "last_reserved_ip.0",
        "lock",
    ]


def test_this_boot_has_a_name_and_began_in_the_past() -> None:
    boot = Boot.current()

    assert len(boot.name) == 36
    assert boot == Boot(boot.name, boot.began)
    assert abs(Boot.current().began - boot.began) < CLOCK_MARGIN


def test_add_and_del_do_it_on_the_way(network: Network) -> None:
    lease(network, "10.1.2.2", b"gone\r\neth0", 10**18)

    assert network.add() == ["10.1.2.2"]
