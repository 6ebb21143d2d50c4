"""Addresses that the runtime or the user asks for."""

from pathlib import Path

import pytest

from cni import versions
from cni.errors import Code
from tests.ipam.network import RANGE_V4, RANGE_V6, Network

ALL_VERSIONS = pytest.mark.parametrize("version", versions.SUPPORTED)
DUAL = [[{"subnet": "10.1.2.0/24"}, {"subnet": "10.2.2.0/24"}], RANGE_V6]


def requests(network: Network, source: str, *texts: str) -> tuple[Network, str]:
    """Return the network and the CNI_ARGS that ask for the addresses through `source`."""
    if source == "CNI_ARGS":
        return network, f"IgnoreUnknown=1;K8S_POD_NAME=x;IP={texts[0]}"
    if source == "args.cni.ips":
        return network.with_conf(args={"cni": {"ips": texts}}), ""
    return network.with_conf(runtimeConfig={"ips": texts}), ""


@pytest.mark.parametrize("source", ["CNI_ARGS", "args.cni.ips", "runtimeConfig.ips"])
@pytest.mark.parametrize("text", ["10.1.2.88", "10.1.2.88/24", "::ffff:10.1.2.88"])
def test_an_address_is_given_when_it_is_requested(network: Network, source: str, text: str) -> None:
    asked, args = requests(network, source, text)

    assert asked.add(args=args) == ["10.1.2.88"]
    assert network.files() == {"10.1.2.88": b"pod-1\r\neth0", "last_reserved_ip.0": b"10.1.2.88"}
    assert network.add("next") == ["10.1.2.89"]


@ALL_VERSIONS
def test_a_custom_address_by_args_works_in_every_version(tmp_path: Path, version: str) -> None:
    network = Network(tmp_path, version)

    network.call("ADD", args="IP=10.1.2.88").ok()
    assert list(network.leases()) == ["10.1.2.88"]


def test_custom_addresses_come_from_several_range_sets(tmp_path: Path) -> None:
    network = Network(tmp_path, ranges=[RANGE_V4, [{"subnet": "10.1.3.0/24"}]])

    asked, _ = requests(network, "args.cni.ips", "10.1.3.77", "10.1.2.88")
    assert asked.add() == ["10.1.2.88", "10.1.3.77"]


def test_custom_addresses_come_from_both_families(tmp_path: Path) -> None:
    network = Network(tmp_path, ranges=DUAL)

    asked, _ = requests(network, "runtimeConfig.ips", "2001:db8:1::999/64", "10.2.2.7")
    assert asked.add() == ["10.2.2.7", "2001:db8:1::999"]


def test_requests_of_all_sources_are_pooled(tmp_path: Path) -> None:
    network = Network(tmp_path, ranges=[RANGE_V4, [{"subnet": "10.1.3.0/24"}], RANGE_V6])
    asked = network.with_conf(
        args={"cni": {"ips": ["10.1.3.77"]}}, runtimeConfig={"ips": ["2001:db8:1::9"]}
    )

    assert asked.add(args="IP=10.1.2.88") == ["10.1.2.88", "10.1.3.77", "2001:db8:1::9"]


@pytest.mark.parametrize(
    ("texts", "left"),
    [
        (("10.9.9.9",), "10.9.9.9"),
        (("10.1.2.255",), "10.1.2.255"),
        (("10.1.2.0",), "10.1.2.0"),
        (("10.1.2.7", "10.1.2.8"), "10.1.2.8"),
        (("10.1.2.7", "2001:db8:1::9", "10.7.7.7"), "2001:db8:1::9 10.7.7.7"),
    ],
    ids=["elsewhere", "beyond the end", "before the start", "two of one set", "several"],
)
def test_a_requested_address_that_is_not_used_is_an_error(
    network: Network, texts: tuple[str, ...], left: str
) -> None:
    asked, _ = requests(network, "args.cni.ips", *texts)

    error = asked.call("ADD").failed(Code.UNSUPPORTED_FIELD).json

    assert error["msg"] == f"failed to allocate all requested IPs: {left}"
    assert network.files() == {}


def test_a_requested_address_that_is_taken_is_refused(network: Network) -> None:
    network.add("other")

    error = network.call("ADD", args="IP=10.1.2.2").failed(Code.ALREADY_ATTACHED).json

    said = "requested IP address 10.1.2.2 is not available in range set 10.1.2.1-10.1.2.254"
    assert error["msg"] == f"failed to allocate for range 0: {said}"
    assert network.leases() == {"10.1.2.2": b"other\r\neth0"}


def test_the_gateway_cannot_be_requested(network: Network) -> None:
    error = network.call("ADD", args="IP=10.1.2.1").failed(Code.UNSUPPORTED_FIELD).json

    wanted = "failed to allocate for range 0: requested ip 10.1.2.1 is subnet's gateway"
    assert error["msg"] == wanted


@pytest.mark.parametrize(
    ("args", "code"),
    [
        ("IP=nonsense", Code.INVALID_ENVIRONMENT),
        ("IP", Code.INVALID_ENVIRONMENT),
        ("MAC=00:11:22:33:44:55", Code.INVALID_ENVIRONMENT),
        ("IP=10.1.2.3;", Code.INVALID_ENVIRONMENT),
    ],
)
def test_arguments_that_cannot_be_read_are_refused(network: Network, args: str, code: Code) -> None:
    network.call("ADD", args=args).failed(code)

    assert network.files() == {}
