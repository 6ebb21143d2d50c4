"""The order in which a range set gives its addresses out."""

from ipaddress import ip_address, ip_network
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cni.config import Section
from cni.leases.ranges import Range, RangeSet, read_range


def make(subnet: str, gateway: str = "") -> Range:
    return read_range(Section({"subnet": subnet, "gateway": gateway}))


def walked(one: RangeSet, last: str = "", limit: int = 1000) -> list[str]:
    return [str(a) for a in islice(one.walk(ip_address(last) if last else None), limit)]


@pytest.fixture
def two_ranges() -> RangeSet:
    return RangeSet((make("192.168.1.0/29"), make("192.168.2.0/29")))


FIRST = [f"192.168.1.{i}" for i in range(2, 7)]  # .1 is the gateway
SECOND = [f"192.168.2.{i}" for i in range(2, 7)]


@pytest.mark.parametrize(
    ("last", "order"),
    [
        ("", FIRST + SECOND),
        ("192.168.1.1", FIRST + SECOND),
        ("192.168.1.4", [*FIRST[3:], *SECOND, *FIRST[:3]]),
        ("192.168.1.6", SECOND + FIRST),
        ("192.168.2.4", [*SECOND[3:], *FIRST, *SECOND[:3]]),
        ("192.168.2.6", FIRST + SECOND),
        ("10.9.9.9", FIRST + SECOND),
        ("2001:db8::1", FIRST + SECOND),
    ],
    ids=[
        "from the beginning",
        "after the gateway",
        "from the middle",
        "from the end of the first range",
        "from the middle of the second range",
        "from the very end",
        "last is in no range",
        "last is of the other family",
    ],
)
def test_the_walk_goes_once_round(two_ranges: RangeSet, last: str, order: list[str]) -> None:
    assert walked(two_ranges, last) == order


def test_a_gateway_in_the_middle_is_passed_over() -> None:
    one = RangeSet((make("192.168.1.0/29", gateway="192.168.1.3"),))

    assert walked(one) == [f"192.168.1.{i}" for i in (1, 2, 4, 5, 6)]
    assert walked(one, "192.168.1.2") == [f"192.168.1.{i}" for i in (4, 5, 6, 1, 2)]


def test_a_gateway_counts_in_its_own_range_only() -> None:
    one = RangeSet(
        (make("192.168.1.0/30", gateway="192.168.2.2"), make("192.168.2.0/30")),
    )

    assert walked(one) == ["192.168.1.1", "192.168.1.2", "192.168.2.2"]


def test_the_broadcast_address_is_never_walked() -> None:
    assert walked(RangeSet((make("192.168.1.0/29"),)))[-1] == "192.168.1.6"


def test_the_last_address_of_ipv6_is_walked() -> None:
    assert walked(RangeSet((make("2001:db8::/126"),))) == ["2001:db8::2", "2001:db8::3"]


def test_a_huge_range_is_walked_lazily() -> None:
    one = RangeSet((make("2001:db8::/32"),))

    assert walked(one, limit=2) == ["2001:db8::2", "2001:db8::3"]
    assert one.size == 2**96 - 2


@st.composite
def range_sets(draw: st.DrawFn) -> RangeSet:
    """Make up to three ranges in neighbouring /28, with any start, end and gateway."""
    base = ip_network("10.0.0.0/28")
    ranges = []
    for index in range(draw(st.integers(1, 3))):
        network = ip_network((int(base.network_address) + 16 * index, 28))
        low = draw(st.integers(0, 15))
        high = draw(st.integers(max(low, 1), 15))
        gateway = draw(st.integers(-3, 18))
        first = int(network.network_address)
        fields: dict[str, Any] = {
            "subnet": str(network),
            "rangeStart": str(ip_address(first + low)),
            "rangeEnd": str(ip_address(first + high)),
            "gateway": str(ip_address(first + gateway)),
        }
        ranges.append(read_range(Section(fields)))
    return RangeSet(tuple(ranges))


@given(range_sets(), st.integers(0, 60), st.sets(st.integers(0, 60)))
def test_a_walk_gives_each_address_once_and_no_other(
    one: RangeSet, last: int, taken: set[int]
) -> None:
    base = int(ip_address("10.0.0.0"))
    numbers = {base + offset for offset in taken}

    walk = list(one.walk(ip_address(base + last), numbers))

    every = {a for a in map(ip_address, range(base - 4, base + 64)) if one.offers(a)}
    assert len(walk) == len(set(walk))
    assert set(walk) == {a for a in every if int(a) not in numbers}
    assert one.size == len(every)


@given(range_sets(), st.data())
def test_the_address_given_last_is_walked_last(one: RangeSet, data: st.DataObject) -> None:
    every = list(one.walk())
    if every:
        last = data.draw(st.sampled_from(every))
        at = every.index(last)

        assert list(one.walk(last)) == every[at + 1 :] + every[: at + 1]
