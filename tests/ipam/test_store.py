"""The lease directory: torn files, the index by owner, names, the lock."""

import fcntl
import os
import time
from ipaddress import ip_address
from pathlib import Path

import pytest

from cni.errors import CniError, Code
from cni.leases.store import Store
from tests import lab
from tests.ipam.network import RANGE_V6, Network, in_child, owner

TORN = pytest.mark.parametrize(
    "text", [b"", b"\n", b"\0\0\0\0\0\0", b"a b c"], ids=["empty", "blank", "zeros", "junk"]
)


# files that are no leases


@TORN
def test_a_torn_file_never_blocks_the_next_address(network: Network, text: bytes) -> None:
    network.put("10.1.2.2", text)

    assert network.add() == ["10.1.2.2"]
    assert network.leases() == {"10.1.2.2": b"pod-1\r\neth0"}


@TORN
def test_a_torn_file_can_be_requested(network: Network, text: bytes) -> None:
    network.put("10.1.2.9", text)

    assert network.add(args="IP=10.1.2.9") == ["10.1.2.9"]


@TORN
def test_torn_files_are_used_when_nothing_else_is_left(tmp_path: Path, text: bytes) -> None:
    network = Network(tmp_path, ranges=[[{"subnet": "10.1.2.0/27"}]])
    for number in range(2, 31):
        network.put(f"10.1.2.{number}", f"pod-{number}\r\neth0".encode())
    network.put("10.1.2.25", text)
    network.put("10.1.2.1", text)

    assert network.add() == ["10.1.2.25"]
    network.call("ADD", "pod-x").failed(Code.EXHAUSTED)


def test_what_cannot_be_read_is_taken(network: Network) -> None:
    (network.path / "10.1.2.2").mkdir(parents=True)
    (network.path / "10.1.2.3").symlink_to("nowhere")

    assert network.add() == ["10.1.2.4"]
    network.call("DEL").ok()
    network.call("DEL").ok()


# the index


def test_a_lease_has_two_links_and_one_entry(network: Network) -> None:
    network.add()

    assert (network.path / "10.1.2.2").stat().st_nlink == 2
    assert len(network.entries()) == 1
    assert network.entries()[0].endswith("-10.1.2.2")


def test_the_index_does_not_claim_what_the_reference_released(network: Network) -> None:
    network.add()
    network.reference("DEL").ok()

    assert network.add() == ["10.1.2.3"]
    assert len(network.leases()) == 1


def test_the_index_does_not_claim_what_the_reference_gave_to_another(network: Network) -> None:
    network.add(args="IP=10.1.2.9")
    network.reference("DEL").ok()
    network.reference("ADD", "pod-2", args="IP=10.1.2.9").ok()

    network.call("DEL").ok()
    assert network.leases() == {"10.1.2.9": b"pod-2\r\neth0"}


def test_leases_of_the_reference_are_adopted(network: Network) -> None:
    network.reference("ADD", "pod-2").ok()
    network.add("pod-1")

    assert (network.path / "10.1.2.2").stat().st_nlink == 2
    network.call("ADD", "pod-2").failed(Code.ALREADY_ATTACHED)


@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_a_lost_index_costs_time_and_nothing_else(network: Network, verb: str) -> None:
    network.add()
    lab.run(f"rm -r {network.data_dir}/.pycni")

    if verb == "ADD":
        network.call("ADD").failed(Code.ALREADY_ATTACHED)
    network.call("DEL").ok()
    assert network.leases() == {}


def test_del_finds_what_the_index_does_not_know(network: Network) -> None:
    network.add("pod-1")
    mark = next((network.data_dir / ".pycni" / "mynet").glob("boot-*"))
    network.reference("ADD", "pod-2").ok()
    changed = network.path.stat().st_mtime_ns
    os.utime(mark, ns=(changed, changed))  # a clock too coarse to tell

    network.call("DEL", "pod-2").ok()
    assert list(network.leases()) == ["10.1.2.2"]


def test_a_change_right_after_ours_is_seen_whatever_the_clock(network: Network) -> None:
    for number in range(20):
        network.add(f"ours-{number}")
        network.put(f"10.1.2.{number + 100}", f"theirs-{number}\r\neth0".encode())

        network.call("ADD", f"theirs-{number}").failed(Code.ALREADY_ATTACHED)


def test_what_a_killed_add_left_in_the_index_goes_with_del(network: Network) -> None:
    network.add("pod-2")
    network.store().index.write("10.1.2.9", owner("pod-1"))

    network.call("DEL", "pod-1").ok()
    assert len(network.entries()) == 1


