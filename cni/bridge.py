"""The bridge of a network on the host: made by the first ADD that needs it, shared by all.

Nobody removes it but the ADD that made it and then failed, if nobody else has come meanwhile.
"""

import errno
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

from cni import pod, veth
from cni.attachment import Attachment
from cni.config import IPInterface
from cni.errors import CniError, Code, KernelError
from cni.kernel import link, netns, sysctl
from cni.kernel.bridge import Port, add_bridge, get_port, set_master, set_port, set_vlans
from cni.kernel.link import Link
from cni.kernel.netlink import ROUTE, Netlink, Request
from cni.result import IP, Interface, Result
from cni.rollback import Step

ALIAS = "pycni"  # of a bridge that was made here
TIMEOUT_S = 5.0  # until a port is up: the kernel needs less than a millisecond when it has time
Undo = Callable[[Step], None]


@dataclass(frozen=True)
class Bridge:
    """A bridge as `network` wants it; `mtu` in bytes, 0 leaves it to the kernel.

    `port` is how the network's ports behave.  `gateways` are the addresses of its pods' gateways;
    they stand on it, or with an access VLAN on a port of their own, the `gateway_ifname`.
    """

    name: str
    network: str
    mtu: int
    promisc: bool
    port: Port
    gateways: tuple[IPInterface, ...]

    @property
    def domain(self) -> str:
        """Return what stands for those who hear each other: `cni0`, or `cni0.100` in a VLAN."""
        return f"{self.name}.{self.port.vlans.access}" if self.port.vlans.access else self.name

    @property
    def gateway_ifname(self) -> str:
        """Return the name of the interface that has the gateways: `cni0`, or `cni0.100`."""
        return self.domain if self.gateways_in_vlan else self.name

    @property
    def gateways_in_vlan(self) -> bool:
        """Tell whether the gateways are not on the bridge itself."""
        return bool(self.port.vlans.access and self.gateways)

    def mac(self, ifname: str) -> str:
        """Return the MAC of an interface that we make here.

        Pods remember that of their gateway, so a bridge that is made again has the same; two
        bridges on one wire differ as their addresses do.
        """
        seed = f"{ifname}/{self.gateways}".encode() if self.gateways else os.urandom(16)
        return f"0a:{sha256(seed).digest()[:5].hex(':')}"


def get(host: Netlink, name: str) -> Link | None:
    """Return the bridge; None when there is none.  Raises CniError when `name` is another's."""
    found = link.get(host, name)
    if found is not None and found.kind != "bridge":
        msg = f'cannot use bridge {name}: "{name}" already exists but is not a bridge'
        kind = found.kind or "device"
        raise CniError(
            Code.INVALID_CONFIG, msg, f"it is a {kind}: give the key bridge another name"
        )
    return found


def ensure(host: Netlink, wanted: Bridge, undo: Undo) -> Link:
    """Return the bridge, up.  One that has no port takes in what the one before has left."""
    found = get(host, wanted.name)
    if found is None:
        _add(host, wanted, undo)
        found = there(get(host, wanted.name), wanted.name)
    if not found.running:  # new, or made by one who was stopped, or by hand
        _take_in_survivors(host, found, wanted)
    bring_up(host, found, wanted)
    return found


def there(found: Link | None, name: str) -> Link:
    """Return the interface that was just made.  Raises CniError when it is not there."""
    if found is None:
        msg = f"cannot find {name} after making it"
        raise CniError(Code.KERNEL_REFUSED, msg, "something else removes it")
    return found


def _add(host: Netlink, wanted: Bridge, undo: Undo) -> None:
    """Make the bridge, down, unless another call has made it meanwhile."""
    name, mac = wanted.name, wanted.mac(wanted.name)
    try:
        host.do(add_bridge(name, mac, wanted.mtu))
        undo(partial(delete_unused, name, name))
        host.do(link.set_alias(name, ALIAS))  # not in one go: one that was there is not ours
    except KernelError as error:
        if error.errno != errno.EEXIST:
            raise


def bring_up(host: Netlink, found: Link, wanted: Bridge) -> None:
    """Give an interface of the host the settings that it does not have yet."""
    changes: list[Request] = []
    if wanted.promisc and found.kind == "bridge" and not found.promisc:
        changes.append(link.set_promisc(found.index, found.name))
    if any(one.version == 6 for one in wanted.gateways):
        sysctl.enable_ipv6(found.name)
    if not found.up:
        veth.prepare_host(found.name)
        changes.append(link.set_up(found.index, found.name))
    if changes:
        host.do(*changes)


