"""Results in every version of the SPEC: written to the letter, and read back."""

import json
from dataclasses import replace
from ipaddress import ip_interface
from typing import Any

import pytest
from hypothesis import given

from cni.config import Section
from cni.errors import CniError, Code
from cni.result import DNS, IP, Interface, Result, dump, read_result, read_route, render
from cni.versions import SUPPORTED
from tests.unit.results import EXAMPLES, FULL, RESULTS

LEGACY, OLD, NEW = SUPPORTED[:2], SUPPORTED[2:5], SUPPORTED[5:]
DNS_JSON = {
    "nameservers": ["192.0.2.1", "fd00::53"],
    "domain": "example.com",
    "search": ["a.example", "b.example"],
    "options": ["ndots:5"],
}
ROUTES: list[dict[str, Any]] = [
    {
        "dst": "0.0.0.0/0",
        "gw": "10.1.2.1",
        "mtu": 1300,
        "advmss": 1260,
        "priority": 50,
        "table": 100,
        "scope": 253,
    },
    {"dst": "fd00:1::/32"},
    {"dst": "10.0.0.0/8", "table": 0, "scope": 0},
]
IN_LEGACY: dict[str, Any] = {
    "ip4": {"ip": "10.1.2.3/24", "gateway": "10.1.2.1", "routes": [ROUTES[0], ROUTES[2]]},
    "ip6": {"ip": "fd00::3/64", "routes": [ROUTES[1]]},
    "dns": DNS_JSON,
}
IN_OLD: dict[str, Any] = {
    "interfaces": [
        {"name": "veth1", "mac": "0a:00:00:00:00:01"},
        {"name": "eth0", "mac": "0a:00:00:00:00:02", "sandbox": "/run/netns/pod"},
    ],
    "ips": [
        {"version": "4", "interface": 1, "address": "10.1.2.3/24", "gateway": "10.1.2.1"},
        {"version": "6", "interface": 0, "address": "fd00::3/64"},
        {"version": "4", "address": "10.9.9.9/32"},
    ],
    "routes": ROUTES,
    "dns": DNS_JSON,
}
IN_NEW: dict[str, Any] = {
    "dns": dict(sorted(DNS_JSON.items())),
    "interfaces": [
        {"mac": "0a:00:00:00:00:01", "mtu": 1400, "name": "veth1"},
        {
            "mac": "0a:00:00:00:00:02",
            "mtu": 1400,
            "name": "eth0",
            "pciID": "0000:00:1",
            "sandbox": "/run/netns/pod",
            "socketPath": "/run/s.sock",
        },
    ],
    "ips": [
        {"address": "10.1.2.3/24", "gateway": "10.1.2.1", "interface": 1},
        {"address": "fd00::3/64", "interface": 0},
        {"address": "10.9.9.9/32"},
    ],
    "routes": [dict(sorted(route.items())) for route in ROUTES],
}
GOLDEN = (
    dict.fromkeys(LEGACY, IN_LEGACY)
    | dict.fromkeys(OLD, IN_OLD)
    | dict.fromkeys(NEW, IN_NEW)  # what is of 1.1.0 is kept in 1.0.0
)


@pytest.mark.parametrize("version", SUPPORTED)
def test_a_result_that_says_everything_is_written_to_the_letter(version: str) -> None:
    golden = {"cniVersion": version, **GOLDEN[version]}

    assert dump(render(FULL, version)) == json.dumps(golden, indent=4)


@pytest.mark.parametrize("version", [*OLD, *NEW])
def test_an_empty_result_is_its_version_and_until_0_4_0_its_dns(version: str) -> None:
    dns: dict[str, Any] = {"dns": {}} if version in OLD else {}

    assert render(Result(), version) == {"cniVersion": version, **dns}


@pytest.mark.parametrize("version", LEGACY)
def test_a_result_without_addresses_has_no_form_before_0_3_0(version: str) -> None:
    with pytest.raises(CniError, match="no valid IP addresses") as caught:
        render(Result(interfaces=(Interface("eth0"),)), version)

    assert caught.value.code == Code.INCOMPATIBLE_VERSION
    assert version in caught.value.msg


def test_before_0_3_0_there_is_one_address_of_each_family_and_no_route_of_another() -> None:
    only_v6 = replace(FULL, ips=FULL.ips[1:2])

    values = render(only_v6, "0.2.0")

    assert "ip4" not in values
    assert values["ip6"] == {"ip": "fd00::3/64", "routes": [{"dst": "fd00:1::/32"}]}


def test_interface_0_is_written_and_an_unknown_one_is_not() -> None:
    for version in (*OLD, *NEW):
        first, second = render(
            Result(ips=(IP(ip_interface("10.0.0.1/8"), interface=0), IP(ip_interface("::1/128")))),
            version,
        )["ips"]

        assert first["interface"] == 0
        assert "interface" not in second