def test_what_a_killed_add_left_in_the_index_is_in_nobodys_way(network: Network) -> None:
    network.add("pod-2")
    for name in ("10.1.2.3", "10.1.2.4"):
        Path(network.store().index.write(name, owner("pod-1"))).write_bytes(b"")

    assert network.add("pod-1") == ["10.1.2.3"]
    assert network.add("pod-3") == ["10.1.2.4"]
    assert network.leases()["10.1.2.3"] == b"pod-1\r\neth0"


@pytest.mark.usefixtures("host")
def test_a_file_system_without_hard_links_works() -> None:
    # links between two file systems are refused as well
    index = Path("/run/leases/.pycni")
    index.mkdir(parents=True)
    lab.mount("tmpfs", str(index), "tmpfs")
    network = Network(Path("/run/leases"), ranges=[[{"subnet": "10.1.2.0/24"}], RANGE_V6])

    first, second = network.add("pod-1"), network.add("pod-2")
    network.call("ADD", "pod-1").failed(Code.ALREADY_ATTACHED)
    network.call("DEL", "pod-1").ok()

    assert (first[0], second[0]) == ("10.1.2.2", "10.1.2.3")
    assert network.leases() == dict.fromkeys(second, b"pod-2\r\neth0")
    assert network.entries() == []


def test_a_copy_with_hard_links_hides_nothing_from_del(network: Network, tmp_path: Path) -> None:
    network.add("pod-1")
    network.reference("ADD", "pod-2").ok()
    (tmp_path / "backup").hardlink_to(network.path / "10.1.2.3")

    network.call("DEL", "pod-2").ok()
    assert list(network.leases()) == ["10.1.2.2"]


# names


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/etc", ".pycni", "a\0b"])
def test_a_network_is_never_a_path_outside_the_directory(tmp_path: Path, name: str) -> None:
    with pytest.raises(CniError) as refused:
        Store(str(tmp_path), name)

    assert refused.value.code == Code.INVALID_CONFIG


@pytest.mark.parametrize("container", ["../../etc/passwd", "a\nb", "", "-x", "a" * 300])
def test_a_hostile_container_id_reaches_no_file(network: Network, container: str) -> None:
    network.call("ADD", container).failed(Code.INVALID_ENVIRONMENT)

    assert network.files() == {}


def test_a_relative_directory_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    network = Network(tmp_path).changed(dataDir="here")

    assert network.add() == ["10.1.2.2"]
    network.call("DEL").ok()
    assert (tmp_path / "here" / "mynet" / "lock").exists()


def test_directories_are_not_open_to_all_whatever_the_umask(tmp_path: Path) -> None:
    def add() -> None:
        os.umask(0)
        Network(tmp_path / "a" / "b").add()

    assert in_child(add) == 0
    assert {path.stat().st_mode & 0o022 for path in tmp_path.rglob("*")} == {0}


# the lock


def test_the_wait_for_the_lock_is_bounded(network: Network) -> None:
    network.add()
    with (network.path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        store = network.store(lock_wait=0.05)

        with pytest.raises(CniError) as refused, store.locked():
            pass

    assert refused.value.code == Code.TRY_AGAIN
    assert str(network.path / "lock") in refused.value.msg


def test_who_waits_for_the_lock_gets_it(network: Network) -> None:
    network.add()
    with (network.path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        child = os.fork()
        if child == 0:
            time.sleep(0.05)
            os._exit(0)  # and with it goes its share of the lock
    # the child holds the same open file, so the lock is kept until it is gone

    assert network.add("pod-2") == ["10.1.2.3"]
    assert os.waitpid(child, 0)[1] == 0


def test_the_lock_is_free_after_an_error(network: Network) -> None:
    with pytest.raises(CniError), network.store().locked():
        raise OSError(5, "broken", "disk")

    with network.store(lock_wait=0.05).locked():
        assert network.store().search(owner("pod-1")) == []


def test_a_lease_by_a_program_that_takes_no_lock_is_kept(network: Network) -> None:
    store, address = network.store(), ip_address("10.1.2.2")
    with store.locked():
        entry = store.index.write("10.1.2.2", owner("pod-1"))
        network.put("10.1.2.2", b"other\r\neth0")

        assert store._publish(entry, address, owner("pod-1")) is False
    assert network.leases() == {"10.1.2.2": b"other\r\neth0"}
    assert network.entries() == []
