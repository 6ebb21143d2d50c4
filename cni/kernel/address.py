"""Addresses of interfaces (man 8 ip-address)."""

import socket
from ipaddress import IPv4Interface, ip_interface
from typing import Any

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

from cni.config import IPInterface
from cni.kernel.netlink import CREATE, EXCL, Netlink, Request, decode

RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
NODAD, NOPREFIXROUTE = 0x02, 0x200  # IFA_F_*
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
    message = ifaddrmsg()
    message["index"] = index
    found = []
    for payload in rtnl.dump(Request(f"list addresses of {index}", RTM_GETADDR, 0, message)):
        one = decode(ifaddrmsg, payload)
        if one["index"] == index:
            local = one.get_attr("IFA_LOCAL") or one.get_attr("IFA_ADDRESS")
            found.append(ip_interface(f"{local}/{one['prefixlen']}"))
    return found
