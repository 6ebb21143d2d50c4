"""Addresses of interfaces (man 8 ip-address)."""

import socket
import struct
from ipaddress import ip_interface

from cni.config import IPInterface
from cni.kernel.netlink import CREATE, EXCL, Netlink, Request, attribute, attributes, number

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
NODAD, NOPREFIXROUTE = 0x02, 0x200  # IFA_F_*
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
IFADDRMSG = struct.Struct("=BBxxI")  # ifaddrmsg: family, prefix length, index
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_FLAGS = 1, 2, 4, 8
LONGEST_WITH_BROADCAST = 30  # prefix length


def add(index: int, name: str, address: IPInterface, *, prefix_route: bool = True) -> Request:
    """Add `address`; without `prefix_route` its subnet is not on the link.

    IPv6 addresses skip duplicate detection: IPAM has made sure, and it takes 1-2 s.
    """
    what = f"add address {address} to {name}"
    return _request(what, RTM_NEWADDR, CREATE | EXCL, index, address, prefix_route=prefix_route)


def delete(index: int, name: str, address: IPInterface) -> Request:
    """Remove `address`."""
    return _request(f"delete address {address} of {name}", RTM_DELADDR, 0, index, address)


def _request(
    what: str,
    kind: int,
    request_flags: int,
    index: int,
    address: IPInterface,
    *,
    prefix_route: bool = True,
) -> Request:
    length, packed = address.network.prefixlen, address.ip.packed
    message = IFADDRMSG.pack(FAMILY[address.version], length, index)
    message += attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)
    if address.version == 4 and length <= LONGEST_WITH_BROADCAST:
        message += attribute(IFA_BROADCAST, address.network.broadcast_address.packed)
    flags = (NODAD if address.version == 6 else 0) | (0 if prefix_route else NOPREFIXROUTE)
    return Request(what, kind, request_flags, message + number(IFA_FLAGS, flags))


def get(rtnl: Netlink, index: int) -> list[IPInterface]:
    """Return the addresses of the interface `index`, link-local ones too."""
    message = IFADDRMSG.pack(0, 0, index)
    found = []
    for payload in rtnl.dump(Request(f"list addresses of {index}", RTM_GETADDR, 0, message)):
        _, length, owner = IFADDRMSG.unpack_from(payload)
        if owner == index:
            fields = dict(attributes(payload[IFADDRMSG.size :]))
            packed = fields.get(IFA_LOCAL) or fields[IFA_ADDRESS]
            found.append(ip_interface((packed, length)))
    return found
