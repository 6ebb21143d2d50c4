"""Addresses of interfaces (man 8 ip-address)."""

import socket
import struct
from ipaddress import IPv4Interface, ip_interface
from typing import Any

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

from cni.config import IPInterface
from cni.kernel.netlink import CREATE, EXCL, Netlink, Request, attributes

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
NODAD, NOPREFIXROUTE = 0x02, 0x200  # IFA_F_*
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
IFA_ADDRESS, IFA_LOCAL = 1, 2
IFADDRMSG = struct.Struct("=BBxxI")  # family, prefix length, index
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
    message = ifaddrmsg()
    message["family"] = FAMILY[address.version]
    message["prefixlen"] = address.network.prefixlen
    message["index"] = index
    text = str(address.ip)
    attrs: list[tuple[str, Any]] = [("IFA_LOCAL", text), ("IFA_ADDRESS", text)]
    if isinstance(address, IPv4Interface) and message["prefixlen"] <= LONGEST_WITH_BROADCAST:
        attrs.append(("IFA_BROADCAST", str(address.network.broadcast_address)))
    flags = (NODAD if address.version == 6 else 0) | (0 if prefix_route else NOPREFIXROUTE)
    message["attrs"] = [*attrs, ("IFA_FLAGS", flags)]
    return Request(what, kind, request_flags, message)


def get(rtnl: Netlink, index: int) -> list[IPInterface]:
    """Return the addresses of the interface `index`, link-local ones too."""
    return [address for other, address in list_all(rtnl) if other == index]


def list_all(rtnl: Netlink) -> list[tuple[int, IPInterface]]:
    """Return all addresses, each with the index of its interface."""
    return [
        _read(payload)
        for payload in rtnl.dump(Request("list addresses", RTM_GETADDR, 0, bytes(IFADDRMSG.size)))
    ]


def _read(payload: bytes) -> tuple[int, IPInterface]:
    _, length, index = IFADDRMSG.unpack_from(payload)
    fields = dict(attributes(payload[IFADDRMSG.size :]))
    # IFA_ADDRESS of a point-to-point link is the other end
    return index, ip_interface((fields.get(IFA_LOCAL) or fields[IFA_ADDRESS], length))
