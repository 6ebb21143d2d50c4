"""Names made from (network, container ID, ifname): short enough, and of one attachment alone."""

import re
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cni.attachment import COMMENT_MAX, Attachment, network_key
from tests.unit.results import EXAMPLES

IDENTIFIERS = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_.\-]{0,254}\Z")
IFNAMES = st.text(
    st.characters(exclude_characters="/:\0", exclude_categories=["Z", "C"]), min_size=1, max_size=15
).filter(lambda name: len(name.encode()) <= 15 and name not in (".", ".."))
ATTACHMENTS = st.builds(Attachment, IDENTIFIERS, IDENTIFIERS, IFNAMES)
LONGEST = Attachment("n" * 255, "c" * 255, "é" * 7 + "x")
TYPICAL = Attachment("kindnet", "0123456789abcdef" * 4, "eth0")


def test_the_owner_of_a_usual_attachment_can_be_read() -> None:
    """containerd's sandbox IDs have 64 digits; they stand there whole, to be searched for."""
    assert TYPICAL.owner == f"kindnet/{'0123456789abcdef' * 4}/eth0"


@EXAMPLES
@given(ATTACHMENTS)
def test_an_owner_fits_into_a_comment_and_has_three_parts(attachment: Attachment) -> None:
    network, container_id, ifname = attachment.owner.split("/")

    assert len(attachment.owner.encode()) <= COMMENT_MAX
    assert network == network_key(attachment.network)
    assert container_id.startswith(attachment.container_id[:40])
    assert ifname == attachment.ifname


def test_the_longest_owner_fits() -> None:
    assert len(LONGEST.owner.encode()) <= COMMENT_MAX


@EXAMPLES
@given(ATTACHMENTS, ATTACHMENTS)
def test_two_attachments_share_no_name(one: Attachment, other: Attachment) -> None:
    assume(one != other)

    assert one.owner != other.owner
    assert one.digest != other.digest
    assert one.host_ifname != other.host_ifname
    assert one.mac("host") != other.mac("host")


NEIGHBOURS = {
    "network": replace(TYPICAL, network="kindnet2"),
    "container ID": replace(TYPICAL, container_id=TYPICAL.container_id[:-1] + "0"),
    "interface": replace(TYPICAL, ifname="eth1"),
    "a part moved over": Attachment("kindnet", TYPICAL.container_id[:-1], "feth0"),
}


@pytest.mark.parametrize("other", NEIGHBOURS.values(), ids=NEIGHBOURS)
def test_a_difference_in_one_part_is_one_in_every_name(other: Attachment) -> None:
    assert other.owner != TYPICAL.owner
    assert other.host_ifname != TYPICAL.host_ifname
    assert other.mac("container") != TYPICAL.mac("container")


@pytest.mark.parametrize("length", [38, 39, 64, 65, 255])
def test_long_names_that_differ_at_the_end_have_different_owners(length: int) -> None:
    one, other = "x" * (length - 1) + "a", "x" * (length - 1) + "b"

    assert network_key(one) != network_key(other)
    assert Attachment("n", one, "e").owner != Attachment("n", other, "e").owner
    assert not network_key(one).startswith(network_key(other))


def test_no_network_is_taken_for_one_whose_name_begins_alike() -> None:
    """GC and DEL look for owners that begin with the network and a slash."""
    for short, long in (("net", "net2"), ("n" * 21, "n" * 255), ("n" * 38, "n" * 39)):
        owner = Attachment(long, "pod", "eth0").owner

        assert not owner.startswith(f"{network_key(short)}/")


def test_a_shortened_name_is_the_name_of_no_other_network() -> None:
    shortened = network_key("n" * 255)

    assert len(shortened) == 38
    assert "~" in shortened  # no network may have that in its name


@EXAMPLES
@given(ATTACHMENTS)
def test_the_host_interface_is_a_name_for_the_kernel(attachment: Attachment) -> None:
    assert re.fullmatch(r"veth[0-9a-f]{11}", attachment.host_ifname)


@EXAMPLES
@given(ATTACHMENTS)
def test_macs_are_local_unicast_and_one_for_each_end(attachment: Attachment) -> None:
    host, container = attachment.mac("host"), attachment.mac("container")

    assert host != container
    for mac in (host, container):
        assert re.fullmatch(r"0a(:[0-9a-f]{2}){5}", mac)


def test_the_names_stay_those_of_the_first_release() -> None:
    """A later release must find what this one has made."""
    assert TYPICAL.host_ifname == "veth644d21e8f3f"
    assert TYPICAL.mac("host") == "0a:0a:78:26:49:be"
    assert network_key("n" * 39) == "nnnnnnnnnnnnnnnnnnnnn~44a92570db033f06"
