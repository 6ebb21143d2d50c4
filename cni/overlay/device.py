"""The node's VXLAN devices, and the interfaces that carry them: looked for, made, mended.

A device is mended while it runs; only a change of VNI, port or IP version makes it anew.
"""

import errno
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from cni.cluster import Cluster
from cni.config import IPInterface
from cni.errors import CniError, Code, KernelError
from cni.kernel import address, link, sysctl, vxlan
from cni.kernel.link import Link
from cni.kernel.netlink import Netlink, Request
from cni.kernel.vxlan import Tunnel
from cni.overlay import plan
from cni.overlay.plan import Device, Underlay
from cni.rollback import rollback

LOOPBACK = 1  # index of lo, in every network namespace
STRICT, LOOSE = "1", "2"  # rp_filter
TRIAL = "pycni-trial"  # name of a device that is there for a moment only


@dataclass(frozen=True)
class Ensured:
    """A device that is now as wanted; `lost` when entries went on the way."""

    index: int
    mended: bool
    addresses: int  # put or taken away
    lost: bool


def underlays(rtnl: Netlink, cluster: Cluster) -> dict[int, Underlay]:
    """Return the interface with this node's address, of each IP version that carries packets.

    Raises CniError code 11 when none has it: the interface is gone, or not up yet.
    """
    found: dict[int, Underlay] = {}
    present = address.list_all(rtnl)
    for version in sorted(plan.carriers(cluster)):
        wanted = cluster.own.address(version)
        index = next((i for i, one in present if one.ip == wanted and i != LOOPBACK), 0)
        parent = link.get_by_index(rtnl, index) if index else None
        if wanted is None or parent is None:
            msg = f"cannot reach other nodes: no interface has this node's address {wanted}"
            raise CniError(Code.TRY_AGAIN, msg, "are name and address those of this machine?")
        networks = tuple(one.network for i, one in present if i == index)
        found[version] = Underlay(index, parent.name, parent.mtu, wanted, networks)
    return found


def loosen_filters(names: Iterable[str]) -> int:
    """Let pass what goes between pods and nodes; return what had to be set.

    What a pod sends to another node's address goes without a tunnel, and the answer takes the
    tunnel: a strict filter (RFC 3704), of the card or of the device, calls that spoofed.  Also of
    a device that has just been made loose: udev may apply the system's sysctl.d to it after us.
    """
    strict = [name for name in names if _strict(name)]
    for name in strict:
        sysctl.write_if_there(f"ipv4/conf/{name}/rp_filter", LOOSE)
    return sum(not _strict(name) for name in strict)


def filter_alarms(names: Iterable[str]) -> Iterator[str]:
    """Yield which interfaces have a strict filter all the same: we may not set it here."""
    for name in names:
        if key := _strict(name):
            what = f"net.{key.replace('/', '.')} is {STRICT}, it must be 0 or {LOOSE}"
            yield f"pods and the addresses of other nodes cannot reach each other by {name}: {what}"


def _strict(name: str) -> str:
    """Return the setting that makes the filter strict; of the two the kernel takes the larger."""
    keys = [f"ipv4/conf/{one}/rp_filter" for one in ("all", name)]
    values = {key: sysctl.read(key) for key in keys}
    if max(values.values()) != STRICT:
        return ""
    return next(key for key in keys if values[key] == STRICT)


def get(rtnl: Netlink, name: str) -> tuple[Link, Tunnel] | None:
    """Return our device; None when it is not there.  Refuses an interface that is no VXLAN."""
    found = vxlan.get(rtnl, name)
    if found is None:
        return None
    tunnel = found[1]
    if tunnel is None:
        msg = f"cannot use interface {name}: it is a {found[0].kind or 'device'}, not a vxlan"
        raise CniError(Code.ALREADY_ATTACHED, msg, "remove it, or choose another name (device)")
    return found[0], tunnel


def ensure(rtnl: Netlink, wanted: Device) -> Ensured:
    """Make the device as wanted, and up.  Raises CniError when its VNI or port is in use."""
    found = get(rtnl, wanted.name)
    if found is not None and _is_other(found[1], wanted.tunnel):
        # what works is given up only for what will work
        _make(rtnl, replace(wanted, name=TRIAL))
        remove(rtnl, wanted.name)
        found = None
    device, tunnel = found or _make(rtnl, wanted)
    if changes := list(_changes(device, tunnel, wanted)):
        rtnl.do(*changes)
    if not device.up:
        _set_up(rtnl, device, wanted.tunnel)
    if to_do := list(_addresses(rtnl, device.index, wanted)):
        rtnl.do(*to_do)
    anew = found is None or not found[0].up
    # IPv4 goes from an interface with its last address, and takes routes and neighbours along
    lost = anew or device.mac != wanted.mac or bool(to_do)
    return Ensured(device.index, anew or bool(changes), len(to_do), lost)


