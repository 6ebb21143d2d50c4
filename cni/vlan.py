"""VLANs on the ports of a bridge: the keys vlan, vlanTrunk and preserveDefaultVlan.

The kernel must have CONFIG_BRIDGE_VLAN_FILTERING; one that lacks it refuses by EOPNOTSUPP.
"""

import errno
from functools import partial
from hashlib import sha256

from cni import bridge, pod
from cni.bridge import Bridge, Undo
from cni.config import Section
from cni.errors import CniError, Code, KernelError, invalid_config
from cni.kernel import link, netns
from cni.kernel.bridge import (
    NATIVE,
    PVID,
    UNTAGGED,
    VLAN_MAX,
    Vlans,
    filter_vlans,
    get_vlans,
    set_vlans,
)
from cni.kernel.link import End, Link
from cni.kernel.netlink import Netlink, Request

ENDS = ("minID", "maxID")


def read(config: Section) -> Vlans:
    """Return the VLANs of the network's ports.  Raises CniError code 7."""
    access = config.integer("vlan")
    if not 0 <= access <= VLAN_MAX:
        msg = f"invalid VLAN ID {access} (must be between 0 and {VLAN_MAX})"
        raise invalid_config(msg, "set vlan, or remove it")
    ranges = [ends for entry in config.sections("vlanTrunk") for ends in _trunk(entry)]
    return Vlans(access, tuple(ranges), config.boolean("preserveDefaultVlan"))


def _trunk(entry: Section) -> list[tuple[int, int]]:
    """Return the ranges of one entry of vlanTrunk: {minID, maxID}, {id}, or all three."""
    given = [key for key in ENDS if entry.get(key) is not None]
    if len(given) == 1:
        absent = next(key for key in ENDS if key not in given)
        msg = f"minID and maxID should be configured simultaneously, {absent} is missing"
        raise invalid_config(msg, entry.where)
    ranges = [(_vid(entry, "minID"), _vid(entry, "maxID"))] if given else []
    if any(first > last for first, last in ranges):
        raise invalid_config("minID is greater than maxID in trunk parameter", entry.where)
    if entry.get("id") is not None:
        ranges.append((_vid(entry, "id"), _vid(entry, "id")))
    return ranges


def _vid(entry: Section, key: str) -> int:
    value = entry.integer(key)
    if not 1 <= value <= VLAN_MAX:
        msg = f"incorrect trunk {key} parameter"
        raise invalid_config(msg, f"{entry.path(key)} is {value}: it must be 1 to {VLAN_MAX}")
    return value


def do(host: Netlink, name: str, *requests: Request) -> None:
    """Send requests on VLANs of `name`, and say what it means when the kernel knows none."""
    try:
        host.do(*requests)
    except KernelError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        msg = f"cannot use VLANs on {name}: the kernel cannot filter VLANs on bridges"
        details = "it needs CONFIG_BRIDGE_VLAN_FILTERING: remove vlan and vlanTrunk without it"
        raise CniError(Code.KERNEL_REFUSED, msg, details) from error


def ensure_gateway(host: Netlink, device: Link, wanted: Bridge, undo: Undo) -> Link:
    """Let the bridge filter VLANs, and return the interface that has the gateways.

    That is the bridge, or with an access VLAN `cni0.100`, the other end of a port in that VLAN.
    """
    if not wanted.port.vlans:
        return device
    do(host, f"bridge {wanted.name}", filter_vlans(device.index, wanted.name))
    if not wanted.gateways_in_vlan:
        return device
    name = wanted.gateway_ifname
    if link.get(host, name) is None:
        _add_gateway(host, device, wanted, undo)
    found = bridge.there(link.get(host, name), name)
    bridge.bring_up(host, found, wanted)
    return found


def _add_gateway(host: Netlink, device: Link, wanted: Bridge, undo: Undo) -> None:
    name = wanted.gateway_ifname
    port_name = f"veth{sha256(name.encode()).hexdigest()[:11]}"
    ends = (
        End(port_name, wanted.mac(port_name), master=device.index),
        End(name, wanted.mac(name), netns.OWN),
    )
    try:
        link.add_veth(host, *ends, wanted.mtu, name)
        undo(partial(bridge.delete_unused, wanted.name, name, but=port_name))
    except KernelError as error:
        if error.errno != errno.EEXIST:
            raise
    port = bridge.there(link.get(host, port_name), port_name)
    vlans = Vlans(wanted.port.vlans.access, keep_default=wanted.port.vlans.keep_default)
    do(host, port_name, *set_vlans(port.index, port_name, vlans))
    bridge.bring_up(host, port, wanted)


def check_port(host: Netlink, port: Link, vlans: Vlans) -> None:
    """Raise CniError unless the port carries its VLANs, and no others."""
    if not vlans:
        return
    found = get_vlans(host, port.index)
    wanted = {vid: 0 for first, last in vlans.trunk for vid in range(first, last + 1)}
    wanted[vlans.access or NATIVE] = PVID | UNTAGGED
    for vid, flags in wanted.items():
        if found.get(vid) != flags:
            raise pod.check_failed(f"VLAN {vid} is missing on {port.name}")
    more = found.keys() - wanted.keys()
    if more and not vlans.keep_default:
        raise pod.check_failed(f"{port.name} carries VLANs {sorted(more)} too")
