"""ADD over a list: what each plugin is told, and what is remembered."""

import json
from dataclasses import replace
from typing import Any

import pytest

from cni.attachment import Attachment
from cni.errors import CniError, Code
from cni.runtime.cache import Cache, Entry
from cni.runtime.network import Container, Runtime
from tests.runtime.doubles import PORT, RESULT, Doubles, network


def test_add_goes_forwards_and_hands_the_result_on(
    runtime: Runtime, doubles: Doubles, pod: Container
) -> None:
    last = RESULT | {"routes": [{"dst": "0.0.0.0/0"}]}
    doubles.says("second", "ADD", json.dumps(last))

    result = runtime.add(network(), pod)

    first, second = doubles.calls
    assert [first.program, second.program] == ["first", "second"]
    assert "prevResult" not in first.stdin
    assert second.stdin["prevResult"] == RESULT
    assert result == last


def test_every_plugin_gets_name_and_version_of_the_list(
    runtime: Runtime, doubles: Doubles, pod: Container
) -> None:
    runtime.add(network(), pod)

    for call in doubles.calls:
        assert (call.stdin["name"], call.stdin["cniVersion"]) == ("net", "1.0.0")
    assert doubles.calls[0].stdin["mtu"] == 1400


def test_plugins_get_the_container_in_their_environment(runtime: Runtime, doubles: Doubles) -> None:
    args = (("IgnoreUnknown", "1"), ("K8S_POD_NAME", "web"))

    runtime.add(network(), Container("pod-1", "/run/netns/pod", "net1", args=args))

    assert doubles.calls[0].env == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "pod-1",
        "CNI_NETNS": "/run/netns/pod",
        "CNI_IFNAME": "net1",
        "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=web",
        "CNI_PATH": str(doubles.bin_dir),
    }


def test_add_is_remembered(runtime: Runtime, cache: Cache, pod: Container) -> None:
    pod = replace(pod, args=(("K", "v"),), capability_args={"portMappings": PORT})
    conflist = network()

    runtime.add(conflist, pod)

    attachment = Attachment("net", "pod-1", "eth0")
    entry = Entry(attachment, pod.netns, conflist.text, pod.args, pod.capability_args, RESULT)
    assert list(cache.entries()) == [entry]


@pytest.mark.parametrize("failing", ["first", "second"])
def test_failed_add_stops_and_is_not_remembered(
    runtime: Runtime, doubles: Doubles, cache: Cache, pod: Container, failing: str
) -> None:
    doubles.fails("first", "DEL")
    doubles.fails(failing, "ADD", 11, "the pool is empty", "wait")

    with pytest.raises(CniError) as refusal:
        runtime.add(network(), pod)

    said = f'plugin type="{failing}" name="net" failed (add): the pool is empty; wait'
    assert str(refusal.value) == said
    assert refusal.value.code == Code.TRY_AGAIN
    assert doubles.calls[-1].program == failing
    assert not cache.directory.exists()


def test_refused_second_add_keeps_what_is_remembered(
    runtime: Runtime, doubles: Doubles, cache: Cache, pod: Container
) -> None:
    runtime.add(network(), pod)
    before = list(cache.entries())
    doubles.fails("first", "ADD", Code.ALREADY_ATTACHED)

    with pytest.raises(CniError):
        runtime.add(network(), pod)

    assert list(cache.entries()) == before


@pytest.mark.parametrize("said", ["", "  \n", "no json", "[]", '{"ips": [{"address": "x"}]}'])
def test_add_without_a_result_is_an_error(
    runtime: Runtime, doubles: Doubles, cache: Cache, pod: Container, said: str
) -> None:
    doubles.says("first", "ADD", said)

    with pytest.raises(CniError, match='type="first"') as refusal:
        runtime.add(network(), pod)

    assert refusal.value.code == Code.DECODING_FAILURE
    assert not cache.directory.exists()


def test_result_of_another_version_is_converted(
    runtime: Runtime, doubles: Doubles, pod: Container
) -> None:
    doubles.says("second", "ADD", json.dumps({"ip4": {"ip": "10.1.2.3/24"}, "cniVersion": "0.2.0"}))

    result = runtime.add(network("1.0.0"), pod)

    assert result == {"cniVersion": "1.0.0", "ips": [{"address": "10.1.2.3/24"}]}


def test_result_without_a_version_is_of_the_list(
    runtime: Runtime, doubles: Doubles, pod: Container
) -> None:
    doubles.says("second", "ADD", json.dumps({"ips": [{"address": "10.1.2.3/24"}]}))

    assert runtime.add(network("0.4.0"), pod)["cniVersion"] == "0.4.0"


def test_keys_that_nobody_knows_reach_the_next_plugin(
    runtime: Runtime, doubles: Doubles, pod: Container
) -> None:
    doubles.says("first", "ADD", json.dumps(RESULT | {"x-vendor": 1}))

    runtime.add(network(), pod)

    assert doubles.calls[1].stdin["prevResult"]["x-vendor"] == 1


@pytest.mark.parametrize(
    ("capabilities", "data", "expected"),
    [
        ({"portMappings": True}, {"portMappings": PORT}, {"portMappings": PORT}),
        ({"portMappings": True, "dns": True}, {"dns": {}, "mac": "x"}, {"dns": {}}),
        ({"portMappings": False}, {"portMappings": PORT}, None),
        ({"portMappings": True}, {}, None),
        ({}, {"portMappings": PORT}, None),
    ],
    ids=["declared and fed", "two of three", "declared false", "not fed", "not declared"],
)
def test_capability_data_reaches_who_declares_it(
    runtime: Runtime, doubles: Doubles, capabilities: Any, data: Any, expected: Any
) -> None:
    plugins = [{"type": "first", "capabilities": capabilities}]

    runtime.add(network(plugins=plugins), Container("pod-1", "/ns", capability_args=data))

    assert doubles.calls[0].stdin.get("runtimeConfig") == expected
    assert ("runtimeConfig" in doubles.calls[0].stdin) == (expected is not None)


def test_missing_program_is_an_error_that_says_where_it_was_searched(
    runtime: Runtime, doubles: Doubles, pod: Container
) -> None:
    with pytest.raises(CniError, match='failed to find plugin "third"') as refusal:
        runtime.add(network(plugins=[{"type": "third"}]), pod)

    assert str(doubles.bin_dir) in str(refusal.value)


@pytest.mark.parametrize(
    ("container_id", "ifname"),
    [
        ("../etc", "eth0"),
        ("", "eth0"),
        ("a\nb", "eth0"),
        ("c" * 251, "eth0"),
        ("pod", ""),
        ("pod", ".."),
        ("pod", "a/b"),
        ("pod", "sixteen-letters-"),
    ],
)
@pytest.mark.parametrize("verb", ["add", "check", "delete"])
def test_hostile_names_are_refused_before_anything_runs(
    runtime: Runtime, doubles: Doubles, verb: str, container_id: str, ifname: str
) -> None:
    with pytest.raises(CniError) as refusal:
        getattr(runtime, verb)(network(), Container(container_id, "/run/netns/pod", ifname))

    assert refusal.value.code == Code.INVALID_ENVIRONMENT
    assert doubles.calls == []


def test_null_is_an_empty_result_and_silence_is_none(
    runtime: Runtime, doubles: Doubles, pod: Container
) -> None:
    doubles.says("second", "ADD", "null")
    assert runtime.add(network(), pod) == {"cniVersion": "1.0.0"}

    doubles.says("second", "ADD", "")
    with pytest.raises(CniError, match="it printed no result"):
        runtime.add(network(), replace(pod, container_id="pod-2"))