def delete_unused(bridge: str, name: str, domain: str = "") -> None:
    """Remove `name`, unless the bridge has a port or somebody is about to add one.

    With a `domain` only the ports of its pods count.
    """
    with netns.alone() as alone, Netlink(ROUTE) as host:
        found = link.get(host, bridge) if alone else None
        if found is None:
            return
        ports = link.list_all(host, found.index)
        if not any(not domain or domain in _domains(one) for one in ports):
            link.delete("", name)


def _domains(pair: Link) -> set[str]:
    """Return the domains that a pod's pair is of, by its names: see `add_names`."""
    return {name.rpartition("-")[0] for name in pair.altnames}


def _take_in_survivors(host: Netlink, device: Link, wanted: Bridge) -> None:
    """Make ports of the network's pairs that lost their bridge: this one replaces it."""
    for one in veth.of_network(host, wanted.network):
        if one.master or wanted.domain not in _domains(one):
            continue
        try:
            host.do(
                set_master(one.index, one.name, device.index),
                set_port(one.name, wanted.port),
                *set_vlans(one.index, one.name, wanted.port.vlans),
            )
        except KernelError as error:
            if error.errno != errno.ENODEV:  # its pod has just gone
                raise


def wait_for_port(host: Netlink, port: Link) -> None:
    """Wait until the bridge has heard that both ends of a pair are up: then packets pass."""
    if not link.wait_running(host, port.index, TIMEOUT_S):
        msg = f"cannot use bridge port {port.name}: it does not come up"
        raise CniError(Code.KERNEL_REFUSED, msg, "the container's end may be gone or down")


# a pod's addresses, as more names of its pair


def add_names(
    wanted: Bridge, attachment: Attachment, addresses: Collection[IPInterface]
) -> Request:
    """Give a pod's pair more names: `cni0-10.1.2.5`, or `cni0-veth…` without addresses.

    By them `ip link show` finds a pod's pair, ADD who has an address, and a new bridge its ports.
    """
    name = attachment.host_ifname
    names = [_altname(wanted, one) for one in addresses] or [f"{wanted.domain}-{name}"]
    return link.add_altnames(name, names)


def _altname(wanted: Bridge, address: IPInterface) -> str:
    return f"{wanted.domain}-{str(address.ip).replace(':', '_')}"


def take_over(
    host: Netlink, wanted: Bridge, attachment: Attachment, addresses: Collection[IPInterface]
) -> None:
    """Delete what holds one of `addresses` still; refuse when another network has it.

    IPAM gave the address to us, so a veth of this network that has it is one that DEL missed:
    on this bridge, or routed.
    """
    for one in addresses:
        found = link.get_by_altname(host, _altname(wanted, one))
        if found is not None:
            veth.delete_stale(host, attachment, found.index, str(one.ip))
    if addresses:
        veth.take_over(host, attachment, addresses)


# CHECK


def check(host: Netlink, wanted: Bridge, result: Result) -> None:
    """Raise CniError unless the bridge is there as it is wanted, with its gateways.

    The MAC of a gateway stays as it was in `result`; that of other bridges may change.
    """
    known = {one.name: one for one in result.interfaces if wanted.gateways and not one.sandbox}
    name = wanted.gateway_ifname
    device = pod.check_link(host, known.get(wanted.name, Interface(wanted.name)), "bridge")
    if wanted.promisc and not device.promisc:
        raise pod.check_failed(f"bridge {wanted.name} is not promiscuous")
    gateway = device
    if wanted.gateways_in_vlan:
        gateway = pod.check_link(host, known.get(name, Interface(name)), "veth")
    pod.check_addresses(host, gateway, map(IP, wanted.gateways))


def check_port(host: Netlink, near: Link, wanted: Bridge) -> None:
    """Raise CniError unless the veth end `near` is such a port of the bridge."""
    device = link.get(host, wanted.name)
    if device is None or near.master != device.index:
        raise pod.check_failed(f"{near.name} is not a port of bridge {wanted.name}")
    found = get_port(host, near.index)
    for key in ("hairpin", "isolated"):
        if getattr(found, key) != getattr(wanted.port, key):
            now = "on" if getattr(found, key) else "off"
            raise pod.check_failed(f"{near.name} of bridge {wanted.name} has {key} {now}")
