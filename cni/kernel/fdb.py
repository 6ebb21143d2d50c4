"""The forwarding database of a VXLAN device: behind which address is a MAC (man 8 bridge).

An entry is a `Neighbour` of the family AF_BRIDGE, whose address is that of the other node.
"""

import socket
from collections.abc import Iterator

from cni.kernel import neighbour
from cni.kernel.neighbour import NDMSG, RTM_DELNEIGH, RTM_GETNEIGH, RTM_NEWNEIGH, Neighbour
from cni.kernel.netlink import Netlink, Request

SELF = 0x02  # NTF_SELF: the device's own, not that of a bridge above it


def replace(one: Neighbour) -> Request:
    """Send frames for a MAC to an address, and to that only."""
    what = f"add fdb {one.mac} dst {one.address}"
    return neighbour.request(what, RTM_NEWNEIGH, socket.AF_BRIDGE, SELF, one)


def delete(one: Neighbour) -> Request:
    """Remove an entry.  ENOENT when the MAC has none."""
    what = f"delete fdb {one.mac} dst {one.address}"
    return neighbour.request(what, RTM_DELNEIGH, socket.AF_BRIDGE, SELF, one)


def list_permanent(rtnl: Netlink, index: int) -> Iterator[Neighbour]:
    """Yield the permanent entries of the interface `index`."""
    message = NDMSG.pack(socket.AF_BRIDGE, index, 0, 0, 0)
    yield from neighbour.read(rtnl.dump(Request("list fdb", RTM_GETNEIGH, 0, message)), index)
