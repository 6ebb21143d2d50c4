"""host-local ADD and DEL: results, and the files byte for byte."""

import stat
from pathlib import Path
from typing import Any

import pytest

from cni import versions
from cni.errors import Code
from tests.ipam.network import RANGE_V6, Network

ALL_VERSIONS = pytest.mark.parametrize("version", versions.SUPPORTED)
DUAL = [[{"subnet": "10.1.2.0/24"}, {"subnet": "10.2.2.0/24"}], RANGE_V6]
ROUTES = [{"dst": "0.0.0.0/0"}, {"dst": "192.168.0.0/16", "gw": "1.1.1.1"}, {"dst": "::/0"}]


def in_version(version: str, ips: list[tuple[str, str]], routes: list[Any]) -> dict[str, Any]:
    """Return the result with these (address, gateway), as SPEC `version` has it."""
    if version in ("0.1.0", "0.2.0"):
        halves = {}
        for address, gateway in ips:
            family = 6 if ":" in address else 4
            own = [one for one in routes if (":" in one["dst"]) == (family == 6)]
            halves[f"ip{family}"] = {"ip": address, "gateway": gateway, "routes": own}
        return {"cniVersion": version, **halves, "dns": {}}
    said = [{"address": address, "gateway": gateway} for address, gateway in ips]
    if not version.startswith("1."):
        said = [{"version": "6" if ":" in one["address"] else "4", **one} for one in said]
    dns: dict[str, Any] = {} if version.startswith("1.") else {"dns": {}}
    return {"cniVersion": version, "ips": said, "routes": routes, **dns}


@ALL_VERSIONS
def test_add_leases_and_del_releases_an_address_of_every_range_set(
    tmp_path: Path, version: str
) -> None:
    network = Network(tmp_path, version, ranges=DUAL, routes=ROUTES)

    result = network.call("ADD", "dummy").ok().json

    ips = [("10.1.2.2/24", "10.1.2.1"), ("2001:db8:1::2/64", "2001:db8:1::1")]
    assert result == in_version(version, ips, ROUTES)
    assert network.files() == {
        "10.1.2.2": b"dummy\r\neth0",
        "2001:db8:1::2": b"dummy\r\neth0",
        "last_reserved_ip.0": b"10.1.2.2",
        "last_reserved_ip.1": b"2001:db8:1::2",
    }

    assert network.call("DEL", "dummy").ok().stdout == ""
    assert sorted(network.files()) == ["last_reserved_ip.0", "last_reserved_ip.1"]
    assert network.entries() == []


def test_modes_are_those_of_the_reference(network: Network) -> None:
    network.add()

    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (network.path, *network.path.iterdir())
    }
    assert modes == {
        "mynet": 0o755,
        "10.1.2.2": 0o600,
        "last_reserved_ip.0": 0o600,
        "lock": 0o750,
    }
    assert (network.path / "lock").read_bytes() == b""


def test_nothing_but_the_reference_files_is_stored_in_the_directory_of_the_network(
    network: Network,
) -> None:
    network.add("pod-1")
    network.add("pod-2")
    network.call("DEL", "pod-1").ok()
    network.call("DEL", "pod-1").ok()

    assert sorted(network.files()) == ["10.1.2.3", "last_reserved_ip.0"]


@ALL_VERSIONS
def test_interfaces_of_one_container_have_leases_of_their_own(tmp_path: Path, version: str) -> None:
    network = Network(tmp_path, version)
    network.call("ADD", "dummy", "eth0").ok()
    network.call("ADD", "dummy", "eth1").ok()

    before = network.leases()
    network.call("DEL", "dummy", "eth0").ok()

    assert before == {"10.1.2.2": b"dummy\r\neth0", "10.1.2.3": b"dummy\r\neth1"}
    assert network.leases() == {"10.1.2.3": b"dummy\r\neth1"}


@ALL_VERSIONS
def test_del_of_an_unknown_container_succeeds(tmp_path: Path, version: str) -> None:
    network = Network(tmp_path, version)
    network.call("ADD", "dummy").ok()

    assert network.call("DEL", "unknown").ok().stdout == ""
    assert list(network.leases()) == ["10.1.2.2"]


def test_del_where_nothing_was_ever_leased_makes_nothing(tmp_path: Path) -> None:
    network = Network(tmp_path / "never" / "made")

    network.call("DEL").ok()
    assert list(tmp_path.iterdir()) == []


@ALL_VERSIONS
def test_del_releases_leases_of_the_oldest_format(tmp_path: Path, version: str) -> None:
    network = Network(tmp_path, version)
    network.put("10.1.2.9", b"dummy")
    network.put("10.1.2.10", b"other")

    network.call("DEL", "dummy").ok()

    assert list(network.leases()) == ["10.1.2.10"]


def test_the_oldest_format_is_released_only_without_an_exact_match(network: Network) -> None:
    network.put("10.1.2.9", b"dummy")
    network.put("10.1.2.10", b"dummy\r\neth0")

    network.call("DEL", "dummy").ok()
    assert list(network.leases()) == ["10.1.2.9"]

    network.call("DEL", "dummy").ok()
    assert list(network.leases()) == []


def test_the_oldest_format_counts_as_a_duplicate(network: Network) -> None:
    network.put("10.1.2.9", b"dummy")

    network.call("ADD", "dummy", "eth5").failed(Code.ALREADY_ATTACHED)


@ALL_VERSIONS
def test_white_space_in_disk_files_is_ignored(tmp_path: Path, version: str) -> None:
    network = Network(tmp_path, version)
    network.put("10.1.2.9", b" dummy\r\neth0 \n\n")
    network.put("last_reserved_ip.0", b"10.1.2.20\n")

    network.call("ADD", "other").ok()
    network.call("DEL", "dummy").ok()

    assert network.files() == {"10.1.2.21": b"other\r\neth0", "last_reserved_ip.0": b"10.1.2.21"}


def test_files_that_are_no_leases_stay(network: Network) -> None:
    foreign = {"README": b"dummy\r\neth0", "10.1.2.9.bak": b"dummy\r\neth0", "last_x": b"dummy"}
    for name, text in foreign.items():
        network.put(name, text)

    network.add("dummy")
    network.call("DEL", "dummy").ok()
    network.call("DEL", "dummy").ok()

    assert network.files() == {**foreign, "last_reserved_ip.0": b"10.1.2.2"}


@pytest.mark.parametrize(
    "broken",
    [
        {"ranges": [[{"subnet": "nonsense"}]]},
        {"ranges": "nonsense"},
        {"ranges": None},
        {"routes": 5},
        {"resolvConf": "/nowhere"},
        {"onDuplicate": "maybe"},
        {"type": None},
    ],
    ids=["bad range", "ranges no list", "no ranges", "bad routes", "no file", "bad key", "no type"],
)
def test_del_releases_whatever_is_wrong_with_the_configuration(
    network: Network, broken: dict[str, Any]
) -> None:
    network.add()

    network.changed(**broken).call("DEL").ok()
    assert network.leases() == {}


def test_del_does_not_read_arguments_nor_what_the_runtime_adds(network: Network) -> None:
    network.add()

    odd = {"args": 5, "runtimeConfig": "x", "prevResult": []}
    network.with_conf(**odd).call("DEL", args="a;b=c=d;IP=x").ok()
    assert network.leases() == {}


def test_del_without_ipam_looks_in_the_default_directory(network: Network) -> None:
    network.with_conf(name="no-such-network-anywhere", ipam=None).call("DEL").ok()
    network.with_conf(name="no-such-network-anywhere", ipam="x").call("DEL").ok()
