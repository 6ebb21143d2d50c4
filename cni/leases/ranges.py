"""Ranges of addresses, and the order in which host-local gives them out: arithmetic only.

A set is a list of ranges that are alternatives to each other: an attachment gets one address
of every set.  Rules, defaults and texts of refusals are those of the reference plugin.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_interface
from itertools import combinations

from cni.config import IPAddress, IPNetwork, Section
from cni.errors import CniError, Code, invalid_config


def canonical(address: IPAddress) -> IPAddress:
    """Return IPv4 for an IPv4 address in IPv6's clothes (::ffff:10.0.0.5), as leases name it."""
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise invalid_config(f"cannot use address {address}", "remove the zone after %")
        return address.ipv4_mapped or address
    return address


@dataclass(frozen=True)
class Range:
    """The addresses from `start` to `end`, both included; `gateway` is never given out."""

    subnet: IPNetwork
    start: IPAddress
    end: IPAddress
    gateway: IPAddress

    def __contains__(self, address: IPAddress) -> bool:
        same = address.version == self.subnet.version
        return same and int(self.start) <= int(address) <= int(self.end)

    def __str__(self) -> str:
        return f"{self.start}-{self.end}"

    def overlaps(self, other: "Range") -> bool:
        """Tell whether an address lies in both."""
        return self.start in other or other.start in self


@dataclass(frozen=True)
class RangeSet:
    """Ranges of one family that do not overlap, at least one."""

    ranges: tuple[Range, ...]

    def __str__(self) -> str:
        return ",".join(str(one) for one in self.ranges)

    def __contains__(self, address: IPAddress) -> bool:
        return any(address in one for one in self.ranges)

    @property
    def version(self) -> int:
        """Return the IP version of the set."""
        return self.ranges[0].subnet.version

    @property
    def size(self) -> int:
        """Return how many addresses the set can give out."""
        gateways = sum(one.gateway in one for one in self.ranges)
        return sum(int(one.end) - int(one.start) + 1 for one in self.ranges) - gateways

    def range_of(self, address: IPAddress) -> Range:
        """Return the range that `address` lies in."""
        return next(one for one in self.ranges if address in one)

    def offers(self, address: IPAddress) -> bool:
        """Tell whether the set may give out `address`: it is in it, and not a gateway."""
        return address in self and address != self.range_of(address).gateway

    def walk(
        self, last: IPAddress | None = None, taken: Container[int] = frozenset()
    ) -> Iterator[IPAddress]:
        """Yield once round the set: from the one after `last` up to `last` itself.

        Start at the beginning when `last` is not in the set.  Gateways of their own range and
        the addresses in `taken` (as numbers) are passed over.
        """
        kind = IPv4Address if self.version == 4 else IPv6Address
        for one, low, high in self._parts(last):
            gateway = int(one.gateway) if one.gateway in one else -1
            for number in range(low, high + 1):
                if number != gateway and number not in taken:
                    yield kind(number)

    def _parts(self, last: IPAddress | None) -> Iterator[tuple[Range, int, int]]:
        """Yield stretches (range, first, last number) in the order of `walk`."""
        at = next((i for i, one in enumerate(self.ranges) if last in one), 0) if last else 0
        first, others = self.ranges[at], self.ranges[at + 1 :] + self.ranges[:at]
        start = int(last) if last and last in first else int(first.start) - 1
        yield first, start + 1, int(first.end)
        for one in others:
            yield one, int(one.start), int(one.end)
        yield first, int(first.start), start


