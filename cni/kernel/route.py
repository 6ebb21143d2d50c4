"""Routes (man 8 ip-route)."""

import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

from pyroute2.netlink.rtnl.rtmsg import rtmsg

from cni.config import IPAddress, IPNetwork
from cni.errors import KernelError
from cni.kernel.netlink import CREATE, EXCL, REPLACE, Netlink, Request, attribute, decode, number

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
COMPAT, MAIN, LOCAL = 252, 254, 255  # RT_TABLE_*
UNIVERSE, LINK = 0, 253  # RT_SCOPE_*
BOOT = 3  # RTPROT_BOOT, as `ip route` and the reference plugins
UNICAST = 1  # RTN_UNICAST
ONLINK = 4  # RTNH_F_ONLINK
RTMSG = struct.Struct("=BBxxBBBBI")  # rtmsg: family, dst_len, table, protocol, scope, type, flags
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS = 1, 4, 5, 6, 7, 8
RTA_TABLE = 15
RTAX_MTU, RTAX_ADVMSS = 2, 8
FIB_MATCH = 0x2000  # RTM_F_FIB_MATCH: the entry, not what it resolves to
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


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
        answer = rtnl.get(Request(f"get route {address}", RTM_GETROUTE, 0, message), rtmsg)
    except KernelError as error:
        if error.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return None
        raise
    return _route(answer)


def list_all(rtnl: Netlink, family: int, table: int = MAIN) -> Iterator[Route]:
    """Yield the routes of IP version `family` (4 or 6) in `table`."""
    message = RTMSG.pack(FAMILY[family], 0, min(table, LOCAL), 0, 0, 0, 0) + number(
        RTA_TABLE, table
    )
    for payload in rtnl.dump(Request("list routes", RTM_GETROUTE, 0, message)):
        yield from _hops(decode(rtmsg, payload))


def _hops(message: Any) -> Iterator[Route]:
    """Yield the route once for each of its next hops."""
    route = _route(message)
    hops = message.get_attr("RTA_MULTIPATH")
    if not hops:
        yield route
    for hop in hops or ():
        gateway = hop.get_attr("RTA_GATEWAY")
        yield Route(
            route.dst,
            hop["oif"],
            ip_address(gateway) if gateway else None,
            route.src,
            route.table,
            route.scope,
            route.priority,
        )


def _route(message: Any) -> Route:
    default = "0.0.0.0" if message["family"] == socket.AF_INET else "::"  # noqa: S104  # a route
    gateway, src = message.get_attr("RTA_GATEWAY"), message.get_attr("RTA_PREFSRC")
    metrics = message.get_attr("RTA_METRICS")
    return Route(
        dst=ip_network(f"{message.get_attr('RTA_DST') or default}/{message['dst_len']}"),
        oif=message.get_attr("RTA_OIF") or 0,
        gateway=ip_address(gateway) if gateway else None,
        src=ip_address(src) if src else None,
        table=message.get_attr("RTA_TABLE") or message["table"],
        scope=message["scope"],
        priority=message.get_attr("RTA_PRIORITY") or 0,
        mtu=(metrics.get_attr("RTAX_MTU") if metrics else None) or 0,
        advmss=(metrics.get_attr("RTAX_ADVMSS") if metrics else None) or 0,
    )
