"""Routes (man 8 ip-route)."""

import dataclasses
import errno
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from cni.config import IPAddress, IPNetwork
from cni.errors import KernelError
from cni.kernel.netlink import (
    CREATE,
    EXCL,
    REPLACE,
    Netlink,
    Request,
    attribute,
    attributes,
    number,
)

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
COMPAT, MAIN, LOCAL = 252, 254, 255  # RT_TABLE_*
UNIVERSE, LINK = 0, 253  # RT_SCOPE_*
BOOT = 3  # RTPROT_BOOT, as `ip route` and the reference plugins
UNICAST = 1  # RTN_UNICAST
ONLINK = 4  # RTNH_F_ONLINK
RTMSG = struct.Struct("=BBxxBBBBI")  # rtmsg: family, dst_len, table, protocol, scope, type, flags
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS = 1, 4, 5, 6, 7, 8
RTA_MULTIPATH, RTA_TABLE = 9, 15
NEXTHOP = struct.Struct("=HxxI")  # rtnexthop: length, interface
RTAX_MTU, RTAX_ADVMSS = 2, 8
FIB_MATCH = 0x2000  # RTM_F_FIB_MATCH: the entry, not what it resolves to
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
NETWORK: dict[int, tuple[type[IPNetwork], bytes]] = {  # and where the default route leads
    socket.AF_INET: (IPv4Network, bytes(4)),
    socket.AF_INET6: (IPv6Network, bytes(16)),
}


@dataclass(frozen=True)
class Route:
    """A route; `oif` is an interface index, `priority` the metric, `mtu` in bytes.

    scope None: link without gateway and universe with one, as `ip route` chooses.
    """

    dst: IPNetwork
    oif: int
    gateway: IPAddress | None = None
    src: IPAddress | None = None
    table: int = MAIN
    scope: int | None = None
    priority: int = 0
    mtu: int = 0
    advmss: int = 0
    onlink: bool = False  # the gateway is on the link, whatever the other routes say


def add(route: Route) -> Request:
    """Add a route.  EEXIST if there is one to `dst` of that priority and table."""
    return _request("add", RTM_NEWROUTE, CREATE | EXCL, route)


def add_beside(route: Route) -> Request:
    """Add a route beside others to the same `dst`: several gateways, as `ip route append`."""
    return _request("add", RTM_NEWROUTE, CREATE, route)


def replace(route: Route) -> Request:
    """Add a route, or put it in the place of the one to `dst` of that priority and table."""
    return _request("replace", RTM_NEWROUTE, CREATE | REPLACE, route)


def delete(route: Route) -> Request:
    """Remove a route."""
    return _request("delete", RTM_DELROUTE, 0, route)


def _request(verb: str, kind: int, request_flags: int, route: Route) -> Request:
    default_scope = LINK if route.gateway is None and route.dst.version == 4 else UNIVERSE
    message = RTMSG.pack(
        FAMILY[route.dst.version],
        route.dst.prefixlen,
        route.table if route.table <= LOCAL else COMPAT,
        BOOT,
        default_scope if route.scope is None else route.scope,
        UNICAST,
        ONLINK if route.onlink else 0,
    )
    message += number(RTA_TABLE, route.table) + number(RTA_OIF, route.oif)
    if route.dst.prefixlen:
        message += attribute(RTA_DST, route.dst.network_address.packed)
    if route.gateway is not None:
        message += attribute(RTA_GATEWAY, route.gateway.packed)
    if route.src is not None:
        message += attribute(RTA_PREFSRC, route.src.packed)
    if route.priority:
        message += number(RTA_PRIORITY, route.priority)
    metrics = ((RTAX_MTU, route.mtu), (RTAX_ADVMSS, route.advmss))
    if wanted := [number(*metric) for metric in metrics if metric[1]]:
        message += attribute(RTA_METRICS, b"".join(wanted))
    via = f" via {route.gateway}" if route.gateway else ""
    return Request(f"{verb} route {route.dst}{via}", kind, request_flags, message)


def match(rtnl: Netlink, address: IPAddress) -> Route | None:
    """Return the routing table's entry for packets to `address`; None when unreachable."""
    family, length = FAMILY[address.version], address.max_prefixlen
    message = RTMSG.pack(family, length, 0, 0, 0, 0, FIB_MATCH) + attribute(RTA_DST, address.packed)
    try:
        return next(_routes(rtnl.ask(Request(f"get route {address}", RTM_GETROUTE, 0, message))))
    except KernelError as error:
        if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return None
        raise


def list_all(rtnl: Netlink, family: int, table: int = MAIN) -> Iterator[Route]:
    """Yield the routes of IP version `family` (4 or 6) in `table`."""
    message = RTMSG.pack(FAMILY[family], 0, min(table, LOCAL), 0, 0, 0, 0) + number(
        RTA_TABLE, table
    )
    for payload in rtnl.dump(Request("list routes", RTM_GETROUTE, 0, message)):
        yield from _routes(payload)


def _routes(payload: bytes) -> Iterator[Route]:
    """Yield the route in an rtmsg, once for each of its next hops."""
    family, length, table, _, scope, _, _ = RTMSG.unpack_from(payload)
    fields = dict(attributes(payload[RTMSG.size :]))
    network, default = NETWORK[family]
    metrics = dict(attributes(fields.get(RTA_METRICS, b"")))
    route = Route(
        dst=network((fields.get(RTA_DST, default), length)),
        oif=_number(fields.get(RTA_OIF)),
        gateway=_address(fields.get(RTA_GATEWAY)),
        src=_address(fields.get(RTA_PREFSRC)),
        table=_number(fields.get(RTA_TABLE)) or table,
        scope=scope,
        priority=_number(fields.get(RTA_PRIORITY)),
        mtu=_number(metrics.get(RTAX_MTU)),
        advmss=_number(metrics.get(RTAX_ADVMSS)),
    )
    hops = fields.get(RTA_MULTIPATH, b"")
    if not hops:
        yield route
    while hops:
        size, oif = NEXTHOP.unpack_from(hops)
        gateway = dict(attributes(hops[NEXTHOP.size : size])).get(RTA_GATEWAY)
        yield dataclasses.replace(route, oif=oif, gateway=_address(gateway))
        hops = hops[size + 3 & ~3 :]


def _address(packed: bytes | None) -> IPAddress | None:
    if packed is None:
        return None
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)


def _number(value: bytes | None) -> int:
    return int.from_bytes(value or b"", sys.byteorder)
