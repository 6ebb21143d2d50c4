"""Bridges, and interfaces as their ports (man 8 ip-link, man 8 bridge)."""

import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from cni.kernel.link import (
    IFINFO,
    IFLA_EXT_MASK,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_LINKINFO,
    IFLA_MASTER,
    IFLA_MTU,
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_NEWLINK,
    RTM_SETLINK,
    WITHOUT_STATS,
    mac_address,
    to_link,
)
from cni.kernel.netlink import (
    CREATE,
    EXCL,
    Netlink,
    Request,
    attribute,
    attributes,
    nested,
    number,
    text,
)

IFLA_AF_SPEC, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 26, 4, 5
IFLA_BR_VLAN_FILTERING = 7
IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED = 4, 33  # hairpin is a mode
IFLA_BRIDGE_VLAN_INFO = 2
PVID, UNTAGGED, RANGE_BEGIN, RANGE_END = 2, 4, 8, 16  # BRIDGE_VLAN_INFO_*
LISTS = 20  # of which one has all ports, as a rule the first
WITH_VLANS = 1 << 1  # RTEXT_FILTER_BRVLAN
VLAN_INFO = struct.Struct("=HH")  # flags, ID
NATIVE, VLAN_MAX = 1, 4094  # VLAN IDs


@dataclass(frozen=True)
class Vlans:
    """What a port carries: the IDs `access` untagged (0: none) and `trunk` tagged.

    keep_default: what the bridge gives each port by itself stays.
    """

    access: int = 0
    trunk: tuple[int, ...] = ()
    keep_default: bool = False

    def __bool__(self) -> bool:
        return bool(self.access or self.trunk)


@dataclass(frozen=True)
class Port:
    """How a port behaves.

    hairpin: packets may leave by the port that they came from.
    isolated: it does not talk to other isolated ports.
    """

    hairpin: bool = False
    isolated: bool = False
    vlans: Vlans = Vlans()


def add_bridge(name: str, mac: str, mtu: int) -> Request:
    """Add a bridge, down, whose MAC does not change with its ports; `mtu` 0: the kernel's.

    EEXIST if the name is taken.
    """
    attrs = text(IFLA_IFNAME, name) + mac_address(mac) + (number(IFLA_MTU, mtu) if mtu else b"")
    attrs += nested(IFLA_LINKINFO, text(IFLA_INFO_KIND, "bridge"))
    return to_link(f"add bridge {name}", RTM_NEWLINK, CREATE | EXCL, attrs)


def filter_vlans(index: int, name: str) -> Request:
    """Let a bridge look at VLANs.  EOPNOTSUPP if the kernel cannot."""
    data = nested(IFLA_INFO_DATA, attribute(IFLA_BR_VLAN_FILTERING, b"\1"))
    info = nested(IFLA_LINKINFO, text(IFLA_INFO_KIND, "bridge") + data)
    return to_link(f"filter VLANs on bridge {name}", RTM_NEWLINK, 0, info, index=index)


def set_master(index: int, name: str, bridge: int) -> Request:
    """Make an interface a port of the bridge of that index."""
    what = f"make {name} a port of bridge {bridge}"
    return to_link(what, RTM_SETLINK, 0, number(IFLA_MASTER, bridge), index=index)


def set_port(name: str, port: Port) -> Request:
    """Set how a port behaves, but for its VLANs."""
    flags = ((IFLA_BRPORT_MODE, port.hairpin), (IFLA_BRPORT_ISOLATED, port.isolated))
    data = b"".join(attribute(kind, bytes((flag,))) for kind, flag in flags)
    info = text(IFLA_INFO_SLAVE_KIND, "bridge") + nested(IFLA_INFO_SLAVE_DATA, data)
    attrs = text(IFLA_IFNAME, name) + nested(IFLA_LINKINFO, info)
    return to_link(f"set bridge port {name}", RTM_NEWLINK, 0, attrs)


