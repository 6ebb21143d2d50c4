"""The node's VXLAN devices, and the interfaces that carry them: looked for, made, mended.

A device is mended while it runs; only a change of VNI, port or IP version makes it anew.
"""

import errno
from collections.abc import Iterator
from dataclasses import dataclass

from cni.cluster import Node
from cni.errors import CniError, Code, KernelError
from cni.kernel import address, link, sysctl, vxlan
from cni.kernel.link import Link
from cni.kernel.netlink import Netlink, Request
from cni.kernel.vxlan import Tunnel
from cni.overlay.plan import Device, Underlay

LOOPBACK = 1  # index of lo, in every network namespace


@dataclass(frozen=True)
class Ensured:
    """A device that is now as wanted; `lost` when entries went on the way."""

    index: int
    mended: bool
    addresses: int  # put or taken away
    lost: bool


def underlays(rtnl: Netlink, own: Node) -> dict[int, Underlay]:
    """Return the interface with each of the node's addresses, by IP version.

    Raises CniError code 11 when none has it: the interface is gone, or not up yet.
    """
    found: dict[int, Underlay] = {}
    present = address.list_all(rtnl)
    for wanted in own.addresses:
        index = next((i for i, one in present if one.ip == wanted and i != LOOPBACK), 0)
        parent = link.get_by_index(rtnl, index) if index else None
        if parent is None:
            msg = f"cannot reach other nodes: no interface has this node's address {wanted}"
            raise CniError(Code.TRY_AGAIN, msg, "its name and address are those of the cluster's?")
        networks = tuple(one.network for i, one in present if i == index)
        found[wanted.version] = Underlay(index, parent.name, parent.mtu, wanted, networks)
    return found


def get(rtnl: Netlink, name: str) -> tuple[Link, Tunnel] | None:
    """Return our device; None when it is not there.  Refuses an interface that is no VXLAN."""
    found = vxlan.get(rtnl, name)
    if found is None:
        return None
    tunnel = found[1]
    if tunnel is None:
        msg = f"cannot use interface {name}: it is a {found[0].kind or 'device'}, not a vxlan"
        raise CniError(Code.INVALID_CONFIG, msg, "remove it, or choose another name (device)")
    return found[0], tunnel


def ensure(rtnl: Netlink, wanted: Device) -> Ensured:
    """Make the device as wanted, and up.  Raises CniError when its VNI or port is in use."""
    found = get(rtnl, wanted.name)
    if found is not None and _is_other(found[1], wanted.tunnel):
        rtnl.do(link.remove(found[0].index, wanted.name))
        found = None
    device, tunnel = found or _make(rtnl, wanted)
    changes = list(_changes(device, tunnel, wanted))
    if changes:
        rtnl.do(*changes)
    if not device.up:
        _set_up(rtnl, device, wanted, is_new=found is None)
    addresses = list(_addresses(rtnl, device.index, wanted))
    if addresses:
        rtnl.do(*addresses)
    lost = found is None or not device.up or device.mac != wanted.mac
    return Ensured(device.index, bool(changes) or lost, len(addresses), lost)


def remove(rtnl: Netlink, name: str) -> bool:
    """Remove our device; False: it was not there."""
    found = vxlan.get(rtnl, name)
    if found is None or found[1] is None:
        return False
    rtnl.do(link.remove(found[0].index, name))
    return True


def _is_other(found: Tunnel, wanted: Tunnel) -> bool:
    """Tell whether the kernel cannot make `wanted` of `found`."""
    version = found.local.version if found.local else 0
    same = (wanted.vni, wanted.port, wanted.local and wanted.local.version)
    return (found.vni, found.port, version) != same


def _changes(device: Link, tunnel: Tunnel, wanted: Device) -> Iterator[Request]:
    if tunnel != wanted.tunnel:
        yield vxlan.move(device.index, device.name, wanted.tunnel)
    if device.mac != wanted.mac:
        yield link.set_mac(device.index, device.name, wanted.mac)
    if device.mtu != wanted.mtu:
        yield link.set_mtu(device.index, device.name, wanted.mtu)


def _make(rtnl: Netlink, wanted: Device) -> tuple[Link, Tunnel]:
    try:
        rtnl.do(vxlan.add(wanted.name, wanted.mac, wanted.mtu, wanted.tunnel))
    except KernelError as error:
        if error.errno == errno.EEXIST:
            raise _in_use(rtnl, wanted) from error
        raise
    made = get(rtnl, wanted.name)
    if made is None:
        raise CniError(Code.TRY_AGAIN, f"cannot find vxlan {wanted.name} after making it")
    return made


def _set_up(rtnl: Netlink, device: Link, wanted: Device, *, is_new: bool) -> None:
    """Bring the device up: it binds its UDP port only now.  Remove it again if that fails."""
    # answers of other nodes to our pods come through here, their questions by the underlay
    sysctl.write_if_there(f"ipv4/conf/{wanted.name}/rp_filter", "2")
    for key in ("accept_ra", "accept_dad", "disable_ipv6"):
        sysctl.write_if_there(f"ipv6/conf/{wanted.name}/{key}", "0")
    try:
        rtnl.do(link.set_up(device.index, wanted.name))
    except KernelError as error:
        if is_new:
            rtnl.do(link.remove(device.index, wanted.name))
        if error.errno == errno.EADDRINUSE:
            raise _in_use(rtnl, wanted) from error
        raise


def _in_use(rtnl: Netlink, wanted: Device) -> CniError:
    """Return the refusal that names who has the VNI, or the UDP port."""
    vni, port = wanted.tunnel.vni, wanted.tunnel.port
    msg = f"cannot make vxlan {wanted.name}: "
    for other, tunnel in vxlan.list_all(rtnl):
        if tunnel.port == port and other.name != wanted.name:
            what = f"VNI {vni} on " if tunnel.vni == vni else ""
            msg += f"{what}UDP port {port} is in use by interface {other.name}"
            break
    else:
        msg += f"UDP port {port} is in use by another program"
    return CniError(Code.INVALID_CONFIG, msg, "remove that, or give this cluster another one")


def _addresses(rtnl: Netlink, index: int, wanted: Device) -> Iterator[Request]:
    """Yield what is to be done about the device's addresses; link-local ones stay."""
    present = {
        one for one in address.get(rtnl, index) if not (one.version == 6 and one.is_link_local)
    }
    for one in wanted.addresses:
        if one not in present:
            yield address.add(index, wanted.name, one)
    for one in present - set(wanted.addresses):
        yield address.delete(index, wanted.name, one)
