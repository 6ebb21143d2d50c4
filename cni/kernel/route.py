"""Routes (man 8 ip-route)."""

import errno
import socket
import struct
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
    integer,
    number,
)

RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
COMPAT, MAIN, LOCAL = 252, 254, 255  # RT_TABLE_*; the first stands for those beyond 255
ANY = 0  # RT_TABLE_UNSPEC: all tables, in a list
UNIVERSE, LINK = 0, 253  # RT_SCOPE_*
BOOT = 3  # RTPROT_BOOT, as `ip route` and the reference plugins
UNICAST = 1  # RTN_UNICAST
ONLINK = 4  # RTNH_F_ONLINK
# no route, or one that is unreachable, blackhole or prohibit
NOWHERE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EINVAL, errno.EACCES)
FIB_MATCH = 0x2000  # RTM_F_FIB_MATCH: the entry, not what it resolves to
RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS = 1, 4, 5, 6, 7, 8
RTA_MULTIPATH, RTA_TABLE = 9, 15
RTAX_MTU, RTAX_ADVMSS = 2, 8
RTMSG = struct.Struct("=BBxxBBBBI")  # family, bits of dst, table, protocol, scope, type, flags
RTNEXTHOP = struct.Struct("=HBxi")  # length, flags, index
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_NETWORK: dict[
    int, tuple[type[IPv4Network | IPv6Network], bytes]
] = {  # of a family: its class, and the destination of a default route
    socket.AF_INET: (IPv4Network, bytes(4)),
    socket.AF_INET6: (IPv6Network, bytes(16)),
}


@dataclass(frozen=True, slots=True)
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
    protocol: int = BOOT  # who made it (RTPROT_*)


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
    attrs = number(RTA_TABLE, route.table) + number(RTA_OIF, route.oif)
    if route.dst.prefixlen:
        attrs += attribute(RTA_DST, route.dst.network_address.packed)
    if route.gateway is not None:
        attrs += attribute(RTA_GATEWAY, route.gateway.packed)
    if route.src is not None:
        attrs += attribute(RTA_PREFSRC, route.src.packed)
    if route.priority:
        attrs += number(RTA_PRIORITY, route.priority)
    metrics = {RTAX_MTU: route.mtu, RTAX_ADVMSS: route.advmss}
    if wanted := b"".join(number(*metric) for metric in metrics.items() if metric[1]):
        attrs += attribute(RTA_METRICS, wanted)
    message = RTMSG.pack(
        FAMILY[route.dst.version],
        route.dst.prefixlen,
        COMPAT if route.table > LOCAL else route.table,
        route.protocol,
        default_scope if route.scope is None else route.scope,
        UNICAST,
        ONLINK if route.onlink else 0,
    )
    via = f" via {route.gateway}" if route.gateway else ""
    return Request(f"{verb} route {route.dst}{via}", kind, request_flags, message + attrs)


def match(rtnl: Netlink, address: IPAddress) -> Route | None:
    """Return the routing table's entry for packets to `address`; None when they go nowhere."""
    message = RTMSG.pack(FAMILY[address.version], address.max_prefixlen, 0, 0, 0, 0, FIB_MATCH)
    message += attribute(RTA_DST, address.packed)
    try:
        return next(_routes(rtnl.ask(Request(f"get route {address}", RTM_GETROUTE, 0, message))))
    except KernelError as error:
        if error.errno in NOWHERE:
            return None
        raise


def list_all(
    rtnl: Netlink, family: int, table: int = MAIN, *, protocol: int = 0
) -> Iterator[Route]:
    """Yield the routes of IP version `family` (4 or 6) in `table`, of one `protocol` or of all.

    One with several next hops comes once for each.
    """
    message = RTMSG.pack(FAMILY[family], 0, min(table, LOCAL), protocol, 0, 0, 0)
    message += number(RTA_TABLE, table)
    for payload in rtnl.dump(Request("list routes", RTM_GETROUTE, 0, message)):
        yield from _routes(payload)


def _routes(payload: bytes) -> Iterator[Route]:
    """Yield the route in an rtmsg, once for each of its next hops."""
    family, length, table, protocol, scope, _, flags = RTMSG.unpack_from(payload)
    fields = dict(attributes(payload[RTMSG.size :]))
    network, nowhere = _NETWORK[family]
    metrics = dict(attributes(fields.get(RTA_METRICS, b"")))
    for index, gateway in _hops(fields):
        yield Route(
            dst=network((fields.get(RTA_DST, nowhere), length)),
            oif=index,
            gateway=_address(gateway),
            src=_address(fields.get(RTA_PREFSRC)),
            table=integer(fields.get(RTA_TABLE)) or table,
            scope=scope,
            priority=integer(fields.get(RTA_PRIORITY)),
            mtu=integer(metrics.get(RTAX_MTU)),
            advmss=integer(metrics.get(RTAX_ADVMSS)),
            onlink=bool(flags & ONLINK),
            protocol=protocol,
        )


def _hops(fields: dict[int, bytes]) -> Iterator[tuple[int, bytes | None]]:
    """Yield (index, gateway) of each next hop."""
    hops = fields.get(RTA_MULTIPATH, b"")
    if not hops:
        yield integer(fields.get(RTA_OIF)), fields.get(RTA_GATEWAY)
    offset = 0
    while offset < len(hops):
        length, _, index = RTNEXTHOP.unpack_from(hops, offset)
        inner = dict(attributes(hops[offset + RTNEXTHOP.size : offset + length]))
        yield index, inner.get(RTA_GATEWAY)
        offset += (length + 3) & ~3


def _address(value: bytes | None) -> IPAddress | None:
    if value is None:
        return None
    return IPv4Address(value) if len(value) == 4 else IPv6Address(value)
