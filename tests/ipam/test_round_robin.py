"""Which address comes next, and what happens when there is none."""

from pathlib import Path

import pytest

from cni.errors import Code
from tests.ipam.network import RANGE_V4, RANGE_V6, Network


def test_an_exhausted_range_says_which_and_what_to_do(tmp_path: Path) -> None:
    ranges = [[{"subnet": "10.1.2.0/30"}, {"subnet": "10.1.3.0/30"}]]
    network = Network(tmp_path, ranges=ranges)
    network.add("pod-1")
    network.add("pod-2")

    error = network.call("ADD", "pod-3").failed(Code.EXHAUSTED).json

    said = "no IP addresses available in range set: 10.1.2.1-10.1.2.2,10.1.3.1-10.1.3.2"
    assert error["msg"] == f"failed to allocate for range 0: {said}"
    assert str(network.path) in error["details"]


def test_a_failing_add_releases_what_it_took(tmp_path: Path) -> None:
    network = Network(tmp_path, ranges=[RANGE_V4, RANGE_V6, [{"subnet": "10.9.9.0/30"}]])
    network.add("pod-1")
    before = network.files()

    network.call("ADD", "pod-2").failed(Code.EXHAUSTED)

    assert network.files() == before
    assert len(network.entries()) == 3


def test_the_walk_goes_round_and_skips_what_is_taken(tmp_path: Path) -> None:
    network = Network(tmp_path, ranges=[[{"subnet": "10.1.2.0/29", "gateway": "10.1.2.4"}]])

    first = [network.add(f"pod-{i}") for i in range(5)]
    network.call("DEL", "pod-0").ok()
    network.call("DEL", "pod-3").ok()

    assert first == [[f"10.1.2.{i}"] for i in (1, 2, 3, 5, 6)]
    assert network.add("pod-5") == ["10.1.2.1"]
    assert network.add("pod-6") == ["10.1.2.5"]
    network.call("ADD", "pod-7").failed(Code.EXHAUSTED)


def test_a_released_address_is_not_given_again_at_once(network: Network) -> None:
    network.add("pod-1")
    network.call("DEL", "pod-1").ok()

    assert network.add("pod-2") == ["10.1.2.3"]


def test_the_address_reserved_last_is_tried_last(tmp_path: Path) -> None:
    network = Network(tmp_path, ranges=[[{"subnet": "10.1.2.0/29"}]])
    network.put("last_reserved_ip.0", b"10.1.2.4")

    order = [network.add(f"pod-{i}")[0][-1] for i in range(5)]
    assert order == ["5", "6", "2", "3", "4"]


def test_after_the_end_of_the_first_range_comes_the_next(tmp_path: Path) -> None:
    ranges = [[{"subnet": "10.1.2.0/29"}, {"subnet": "10.1.3.0/29"}]]
    network = Network(tmp_path, ranges=ranges)
    network.put("last_reserved_ip.0", b"10.1.2.6")

    assert network.add() == ["10.1.3.2"]


@pytest.mark.parametrize("text", [b"", b"nonsense", b"10.9.9.9", b"\0\0\0", b"2001:db8::1"])
def test_a_useless_last_reserved_address_starts_over(network: Network, text: bytes) -> None:
    network.put("last_reserved_ip.0", text)

    assert network.add() == ["10.1.2.2"]


def test_a_64_of_ipv6_is_no_problem(tmp_path: Path) -> None:
    network = Network(tmp_path, ranges=[RANGE_V6])
    for number in range(2, 50):
        network.put(f"2001:db8:1::{number:x}", f"pod-{number}\r\neth0".encode())

    assert network.add("new") == ["2001:db8:1::32"]


def test_a_free_address_far_away_is_found(tmp_path: Path) -> None:
    network = Network(tmp_path, ranges=[RANGE_V4])
    for number in (*range(2, 200), *range(201, 255)):
        network.put(f"10.1.2.{number}", f"pod-{number}\r\neth0".encode())

    assert network.add("new") == ["10.1.2.200"]
    network.call("ADD", "newer").failed(Code.EXHAUSTED)