def remove(rtnl: Netlink, name: str) -> bool:
    """Remove our device; False: it was not there."""
    found = vxlan.get(rtnl, name)
    if found is None or found[1] is None:
        return False
    rtnl.do(link.remove(found[0].index, name))
    return True


def _is_other(found: Tunnel, wanted: Tunnel) -> bool:
    """Tell whether the kernel cannot make `wanted` of `found`."""
    same = found.vni == wanted.vni and found.port == wanted.port
    return not same or _version(found) != _version(wanted)


def _version(tunnel: Tunnel) -> int:
    """Return the IP version that a tunnel sends with; IPv4 when nobody said."""
    return tunnel.local.version if tunnel.local else 4


def _changes(device: Link, tunnel: Tunnel, wanted: Device) -> Iterator[Request]:
    if tunnel != wanted.tunnel:
        yield vxlan.move(device.index, device.name, wanted.tunnel)
    if device.mac != wanted.mac:
        yield link.set_address(replace(device, mac=wanted.mac))
    if device.mtu != wanted.mtu:
        yield link.set_mtu(device.index, device.name, wanted.mtu)


def _make(rtnl: Netlink, wanted: Device) -> tuple[Link, Tunnel]:
    """Make the device and bring it up, or leave nothing."""
    remove(rtnl, TRIAL)
    with rollback() as undo:
        try:
            rtnl.do(vxlan.add(wanted.name, wanted.mac, wanted.mtu, wanted.tunnel))
        except KernelError as error:
            if error.errno == errno.EEXIST:
                raise _in_use(rtnl, wanted.name, wanted.tunnel) from error
            raise
        undo(lambda: remove(rtnl, wanted.name))
        made = get(rtnl, wanted.name)
        if made is None:
            raise CniError(Code.TRY_AGAIN, f"cannot find vxlan {wanted.name} after making it")
        _set_up(rtnl, made[0], wanted.tunnel)
        return replace(made[0], up=True), made[1]


def _set_up(rtnl: Netlink, device: Link, tunnel: Tunnel) -> None:
    """Bring the device up: it binds its UDP port only now."""
    # what other nodes answer to our pods comes by here, what was asked went without a tunnel
    sysctl.write_if_there(f"ipv4/conf/{device.name}/rp_filter", LOOSE)
    for key in ("accept_ra", "accept_dad", "disable_ipv6"):
        sysctl.write_if_there(f"ipv6/conf/{device.name}/{key}", "0")
    try:
        rtnl.do(link.set_up(device.index, device.name))
    except KernelError as error:
        if error.errno == errno.EADDRINUSE:
            raise _in_use(rtnl, device.name, tunnel) from error
        raise


def require_free(rtnl: Netlink, wanted: Device) -> None:
    """Raise CniError when another interface has the device's name, or its VNI."""
    found = get(rtnl, wanted.name)
    if found is not None and not _is_other(found[1], wanted.tunnel):
        return
    if wanted.tunnel.vni in _on_port(rtnl, wanted.name, wanted.tunnel):
        raise _in_use(rtnl, wanted.name, wanted.tunnel)


def _on_port(rtnl: Netlink, name: str, wanted: Tunnel) -> dict[int, str]:
    """Return the other devices on the UDP port that `name` is to have, by VNI."""
    return {
        tunnel.vni: device.name
        for device, tunnel in vxlan.list_all(rtnl)
        if device.name != name
        and (tunnel.port, _version(tunnel)) == (wanted.port, _version(wanted))
    }


def _in_use(rtnl: Netlink, name: str, wanted: Tunnel) -> CniError:
    """Return the refusal that names who has the VNI, or the UDP port, that `name` is to have."""
    on_port = _on_port(rtnl, name, wanted)
    if wanted.vni in on_port:
        msg = f"cannot use VNI {wanted.vni} on UDP port {wanted.port}: "
        msg += f"interface {on_port[wanted.vni]} has it"
    else:
        msg = f"cannot use UDP port {wanted.port} for VXLAN: "
        msg += f"{' and '.join(on_port.values()) or 'another program'} has it"
    return CniError(Code.ALREADY_ATTACHED, msg, "remove that, or give this cluster other numbers")


def addresses(rtnl: Netlink, index: int) -> set[IPInterface]:
    """Return the addresses of a device, but for the link-local ones that the kernel makes."""
    return {one for one in address.get(rtnl, index) if not one.is_link_local}


def _addresses(rtnl: Netlink, index: int, wanted: Device) -> Iterator[Request]:
    """Yield what is to be done about the device's addresses."""
    present = addresses(rtnl, index)
    for one in wanted.addresses:
        if one not in present:
            yield address.add(index, wanted.name, one)
    for one in present - set(wanted.addresses):
        yield address.delete(index, wanted.name, one)