def set_vlans(index: int, name: str, vlans: Vlans) -> list[Request]:
    """Return what gives a port its VLANs; nothing when it has none of its own.

    What is untagged comes last: it may be one of the trunk.
    """
    if not vlans:
        return []
    untagged = vlans.access or NATIVE
    return [
        *([] if vlans.keep_default else [_vlans(RTM_DELLINK, index, name, [(1, VLAN_MAX)])]),
        *([_vlans(RTM_SETLINK, index, name, _ranges(vlans.trunk))] if vlans.trunk else []),
        _vlans(RTM_SETLINK, index, name, [(untagged, untagged)], PVID | UNTAGGED),
    ]


def _ranges(vids: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last of each run of IDs."""
    for _, pairs in groupby(enumerate(sorted(vids)), lambda pair: pair[1] - pair[0]):
        run = [vid for _, vid in pairs]
        yield run[0], run[-1]


def _vlans(
    kind: int, index: int, name: str, ranges: Iterable[tuple[int, int]], flags: int = 0
) -> Request:
    """Return one request for all `ranges`: there may be two thousand, each with its answer."""
    infos = b"".join(
        attribute(IFLA_BRIDGE_VLAN_INFO, VLAN_INFO.pack(flags | end, vid))
        for first, last in ranges
        for vid, end in (
            [(first, RANGE_BEGIN), (last, RANGE_END)] if first < last else [(first, 0)]
        )
    )
    message = IFINFO.pack(socket.AF_BRIDGE, 0, index, 0, 0) + nested(IFLA_AF_SPEC, infos)
    verb = "delete" if kind == RTM_DELLINK else "add"
    return Request(f"{verb} VLANs of bridge port {name}", kind, 0, message)


def get_port(rtnl: Netlink, index: int) -> Port:
    """Return how the port of that index behaves, but for its VLANs."""
    data = _link_info(rtnl, index, IFLA_INFO_SLAVE_DATA)
    hairpin, isolated = (data.get(one) == b"\1" for one in (IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED))
    return Port(hairpin, isolated)


def filters_vlans(rtnl: Netlink, index: int) -> bool:
    """Tell whether the bridge of that index looks at VLANs."""
    return _link_info(rtnl, index, IFLA_INFO_DATA).get(IFLA_BR_VLAN_FILTERING) == b"\1"


def _link_info(rtnl: Netlink, index: int, part: int) -> dict[int, bytes]:
    request = to_link(f"get link {index}", RTM_GETLINK, 0, WITHOUT_STATS, index=index)
    info = dict(attributes(_fields(rtnl.ask(request)).get(IFLA_LINKINFO, b"")))
    return dict(attributes(info.get(part, b"")))


def get_vlans(rtnl: Netlink, index: int) -> dict[int, int]:
    """Return the VLANs of the port of that index: their IDs, with PVID and UNTAGGED."""
    payloads = port_messages(rtnl, index)
    return {vid: flags for payload in payloads for flags, vid in _vlans_in(payload)}


def port_messages(rtnl: Netlink, index: int) -> list[bytes]:
    """Return what the kernel says of the port of that index; nothing when it is none.

    It lists all ports in chunks, and finds the next one by counting: one that leaves meanwhile
    hides another.  So a port that is missing is looked for again.
    """
    message = IFINFO.pack(socket.AF_BRIDGE, 0, 0, 0, 0) + number(IFLA_EXT_MASK, WITH_VLANS)
    request = Request("list VLANs", RTM_GETLINK, 0, message)
    for _ in range(LISTS):
        if found := [one for one in rtnl.dump(request) if IFINFO.unpack_from(one)[2] == index]:
            return found
    return []


def _vlans_in(payload: bytes) -> Iterator[tuple[int, int]]:
    for kind, value in attributes(_fields(payload).get(IFLA_AF_SPEC, b"")):
        if kind == IFLA_BRIDGE_VLAN_INFO:
            yield VLAN_INFO.unpack_from(value)


def _fields(payload: bytes) -> dict[int, bytes]:
    return dict(attributes(payload[IFINFO.size :]))
