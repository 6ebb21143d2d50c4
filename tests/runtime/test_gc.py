"""GC and STATUS over a list."""

from dataclasses import replace

import pytest

from cni.errors import CniError, Code
from cni.runtime.cache import Cache
from cni.runtime.conflist import ConfList
from cni.runtime.network import Container, Runtime
from tests.runtime.doubles import PORT, RESULT, Doubles, network


def add_three(runtime: Runtime, conflist: ConfList) -> None:
    """Attach pod-1 twice and pod-2 once."""
    port = {"portMappings": PORT}
    runtime.add(conflist, Container("pod-1", "/run/netns/1", capability_args=port))
    runtime.add(conflist, Container("pod-1", "/run/netns/1", "net1"))
    runtime.add(conflist, Container("pod-2", "/run/netns/2", args=(("K", "v"),)))


def test_gc_deletes_cached_attachments_that_are_not_valid(
    runtime: Runtime, doubles: Doubles, cache: Cache
) -> None:
    add_three(runtime, network())

    runtime.gc(network(), [("pod-1", "net1"), ("pod-9", "eth0")])

    deleted = doubles.calls[6:]
    assert {call.verb for call in deleted} == {"DEL"}
    assert [entry.attachment.ifname for entry in cache.entries()] == ["net1"]
    assert [(call.env["CNI_CONTAINERID"], call.env["CNI_NETNS"]) for call in deleted] == [
        ("pod-1", "/run/netns/1"),
        ("pod-1", "/run/netns/1"),
        ("pod-2", "/run/netns/2"),
        ("pod-2", "/run/netns/2"),
    ]
    assert deleted[-1].env["CNI_ARGS"] == "K=v"
    assert deleted[-1].stdin["prevResult"] == RESULT


def test_gc_hands_back_the_capability_data_of_add(
    runtime: Runtime, doubles: Doubles, pod: Container
) -> None:
    conflist = network(plugins=[{"type": "first", "capabilities": {"portMappings": True}}])
    runtime.add(conflist, replace(pod, capability_args={"portMappings": PORT}))

    runtime.gc(conflist)

    assert doubles.calls[-1].stdin["runtimeConfig"] == {"portMappings": PORT}


def test_gc_leaves_other_networks_alone(
    runtime: Runtime, doubles: Doubles, cache: Cache, pod: Container
) -> None:
    runtime.add(network(name="other"), pod)

    runtime.gc(network())

    assert len(doubles.calls) == 2
    assert len(list(cache.entries())) == 1


def test_gc_tells_every_plugin_what_is_valid_since_1_1_0(
    runtime: Runtime, doubles: Doubles
) -> None:
    runtime.gc(network("1.1.0"), [("pod-2", "eth0"), ("pod-1", "net1")])

    valid = [
        {"containerID": "pod-1", "ifname": "net1"},
        {"containerID": "pod-2", "ifname": "eth0"},
    ]
    assert doubles.order == [("GC", "first"), ("GC", "second")]
    for call in doubles.calls:
        assert call.stdin["cni.dev/valid-attachments"] == valid
        assert call.stdin["cni.dev/attachments"] == valid
        assert (call.stdin["name"], call.stdin["cniVersion"]) == ("net", "1.1.0")
        assert call.env["CNI_CONTAINERID"] == call.env["CNI_NETNS"] == call.env["CNI_IFNAME"] == ""
        assert call.env["CNI_PATH"] == str(doubles.bin_dir)


def test_gc_with_nothing_valid_says_so(runtime: Runtime, doubles: Doubles) -> None:
    runtime.gc(network("1.1.0"), [])

    assert doubles.calls[0].stdin["cni.dev/valid-attachments"] == []


def test_gc_as_cnitool_does_it_deletes_all_that_is_cached_and_says_nothing(
    runtime: Runtime, doubles: Doubles, cache: Cache, pod: Container
) -> None:
    runtime.add(network("1.1.0"), pod)

    runtime.gc(network("1.1.0"))

    assert doubles.order[2:] == [
        ("DEL", "second"),
        ("DEL", "first"),
        ("GC", "first"),
        ("GC", "second"),
    ]
    assert all("cni.dev/valid-attachments" not in call.stdin for call in doubles.calls)
    assert list(cache.entries()) == []


def test_gc_tries_everything_and_reports_every_error(
    runtime: Runtime, doubles: Doubles, cache: Cache
) -> None:
    conflist = network("1.1.0")
    runtime.add(conflist, Container("pod-1", "/run/netns/1"))
    runtime.add(conflist, Container("pod-2", "/run/netns/2"))
    doubles.fails("second", "DEL", 5, "busy")
    doubles.fails("first", "GC", 11, "later")

    with pytest.raises(CniError) as refusal:
        runtime.gc(conflist)

    for said in ("net/pod-1/eth0", "net/pod-2/eth0", "busy", "(gc): later"):
        assert said in str(refusal.value)
    assert doubles.order[-2:] == [("GC", "first"), ("GC", "second")]
    assert len(list(cache.entries())) == 2


def test_disabled_gc_does_nothing(
    runtime: Runtime, doubles: Doubles, cache: Cache, pod: Container
) -> None:
    runtime.add(network("1.1.0"), pod)

    runtime.gc(network("1.1.0", disableGC="true"))

    assert len(doubles.calls) == 2
    assert len(list(cache.entries())) == 1


def test_status_asks_every_plugin(runtime: Runtime, doubles: Doubles) -> None:
    runtime.status(network("1.1.0"))

    assert doubles.order == [("STATUS", "first"), ("STATUS", "second")]
    assert "prevResult" not in doubles.calls[0].stdin


def test_status_returns_the_first_refusal_with_its_code(runtime: Runtime, doubles: Doubles) -> None:
    doubles.fails("first", "STATUS", 50, "no address left")

    with pytest.raises(CniError, match="no address left") as refusal:
        runtime.status(network("1.1.0"))

    assert refusal.value.code == Code.UNAVAILABLE
    assert doubles.order == [("STATUS", "first")]


def test_status_before_1_1_0_is_silent(runtime: Runtime, doubles: Doubles) -> None:
    runtime.status(network("1.0.0"))

    assert doubles.calls == []
