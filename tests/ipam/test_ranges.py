"""Ranges and sets of them: defaults, refusals, membership, overlap."""

from ipaddress import ip_address, ip_network
from itertools import islice

import pytest

from cni.config import Section
from cni.errors import CniError, Code
from cni.leases.ranges import Range, RangeSet, read_range, read_range_sets

HOST_BITS = "Network has host bits set. For a subnet mask of length"


def make(subnet: str, start: str = "", end: str = "", gateway: str = "") -> Range:
    written = {"subnet": subnet, "rangeStart": start, "rangeEnd": end, "gateway": gateway}
    return read_range(Section(written))


def texts(one: Range) -> tuple[str, str, str]:
    return str(one.start), str(one.end), str(one.gateway)


def walked(one: RangeSet, last: str = "", limit: int = 1000) -> list[str]:
    return [str(a) for a in islice(one.walk(ip_address(last) if last else None), limit)]


# one range


@pytest.mark.parametrize(
    ("subnet", "start", "end", "gateway"),
    [
        ("192.0.2.0/24", "192.0.2.1", "192.0.2.254", "192.0.2.1"),
        ("192.0.2.0/25", "192.0.2.1", "192.0.2.126", "192.0.2.1"),
        ("192.0.2.12/30", "192.0.2.13", "192.0.2.14", "192.0.2.13"),
        ("2001:DB8:1::/64", "2001:db8:1::1", "2001:db8:1:0:ffff:ffff:ffff:ffff", "2001:db8:1::1"),
        ("2001:db8::/126", "2001:db8::1", "2001:db8::3", "2001:db8::1"),
    ],
    ids=["clean v4", "half v4", "small v4", "clean v6", "small v6"],
)
def test_a_subnet_alone_gives_all_its_addresses(
    subnet: str, start: str, end: str, gateway: str
) -> None:
    assert texts(make(subnet)) == (start, end, gateway)


def test_all_fields_are_kept() -> None:
    one = make("192.0.2.0/24", "192.0.2.40", "192.0.2.50", "192.0.2.254")

    assert texts(one) == ("192.0.2.40", "192.0.2.50", "192.0.2.254")
    assert one.subnet == ip_network("192.0.2.0/24")


def test_network_and_broadcast_address_are_given_out_only_when_named() -> None:
    one = make("192.0.2.0/24", "192.0.2.0", "192.0.2.255")

    assert texts(one)[:2] == ("192.0.2.0", "192.0.2.255")


def test_a_gateway_may_lie_outside_the_subnet() -> None:
    assert texts(make("192.0.2.0/24", gateway="198.51.100.1"))[2] == "198.51.100.1"


def test_ipv4_written_as_ipv6_is_ipv4() -> None:
    one = make("192.0.2.0/24", "::ffff:192.0.2.40", gateway="::ffff:192.0.2.9")

    assert texts(one) == ("192.0.2.40", "192.0.2.254", "192.0.2.9")


@pytest.mark.parametrize(
    ("fields", "msg"),
    [
        (("192.0.2.0/31",), "Network 192.0.2.0/31 too small to allocate from"),
        (("192.0.2.0/32",), "Network 192.0.2.0/32 too small to allocate from"),
        (("2001:db8::/127",), "Network 2001:db8::/127 too small to allocate from"),
        (
            ("192.0.2.12/24",),
            f"{HOST_BITS} 24 the network address is 192.0.2.0",
        ),
        (
            ("2001:db8::5/64",),
            f"{HOST_BITS} 64 the network address is 2001:db8::",
        ),
        (("::ffff:192.0.2.0/120",), "IPNet IP and Mask version mismatch"),
        (("192.0.2.0/24", "192.0.3.0"), "RangeStart 192.0.3.0 not in network 192.0.2.0/24"),
        (("192.0.2.0/24", "", "192.0.4.0"), "RangeEnd 192.0.4.0 not in network 192.0.2.0/24"),
        (
            ("192.0.2.0/24", "192.0.2.50", "192.0.2.40"),
            "RangeStart 192.0.2.50 not in network 192.0.2.0/24",
        ),
        (("192.0.2.0/24", "", "192.0.2.0"), "RangeEnd 192.0.2.0 not in network 192.0.2.0/24"),
        (("192.0.2.0/24", "2001:db8::1"), "RangeStart 2001:db8::1 not in network 192.0.2.0/24"),
        (("192.0.2.0",), 'cannot use subnet "192.0.2.0"'),
        (("",), 'cannot use subnet ""'),
        (("192.0.2.0/24", "nonsense"), 'cannot use rangeStart "nonsense"'),
        (("2001:db8::/64", "2001:db8::5%eth0"), 'cannot use rangeStart "2001:db8::5%eth0"'),
    ],
    ids=[
        "/31",
        "/32",
        "/127",
        "host bits v4",
        "host bits v6",
        "mapped subnet",
        "bad start",
        "bad end",
        "end before start",
        "end before the first address",
        "start of the other family",
        "no prefix length",
        "no subnet",
        "start is no address",
        "start with a zone",
    ],
)
def test_a_range_that_cannot_be_is_refused(fields: tuple[str, ...], msg: str) -> None:
    with pytest.raises(CniError) as refused:
        make(*fields)

    assert refused.value.code == Code.INVALID_CONFIG
    assert refused.value.msg == msg
    assert refused.value.details


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("192.0.2.39", False),
        ("192.0.2.40", True),
        ("192.0.2.45", True),
        ("192.0.2.50", True),
        ("192.0.2.51", False),
        ("192.0.3.45", False),
        ("::192.0.2.45", False),
    ],
)
def test_membership_ends_at_start_and_end(address: str, *, inside: bool) -> None:
    assert (ip_address(address) in make("192.0.2.0/24", "192.0.2.40", "192.0.2.50")) is inside


