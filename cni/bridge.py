"""The bridge of a network on the host: made by the first ADD that needs it, shared by all.

Nobody removes it but the ADD that made it and failed, if nobody else has come meanwhile.
"""

import errno
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

from cni import pod, veth
from cni.config import IPInterface
from cni.errors import CniError, Code, KernelError
from cni.kernel import address, link, netns, sysctl
from cni.kernel.bridge import Port, add_bridge, get_port, set_master, set_port
from cni.kernel.link import Link
from cni.kernel.netlink import ROUTE, Netlink, Request
from cni.rollback import Step

TIMEOUT_S = 5.0  # until a port is up: the kernel needs less than a millisecond, if it has time
Undo = Callable[[Step], None]


@dataclass(frozen=True)
class Bridge:
    """A bridge as the network wants it; `mtu` in bytes, 0 leaves it to the kernel.

    `gateways` are its addresses: those of the pods' gateways.
    """

    name: str
    mtu: int
    promisc: bool
    filters_vlans: bool
    gateways: tuple[IPInterface, ...]

    @property
    def mac(self) -> str:
        """Return the MAC of a new bridge.

        Pods remember that of their gateway, so a bridge that is made again has the same; two
        bridges on one wire differ as their addresses do.
        """
        seed = f"{self.name}/{self.gateways}".encode() if self.gateways else os.urandom(16)
        return f"0a:{sha256(seed).digest()[:5].hex(':')}"


def get(host: Netlink, name: str) -> Link | None:
    """Return the bridge; None when there is none.  Raises CniError when `name` is another's."""
    found = link.get(host, name)
    if found is not None and found.kind != "bridge":
        kind = found.kind or "device"
        msg = f'cannot use bridge {name}: "{name}" already exists but is not a bridge'
        raise CniError(
            Code.INVALID_CONFIG, msg, f"it is a {kind}: give the key bridge another name"
        )
    return found


def ensure(host: Netlink, wanted: Bridge, undo: Undo) -> tuple[Link, bool]:
    """Return the bridge, up, and whether this call has made it."""
    made = False
    found = get(host, wanted.name)
    if found is None:
        made = _add(host, wanted, undo)
        found = get(host, wanted.name)
    if found is None:
        msg = f"cannot find bridge {wanted.name} after making it"
        raise CniError(Code.KERNEL_REFUSED, msg)
    _bring_up(host, found, wanted)
    return found, made


def _add(host: Netlink, wanted: Bridge, undo: Undo) -> bool:
    """Make the bridge, down; False when another call has made it meanwhile."""
    name, filters = wanted.name, wanted.filters_vlans
    try:
        host.do(add_bridge(name, wanted.mac, wanted.mtu, vlan_filtering=filters))
        undo(partial(delete_unused, name))
    except KernelError as error:
        if error.errno == errno.EEXIST:
            return False
        raise vlans_refused(name, error) from error
    return True


def vlans_refused(name: str, error: KernelError) -> Exception:
    """Return `error`, or what it means when the kernel does not know VLANs on bridges."""
    if error.errno != errno.EOPNOTSUPP:
        return error
    msg = f"cannot use VLANs on bridge {name}: the kernel cannot filter VLANs on bridges"
    return CniError(Code.KERNEL_REFUSED, msg, "it needs CONFIG_BRIDGE_VLAN_FILTERING")


def _bring_up(host: Netlink, found: Link, wanted: Bridge) -> None:
    """Give the bridge the settings that it does not have yet."""
    changes: list[Request] = []
    if wanted.promisc and not found.promisc:
        changes.append(link.set_promisc(found.index, found.name))
    if not found.up:
        veth.prepare_host(found.name)
        changes.append(link.set_up(found.index, found.name))
    if changes:
        host.do(*changes)


def delete_unused(name: str) -> None:
    """Remove the bridge, unless it has a port or somebody is about to give it one."""
    with netns.alone() as alone, Netlink(ROUTE) as host:
        found = link.get(host, name)
        if alone and found is not None and not any(link.list_all(host, found.index)):
            link.delete("", name)


def take_in_survivors(host: Netlink, found: Link, network: str, port: Port) -> None:
    """Make ports of the pairs of `network` that lost their bridge: this one replaces it."""
    for one in veth.of_network(host, network):
        if not one.master:
            host.do(
                set_master(one.index, one.name, found.index),
                set_port(one.name, port),
            )


# gateway addresses


def clashing(host: Netlink, found: Link, wanted: Bridge) -> list[IPInterface]:
    """Return the addresses of the bridge that cannot stand beside its gateways.

    A bridge has one IPv4 network, and IPv6 networks that do not overlap.
    """
    present = address.get(host, found.index) if wanted.gateways else []
    return [
        one
        for one in present
        if one not in wanted.gateways and any(_clash(one, other) for other in wanted.gateways)
    ]


def _clash(one: IPInterface, other: IPInterface) -> bool:
    if one.version == 4 or other.version == 4:
        return one.version == other.version
    return one.network.overlaps(other.network)


def set_gateways(host: Netlink, found: Link, wanted: Bridge, old: Iterable[IPInterface]) -> None:
    """Give the bridge its addresses, in the place of `old` ones; others may do so as well."""
    index, name = found.index, found.name
    present = address.get(host, index) if wanted.gateways else []
    missing = [one for one in wanted.gateways if one not in present]
    if not missing:
        return
    if any(one.version == 6 for one in missing):
        sysctl.write(f"ipv6/conf/{name}/disable_ipv6", "0")
    changes = [
        link.set_address(found),
        *(address.delete(index, name, one) for one in old),
        *(address.add(index, name, one) for one in missing),
    ]
    for change in changes:
        try:
            host.do(change)
        except KernelError as error:
            if error.errno not in (errno.EEXIST, errno.EADDRNOTAVAIL):
                raise


def wait_for_port(host: Netlink, port: Link) -> None:
    """Wait until the bridge has heard that both ends of a pair are up."""
    if not link.wait_running(host, port.index, TIMEOUT_S):
        msg = f"cannot use bridge port {port.name}: it does not come up"
        raise CniError(Code.KERNEL_REFUSED, msg, "CHECK tells more, if it is still there")


# CHECK


def check_port(host: Netlink, near: Link, device: Link, port: Port) -> None:
    """Raise CniError unless the veth end `near` is such a port of the bridge `device`."""
    if near.master != device.index:
        raise pod.check_failed(f"{near.name} is not a port of bridge {device.name}")
    found = get_port(host, near.index)
    if found != port:
        raise pod.check_failed(f"{near.name} of bridge {device.name} is {found}", f"wanted: {port}")


def check_gateways(host: Netlink, device: Link, wanted: Bridge) -> None:
    """Raise CniError unless the bridge has its addresses."""
    present = address.get(host, device.index)
    for one in wanted.gateways:
        if one not in present:
            raise pod.check_failed(f"gateway {one} is missing on bridge {device.name}")
