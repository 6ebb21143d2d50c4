"""host-local GC: what no valid attachment holds is released, in this network only."""

from pathlib import Path

import pytest

from tests.ipam.network import Network


def valid(network: Network, *pairs: tuple[str, str], key: str = "valid-attachments") -> Network:
    listed = [{"containerID": container, "ifname": ifname} for container, ifname in pairs]
    return network.with_conf(**{f"cni.dev/{key}": listed})


@pytest.fixture
def busy(network: Network) -> Network:
    """Return the network with three leases."""
    for container, ifname in (("pod-1", "eth0"), ("pod-1", "eth1"), ("pod-2", "eth0")):
        network.call("ADD", container, ifname).ok()
    return network


@pytest.mark.parametrize("key", ["valid-attachments", "attachments"])
def test_gc_keeps_the_valid_ones(busy: Network, key: str) -> None:
    valid(busy, ("pod-1", "eth1"), ("pod-9", "eth0"), key=key).call("GC").ok()

    assert busy.leases() == {"10.1.2.3": b"pod-1\r\neth1"}
    assert len(busy.entries()) == 1


def test_gc_with_an_empty_list_releases_all(busy: Network) -> None:
    assert valid(busy).call("GC").ok().stdout == ""

    assert busy.files() == {"last_reserved_ip.0": b"10.1.2.4"}
    assert busy.entries() == []


def test_gc_without_the_list_releases_nothing(busy: Network) -> None:
    before = busy.files()

    busy.call("GC").ok()
    assert busy.files() == before


def test_gc_twice_succeeds(busy: Network) -> None:
    valid(busy).call("GC").ok()
    valid(busy).call("GC").ok()


def test_gc_where_nothing_was_ever_leased_makes_nothing(tmp_path: Path) -> None:
    valid(Network(tmp_path / "x")).call("GC").ok()

    assert list(tmp_path.iterdir()) == []


def test_gc_takes_the_oldest_format_by_container(network: Network) -> None:
    network.put("10.1.2.7", b"pod-1")
    network.put("10.1.2.8", b"pod-2")

    valid(network, ("pod-2", "eth7")).call("GC").ok()
    assert list(network.leases()) == ["10.1.2.8"]


def test_gc_takes_leases_that_the_reference_made(network: Network) -> None:
    network.reference("ADD", "pod-1").ok()
    network.reference("ADD", "pod-2").ok()

    valid(network, ("pod-2", "eth0")).call("GC").ok()
    assert list(network.leases()) == ["10.1.2.3"]


def test_gc_leaves_what_is_no_lease(network: Network) -> None:
    network.put("README", b"pod-1\r\neth0")
    network.put("last_reserved_ip.0", b"10.1.2.9")
    (network.path / "10.1.2.9").mkdir()

    valid(network).call("GC").ok()
    assert sorted(path.name for path in network.path.iterdir()) == [
        "10.1.2.9",
        "README",
        "last_reserved_ip.0",
        "lock",
    ]


def test_gc_leaves_other_networks_alone(busy: Network) -> None:
    other = busy.with_conf(name="other")
    other.call("ADD").ok()

    valid(busy).call("GC").ok()
    assert (busy.data_dir / "other" / "10.1.2.2").read_bytes() == b"pod-1\r\neth0"


def test_gc_works_whatever_is_wrong_with_the_ranges(busy: Network) -> None:
    valid(busy.changed(ranges="x"), ("pod-2", "eth0")).call("GC").ok()

    assert list(busy.leases()) == ["10.1.2.4"]


def test_gc_tidies_the_index_behind_the_reference(busy: Network) -> None:
    busy.reference("DEL", "pod-2").ok()

    valid(busy, ("pod-1", "eth0"), ("pod-1", "eth1")).call("GC").ok()
    assert len(busy.entries()) == 2
