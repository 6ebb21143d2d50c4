"""What a result says of a container, put into its namespace and looked for there."""

from collections.abc import Collection, Iterable
from dataclasses import replace

from cni.config import IPAddress, IPNetwork
from cni.errors import CniError, Code, invalid_config
from cni.kernel import address, link, route
from cni.kernel.link import Link
from cni.kernel.netlink import Netlink, Request
from cni.request import Request as Invocation
from cni.result import DNS, IP, Interface, Result, Route

DAD_S = 10.0  # the search for duplicates of an IPv6 address takes 1-2 s (RFC 4862)


def require_addresses(result: Result, ipam: str) -> None:
    """Raise CniError code 7 unless IPAM gave an address."""
    if not result.ips:
        msg = f"cannot use the result of {ipam}: IPAM plugin returned missing IP config"
        raise invalid_config(msg, "give it an address range")


def require_gateways(result: Result, ipam: str) -> None:
    """Raise CniError code 7 unless IPAM gave each address a gateway."""
    for ip in result.ips:
        if ip.gateway is None:
            msg = f"cannot use {ip.address} of {ipam}: it has no gateway"
            raise invalid_config(msg, "set the gateway in the ipam section")


def versions(result: Result) -> list[int]:
    """Return the IP versions of the result's addresses: [4], [6], [4, 6]."""
    return sorted({ip.address.version for ip in result.ips})


def addresses(
    container: Link, result: Result, *, prefix_route: bool, dad: bool = False
) -> list[Request]:
    """Return what gives the result's addresses to `container`."""
    index, name = container.index, container.name
    return [
        address.add(index, name, ip.address, prefix_route=prefix_route, dad=dad)
        for ip in result.ips
    ]


def routes(container: Link, result: Result, reached: Collection[IPNetwork]) -> list[Request]:
    """Return what gives the result's routes to `container`, each once, in their order.

    A gateway in none of the networks `reached` is taken as on the link.
    """
    wanted = dict.fromkeys(_kernel_route(container, result, one, reached) for one in result.routes)
    return [route.add_beside(one) for one in wanted]


def _kernel_route(
    container: Link, result: Result, one: Route, reached: Collection[IPNetwork]
) -> route.Route:
    """Return a route of the result for the kernel.

    Without a gateway it goes through that of the first address of its family, unless its scope
    says that there is none (SPEC 1.1.0: link 253, host 254).
    """
    direct = (one.scope or route.UNIVERSE) >= route.LINK
    version = one.dst.version
    gateways = [ip.gateway for ip in result.ips if ip.gateway and ip.address.version == version]
    gateway = one.gw or (gateways[0] if gateways and not direct else None)
    return route.Route(
        one.dst,
        container.index,
        gateway=gateway,
        table=one.table or route.MAIN,
        scope=one.scope,
        priority=one.priority,
        mtu=one.mtu,
        advmss=one.advmss,
        onlink=gateway is not None and not any(gateway in network for network in reached),
    )


def announce(container: Netlink, netns: str, end: Link, *, dad: bool) -> None:
    """Tell the others on the link who has the addresses; with `dad` once they are known as ours.

    Raises CniError code 101 when another has one of them.
    """
    if dad and (taken := address.wait_settled(container, netns, end.index, DAD_S)):
        msg = f"cannot use address {taken[0]}: another host on the link of {end.name} has it"
        raise CniError(Code.ALREADY_ATTACHED, msg, "IPAM gives what others use: change its range")
    container.do(link.set_address(end))


def with_interfaces(
    result: Result, interfaces: Iterable[Interface], index: int, dns: DNS | None
) -> Result:
    """Return IPAM's result with `interfaces`, all addresses at `index`; `dns` replaces its own."""
    return replace(
        result,
        interfaces=tuple(interfaces),
        ips=tuple(replace(ip, interface=index) for ip in result.ips),
        dns=dns or result.dns,
    )


# CHECK


def container_interface(request: Invocation, result: Result) -> Interface:
    """Return the container's interface in `result`.  Raises CniError when it names another."""
    ifname = request.attachment.ifname
    for one in result.interfaces:
        if one.name == ifname and one.sandbox == request.netns:
            return one
        if one.name == ifname and one.sandbox:
            msg = f"cannot check {ifname}: prevResult has it in {one.sandbox}"
            raise check_failed(msg, f"CNI_NETNS is {request.netns}")
    raise check_failed(f"cannot check {ifname}: it is not in prevResult")


def ips_on(result: Result, interface: Interface) -> list[IP]:
    """Return the addresses that `result` has on `interface`."""
    numbers = {n for n, one in enumerate(result.interfaces) if one == interface}
    return [ip for ip in result.ips if ip.interface in numbers]


def check_failed(msg: str, details: str = "") -> CniError:
    """Return what CHECK says of an attachment that is not as its result says."""
    return CniError(Code.CHECK_FAILED, msg, details or "DEL and ADD the attachment again")


def check_link(rtnl: Netlink, wanted: Interface, kind: str, *, up: bool = True) -> Link:
    """Return the interface `wanted`.  Raises CniError unless it is there, `up`, and as it was."""
    where = f"in {wanted.sandbox}" if wanted.sandbox else "on the host"
    found = link.get(rtnl, wanted.name)
    if found is None:
        raise check_failed(f"interface {wanted.name} is missing {where}")
    if found.kind != kind:
        raise check_failed(f"interface {wanted.name} {where} is not a {kind}")
    if up and not found.up:
        raise check_failed(f"interface {wanted.name} {where} is down")
    if wanted.mac and wanted.mac.casefold() != found.mac.casefold():
        msg = f"interface {wanted.name} {where} has MAC {found.mac}"
        raise check_failed(msg, f"it was {wanted.mac}")
    return found


def check_addresses(container: Netlink, found: Link, ips: Iterable[IP]) -> None:
    """Raise CniError unless every address of `ips` is on the interface `found`."""
    present = set(address.get(container, found.index))
    for ip in ips:
        if ip.address not in present:
            raise check_failed(f"address {ip.address} is missing on {found.name}")


def check_routes(container: Netlink, result: Result) -> None:
    """Raise CniError unless every route of `result` is in the container.

    For a default route any of its family will do: others may have put theirs in its place.
    """
    for one in result.routes:
        present = list(route.list_all(container, one.dst.version, one.table or route.MAIN))
        if not any(_same_route(one, other) for other in present):
            raise check_failed(f"route {one.dst} is missing in the container")


def _same_route(wanted: Route, found: route.Route) -> bool:
    if wanted.dst != found.dst:
        return False
    return wanted.dst.prefixlen == 0 or wanted.gw is None or wanted.gw == found.gateway


def check_host_route(host: Netlink, veth: Link, ip: IPAddress) -> None:
    """Raise CniError unless packets of the host to `ip` go to `veth` by a route of its own."""
    found = route.match(host, ip)
    if found is None or found.oif != veth.index or found.dst.prefixlen != ip.max_prefixlen:
        raise check_failed(f"route {ip} dev {veth.name} is missing on the host")
