"""host-local CHECK."""

from pathlib import Path

from cni.errors import Code
from tests.ipam.network import Network


def test_check_finds_the_lease(network: Network) -> None:
    result = network.call("ADD").ok().json

    network.call("CHECK").ok()
    network.with_conf(prevResult=result).call("CHECK").ok()
    network.put("10.1.2.9", b"old")
    network.call("CHECK", "old").ok()


def test_check_of_an_unknown_container_fails(network: Network) -> None:
    network.add()

    error = network.call("CHECK", "unknown").failed(Code.CHECK_FAILED).json
    assert error["msg"] == "host-local: Failed to find address added by container unknown"


def test_check_sees_that_the_result_names_another_address(network: Network) -> None:
    result = network.call("ADD").ok().json
    result["ips"][0]["address"] = "10.1.2.77/24"

    error = network.with_conf(prevResult=result).call("CHECK").failed(Code.CHECK_FAILED).json
    assert "10.1.2.77" in error["details"]


def test_check_sees_that_the_address_belongs_to_somebody_else(network: Network) -> None:
    result = network.call("ADD").ok().json
    network.put("10.1.2.2", b"thief\r\neth0")

    network.with_conf(prevResult=result).call("CHECK").failed(Code.CHECK_FAILED)


def test_check_leaves_addresses_of_others_alone(network: Network) -> None:
    result = network.call("ADD").ok().json
    result["ips"].append({"address": "203.0.113.9/24"})

    network.with_conf(prevResult=result).call("CHECK").ok()


def test_check_writes_nothing(tmp_path: Path) -> None:
    Network(tmp_path / "x").call("CHECK").failed(Code.CHECK_FAILED)

    assert list(tmp_path.iterdir()) == []
