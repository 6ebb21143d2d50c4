"""Addresses of interfaces (man 8 ip-address)."""

import socket
import struct
from ipaddress import ip_interface

from cni.config import IPInterface
from cni.kernel.netlink import (
    CREATE,
    EXCL,
    Netlink,
    Request,
    attribute,
    attributes,
    integer,
    number,
    wait_for,
)

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
NODAD, DADFAILED, TENTATIVE, NOPREFIXROUTE = 0x02, 0x08, 0x40, 0x200  # IFA_F_*
IPV6_ADDRESSES = 9  # RTNLGRP_IPV6_IFADDR
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_FLAGS = 1, 2, 4, 8
IFADDRMSG = struct.Struct("=BBxxI")  # family, prefix length, index
LONGEST_WITH_BROADCAST = 30  # prefix length


def add(
    index: int, name: str, address: IPInterface, *, prefix_route: bool = True, dad: bool = False
) -> Request:
    """Add `address`; without `prefix_route` its subnet is not on the link.

    IPv6 addresses skip duplicate detection (unless `dad`): IPAM has made sure, and it takes 1-2 s.
    """
    what = f"add address {address} to {name}"
    flags = (0 if dad or address.version == 4 else NODAD) | (0 if prefix_route else NOPREFIXROUTE)
    return _request(what, RTM_NEWADDR, CREATE | EXCL, index, address, flags)


def delete(index: int, name: str, address: IPInterface) -> Request:
    """Remove `address`."""
    return _request(f"delete address {address} of {name}", RTM_DELADDR, 0, index, address)


def _request(
    what: str, kind: int, request_flags: int, index: int, address: IPInterface, flags: int = 0
) -> Request:
    length, packed = address.network.prefixlen, address.ip.packed
    message = IFADDRMSG.pack(FAMILY[address.version], length, index)
    message += attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)
    if address.version == 4 and length <= LONGEST_WITH_BROADCAST:
        message += attribute(IFA_BROADCAST, address.network.broadcast_address.packed)
    return Request(what, kind, request_flags, message + number(IFA_FLAGS, flags))


def get(rtnl: Netlink, index: int) -> list[IPInterface]:
    """Return the addresses of the interface `index`, link-local ones too."""
    return [one for _, one, _ in _dump(rtnl, index)]


def list_all(rtnl: Netlink) -> list[tuple[int, IPInterface]]:
    """Return all addresses, each with the index of its interface."""
    return [(index, one) for index, one, _ in _dump(rtnl)]


def _dump(rtnl: Netlink, index: int = 0) -> list[tuple[int, IPInterface, int]]:
    """Return (index, address, IFA_F_*) of what the interface has, 0: of what all have."""
    message = IFADDRMSG.pack(socket.AF_UNSPEC, 0, index)
    request = Request(f"list addresses of {index or 'all'}", RTM_GETADDR, 0, message)
    found = [_read(payload) for payload in rtnl.dump(request)]
    return [one for one in found if not index or one[0] == index]


def _read(payload: bytes) -> tuple[int, IPInterface, int]:
    _, length, index = IFADDRMSG.unpack_from(payload)
    fields = dict(attributes(payload[IFADDRMSG.size :]))
    # IFA_ADDRESS of a point-to-point link is the other end
    local = fields.get(IFA_LOCAL) or fields[IFA_ADDRESS]
    flags = integer(fields.get(IFA_FLAGS))
    return index, ip_interface((local, length)), flags


def wait_settled(rtnl: Netlink, netns: str, index: int, timeout_s: float) -> list[IPInterface]:
    """Wait until the search for duplicates is over; return the addresses that are not usable."""

    def is_over() -> bool:
        return not _with(rtnl, index, TENTATIVE, DADFAILED)

    wait_for(IPV6_ADDRESSES, is_over, timeout_s, netns)
    return _with(rtnl, index, TENTATIVE)


def _with(rtnl: Netlink, index: int, flags: int, without: int = 0) -> list[IPInterface]:
    return [one for _, one, has in _dump(rtnl, index) if has & flags and not has & without]
