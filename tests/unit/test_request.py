"""What a program reads of its invocation."""

from typing import Any

import pytest

from cni.attachment import Attachment
from cni.config import Section
from cni.errors import CniError, Code
from cni.request import Request
from cni.result import DNS, Result

PREV = {"ips": [{"address": "10.1.2.3/24"}]}
BAD_PREV: tuple[Any, ...] = (
    {"ips": 5},
    {"ips": [{"address": "10.1.2"}]},
    {"cniVersion": "7.0.0"},
    {"cniVersion": 5},
)


def request(verb: str = "ADD", **config: Any) -> Request:
    attachment = Attachment("net", "pod-1", "eth0")
    values = {"cniVersion": "1.0.0", **config}
    return Request(verb, attachment, "", "IP=10.1.2.3", "", b"", Section(values))


def test_the_previous_result_is_of_its_own_version_or_of_the_configuration() -> None:
    legacy = {"cniVersion": "0.2.0", "ip4": {"ip": "10.1.2.3/24"}}
    results = [request(prevResult=values).prev_result() for values in (PREV, legacy)]
    old = request(cniVersion="", prevResult={"ip4": {"ip": "10.1.2.3/24"}}).prev_result()

    assert results[0] == results[1] == old
    assert results[0] is not None
    assert str(results[0].ips[0].address) == "10.1.2.3/24"


def test_no_previous_result_is_none_and_an_empty_one_is_empty() -> None:
    assert request().prev_result() is None
    assert request(prevResult=None).prev_result() is None
    assert request(prevResult={}).prev_result() == Result()


@pytest.mark.parametrize("values", BAD_PREV)
def test_a_previous_result_that_cannot_be_read_matters_to_all_but_del(values: Any) -> None:
    for verb in ("ADD", "CHECK"):
        with pytest.raises(CniError, match="result"):
            request(verb, prevResult=values).prev_result()

    assert request("DEL", prevResult=values).prev_result() is None


@pytest.mark.parametrize("values", [5, "x", [], True])
def test_a_previous_result_that_is_no_object_cannot_be_decoded(values: Any) -> None:
    with pytest.raises(CniError) as caught:
        request(prevResult=values).prev_result()

    assert caught.value.code == Code.DECODING_FAILURE
    assert request("DEL", prevResult=values).prev_result() is None


def test_a_chained_program_without_previous_result_says_so() -> None:
    with pytest.raises(CniError, match="cannot CHECK portmap: prevResult is missing") as caught:
        request("CHECK", type="portmap").required_prev_result()

    assert caught.value.code == Code.INVALID_CONFIG


@pytest.mark.parametrize(
    ("dns", "wanted"),
    [
        (None, None),
        ({}, None),
        ({"domain": ""}, None),
        ({"nameservers": None}, None),
        ({"nameservers": []}, DNS()),
        ({"domain": "a"}, DNS(domain="a")),
        ({"Search": ["a"], "OPTIONS": ["b"]}, DNS(search=("a",), options=("b",))),
    ],
)
def test_dns_that_says_nothing_at_all_is_none(dns: Any, wanted: DNS | None) -> None:
    assert request(dns=dns).dns == wanted


def test_the_attachments_to_keep_are_none_without_the_key() -> None:
    assert request("GC").valid_attachments() is None
    assert request("GC", **{"cni.dev/valid-attachments": None}).valid_owners() is None


def test_an_empty_list_keeps_none() -> None:
    assert request("GC", **{"cni.dev/valid-attachments": []}).valid_attachments() == frozenset()


@pytest.mark.parametrize("key", ["cni.dev/valid-attachments", "cni.dev/attachments"])
def test_the_attachments_to_keep_are_pairs(key: str) -> None:
    """libcni sends the older key too, with the same content."""
    pairs = [{"containerID": "pod-1", "ifname": "eth0"}, {"containerID": "pod-2", "ifname": "e"}]
    asked = request("GC", **{key: pairs})

    assert asked.valid_attachments() == frozenset((("pod-1", "eth0"), ("pod-2", "e")))
    assert asked.valid_owners() == frozenset(("net/pod-1/eth0", "net/pod-2/e"))


def test_what_the_runtime_adds_is_found() -> None:
    asked = request(runtimeConfig={"PortMappings": []}, args={"cni": {}})

    assert asked.runtime_config.get("portMappings") == []
    assert asked.arguments("IP") == {"IP": "10.1.2.3"}
