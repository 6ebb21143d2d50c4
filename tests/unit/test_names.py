"""What network names, container IDs and interface names may look like."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.errors import CniError, Code
from cni.names import check_container_id, check_ifname, check_network
from tests.unit.results import EXAMPLES

GOOD = ("a", "0", "net-1", "a.b_c-d", "A", "9..", "x" * 255, "cnitool-77383ca0a0715733ca6f")
BAD = (
    "..",
    ".",
    ".a",
    "-a",
    "_a",
    "a/b",
    "/",
    "a b",
    "a\n",
    "\n",
    "ä",
    "a\0",
    "a\u2003",
    "x" * 256,
)


@pytest.mark.parametrize("name", GOOD)
def test_a_name_begins_with_a_letter_or_digit(name: str) -> None:
    check_network(name)
    check_container_id(name)


@pytest.mark.parametrize("name", BAD)
def test_other_names_are_refused_each_with_its_code(name: str) -> None:
    with pytest.raises(CniError, match="network name") as of_network:
        check_network(name)
    with pytest.raises(CniError, match="containerID") as of_container:
        check_container_id(name)

    assert of_network.value.code == Code.INVALID_CONFIG
    assert of_container.value.code == Code.INVALID_ENVIRONMENT


@EXAMPLES
@given(st.text())
def test_what_passes_is_one_component_of_a_path(name: str) -> None:
    for check in (check_network, check_container_id):
        try:
            check(name)
        except CniError:
            continue
        assert "/" not in name
        assert name not in ("", ".", "..")
        assert len(name.encode()) <= 255


@pytest.mark.parametrize("name", ["eth0", "a" * 15, "é" * 7, "net1.100", "...", "-"])
def test_an_interface_name_is_what_the_kernel_takes(name: str) -> None:
    check_ifname(name)


@pytest.mark.parametrize(
    ("name", "msg"),
    [
        ("", "interface name is empty"),
        ("a" * 16, "interface name is too long"),
        ("é" * 8, "interface name is too long"),
        (".", "interface name is . or .."),
        ("..", "interface name is . or .."),
        ("eth%d", "interface name contains %"),
        *((f"a{mark}", "contains / or : or whitespace characters") for mark in "/: \t\n\v\f\r"),
        *((f"a{mark}", "contains / or : or whitespace") for mark in "\x85\xa0\u1680\u2028\u3000"),
    ],
)
def test_other_interface_names_are_refused(name: str, msg: str) -> None:
    with pytest.raises(CniError, match=msg) as caught:
        check_ifname(name)

    assert caught.value.code == Code.INVALID_ENVIRONMENT
