"""JSON as the runtimes write it: keys in any case, values of the right type or refused."""

import json
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.config import Section, decode
from cni.errors import CniError, Code
from tests.unit.results import EXAMPLES

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def one(value: Any) -> Section:
    return Section({"key": value}, "ipam")


def refused(read: Callable[[], object]) -> int | None:
    """Return the code of the refusal; None when the value is taken."""
    try:
        read()
    except CniError as error:
        return error.code
    return None


def test_the_key_as_written_is_taken_first() -> None:
    section = Section({"HostPort": 1, "hostPort": 2, "hostport": 3})

    assert section.get("hostPort") == 2
    assert section.get("HostPort") == 1
    assert section.get("HOSTPORT") == 1  # the first of any case
    assert section.get("containerPort") is None


@pytest.mark.parametrize("key", ["portMappings", "PortMappings", "PORTMAPPINGS", "portmappings"])
def test_keys_match_in_any_case_at_every_level(key: str) -> None:
    """containerd's library writes HostPort where the conventions say hostPort."""
    config = Section({"RuntimeConfig": {key: [{"HostPort": 8080, "Protocol": "tcp"}]}})

    (mapping,) = config.section("runtimeConfig").sections("portMappings")
    assert mapping.integer("hostPort") == 8080
    assert mapping.string("protocol") == "tcp"


def test_a_null_of_the_exact_key_is_absent_whatever_other_cases_say() -> None:
    assert Section({"name": None, "Name": "net"}).string("name", "default") == "default"


def test_what_is_absent_or_null_has_its_default() -> None:
    for section in (Section({}), Section(dict.fromkeys(("a", "key"), None))):
        assert section.string("key") == ""
        assert section.string("key", "x") == "x"
        assert section.boolean("key", default=True) is True
        assert section.integer("key", 7) == 7
        assert section.integer_or_none("key") is None
        assert section.array("key") == []
        assert section.strings("key") == ()
        assert section.section("key").values == {}
        assert section.sections("key") == []
        assert section.address("key") is None


def test_values_of_the_right_type_are_taken() -> None:
    assert one("").string("key", "x") == ""
    assert one(value=False).boolean("key", default=True) is False
    assert [one(text).boolean("key") for text in ("true", "TRUE", "false")] == [True, True, False]
    assert [one(number).integer("key") for number in (5, 5.0, -1, 0, 1e3)] == [5, 5, -1, 0, 1000]
    assert one(0).integer_or_none("key") == 0
    assert one(["a", "b"]).strings("key") == ("a", "b")
    assert one("10.1.2.3").address("key") == ip_address("10.1.2.3")
    assert one("10.1.2.3/24").interface("key") == ip_interface("10.1.2.3/24")
    assert one("10.1.2.3/24").network("key") == ip_network("10.1.2.0/24")


WRONG: dict[str, tuple[Any, ...]] = {
    "string": (5, True, [], {}, 1.5),
    "boolean": (1, 0, "yes", "", [], {}, 1.0),
    "integer": ("5", 1.5, True, [], {}, float("inf"), float("nan")),
    "integer_or_none": ("5", 1.5, False, []),
    "array": ("x", 5, {}, True),
    "strings": ("x", [5], ["a", None], {}),
    "section": ("x", 5, [], True),
    "sections": ("x", [5], [{}, None], {}),
    "address": (
        5,
        "10.1.2",
        "10.1.2.3/24",
        "::1%eth0/64",
        "localhost",
        " 10.1.2.3",
        "fe80::1%eth0",
    ),
    "interface": (
        5,
        "",
        None,
        "10.1.2.3",
        "10.1.2.3/33",
        "/24",
        "10.1.2.3/24/24",
        "fe80::1%x/64",
        "10.1.2.3/255.0.0.0",
    ),
    "network": (
        5,
        "",
        None,
        "10.1.2.0",
        "10.1.2.0/33",
        "/24",
        "default",
        "::%x/64",
        "10.1.2.0/255.255.255.0",
        "10.0.0.0/0.255.255.255",
    ),
}


@pytest.mark.parametrize("kind", WRONG)
def test_a_value_of_another_type_is_refused_with_its_place(kind: str) -> None:
    for value in WRONG[kind]:
        with pytest.raises(CniError, match=r"^cannot use ipam\.key ") as caught:
            getattr(one(value), kind)("key")

        assert caught.value.code == Code.INVALID_CONFIG
        assert caught.value.details.startswith("it must be ")


def test_errors_name_the_place_in_lists_of_objects() -> None:
    config = Section({"ipam": {"ranges": [{}, {"subnet": 5}]}})

    second = config.section("ipam").sections("ranges")[1]

    with pytest.raises(CniError, match=r"cannot use ipam\.ranges\[1\]\.subnet 5"):
        second.network("subnet")


def test_a_long_value_is_shown_in_part() -> None:
    error = one("x" * 100_000).refuse("key", "short")

    assert len(error.msg) < 300


def test_a_value_nested_as_deep_as_can_be_is_refused_too() -> None:
    value: Any = []
    for _ in range(5000):
        value = [value]

    with pytest.raises(CniError, match="cannot use ipam"):
        one(value).integer("key")


@EXAMPLES
@given(JSON)
def test_any_value_is_taken_or_refused(value: Any) -> None:
    for kind in WRONG:
        refusal = refused(partial(getattr(one(value), kind), "key"))
        assert refusal in (None, Code.INVALID_CONFIG)


@EXAMPLES
@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_any_object_is_decoded(values: dict[str, Any]) -> None:
    assert decode(json.dumps(values).encode()) == values


@EXAMPLES
@given(st.binary())
def test_any_bytes_are_decoded_or_refused(text: bytes) -> None:
    assert refused(lambda: decode(text)) in (None, Code.DECODING_FAILURE)
