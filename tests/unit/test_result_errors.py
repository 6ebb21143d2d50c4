"""What is no result is refused with what is wrong, and where."""

from typing import Any

import pytest

from cni.errors import CniError, Code
from cni.result import read_result

UNDECODABLE: dict[str, tuple[Any, str]] = {
    "interfaces no list": ({"interfaces": {}}, "result.interfaces"),
    "interface no object": ({"interfaces": ["eth0"]}, "result.interfaces"),
    "name no string": ({"interfaces": [{"name": 5}]}, "result.interfaces[0].name"),
    "ips no list": ({"ips": "10.1.2.3/24"}, "result.ips"),
    "no address": ({"ips": [{}]}, "result.ips[0].address"),
    "address without prefix": ({"ips": [{"address": "10.1.2.3"}]}, "result.ips[0].address"),
    "address of three octets": ({"ips": [{"address": "10.1.2/24"}]}, "result.ips[0].address"),
    "prefix too long": ({"ips": [{"address": "::1/129"}]}, "result.ips[0].address"),
    "prefix of words": ({"ips": [{"address": "::1/all"}]}, "result.ips[0].address"),
    "negative prefix": ({"ips": [{"address": "10.1.2.3/-1"}]}, "result.ips[0].address"),
    "gateway with prefix": (
        {"ips": [{"address": "10.1.2.3/24", "gateway": "10.1.2.1/24"}]},
        "result.ips[0].gateway",
    ),
    "index no number": (
        {"ips": [{"address": "10.1.2.3/24", "interface": "0"}]},
        "result.ips[0].interface",
    ),
    "second of two": (
        {"ips": [{"address": "10.1.2.3/24"}, {"address": ""}]},
        "result.ips[1].address",
    ),
    "route without dst": ({"routes": [{"gw": "10.1.2.1"}]}, "result.routes[0].dst"),
    "dst no network": ({"routes": [{"dst": "default"}]}, "result.routes[0].dst"),
    "scope no number": ({"routes": [{"dst": "::/0", "scope": "link"}]}, "result.routes[0].scope"),
    "dns no object": ({"dns": ["192.0.2.1"]}, "result.dns"),
    "nameserver no string": ({"dns": {"nameservers": [1]}}, "result.dns.nameservers"),
}
LEGACY: dict[str, tuple[Any, str]] = {
    "ip4 no object": ({"ip4": "10.1.2.3/24"}, "result.ip4"),
    "ip4 without address": ({"ip4": {"gateway": "10.1.2.1"}}, "result.ip4.ip"),
    "route in ip6": ({"ip6": {"ip": "::1/128", "routes": [{}]}}, "result.ip6.routes[0].dst"),
}


def refused(values: Any, version: str, where: str) -> None:
    with pytest.raises(CniError) as caught:
        read_result({"cniVersion": version, **values}, "")

    assert caught.value.code == Code.DECODING_FAILURE
    assert caught.value.msg.startswith(f"cannot decode the result: cannot use {where} ")
    assert caught.value.details.startswith("it must be ")


@pytest.mark.parametrize(("values", "where"), UNDECODABLE.values(), ids=UNDECODABLE)
@pytest.mark.parametrize("version", ["0.3.0", "1.1.0"])
def test_a_result_that_cannot_be_decoded_is_refused(version: str, values: Any, where: str) -> None:
    refused(values, version, where)


@pytest.mark.parametrize(("values", "where"), LEGACY.values(), ids=LEGACY)
def test_a_legacy_result_that_cannot_be_decoded_is_refused(values: Any, where: str) -> None:
    refused(values, "0.2.0", where)


@pytest.mark.parametrize("version", [5, ["1.0.0"], {}, True])
def test_a_version_that_is_no_string_cannot_be_decoded(version: Any) -> None:
    with pytest.raises(CniError) as caught:
        read_result({"cniVersion": version}, "1.0.0")

    assert caught.value.code == Code.DECODING_FAILURE
