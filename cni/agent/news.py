"""News of the kernel that call for a pass: somebody took away what we keep, or a link changed."""

import re
import select
import socket
import struct
from collections.abc import Collection

from cni.kernel import link
from cni.kernel.netlink import ROUTE, Netlink, attributes

GROUPS = (1, 3, 7, 11)  # RTNLGRP_LINK, NEIGH, IPV4_ROUTE, IPV6_ROUTE
RTM_DELROUTE, RTM_DELNEIGH = 25, 29
RTMSG = struct.Struct("=BBBBBBBBI")  # family, two lengths, tos, table, protocol, scope …
NDMSG = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
TOGETHER = 1000  # messages that are looked at before a pass: a flood is no reason to wait
POD = re.compile(rb"veth[0-9a-f]{11}\0")  # the host's end of a pod of ours


class News:
    """News of `devices`, of routes of `protocol`, and of all interfaces that are not a pod's.

    Only what is taken away counts, and what happens to an interface: objects that are replaced
    are found by the next pass that comes anyway.
    """

    def __init__(self, devices: Collection[str], protocol: int) -> None:
        self._devices, self._protocol = devices, protocol
        self._netlink = Netlink(ROUTE)
        for group in GROUPS:
            self._netlink.join(group)

    def fileno(self) -> int:
        """Return the socket's number, for poll(2)."""
        return self._netlink.fileno()

    def close(self) -> None:
        """Hear no more."""
        self._netlink.__exit__(None, None, None)

    def read(self) -> bool:
        """Read what there is; tell whether it calls for a pass."""
        called = False
        waiting = select.poll()
        waiting.register(self._netlink, select.POLLIN)
        for _ in range(TOGETHER):
            if not waiting.poll(0):
                break
            heard = list(self._netlink.news())
            # nothing: some were lost
            called = called or not heard or any(self._calls(*one) for one in heard)
        return called

    def _calls(self, kind: int, payload: bytes) -> bool:
        if kind in (link.RTM_NEWLINK, link.RTM_DELLINK):
            name = dict(attributes(payload[link.IFINFO.size :])).get(link.IFLA_IFNAME, b"")
            return not POD.fullmatch(name)
        if kind == RTM_DELROUTE:
            return bool(RTMSG.unpack_from(payload)[5] == self._protocol)
        return kind == RTM_DELNEIGH and self._is_ours(NDMSG.unpack_from(payload)[1])

    def _is_ours(self, index: int) -> bool:
        try:
            return socket.if_indextoname(index) in self._devices
        except OSError:  # gone, which is told too
            return False