def read_range(section: Section) -> Range:
    """Return the range in {subnet, rangeStart?, rangeEnd?, gateway?}.  Raises CniError code 7."""
    subnet = _subnet(section)
    lowest, highest = subnet.network_address + 1, subnet.broadcast_address
    if subnet.version == 4:
        highest -= 1
    start, end = _optional(section, "rangeStart"), _optional(section, "rangeEnd")
    if start is not None:
        allowed = Range(subnet, subnet.network_address, end or subnet.broadcast_address, lowest)
        _require(start in allowed, f"RangeStart {start} not in network {subnet}")
    if end is not None:
        allowed = Range(subnet, start or lowest, subnet.broadcast_address, lowest)
        _require(end in allowed, f"RangeEnd {end} not in network {subnet}")
    return Range(subnet, start or lowest, end or highest, _optional(section, "gateway") or lowest)


def _subnet(section: Section) -> IPNetwork:
    written = section.interface("subnet")
    subnet = written.network
    if subnet.prefixlen > subnet.max_prefixlen - 2:
        msg = f"Network {written} too small to allocate from"
        raise invalid_config(msg, f"the prefix must be /{subnet.max_prefixlen - 2} or shorter")
    if canonical(written.ip).version != subnet.version:
        msg = "IPNet IP and Mask version mismatch"
        raise invalid_config(msg, f"write {section.path('subnet')} as an IPv4 network")
    if written.ip != subnet.network_address:
        msg = "Network has host bits set. For a subnet mask of length"
        msg += f" {subnet.prefixlen} the network address is {subnet.network_address}"
        raise invalid_config(msg, f"correct {section.path('subnet')}")
    return subnet


def _optional(section: Section, key: str) -> IPAddress | None:
    address = section.address(key)
    return None if address is None else canonical(address)


def _require(condition: bool, msg: str) -> None:  # noqa: FBT001 - reads as one sentence
    if not condition:
        raise invalid_config(msg, "the range must lie in its subnet, and not end before it starts")


def read_range_sets(sets: list[list[Section]], cni_version: str) -> tuple[RangeSet, ...]:
    """Return the sets; at least one, none of them empty, no address in two.

    SPEC 0.1.0 and 0.2.0 can tell of one address of each family.  Raises CniError, code 7.
    """
    if not sets:
        raise invalid_config("no IP ranges specified", "give ipam.ranges or ipam.subnet")
    checked = tuple(_read_set(index, sections) for index, sections in enumerate(sets))
    families = [one.version for one in checked]
    if len(set(families)) < len(families) and cni_version in ("0.1.0", "0.2.0"):
        msg = f"CNI version {cni_version} does not support more than 1 address per family"
        raise invalid_config(msg, "raise cniVersion to 0.3.0 or newer, or remove range sets")
    for (i, one), (j, other) in combinations(enumerate(checked), 2):
        if any(a.overlaps(b) for a in one.ranges for b in other.ranges):
            msg = f"range set {i} overlaps with {j}"
            raise invalid_config(msg, f"an address lies in both {one} and {other}")
    return checked


def _read_set(index: int, sections: list[Section]) -> RangeSet:
    try:
        ranges = tuple(read_range(section) for section in sections)
        _require_sound(ranges)
    except CniError as error:
        msg = f"invalid range set {index}: {error.msg}"
        raise CniError(error.code, msg, error.details) from error
    return RangeSet(ranges)


def _require_sound(ranges: tuple[Range, ...]) -> None:
    if not ranges:
        raise invalid_config("empty range set", "remove it, or give it a subnet")
    if len({one.subnet.version for one in ranges}) > 1:
        raise invalid_config("mixed address families", "make a range set for each family")
    for one, other in combinations(ranges, 2):
        if one.overlaps(other):
            raise invalid_config(f"subnets {one} and {other} overlap", "keep one of them")


def read_requested(where: str, text: str) -> IPAddress:
    """Return the address in `text`, with or without prefix length; errors say `where` it stood."""
    try:
        return canonical(ip_interface(text).ip)
    except ValueError as error:
        code = Code.INVALID_ENVIRONMENT if where.startswith("CNI_ARGS") else Code.INVALID_CONFIG
        raise CniError(code, f"cannot use {where} {text[:100]!r}", "write an address") from error
