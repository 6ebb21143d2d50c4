"""host-local STATUS: 50 when ADD would fail, and why."""

import os
from pathlib import Path
from typing import Any

import pytest

from cni.errors import Code
from tests import lab
from tests.ipam.network import RANGE_V4, RANGE_V6, Network

SMALL = [{"subnet": "10.1.2.0/30"}]


def test_status_of_a_network_that_can_serve_says_nothing(network: Network) -> None:
    assert network.call("STATUS").ok().stdout == ""
    network.add()
    assert network.call("STATUS").ok().stdout == ""


def test_status_makes_nothing(tmp_path: Path) -> None:
    Network(tmp_path / "not" / "yet").call("STATUS").ok()

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ranges", [[SMALL], [RANGE_V6, SMALL]], ids=["the only set", "the second"])
def test_status_says_that_a_range_set_is_exhausted(tmp_path: Path, ranges: list[object]) -> None:
    network = Network(tmp_path, ranges=ranges)
    network.add()
    before = network.files()

    error = network.call("STATUS").failed(Code.UNAVAILABLE).json

    assert "no IP addresses available in range set: 10.1.2.1-10.1.2.2" in error["msg"]
    assert error["details"]
    assert network.files() == before

    network.call("DEL").ok()
    network.call("STATUS").ok()


def test_other_files_do_not_count_as_leases(tmp_path: Path) -> None:
    network = Network(tmp_path, ranges=[SMALL])
    for number in range(9):
        network.put(f"10.9.9.{number}", b"pod\r\neth0")

    network.call("STATUS").ok()


def test_an_empty_file_counts_as_free(tmp_path: Path) -> None:
    network = Network(tmp_path, ranges=[SMALL])
    network.put("10.1.2.2", b"")

    network.call("STATUS").ok()


def test_leases_of_an_earlier_boot_do_not_make_a_node_unready(tmp_path: Path) -> None:
    network = Network(tmp_path, ranges=[SMALL])
    network.put("10.1.2.2", b"pod-before-the-reboot\r\neth0")
    os.utime(network.path / "10.1.2.2", (1_000_000_000, 1_000_000_000))

    network.call("STATUS").ok()
    assert network.add("pod-2") == ["10.1.2.2"]


@pytest.mark.parametrize(
    "keys", [{"ranges": []}, {"ranges": [RANGE_V4, RANGE_V4]}, {"resolvConf": "/no/such/file"}]
)
def test_status_refuses_an_invalid_configuration(tmp_path: Path, keys: dict[str, Any]) -> None:
    error = Network(tmp_path, **keys).call("STATUS").failed(Code.UNAVAILABLE).json

    assert error["details"]


def test_status_says_that_the_directory_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    error = Network(tmp_path / "file" / "leases").call("STATUS").failed(Code.UNAVAILABLE).json
    assert str(tmp_path / "file") in error["msg"]


@pytest.mark.usefixtures("host")
@pytest.mark.parametrize("made", [True, False], ids=["in use", "never used"])
def test_status_says_that_the_directory_cannot_be_written(*, made: bool) -> None:
    disk = Path("/run/disk")
    disk.mkdir()
    lab.mount("tmpfs", str(disk), "tmpfs")
    network = Network(disk / "leases")
    if made:
        network.add()
    lab.mount("none", str(disk), flags=0x21)  # MS_REMOUNT | MS_RDONLY

    error = network.call("STATUS").failed(Code.UNAVAILABLE).json

    assert str(disk) in error["msg"]
    assert "dataDir" in error["details"]


@pytest.mark.usefixtures("host")
def test_status_says_that_the_disk_is_full() -> None:
    disk = Path("/run/disk")
    disk.mkdir()
    lab.run("mount -t tmpfs -o size=64k tmpfs /run/disk")
    network = Network(disk)
    network.call("STATUS").ok()
    with pytest.raises(OSError, match="No space left"):
        (disk / "filler").write_bytes(b"x" * (1 << 20))

    error = network.call("STATUS").failed(Code.UNAVAILABLE).json
    assert "full" in error["msg"]
