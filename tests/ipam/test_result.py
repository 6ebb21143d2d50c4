"""What the result of host-local says besides addresses: dns, routes, no interfaces."""

from pathlib import Path
from typing import Any

import pytest

from cni.errors import Code
from tests.ipam.network import Network, addresses

ALL_FIELDS = """
domain example.com
nameserver fd00::1
search a.example b.example
search c.example
options ndots:5 rotate
sortlist 1.2.3.4
"""


@pytest.mark.parametrize(
    ("text", "dns"),
    [
        (
            "nameserver 192.0.2.1\nnameserver 192.0.2.2\n",
            {"nameservers": ["192.0.2.1", "192.0.2.2"]},
        ),
        (
            "# nameserver 192.0.2.0\n; search x\n\nnameserver 192.0.2.1 # one\n",
            {"nameservers": ["192.0.2.1"]},
        ),
        (
            ALL_FIELDS,
            {
                "nameservers": ["fd00::1"],
                "domain": "example.com",
                "search": ["a.example", "b.example", "c.example"],
                "options": ["ndots:5", "rotate"],
            },
        ),
        ("", None),
        ("nameserver\ndomain\n", None),
    ],
    ids=["simple", "comments", "all fields", "empty", "words missing"],
)
def test_resolv_conf_becomes_dns(tmp_path: Path, text: str, dns: Any) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text(text)

    result = Network(tmp_path, resolvConf=str(path)).call("ADD").ok().json
    assert result.get("dns") == dns


def test_a_missing_resolv_conf_is_refused_before_anything_is_leased(tmp_path: Path) -> None:
    network = Network(tmp_path, resolvConf="/no/such/file")

    error = network.call("ADD").failed(Code.IO_FAILURE).json
    assert "/no/such/file" in error["msg"]
    assert network.files() == {}


def test_routes_keep_all_fields_of_spec_1_1(tmp_path: Path) -> None:
    route = {
        "dst": "10.0.0.0/8",
        "gw": "10.1.2.9",
        "mtu": 1400,
        "advmss": 1300,
        "priority": 7,
        "table": 0,
        "scope": 253,
    }

    result = Network(tmp_path, routes=[route]).call("ADD").ok().json
    assert result["routes"] == [route]


def test_an_ipam_result_names_no_interfaces(network: Network) -> None:
    result = network.call("ADD").ok().json

    assert result == {
        "cniVersion": "1.1.0",
        "ips": [{"address": "10.1.2.2/24", "gateway": "10.1.2.1"}],
    }


def test_add_prints_nothing_on_stderr(network: Network, capfd: pytest.CaptureFixture[str]) -> None:
    addresses(network.call("ADD"))

    assert capfd.readouterr() == ("", "")