def test_membership_in_ipv6() -> None:
    one = make("2001:db8:1::/64", "2001:db8:1::40", "2001:db8:1::50")

    assert ip_address("2001:db8:1::45") in one
    assert ip_address("2001:db8:1::51") not in one
    assert ip_address("2001:db8:2::45") not in one


@pytest.mark.parametrize(
    ("other", "overlaps"),
    [
        (("192.0.2.0/24", "192.0.2.40", "192.0.2.50"), True),
        (("192.0.2.0/24", "192.0.2.30", "192.0.2.40"), True),
        (("192.0.2.0/24", "192.0.2.50", "192.0.2.60"), True),
        (("192.0.2.0/24", "192.0.2.42", "192.0.2.43"), True),
        (("192.0.2.0/24", "192.0.2.30", "192.0.2.60"), True),
        (("192.0.2.0/24", "192.0.2.51", "192.0.2.60"), False),
        (("192.0.2.0/24", "192.0.2.30", "192.0.2.39"), False),
        (("192.0.3.0/24",), False),
        (("2001:db8::/64",), False),
    ],
    ids=[
        "the same",
        "touching the start",
        "touching the end",
        "inside",
        "around",
        "after",
        "before",
        "another subnet",
        "another family",
    ],
)
def test_ranges_overlap_when_they_share_an_address(
    other: tuple[str, ...], *, overlaps: bool
) -> None:
    one, two = make("192.0.2.0/24", "192.0.2.40", "192.0.2.50"), make(*other)

    assert one.overlaps(two) is overlaps
    assert two.overlaps(one) is overlaps


# sets


def sets(*subnets: list[str], version: str = "1.1.0") -> tuple[RangeSet, ...]:
    sections = [[Section({"subnet": one}) for one in subnet] for subnet in subnets]
    return read_range_sets(sections, version)


def test_a_set_finds_the_range_of_an_address() -> None:
    (one,) = sets(["10.0.0.0/24", "10.0.2.0/24"])

    assert ip_address("10.0.2.9") in one
    assert ip_address("10.0.1.9") not in one
    assert str(one.range_of(ip_address("10.0.2.9"))) == "10.0.2.1-10.0.2.254"
    assert str(one) == "10.0.0.1-10.0.0.254,10.0.2.1-10.0.2.254"


@pytest.mark.parametrize(
    ("subnets", "msg"),
    [
        ([], "no IP ranges specified"),
        ([[]], "invalid range set 0: empty range set"),
        ([["10.0.0.0/24"], []], "invalid range set 1: empty range set"),
        ([["10.0.0.0/24", "fd00::/64"]], "invalid range set 0: mixed address families"),
        (
            [["10.0.0.0/24", "10.0.0.0/25"]],
            "invalid range set 0: subnets 10.0.0.1-10.0.0.254 and 10.0.0.1-10.0.0.126 overlap",
        ),
        ([["10.0.0.0/24"], ["10.0.1.0/24", "10.0.0.0/25"]], "range set 0 overlaps with 1"),
        (
            [["10.0.0.0/24"], ["10.0.1.0/24"], ["fd00::/64"], ["fd00::/80"]],
            "range set 2 overlaps with 3",
        ),
        (
            [["10.0.0.0/24"], ["10.0.1.0/31"]],
            "invalid range set 1: Network 10.0.1.0/31 too small to allocate from",
        ),
    ],
    ids=[
        "none",
        "empty",
        "second empty",
        "families",
        "overlap in a set",
        "overlap of sets",
        "overlap of late sets",
        "bad range",
    ],
)
def test_sets_that_cannot_be_are_refused(subnets: list[list[str]], msg: str) -> None:
    with pytest.raises(CniError) as refused:
        sets(*subnets)

    assert refused.value.code == Code.INVALID_CONFIG
    assert refused.value.msg == msg
    assert refused.value.details


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0"])
def test_old_versions_take_one_set_for_each_family(version: str) -> None:
    assert len(sets(["10.0.0.0/24"], ["fd00::/64"], version=version)) == 2

    with pytest.raises(CniError) as refused:
        sets(["10.0.0.0/24"], ["10.0.1.0/24"], version=version)

    wanted = f"CNI version {version} does not support more than 1 address per family"
    assert refused.value.msg == wanted
