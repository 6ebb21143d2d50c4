"""A file system that refuses: the error says where and what to do, nothing is half-made."""

from pathlib import Path

import pytest

from cni.errors import Code
from tests import lab
from tests.ipam.network import RANGE_V4, RANGE_V6, Network

pytestmark = pytest.mark.usefixtures("host")
DISK = Path("/run/disk")
READ_ONLY = 0x21  # MS_REMOUNT | MS_RDONLY


@pytest.fixture
def disk(host: None) -> Path:  # noqa: ARG001 - the mount is made on that host
    DISK.mkdir()
    lab.mount("tmpfs", str(DISK), "tmpfs")
    return DISK


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_a_read_only_file_system_is_an_error_that_says_so(disk: Path, verb: str) -> None:
    network = Network(disk)
    network.add("pod-1")
    before = network.files()
    lab.mount("none", str(disk), flags=READ_ONLY)

    container = "pod-1" if verb == "DEL" else "pod-2"
    error = network.call(verb, container).failed(Code.IO_FAILURE).json

    assert str(network.path) in error["msg"]
    assert "Read-only file system" in error["msg"]
    assert "dataDir" in error["details"]
    assert network.files() == before


def test_del_of_nothing_succeeds_on_a_read_only_file_system(disk: Path) -> None:
    network = Network(disk)
    network.add("pod-1")
    lab.mount("none", str(disk), flags=READ_ONLY)

    network.call("DEL", "unknown").ok()


def test_a_directory_that_cannot_be_made_is_an_error_that_says_so(disk: Path) -> None:
    lab.mount("none", str(disk), flags=READ_ONLY)

    error = Network(disk / "leases").call("ADD").failed(Code.IO_FAILURE).json

    assert str(disk / "leases") in error["msg"]


def test_a_file_in_the_place_of_the_directory_is_an_error_that_says_so(disk: Path) -> None:
    (disk / "leases").write_text("")

    error = Network(disk / "leases").call("ADD").failed(Code.IO_FAILURE).json

    assert str(disk / "leases" / "mynet") in error["msg"]


def test_a_file_in_the_place_of_the_index_is_an_error_that_says_so(disk: Path) -> None:
    (disk / ".pycni").write_text("")

    network = Network(disk)
    error = network.call("ADD").failed(Code.IO_FAILURE).json

    assert str(disk / ".pycni") in error["msg"]
    assert network.files() == {}


def add_with(inodes: int) -> tuple[lab.Reply, list[str]]:
    """ADD on a disk with so many inodes; return the reply and what is leased or indexed then."""
    lab.run(f"mount -t tmpfs -o nr_inodes={inodes} tmpfs {DISK}")
    network = Network(DISK, ranges=[RANGE_V4, RANGE_V6])
    reply = network.call("ADD")
    left = [*network.leases(), *network.entries()]
    network.call("DEL").ok()
    lab.run(f"umount {DISK}")
    return reply, left


def test_a_disk_that_fills_up_at_any_step_leaves_nothing_half_made() -> None:
    DISK.mkdir()

    steps = [add_with(inodes) for inodes in range(2, 20)]

    failed = [(reply, left) for reply, left in steps if reply.exit]
    assert len(failed) > 8
    for reply, left in failed:
        assert reply.failed(Code.IO_FAILURE).json["msg"].endswith("No space left on device")
        assert left == []
    assert steps[-1][0].exit == 0


def test_a_disk_without_blocks_leaves_nothing_half_made(disk: Path) -> None:
    network = Network(disk)
    network.add("pod-1")
    lab.run(f"mount -o remount,size=64k {disk}")
    with pytest.raises(OSError, match="No space left"):
        (disk / "filler").write_bytes(b"x" * (1 << 20))
    before, entries = network.files(), network.entries()

    network.call("ADD", "pod-2").failed(Code.IO_FAILURE)

    assert (network.files(), network.entries()) == (before, entries)
    network.call("DEL", "pod-1").ok()
    assert network.leases() == {}


def test_del_works_on_a_full_disk_without_an_index(disk: Path) -> None:
    network = Network(disk)
    network.put("10.1.2.9", b"pod-1\r\neth0")
    lab.run(f"mount -o remount,size=64k {disk}")
    with pytest.raises(OSError, match="No space left"):
        (disk / "filler").write_bytes(b"x" * (1 << 20))

    network.call("DEL", "pod-1").ok()
    assert network.leases() == {}


def test_a_full_disk_without_hard_links_leaves_nothing_half_made(disk: Path) -> None:
    (disk / ".pycni").mkdir()
    lab.mount("tmpfs", str(disk / ".pycni"), "tmpfs")  # a link between two file systems is refused
    network = Network(disk)
    network.add("pod-1")
    lab.run(f"mount -o remount,size=64k {disk}")
    with pytest.raises(OSError, match="No space left"):
        (disk / "filler").write_bytes(b"x" * (1 << 20))

    network.call("ADD", "pod-2").failed(Code.IO_FAILURE)
    assert list(network.leases()) == ["10.1.2.2"]
