"""Bridges, and interfaces as their ports (man 8 ip-link, man 8 bridge)."""

import socket
from dataclasses import dataclass
from typing import Any

from cni.kernel.link import (
    IFINFO,
    IFLA_LINKINFO,
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_NEWLINK,
    RTM_SETLINK,
    SKIP_STATS,
    to_link,
)
from cni.kernel.netlink import CREATE, EXCL, Netlink, Request, attributes

IFLA_INFO_SLAVE_DATA = 5
IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED = 4, 33  # hairpin is a mode
MASTER, PVID, UNTAGGED = 1, 2, 4  # BRIDGE_VLAN_INFO_*
RANGE_BEGIN, RANGE_END = 8, 16
VLAN_MAX = 4094


@dataclass(frozen=True)
class Port:
    """How a port behaves.

    hairpin: packets may leave by the port that they came from.
    isolated: it does not talk to other isolated ports.
    """

    hairpin: bool
    isolated: bool


def add_bridge(name: str, mac: str, mtu: int, *, vlan_filtering: bool) -> Request:
    """Add a bridge, down, whose MAC does not change with its ports; `mtu` 0: the kernel's.

    EEXIST if the name is taken; EOPNOTSUPP if the kernel cannot filter VLANs on bridges.
    """
    info: dict[str, Any] = {"attrs": [("IFLA_INFO_KIND", "bridge")]}
    if vlan_filtering:
        info["attrs"].append(("IFLA_INFO_DATA", {"attrs": [("IFLA_BR_VLAN_FILTERING", 1)]}))
    attrs: list[tuple[str, Any]] = [("IFLA_IFNAME", name), ("IFLA_ADDRESS", mac)]
    if mtu:
        attrs.append(("IFLA_MTU", mtu))
    attrs.append(("IFLA_LINKINFO", info))
    return to_link(f"add bridge {name}", RTM_NEWLINK, CREATE | EXCL, attrs)


def filter_vlans(index: int, name: str) -> Request:
    """Let a bridge look at VLANs.  EOPNOTSUPP if the kernel cannot."""
    data = {"attrs": [("IFLA_BR_VLAN_FILTERING", 1)]}
    info = {"attrs": [("IFLA_INFO_KIND", "bridge"), ("IFLA_INFO_DATA", data)]}
    what = f"filter VLANs on bridge {name}"
    return to_link(what, RTM_NEWLINK, 0, [("IFLA_LINKINFO", info)], index=index)


def set_master(index: int, name: str, bridge: int) -> Request:
    """Make an interface a port of the bridge of that index."""
    what = f"make {name} a port of bridge {bridge}"
    return to_link(what, RTM_SETLINK, 0, [("IFLA_MASTER", bridge)], index=index)


def set_port(name: str, port: Port) -> Request:
    """Set how a port behaves."""
    flags = [("IFLA_BRPORT_MODE", int(port.hairpin)), ("IFLA_BRPORT_ISOLATED", int(port.isolated))]
    info = [("IFLA_INFO_SLAVE_KIND", "bridge"), ("IFLA_INFO_SLAVE_DATA", {"attrs": flags})]
    attrs = [("IFLA_IFNAME", name), ("IFLA_LINKINFO", {"attrs": info})]
    return to_link(f"set bridge port {name}", RTM_NEWLINK, 0, attrs)


def get_port(rtnl: Netlink, index: int) -> Port:
    """Return how the port of that index behaves."""
    attrs = [("IFLA_EXT_MASK", SKIP_STATS)]
    payload = rtnl.ask(to_link(f"get bridge port {index}", RTM_GETLINK, 0, attrs, index=index))
    fields = dict(attributes(payload[IFINFO.size :]))
    info = dict(attributes(fields.get(IFLA_LINKINFO, b"")))
    data = dict(attributes(info.get(IFLA_INFO_SLAVE_DATA, b"")))
    return Port(*(data.get(one) == b"\1" for one in (IFLA_BRPORT_MODE, IFLA_BRPORT_ISOLATED)))


def add_vlans(index: int, name: str, first: int, last: int, flags: int = 0) -> Request:
    """Let a port carry the VLANs `first` to `last`; flags are PVID and UNTAGGED."""
    return _vlans("add", RTM_SETLINK, index, name, first, last, flags)


def delete_vlans(index: int, name: str) -> Request:
    """Take all VLANs off a port."""
    return _vlans("delete", RTM_DELLINK, index, name, 1, VLAN_MAX, 0)


def _vlans(
    verb: str, kind: int, index: int, name: str, first: int, last: int, flags: int
) -> Request:
    ends = [(first, RANGE_BEGIN), (last, RANGE_END)] if first != last else [(first, 0)]
    infos = [("IFLA_BRIDGE_VLAN_INFO", {"vid": vid, "flags": flags | end}) for vid, end in ends]
    vlans = f"VLAN {first}" if first == last else f"VLANs {first} to {last}"
    what = f"{verb} {vlans} of bridge port {name}"
    attrs = [("IFLA_AF_SPEC", {"attrs": infos})]
    request = to_link(what, kind, 0, attrs, index=index)
    request.message["family"] = socket.AF_BRIDGE
    return request
