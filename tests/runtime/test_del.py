"""DEL and CHECK over a list."""

import pytest

from cni.errors import CniError, Code
from cni.runtime.cache import Cache
from cni.runtime.network import Container, Runtime
from tests.runtime.doubles import Doubles, network


def test_del_goes_backwards_and_forgets(
    runtime: Runtime, doubles: Doubles, cache: Cache, pod: Container
) -> None:
    runtime.add(network(), pod)

    runtime.delete(network(), pod)

    assert doubles.order[2:] == [("DEL", "second"), ("DEL", "first")]
    assert list(cache.entries()) == []


@pytest.mark.parametrize(
    ("version", "handed"),
    [("0.3.1", False), ("0.4.0", True), ("1.0.0", True), ("1.1.0", True)],
)
def test_del_hands_the_cached_result_to_every_plugin_since_0_4_0(
    runtime: Runtime, doubles: Doubles, pod: Container, version: str, *, handed: bool
) -> None:
    result = runtime.add(network(version), pod)

    runtime.delete(network(version), pod)

    for call in doubles.calls[2:]:
        assert call.stdin.get("prevResult") == (result if handed else None)
        assert ("prevResult" in call.stdin) == handed


def test_del_of_what_was_never_added_succeeds(
    runtime: Runtime, doubles: Doubles, pod: Container
) -> None:
    runtime.delete(network(), pod)

    assert doubles.order == [("DEL", "second"), ("DEL", "first")]
    assert all("prevResult" not in call.stdin for call in doubles.calls)


@pytest.mark.parametrize("text", ["{", '{"kind":"cniCacheV1","result":{"cniVersion":"7.7.7"}}'])
def test_del_needs_no_readable_cache(
    runtime: Runtime, doubles: Doubles, cache: Cache, pod: Container, text: str
) -> None:
    cache.directory.mkdir(parents=True)
    (cache.directory / "net-pod-1-eth0").write_text(text)

    runtime.delete(network(), pod)

    assert all("prevResult" not in call.stdin for call in doubles.calls)
    assert list(cache.directory.iterdir()) == []


def test_del_converts_the_cached_result_when_the_list_has_changed(
    runtime: Runtime, doubles: Doubles, pod: Container
) -> None:
    runtime.add(network("1.0.0"), pod)

    runtime.delete(network("0.4.0"), pod)

    handed = doubles.calls[-1].stdin["prevResult"]
    assert (handed["cniVersion"], handed["ips"][0]["version"]) == ("0.4.0", "4")


def test_failed_del_stops_and_remembers(
    runtime: Runtime, doubles: Doubles, cache: Cache, pod: Container
) -> None:
    runtime.add(network(), pod)
    doubles.fails("second", "DEL", 5, "busy")

    with pytest.raises(CniError, match=r'type="second" name="net" failed \(delete\): busy'):
        runtime.delete(network(), pod)

    assert doubles.order[2:] == [("DEL", "second")]
    assert len(list(cache.entries())) == 1


def test_check_goes_forwards_with_the_cached_result(
    runtime: Runtime, doubles: Doubles, pod: Container
) -> None:
    result = runtime.add(network(), pod)

    runtime.check(network(), pod)

    assert doubles.order[2:] == [("CHECK", "first"), ("CHECK", "second")]
    assert all(call.stdin["prevResult"] == result for call in doubles.calls[2:])


def test_check_stops_at_the_first_that_fails(
    runtime: Runtime, doubles: Doubles, pod: Container
) -> None:
    runtime.add(network(), pod)
    doubles.fails("first", "CHECK", Code.CHECK_FAILED, "eth0 is gone")

    with pytest.raises(CniError, match=r"\(check\): eth0 is gone") as refusal:
        runtime.check(network(), pod)

    assert refusal.value.code == Code.CHECK_FAILED
    assert doubles.order[2:] == [("CHECK", "first")]


def test_check_before_0_4_0_is_refused(runtime: Runtime, doubles: Doubles, pod: Container) -> None:
    runtime.add(network("0.3.1"), pod)

    with pytest.raises(CniError, match=r"0\.4\.0") as refusal:
        runtime.check(network("0.3.1"), pod)

    assert refusal.value.code == Code.INCOMPATIBLE_VERSION
    assert len(doubles.calls) == 2


def test_disabled_check_does_nothing(runtime: Runtime, doubles: Doubles, pod: Container) -> None:
    runtime.check(network(disableCheck=True), pod)

    assert doubles.calls == []


def test_check_of_what_was_never_added_is_refused(
    runtime: Runtime, doubles: Doubles, pod: Container
) -> None:
    with pytest.raises(CniError, match="no result of ADD is cached") as refusal:
        runtime.check(network(), pod)

    assert refusal.value.code == Code.UNKNOWN_CONTAINER
    assert doubles.calls == []


@pytest.mark.parametrize("text", ["{", '{"kind":"cniCacheV1","result":{"cniVersion":"7.7.7"}}'])
def test_check_needs_a_readable_cache(
    runtime: Runtime, doubles: Doubles, cache: Cache, pod: Container, text: str
) -> None:
    cache.directory.mkdir(parents=True)
    (cache.directory / "net-pod-1-eth0").write_text(text)

    with pytest.raises(CniError):
        runtime.check(network(), pod)

    assert doubles.calls == []