def test_text_is_written_as_it_is_not_escaped() -> None:
    assert "é" in dump(render(Result(dns=DNS(domain="é")), "1.0.0"))


# reading


def read(values: Any, default: str = "") -> Result:
    return read_result(values, default)


def lost_in(result: Result, version: str) -> Result:
    """Return what is left of a result in `version`."""
    if version in NEW:
        return result
    interfaces = [replace(one, mtu=0, socket_path="", pci_id="") for one in result.interfaces]
    return replace(result, interfaces=tuple(interfaces))


@pytest.mark.parametrize("version", [*OLD, *NEW])
def test_what_is_written_is_read_back(version: str) -> None:
    assert read(render(FULL, version)) == lost_in(FULL, version)


@given(RESULTS)
@EXAMPLES
def test_any_result_survives_the_versions_with_interfaces(result: Result) -> None:
    for version in ("0.3.1", "1.1.0"):
        text = dump(render(result, version))

        assert read(json.loads(text)) == lost_in(result, version)


@given(RESULTS)
@EXAMPLES
def test_any_result_keeps_its_first_addresses_in_the_legacy_versions(result: Result) -> None:
    first = [next((ip for ip in result.ips if ip.address.version == v), None) for v in (4, 6)]
    ips = tuple(replace(ip, interface=None) for ip in first if ip)
    families = [ip.address.version for ip in ips]
    routes = sorted(result.routes, key=lambda route: route.dst.version)
    kept = tuple(route for route in routes if route.dst.version in families)
    for version in LEGACY if ips else ():
        assert read(render(result, version)) == Result((), ips, kept, result.dns)


@pytest.mark.parametrize("gateway", [{}, {"gw": "10.1.2.9"}], ids=["no gateway", "gateway"])
@pytest.mark.parametrize("version", LEGACY)
def test_legacy_results_come_back_as_they_were(version: str, gateway: dict[str, str]) -> None:
    half = {"ip": "10.1.2.3/24", "gateway": "10.1.2.1"}
    values = {"cniVersion": version, "ip4": half | {"routes": [{"dst": "10.0.0.0/8"} | gateway]}}

    assert render(read(values), version) == values | {"dns": {}}


@pytest.mark.parametrize("version", [*OLD, *NEW])
def test_a_legacy_result_becomes_one_without_interfaces(version: str) -> None:
    values = {"cniVersion": "0.2.0", "ip6": {"ip": "fd00::3/64"}, "ip4": {"ip": "10.1.2.3/24"}}

    result = render(read(values), version)

    assert [ip["address"] for ip in result["ips"]] == ["10.1.2.3/24", "fd00::3/64"]
    assert not any("interface" in ip for ip in result["ips"])
    assert "interfaces" not in result


def test_a_result_without_a_version_is_of_the_one_given_or_of_0_1_0() -> None:
    old, new = {"ip4": {"ip": "10.1.2.3/24"}}, {"ips": [{"address": "10.1.2.3/24"}]}
    wanted = (IP(ip_interface("10.1.2.3/24")),)

    assert read(new, "1.0.0").ips == read(old, "0.2.0").ips == read(old, "").ips == wanted
    assert read(new | {"cniVersion": ""}, "1.0.0").ips == wanted
    assert read(new | {"cniVersion": "1.1.0"}, "0.1.0").ips == wanted


def test_a_version_that_nobody_knows_is_refused() -> None:
    for values in ({"cniVersion": "2.0.0"}, {"cniVersion": "9" * 5000}):
        with pytest.raises(CniError, match="cannot convert a result") as caught:
            read(values)

        assert caught.value.code == Code.INCOMPATIBLE_VERSION
        assert len(caught.value.msg) < 200
    with pytest.raises(CniError, match="cannot convert a result"):
        render(FULL, "2.0.0")


def test_keys_are_read_in_any_case_and_unknown_ones_ignored() -> None:
    values = {"CNIVersion": "1.0.0", "IPs": [{"Address": "10.1.2.3/24", "Gateway": ""}], "x": 1}

    assert read(values).ips == (IP(ip_interface("10.1.2.3/24")),)


def test_null_is_absent() -> None:
    values = {"cniVersion": "1.0.0", "interfaces": None, "ips": None, "routes": None, "dns": None}

    assert read(values) == Result()


def test_addresses_keep_their_host_bits_and_routes_do_not() -> None:
    values = {
        "cniVersion": "1.0.0",
        "ips": [{"address": "10.1.2.3/8"}],
        "routes": [{"dst": "10.1.2.3/8"}],
    }

    assert str(read(values).ips[0].address) == "10.1.2.3/8"
    assert str(read(values).routes[0].dst) == "10.0.0.0/8"


def test_a_route_is_read_and_written_back() -> None:
    for values in ROUTES:
        route = read_route(Section(values))

        assert render(Result(routes=(route,)), "0.4.0")["routes"] == [values]
