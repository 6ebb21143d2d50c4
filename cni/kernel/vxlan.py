"""VXLAN devices (man 8 ip-link; RFC 7348).

What stands in a device is written as the kernel has it, so that one answer to GETLINK tells all.
"""

import errno
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from cni.config import IPAddress
from cni.errors import KernelError
from cni.kernel import link
from cni.kernel.link import IFINFO, Link
from cni.kernel.netlink import (
    CREATE,
    EXCL,
    Netlink,
    Request,
    attribute,
    attributes,
    integer,
    number,
    text,
)

KIND = "vxlan"
IFLA_VXLAN_ID, IFLA_VXLAN_LINK, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LEARNING = 1, 3, 4, 7
IFLA_VXLAN_PORT, IFLA_VXLAN_LOCAL6 = 15, 17
PORT = struct.Struct(">H")
LOCAL_OF = {4: IFLA_VXLAN_LOCAL, 6: IFLA_VXLAN_LOCAL6}
HEADROOM = {4: 50, 6: 70}  # bytes of IP, UDP, VXLAN and Ethernet headers, by outer IP version


@dataclass(frozen=True)
class Tunnel:
    """What makes a device a VXLAN: `parent` is the index of the interface that carries it."""

    vni: int
    port: int  # UDP
    local: IPAddress | None
    parent: int
    learning: bool = False


def add(name: str, mac: str, mtu: int, tunnel: Tunnel) -> Request:
    """Make a device, down.  EEXIST if the name, or the VNI on that UDP port, is taken."""
    attrs = text(link.IFLA_IFNAME, name) + link.mac_address(mac) + number(link.IFLA_MTU, mtu)
    data = number(IFLA_VXLAN_ID, tunnel.vni) + attribute(IFLA_VXLAN_PORT, PORT.pack(tunnel.port))
    attrs += _info(data + _movable(tunnel))
    return link.to_link(f"add vxlan {name}", link.RTM_NEWLINK, CREATE | EXCL, attrs)


def move(index: int, name: str, tunnel: Tunnel) -> Request:
    """Give a device the local address, the parent and the learning of `tunnel`, while it runs.

    The kernel can change neither the VNI nor the port, nor the version of the local address.
    """
    what = f"set local {tunnel.local} of {name}"
    return link.to_link(what, link.RTM_NEWLINK, 0, _info(_movable(tunnel)), index=index)


def _movable(tunnel: Tunnel) -> bytes:
    data = number(IFLA_VXLAN_LINK, tunnel.parent)
    data += attribute(IFLA_VXLAN_LEARNING, bytes((tunnel.learning,)))
    if tunnel.local:
        data += attribute(LOCAL_OF[tunnel.local.version], tunnel.local.packed)
    return data


def _info(data: bytes) -> bytes:
    kind = text(link.IFLA_INFO_KIND, KIND)
    return attribute(link.IFLA_LINKINFO, kind + attribute(link.IFLA_INFO_DATA, data))


def get(rtnl: Netlink, name: str) -> tuple[Link, Tunnel | None] | None:
    """Return the interface called `name`, with its tunnel if it is one; None when not there."""
    attrs = text(link.IFLA_IFNAME, name) + link.WITHOUT_STATS
    try:
        payload = rtnl.ask(link.to_link(f"get link {name}", link.RTM_GETLINK, 0, attrs))
    except KernelError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    return link.parse(payload), _tunnel(payload)


def list_all(rtnl: Netlink) -> Iterator[tuple[Link, Tunnel]]:
    """Yield every VXLAN device."""
    request = link.to_link("list links", link.RTM_GETLINK, 0, link.WITHOUT_STATS)
    for payload in list(rtnl.dump(request)):
        tunnel = _tunnel(payload)
        if tunnel:
            yield link.parse(payload), tunnel


def _tunnel(payload: bytes) -> Tunnel | None:
    info = dict(attributes(dict(attributes(payload[IFINFO.size :])).get(link.IFLA_LINKINFO, b"")))
    if info.get(link.IFLA_INFO_KIND, b"").rstrip(b"\0") != KIND.encode():
        return None
    data = dict(attributes(info.get(link.IFLA_INFO_DATA, b"")))
    local4, local6 = data.get(IFLA_VXLAN_LOCAL), data.get(IFLA_VXLAN_LOCAL6)
    return Tunnel(
        vni=integer(data.get(IFLA_VXLAN_ID)),
        port=PORT.unpack(data[IFLA_VXLAN_PORT])[0],
        local=IPv4Address(local4) if local4 else IPv6Address(local6) if local6 else None,
        parent=integer(data.get(IFLA_VXLAN_LINK)),
        learning=any(data.get(IFLA_VXLAN_LEARNING, b"")),
    )
