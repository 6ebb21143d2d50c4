"""VLANs on the ports of a bridge: the keys vlan, vlanTrunk and preserveDefaultVlan.

The kernel must have CONFIG_BRIDGE_VLAN_FILTERING; one that lacks it refuses by EOPNOTSUPP.
"""

import errno
from dataclasses import replace
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
    filters_vlans,
    get_vlans,
    set_master,
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
    trunk = {vid for entry in config.sections("vlanTrunk") for vid in _trunk(entry)}
    return Vlans(access, tuple(sorted(trunk)), config.boolean("preserveDefaultVlan"))


def _trunk(entry: Section) -> list[int]:
    """Return the IDs of one entry of vlanTrunk: {minID, maxID}, {id}, or all three."""
    given = [key for key in ENDS if entry.get(key) is not None]
    if len(given) == 1:
        absent = next(key for key in ENDS if key not in given)
        msg = f"minID and maxID should be configured simultaneously, {absent} is missing"
        raise invalid_config(msg, entry.where)
    vids: list[int] = []
    if given:
        first, last = (_vid(entry, key) for key in ENDS)
        if first > last:
            raise invalid_config("minID is greater than maxID in trunk parameter", entry.where)
        vids += range(first, last + 1)
    if entry.get("id") is not None:
        vids.append(_vid(entry, "id"))
    return vids


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
    _connect(host, device, found, wanted)
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
        undo(partial(bridge.delete_unused, wanted.name, name, wanted.domain))
    except KernelError as error:
        if error.errno != errno.EEXIST:
            raise


def _connect(host: Netlink, device: Link, gateway: Link, wanted: Bridge) -> None:
    """Make the other end of `gateway` a port of the bridge in its VLAN, unless it is.

    It is not when the bridge was made again, or an ADD was killed.
    """
    port = _other_end(host, gateway)
    if port is None:
        msg = f'"{gateway.name}" already exists but is not one end of a pair of the host'
        raise invalid_config(msg, f"rename it: the gateways of VLAN {wanted.domain} need the name")
    if port.master != device.index:
        host.do(set_master(port.index, port.name, device.index))
    vlans = _gateway_vlans(wanted)
    if _difference(host, port, vlans):
        do(host, port.name, *set_vlans(port.index, port.name, vlans))
    bridge.bring_up(host, port, wanted)


def _other_end(host: Netlink, end: Link) -> Link | None:
    """Return the other end of a pair that has both on the host; None when it is none."""
    other = link.get_by_index(host, end.peer) if end.kind == "veth" else None
    return other if other and other.peer == end.index else None


def _gateway_vlans(wanted: Bridge) -> Vlans:
    return replace(wanted.port.vlans, trunk=())


# CHECK


def check(host: Netlink, port: Link, wanted: Bridge) -> None:
    """Raise CniError unless the bridge keeps VLANs apart, and the ports of pod and gateways theirs.

    `port` is the pod's, and one of the bridge.
    """
    if not wanted.port.vlans:
        return
    if not filters_vlans(host, port.master):
        raise pod.check_failed(f"bridge {wanted.name} does not filter VLANs")
    _check_port(host, port, wanted.port.vlans)
    if wanted.gateways_in_vlan:
        name = wanted.gateway_ifname
        gateway = _other_end(host, bridge.there(link.get(host, name), name))
        if gateway is None or gateway.master != port.master or not gateway.up:
            raise pod.check_failed(f"{name} is not connected to bridge {wanted.name}")
        _check_port(host, gateway, _gateway_vlans(wanted))


def _check_port(host: Netlink, port: Link, vlans: Vlans) -> None:
    if wrong := _difference(host, port, vlans):
        raise pod.check_failed(wrong)


def _difference(host: Netlink, port: Link, vlans: Vlans) -> str:
    """Return what the port carries too much or too little of `vlans`, in words."""
    found = get_vlans(host, port.index)
    wanted = dict.fromkeys(vlans.trunk, 0)
    wanted[vlans.access or NATIVE] = PVID | UNTAGGED
    for vid, flags in wanted.items():
        if found.get(vid) != flags:
            return f"VLAN {vid} is missing on {port.name}"
    more = found.keys() - wanted.keys()
    if more and not vlans.keep_default:
        return f"{port.name} carries VLANs {sorted(more)} too"
    return ""
