"""The gateways of a bridge's pods: which they are, and their addresses on the host."""

import errno
from collections.abc import Collection, Iterable
from dataclasses import replace
from ipaddress import ip_interface, ip_network

from cni.config import IPAddress, IPInterface
from cni.errors import CniError, Code, KernelError, invalid_config
from cni.kernel import address, link
from cni.kernel.link import Link
from cni.kernel.netlink import Netlink, Request
from cni.result import IP, Result, Route

DEFAULT_ROUTE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


def named(result: Result, *, default: bool) -> Result:
    """Return IPAM's result with a gateway for each address, and with `default` a route through it.

    A gateway that IPAM does not name is the first address; a default route of IPAM's stays alone.
    """
    ips = tuple(replace(ip, gateway=ip.gateway or _first_address(ip)) for ip in result.ips)
    routes = list(result.routes)
    for ip in ips if default else ():
        dst = DEFAULT_ROUTE[ip.address.version]
        if all(one.dst != dst for one in routes):
            routes.append(Route(dst, ip.gateway))
    return replace(result, ips=ips, routes=tuple(routes))


def _first_address(ip: IP) -> IPAddress:
    """Return the first address of the subnet.  Raises CniError code 7 when there is none."""
    try:
        return ip.address.network.network_address + 1
    except ValueError as error:
        msg = f"cannot find a gateway for {ip.address}: its subnet has no first address"
        raise invalid_config(msg, "set the gateway in the ipam section") from error


def of(ips: Iterable[IP]) -> tuple[IPInterface, ...]:
    """Return the gateways of pods with such addresses, with the length of their subnets."""
    named = [(ip.gateway, ip.address.network.prefixlen) for ip in ips if ip.gateway]
    return tuple(dict.fromkeys(ip_interface(one) for one in named))


def changes(
    host: Netlink, device: Link, wanted: Collection[IPInterface], *, force: bool
) -> list[Request]:
    """Return what gives `device` the addresses that it lacks; nothing when it has them all.

    A network's IPv4 addresses stand alone there, IPv6 ones beside what they do not overlap.
    Raises CniError code 101 when another stands in the way, or with `force` deletes it.
    """
    index, name = device.index, device.name
    present = address.get(host, index) if wanted else []
    missing = [one for one in wanted if one not in present]
    foreign = [one for one in present if one not in wanted]
    clashes = {old: new for new in missing for old in foreign if _clash(old, new)}
    for old, new in () if force else clashes.items():
        msg = f'"{name}" already has an IP address different from {new}'
        details = f"it has {old}: use another bridge or subnet, or forceAddress to replace it"
        raise CniError(Code.ALREADY_ATTACHED, msg, details)
    return [
        *(address.delete(index, name, old) for old in clashes),
        *(address.add(index, name, new) for new in missing),
    ]


def _clash(old: IPInterface, new: IPInterface) -> bool:
    if old.version != new.version:
        return False
    return old.version == 4 or old.network.overlaps(new.network)


def change(host: Netlink, bridge: Link, requests: Collection[Request]) -> None:
    """Make the changes, each of which another ADD may have made meanwhile.

    A gateway keeps its MAC: from now on that of the bridge does not change with its ports.
    """
    for request in (link.set_address(bridge), *requests) if requests else ():
        try:
            host.do(request)
        except KernelError as error:
            if error.errno not in (errno.EEXIST, errno.EADDRNOTAVAIL):
                raise
