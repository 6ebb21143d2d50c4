"""Versions of the SPEC: parsed, compared, refused when they are none."""

import pytest

from cni.versions import DEFAULT, NEWEST, SUPPORTED, at_least, parse


def test_the_versions_are_those_of_the_spec_oldest_first() -> None:
    assert SUPPORTED == ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
    assert sorted(SUPPORTED, key=parse) == list(SUPPORTED)
    assert (DEFAULT, NEWEST) == ("0.1.0", "1.1.0")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1.2.3", (1, 2, 3)),
        ("1.1", (1, 1, 0)),
        ("1", (1, 0, 0)),
        ("0.10.0", (0, 10, 0)),
        ("01.002.0003", (1, 2, 3)),
    ],
)
def test_missing_parts_are_0(text: str, numbers: tuple[int, ...]) -> None:
    assert parse(text) == numbers


@pytest.mark.parametrize(
    "text",
    [
        *("", ".", "..", "1.", ".1", "1..0", "1.0.0.0", "1.0.0.", "v1.0.0", "one", "1.0.x"),
        *("-1.0.0", "+1.0.0", "1.0.0-rc1", "1_0.0.0", " 1.0.0", "1.0.0\n", "1,0,0", "0x1.0.0"),
        *("\u0661.0.0", "\u00b2.0.0", "\0"),  # digits, but not of ASCII
    ],
)
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="version"):
        parse(text)


def test_numbers_are_compared_not_letters() -> None:
    assert at_least("0.10.0", "0.4.0")
    assert at_least("1.1", "1.1.0")
    assert at_least("2", "1.1.0")
    assert not at_least("0.3.1", "0.4.0")
    assert not at_least("1.0.9", "1.1.0")
