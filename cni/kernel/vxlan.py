"""VXLAN devices (man 8 ip-link; RFC 7348).

What stands in a device is written as the kernel has it, so that one answer to GETLINK tells all.
"""

import errno
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from cni.config import IPAddress
from cni.errors import KernelError
from cni.kernel import link
from cni.kernel.link import IFINFO, Link
from cni.kernel.netlink import CREATE, EXCL, Netlink, Request, attribute, attributes

KIND = "vxlan"
IFLA_INFO_DATA = 2
IFLA_VXLAN_ID, IFLA_VXLAN_LINK, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LEARNING = 1, 3, 4, 7
IFLA_VXLAN_PORT, IFLA_VXLAN_LOCAL6 = 15, 17
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
    attrs = attribute(link.IFLA_IFNAME, name.encode() + b"\0")
    attrs += attribute(link.IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))
    attrs += attribute(link.IFLA_MTU, struct.pack("=I", mtu))
    data = attribute(IFLA_VXLAN_ID, struct.pack("=I", tunnel.vni))
    data += attribute(IFLA_VXLAN_PORT, struct.pack(">H", tunnel.port))
    return _request(f"add vxlan {name}", CREATE | EXCL, 0, attrs, data + _movable(tunnel))


def move(index: int, name: str, tunnel: Tunnel) -> Request:
    """Give a device the local address, the parent and the learning of `tunnel`, while it runs.

    The kernel can change neither the VNI nor the port, nor the version of the local address.
    """
    what = f"set local {tunnel.local} of {name}"
    return _request(what, 0, index, b"", _movable(tunnel))


def _movable(tunnel: Tunnel) -> bytes:
    data = attribute(IFLA_VXLAN_LINK, struct.pack("=I", tunnel.parent))
    data += attribute(IFLA_VXLAN_LEARNING, bytes((tunnel.learning,)))
    if tunnel.local:
        data += attribute(LOCAL_OF[tunnel.local.version], tunnel.local.packed)
    return data


def _request(what: str, flags: int, index: int, attrs: bytes, data: bytes) -> Request:
    info = attribute(link.IFLA_INFO_KIND, KIND.encode()) + attribute(IFLA_INFO_DATA, data)
    message = IFINFO.pack(socket.AF_UNSPEC, 0, index, 0, 0)
    message += attrs + attribute(link.IFLA_LINKINFO, info)
    return Request(what, link.RTM_NEWLINK, flags, message)


def get(rtnl: Netlink, name: str) -> tuple[Link, Tunnel | None] | None:
    """Return the interface called `name`, with its tunnel if it is one; None when not there."""
    attrs = attribute(link.IFLA_IFNAME, name.encode() + b"\0")
    try:
        payload = rtnl.ask(_get(f"get link {name}", attrs))
    except KernelError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    return link.parse(payload), _tunnel(payload)


def list_all(rtnl: Netlink) -> Iterator[tuple[Link, Tunnel]]:
    """Yield every VXLAN device."""
    for payload in list(rtnl.dump(_get("list links", b""))):
        tunnel = _tunnel(payload)
        if tunnel:
            yield link.parse(payload), tunnel


def _get(what: str, attrs: bytes) -> Request:
    message = IFINFO.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + attrs
    message += attribute(link.IFLA_EXT_MASK, struct.pack("=I", link.SKIP_STATS))
    return Request(what, link.RTM_GETLINK, 0, message)


def _tunnel(payload: bytes) -> Tunnel | None:
    info = dict(attributes(dict(attributes(payload[IFINFO.size :])).get(link.IFLA_LINKINFO, b"")))
    if info.get(link.IFLA_INFO_KIND, b"").rstrip(b"\0") != KIND.encode():
        return None
    data = dict(attributes(info.get(IFLA_INFO_DATA, b"")))
    local4, local6 = data.get(IFLA_VXLAN_LOCAL), data.get(IFLA_VXLAN_LOCAL6)
    return Tunnel(
        vni=_number(data.get(IFLA_VXLAN_ID)),
        port=int.from_bytes(data.get(IFLA_VXLAN_PORT, b""), "big"),
        local=IPv4Address(local4) if local4 else IPv6Address(local6) if local6 else None,
        parent=_number(data.get(IFLA_VXLAN_LINK)),
        learning=any(data.get(IFLA_VXLAN_LEARNING, b"")),
    )


def _number(value: bytes | None) -> int:
    return int.from_bytes(value or b"", sys.byteorder)
