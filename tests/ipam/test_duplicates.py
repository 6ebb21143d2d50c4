"""host-local ADD once more for the same attachment: refused, or the addresses back."""

from pathlib import Path

import pytest

from cni import versions
from cni.errors import Code
from tests.ipam.network import RANGE_V4, RANGE_V6, Network

ALL_VERSIONS = pytest.mark.parametrize("version", versions.SUPPORTED)
DUAL = [[{"subnet": "10.1.2.0/24"}, {"subnet": "10.2.2.0/24"}], RANGE_V6]


@ALL_VERSIONS
def test_repeated_add_is_refused_and_harms_nothing(tmp_path: Path, version: str) -> None:
    network = Network(tmp_path, version)
    network.call("ADD", "dummy").ok()

    error = network.call("ADD", "dummy").failed(Code.ALREADY_ATTACHED).json

    said = "10.1.2.2 has been allocated to dummy, duplicate allocation is not allowed"
    assert error["msg"] == f"failed to allocate for range 0: {said}"
    assert error["cniVersion"] == version
    assert network.files() == {"10.1.2.2": b"dummy\r\neth0", "last_reserved_ip.0": b"10.1.2.2"}


def test_repeated_add_with_a_requested_address_is_refused(network: Network) -> None:
    network.add()

    network.call("ADD", args="IP=10.1.2.9").failed(Code.ALREADY_ATTACHED)
    assert list(network.leases()) == ["10.1.2.2"]


def test_on_duplicate_reuse_gives_the_addresses_back(tmp_path: Path) -> None:
    network = Network(tmp_path, ranges=DUAL, onDuplicate="reuse")
    first = network.call("ADD").ok().json
    network.add("other")
    before = network.files()

    assert network.call("ADD").ok().json == first
    assert network.files() == before


def test_reuse_takes_what_is_missing_and_keeps_what_is_there(tmp_path: Path) -> None:
    network = Network(tmp_path, ranges=DUAL, onDuplicate="reuse")
    network.put("10.1.2.77", b"pod-1\r\neth0")

    assert network.add() == ["10.1.2.77", "2001:db8:1::2"]


def test_reuse_of_another_address_than_the_requested_one_is_refused(network: Network) -> None:
    network.add()
    reuse = network.changed(onDuplicate="reuse")

    assert reuse.add(args="IP=10.1.2.2") == ["10.1.2.2"]
    reuse.call("ADD", args="IP=10.1.2.9").failed(Code.ALREADY_ATTACHED)


def test_a_failing_add_keeps_the_addresses_it_reused(tmp_path: Path) -> None:
    ranges = [RANGE_V4, [{"subnet": "10.9.9.0/30"}]]
    network = Network(tmp_path, ranges=ranges, onDuplicate="reuse")
    network.put("10.1.2.7", b"pod-1\r\neth0")
    network.put("10.9.9.2", b"other\r\neth0")

    network.call("ADD").failed(Code.EXHAUSTED)

    assert sorted(network.leases()) == ["10.1.2.7", "10.9.9.2"]


def test_unknown_on_duplicate_is_refused(tmp_path: Path) -> None:
    error = Network(tmp_path, onDuplicate="maybe").call("ADD").failed(Code.UNSUPPORTED_FIELD).json

    assert error["msg"] == "cannot use ipam.onDuplicate 'maybe'"
