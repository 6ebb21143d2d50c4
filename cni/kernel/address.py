"""Addresses of interfaces (man 8 ip-address)."""

import socket
from ipaddress import IPv4Interface, ip_interface
from typing import Any

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

from cni.config import IPInterface
from cni.kernel.netlink import CREATE, EXCL, Netlink, Request, decode, wait_for

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
NODAD, DADFAILED, TENTATIVE, NOPREFIXROUTE = 0x02, 0x08, 0x40, 0x200  # IFA_F_*
IPV6_ADDRESSES = 9  # RTNLGRP_IPV6_IFADDR
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
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
    message = ifaddrmsg()
    message["family"] = FAMILY[address.version]
    message["prefixlen"] = address.network.prefixlen
    message["index"] = index
    text = str(address.ip)
    attrs: list[tuple[str, Any]] = [("IFA_LOCAL", text), ("IFA_ADDRESS", text)]
    if isinstance(address, IPv4Interface) and message["prefixlen"] <= LONGEST_WITH_BROADCAST:
        attrs.append(("IFA_BROADCAST", str(address.network.broadcast_address)))
    message["attrs"] = [*attrs, ("IFA_FLAGS", flags)]
    return Request(what, kind, request_flags, message)


def get(rtnl: Netlink, index: int) -> list[IPInterface]:
    """Return the addresses of the interface `index`, link-local ones too."""
    return list(_flags(rtnl, index))


def _flags(rtnl: Netlink, index: int) -> dict[IPInterface, int]:
    """Return the addresses of the interface `index` with their IFA_F_*."""
    message = ifaddrmsg()
    message["index"] = index
    found = {}
    for payload in rtnl.dump(Request(f"list addresses of {index}", RTM_GETADDR, 0, message)):
        one = decode(ifaddrmsg, payload)
        if one["index"] == index:
            local = one.get_attr("IFA_LOCAL") or one.get_attr("IFA_ADDRESS")
            found[ip_interface(f"{local}/{one['prefixlen']}")] = one.get_attr("IFA_FLAGS") or 0
    return found


def wait_settled(rtnl: Netlink, netns: str, index: int, timeout_s: float) -> list[IPInterface]:
    """Wait until the search for duplicates is over; return the addresses that are not usable."""

    def is_over() -> bool:
        return not _with(rtnl, index, TENTATIVE, DADFAILED)

    wait_for(IPV6_ADDRESSES, is_over, timeout_s, netns)
    return _with(rtnl, index, TENTATIVE)


def _with(rtnl: Netlink, index: int, flags: int, without: int = 0) -> list[IPInterface]:
    found = _flags(rtnl, index).items()
    return [one for one, has in found if has & flags and not has & without]
