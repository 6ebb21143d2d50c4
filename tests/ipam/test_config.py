"""Where host-local reads its ranges from, and which configurations it refuses."""

from pathlib import Path
from typing import Any

import pytest

from cni.errors import Code
from tests.ipam.network import RANGE_V4, Network


def test_old_style(tmp_path: Path) -> None:
    network = Network(
        tmp_path,
        ranges=None,
        subnet="10.1.2.0/24",
        rangeStart="10.1.2.9",
        rangeEnd="10.1.2.20",
        gateway="10.1.2.30",
    )

    result = network.call("ADD").ok().json
    assert result["ips"] == [{"address": "10.1.2.9/24", "gateway": "10.1.2.30"}]


def test_new_style(tmp_path: Path) -> None:
    ranges = [
        [
            {"subnet": "10.1.2.0/24", "rangeStart": "10.1.2.9", "rangeEnd": "10.1.2.9"},
            {"subnet": "10.1.4.0/24"},
        ],
        [{"subnet": "11.1.2.0/24", "gateway": "11.1.2.254"}],
    ]
    network = Network(tmp_path, ranges=ranges)

    assert network.add("pod-1") == ["10.1.2.9", "11.1.2.1"]
    assert network.add("pod-2") == ["10.1.4.2", "11.1.2.2"]


def test_the_old_style_range_comes_before_the_new_ones(tmp_path: Path) -> None:
    network = Network(tmp_path, subnet="10.9.9.0/24")

    assert network.add() == ["10.9.9.2", "10.1.2.2"]


def test_ranges_of_the_runtime_come_before_configured_ones(tmp_path: Path) -> None:
    network = Network(tmp_path, subnet="10.9.9.0/24").with_conf(
        runtimeConfig={"ipRanges": [[{"subnet": "10.7.7.0/24"}], [{"subnet": "fd00::/64"}]]}
    )

    assert network.add() == ["10.7.7.2", "fd00::2", "10.9.9.2", "10.1.2.2"]


def test_keys_are_matched_in_any_case(tmp_path: Path) -> None:
    # what containerd's Go structs are marshalled to
    ranges = [[{"Subnet": "10.7.7.0/24", "RangeStart": "10.7.7.40", "RangeEnd": "", "Gateway": ""}]]
    network = Network(tmp_path, ranges=None).with_conf(runtimeConfig={"IPRanges": ranges})

    assert network.add() == ["10.7.7.40"]


def test_one_set_of_each_family_for_spec_0_2_0(tmp_path: Path) -> None:
    dual = Network(tmp_path, "0.2.0", ranges=[RANGE_V4, [{"subnet": "fd00::/64"}]])

    result = dual.call("ADD").ok().json
    assert (result["ip4"]["ip"], result["ip6"]["ip"]) == ("10.1.2.2/24", "fd00::2/64")


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("no ranges", {"ranges": []}, "no IP ranges specified"),
    ("too small", {"ranges": [[{"subnet": "10.0.0.0/31"}]]}, "too small to allocate from"),
    (
        "overlap inside a set",
        {"ranges": [[{"subnet": "10.0.0.0/24"}, {"subnet": "10.0.0.0/25"}]]},
        "invalid range set 0: subnets 10.0.0.1-10.0.0.254 and 10.0.0.1-10.0.0.126 overlap",
    ),
    (
        "overlap between sets",
        {"ranges": [RANGE_V4, RANGE_V4]},
        "range set 0 overlaps with 1",
    ),
    (
        "mixed families",
        {"ranges": [[{"subnet": "10.0.0.0/24"}, {"subnet": "fd00::/64"}]]},
        "invalid range set 0: mixed address families",
    ),
    (
        "not a list of lists",
        {"ranges": [{"subnet": "10.0.0.0/24"}]},
        'cannot use ipam.ranges[0] {"subnet": "10.0.0.0/24"}',
    ),
    ("routes without dst", {"routes": [{"gw": "10.0.0.1"}]}, "cannot use ipam.routes[0].dst null"),
    ("directory that is none", {"dataDir": 5}, "cannot use ipam.dataDir 5"),
    ("directory with NUL", {"dataDir": "/tmp/a\0b"}, "cannot use ipam.dataDir"),
]


@pytest.mark.parametrize(
    ("keys", "msg"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_invalid_configuration_is_refused_and_nothing_is_written(
    tmp_path: Path, keys: dict[str, Any], msg: str
) -> None:
    error = Network(tmp_path, **keys).call("ADD").failed(Code.INVALID_CONFIG).json

    assert msg in error["msg"]
    assert error["details"]
    assert list(tmp_path.iterdir()) == []


def test_too_many_sets_for_spec_0_2_0_are_refused(tmp_path: Path) -> None:
    network = Network(tmp_path, "0.2.0", ranges=[RANGE_V4, [{"subnet": "10.1.3.0/24"}]])

    error = network.call("ADD").failed(Code.INVALID_CONFIG).json
    wanted = "CNI version 0.2.0 does not support more than 1 address per family"
    assert error["msg"] == wanted


@pytest.mark.parametrize("ipam", [None, {}, {"type": "host-local"}])
def test_a_configuration_without_ipam_or_ranges_is_refused(network: Network, ipam: Any) -> None:
    error = network.with_conf(ipam=ipam).call("ADD").failed(Code.INVALID_CONFIG).json

    assert error["msg"] in ("IPAM config missing 'ipam' key", "no IP ranges specified")


def test_a_range_of_the_runtime_that_cannot_be_is_refused(network: Network) -> None:
    asked = network.with_conf(runtimeConfig={"ipRanges": [[{"subnet": "10.0.0.3/24"}]]})

    asked.call("ADD").failed(Code.INVALID_CONFIG)
    assert network.files() == {}
